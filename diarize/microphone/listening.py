"""A session at the microphone: hear, show who talks, record, and at the end say who spoke when."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from math import log10
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console

from diarize.audio import AudioError, Pcm, to_float, to_pcm
from diarize.clustering.memory import EmbeddingFile
from diarize.formats import FORMATS, Diarization, write_atomically
from diarize.microphone.device import Device, Microphone
from diarize.microphone.recording import Recording
from diarize.microphone.view import QUIETEST, Status, View, open_view
from diarize.orders import check_writable, explain
from diarize.pipeline import Live, SpeakerDiarization
from diarize.types import SAMPLE_RATE, AudioChunk, TurnUpdate, position

FALL = 20.0
"""dB per second by which the level meter falls: as fast as can be read."""


@dataclass(frozen=True)
class Session:
    """What came of it.

    result: who spoke when, as the offline run over what was heard would say.
    text: the result in the format, to be printed; empty when it is in the output file.
    error: what ended the session or went wrong with the file, in one sentence, or None.
    """

    result: Diarization
    text: str
    error: str | None


def listen(
    diarization: SpeakerDiarization,
    device: Device,
    *,
    output: Path | None,
    form: str,
    record: Path | None,
    console: Console,
) -> Session:
    """Hear the device until Ctrl-C, SIGTERM or the device's end, and say who spoke when; on the main thread only.

    A second Ctrl-C raises KeyboardInterrupt.  However it ends, the recording is in its place and nothing else is left.

    output: where the result goes, or None.
    form: of `diarize.formats.FORMATS`.
    record: the FLAC file that keeps what is heard, or None.
    console: where it is shown, and told, how things go.

    Raises, before anything is heard: `diarize.audio.AudioError` where the device cannot be opened, OSError for a file
    that cannot be written, ValueError for one that is no place for a recording.
    """
    write = FORMATS[form].write
    if record is not None and record == output:
        raise ValueError(f"{record} cannot be both the recording and the result: give two names")
    for path in (output, record):
        if path is not None:
            check_writable(path)
    if record is not None:
        Recording(record).close()  # refuses what is no place for one
    uri = next((path.stem for path in (record, output) if path is not None), "microphone")
    with closing(EmbeddingFile()) as embeddings, open_view(console) as view:
        live = diarization.live(embeddings)
        with Microphone(device) as microphone:
            recording = None if record is None else Recording(record)
            hearing = _Hearing(microphone, live, recording, view, position(diarization.config.live.latency))
            with _interruption_calls(microphone.stop):
                error = hearing.run()
        updates = live.flush()
        hearing.show(updates)
    result = Diarization(uri, hearing.end, tuple(updates), asdict(diarization.config))
    text = write(result)
    if output is not None:
        try:
            write_atomically(output, text)
            text = ""
        except OSError as unwritten:  # what was heard cannot be heard again: it is printed instead
            error = "; ".join(filter(None, (error, explain(unwritten))))
    return Session(result, text, error)


class _Hearing:
    """The loop, and what it knows: the position up to which audio was taken, and the level of the input in dBFS."""

    def __init__(
        self, microphone: Microphone, live: Live, recording: Recording | None, view: View, latency: int
    ) -> None:
        self.end = 0
        self._level = QUIETEST
        self._microphone, self._live, self._recording, self._view = microphone, live, recording, view
        self._latency = latency

    def run(self) -> str | None:
        """Hear until the microphone stops.  What ended it otherwise, in one sentence, or None."""
        try:
            with nullcontext() if self._recording is None else closing(self._recording):
                for chunk in self._microphone.chunks():
                    self._take(chunk, to_pcm(chunk.samples))
        except (AudioError, OSError) as error:
            return explain(error)
        return None

    def show(self, updates: list[TurnUpdate]) -> None:
        """Show what has changed, and how things are."""
        microphone = self._microphone
        heard, shown = max(microphone.heard, self.end), max(self.end - self._latency, 0)
        self._view.show(updates, Status(heard, shown, self._level, microphone.gaps, microphone.lost))

    def _take(self, chunk: AudioChunk, pcm: Pcm) -> None:
        if self._recording is not None:
            self._recording.write(pcm)
        self.end = chunk.position + len(pcm)
        self._level = max(_peak(pcm), self._level - FALL * len(pcm) / SAMPLE_RATE)
        # what is diarized is what the recording holds, to the bit: the offline run over it gives the same
        self.show(self._live.push(AudioChunk(chunk.position, to_float(pcm))))


def _peak(pcm: Pcm) -> float:
    """The highest level in dBFS."""
    peak = int(np.abs(pcm.astype(np.int32)).max())
    return 20 * log10(peak / 32768) if peak else QUIETEST


@contextmanager
def _interruption_calls(stop: Callable[[], None]) -> Iterator[None]:
    """In here, the first Ctrl-C or SIGTERM calls `stop`; from then on they do what they did before."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(_number: int, _frame: FrameType | None) -> None:
        restore()
        stop()

    for number in signals:
        signal.signal(number, first)
    try:
        yield
    finally:
        restore()
