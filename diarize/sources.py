"""Where audio comes from: a file, an array, raw PCM on a stream; each a generator of 16 kHz mono chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from diarize.audio import (
    AudioError,
    Block,
    Resampler,
    check_layout,
    decode_pcm,
    frame_bytes,
    mended,
    mixdown,
    to_float,
)
from diarize.decoding import open_audio
from diarize.types import SAMPLE_RATE, AudioChunk, Samples, seconds

Audio = str | PathLike[str] | NDArray[Any] | tuple[Any, int]
"""A path; an array at 16 kHz, shape (samples,) or (channels, samples); or such an array or tensor of any rate with
its sample rate in Hz, as `torchaudio.load` returns them.  Integers are scaled to -1..1."""

Progress = Callable[[float, float | None], object]
"""Called with the seconds done and, where known, the seconds in all.  What it raises ends the run and goes up."""

_HEADERS = (b"RIFF", b"fLaC", b"OggS")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Something to listen to.

    uri: the name of the recording.
    seconds: its length, or None when it is not known beforehand; for some file formats an estimate.
    chunks: its channels mixed down; starts from the beginning; of a stream, from where it is.
    channels: the same with its channels apart, each time a chunk of every one; None: there is but one.
    """

    uri: str
    seconds: float | None
    chunks: Callable[[], Iterator[AudioChunk]]
    channels: Callable[[], Iterator[tuple[AudioChunk, ...]]] | None = None

    def apart(self) -> Iterator[tuple[AudioChunk, ...]]:
        """Chunks of all channels, of one position and length each time."""
        return ((chunk,) for chunk in self.chunks()) if self.channels is None else self.channels()


class Heard:
    """The chunks of a source, counted as they pass, with the progress told."""

    def __init__(self, source: Source, progress: Progress | None) -> None:
        self.source = source
        self.progress = progress
        self.samples = 0

    def __iter__(self) -> Iterator[AudioChunk]:
        for chunk in self.source.chunks():
            yield chunk
            self._tell(chunk)

    def apart(self) -> Iterator[tuple[AudioChunk, ...]]:
        """The same with the channels apart."""
        for channels in self.source.apart():
            yield channels
            self._tell(channels[0])

    def _tell(self, chunk: AudioChunk) -> None:
        self.samples = chunk.position + len(chunk.samples)
        if self.progress is not None:
            self.progress(seconds(self.samples), self.source.seconds)


def open_source(audio: Audio | Source, *, uri: str | None = None) -> Source:
    """A file or an array as a source; what is one already stays as it is.

    uri: the name of the recording; without it, the path's stem or "audio".
    Raises `AudioError`, now or while its chunks are read, where there is no audio to be had.
    """
    if isinstance(audio, Source):
        return audio if uri is None else replace(audio, uri=uri)
    if isinstance(audio, str | PathLike):
        file = open_audio(audio)
        name = Path(audio).stem if uri is None else uri
        return _source(name, file.seconds, file.blocks, file.sample_rate, str(audio))
    name = "audio" if uri is None else uri
    waveform, rate = audio if isinstance(audio, tuple) and len(audio) == 2 else (audio, SAMPLE_RATE)
    array = _array(waveform, name)
    check_layout(rate, len(array), name)
    to_float(array[:, :0])  # refuses what is neither integers nor floats
    return _source(name, array.shape[1] / rate, lambda: _array_blocks(array, int(rate)), rate, name)


def raw_source(stream: BinaryIO, sample_rate: int, channels: int, encoding: str, *, uri: str = "audio") -> Source:
    """Raw PCM, channels interleaved, read from a stream a tenth of a second at a time.

    Raises `AudioError` for a rate (Hz), a number of channels or an encoding that cannot be.
    """
    check_layout(sample_rate, channels, uri)
    frame_bytes(encoding, channels)  # refuses an unknown encoding
    frames = sample_rate // 10
    return _source(uri, None, lambda: _pcm_blocks(stream, frames, channels, encoding, uri), sample_rate, uri)


def read(audio: Audio | Source) -> Samples:
    """All of a short recording at once, at 16 kHz mono: shape (samples,)."""
    chunks = [chunk.samples for chunk in open_source(audio).chunks()]
    return np.concatenate([np.zeros(0, np.float32), *chunks])


def _source(
    uri: str, seconds: float | None, blocks: Callable[[], Iterator[Block]], sample_rate: float, name: str
) -> Source:
    """name: of the file, for what is said of it."""

    def mixed() -> Iterator[AudioChunk]:
        mono = (mixdown(block)[:, np.newaxis] for block in _mended(blocks(), name))
        return (chunk for (chunk,) in _chunks(mono, sample_rate, name))

    return Source(uri, seconds, mixed, lambda: _chunks(_mended(blocks(), name), sample_rate, name))


def _chunks(blocks: Iterable[Block], sample_rate: float, name: str) -> Iterator[tuple[AudioChunk, ...]]:
    position = 0
    for channels in _resampled(blocks, sample_rate, name):
        if len(channels[0]):
            yield tuple(AudioChunk(position, samples) for samples in channels)
            position += len(channels[0])


def _mended(blocks: Iterable[Block], name: str) -> Iterator[Block]:
    """The blocks, with silence in place of what is no number."""
    warned = False
    for block in blocks:
        sound, unsound = mended(block)
        if unsound and not warned:
            log.warning("%s: has samples that are no numbers (NaN, infinite); they are taken as silence", name)
            warned = True
        yield sound


def _resampled(blocks: Iterable[Block], sample_rate: float, name: str) -> Iterator[list[Samples]]:
    """The channels of each block, brought to 16 kHz one by one."""
    resamplers: list[Resampler] = []
    for block in blocks:
        resamplers = resamplers or [Resampler(sample_rate) for _ in range(block.shape[1])]
        if block.shape[1] != len(resamplers):
            raise AudioError(
                f"{name}: its channels change from {len(resamplers)} to {block.shape[1]} on the way; "
                "only mixed down can it be diarized"
            )
        yield [resampler.push(np.ascontiguousarray(block[:, i])) for i, resampler in enumerate(resamplers)]
    if resamplers:
        yield [resampler.flush() for resampler in resamplers]


def _array(waveform: Any, name: str) -> NDArray[Any]:
    """A waveform as an array (channels, samples)."""
    if hasattr(waveform, "detach"):  # a torch tensor, on whatever device
        waveform = waveform.detach().cpu().numpy()
    if not isinstance(waveform, np.ndarray):
        kind = type(waveform).__name__
        raise AudioError(f"{name}: {kind} is no audio; give a path, an array, or (array, sample rate)")
    if waveform.ndim not in (1, 2):
        raise AudioError(f"{name}: shape {waveform.shape} is no audio; give (samples,) or (channels, samples)")
    return np.atleast_2d(waveform)


def _array_blocks(array: NDArray[Any], size: int) -> Iterator[Block]:
    for start in range(0, array.shape[1], size):
        yield to_float(array[:, start : start + size]).T


def _pcm_blocks(stream: BinaryIO, frames: int, channels: int, encoding: str, name: str) -> Iterator[Block]:
    frame = frame_bytes(encoding, channels)
    carry = b""  # a pipe may deliver part of a frame
    first = True
    while data := stream.read(frames * frame):
        data = carry + data
        if first and data.startswith(_HEADERS):
            raise AudioError(
                f"{name}: begins like a WAV, FLAC or Ogg file, not like raw PCM; give the file by its name"
            )
        first = False
        whole = len(data) - len(data) % frame
        data, carry = data[:whole], data[whole:]
        yield decode_pcm(data, encoding, channels)
    if carry:
        log.warning(
            "%s: ends %d bytes into a frame; is it really %s, channels %d?", name, len(carry), encoding, channels
        )
