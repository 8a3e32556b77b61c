"""The microphone: what PortAudio hears, as chunks whose positions keep to the clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from diarize.audio import AudioError, Resampler, mended
from diarize.microphone.gaps import Block, Gaps
from diarize.microphone.portaudio import close, messages_hidden, portaudio, reason
from diarize.types import SAMPLE_RATE, AudioChunk, Samples

BLOCK = 0.02
"""Seconds that the device gives at once."""

BACKLOG = 30.0
"""Seconds of audio that may wait to be taken: longer than anything that is not a fault takes."""

POLL, STALLED = 0.5, 5.0
"""Seconds: how often it is looked whether audio comes, and after how long without any the device is given up.  Counted
in looks, since a process that was stopped (Ctrl-Z) finds its time gone and its audio waiting."""

NO_MICROPHONE = "no microphone here: plug one in, or check that the sound system runs and lets this user record"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """A sound device that can record.

    number: PortAudio's; changes when devices come and go.
    host: the sound system that offers it, such as ALSA or Windows WASAPI.
    rate: the one it is used at, in Hz.
    default: it is what the system records from unless told otherwise.
    """

    number: int
    name: str
    host: str
    rate: float
    default: bool

    @property
    def full_name(self) -> str:
        """With the sound system, as one device may be offered by several."""
        return f"{self.name}, {self.host}"


def devices() -> list[Device]:
    """The devices that can record, by number.  Raises `AudioError` where PortAudio's library is not installed."""
    system = portaudio()
    hosts = system.query_hostapis()
    default = system.default.device[0]
    return [
        Device(
            info["index"],
            info["name"],
            hosts[info["hostapi"]]["name"],
            info["default_samplerate"],
            info["index"] == default,
        )
        for info in system.query_devices()
        if info["max_input_channels"] > 0
    ]


def choose(devices: Sequence[Device], wanted: str | None = None) -> Device:
    """The device that is meant: by number, by its name (or full name), else by a part that only one name has.

    wanted: upper and lower case are the same in a part; None is the system's default.
    Raises `AudioError` that names the devices there are when none is meant or several are.
    """
    if not devices:
        raise AudioError(NO_MICROPHONE)
    if wanted is None:
        return next((device for device in devices if device.default), devices[0])
    part = wanted.casefold()
    for meant in (
        [device for device in devices if str(device.number) == wanted],
        [device for device in devices if wanted in (device.name, device.full_name)],
        [device for device in devices if part and part in device.full_name.casefold()],
    ):
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise AudioError(f"several devices are called {wanted!r}: give the number of {_listed(meant)}")
    raise AudioError(f"no device {wanted!r} to record from: choose one of {_listed(devices)}")


def _listed(devices: Sequence[Device]) -> str:
    return "; ".join(f"{device.number} {device.full_name}" for device in devices)


class Microphone:
    """A device that is being heard, from `with` on, mono at its own rate; `chunks` is what it hears at 16 kHz.

    Nothing is shortened: audio that the device or we lost becomes silence of the same length, with a warning.

    rate: the one it was opened at, in Hz.
    gaps, lost: how many stretches were lost so far, and how many seconds they last together.

    Raises `AudioError`, when entered, where the device cannot be opened.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.rate = device.rate
        self.gaps, self.lost = 0, 0.0
        self._given = 0  # frames that came from the device
        self._gaps = Gaps(self.rate)
        self._queue: Queue[Block | None] = Queue(round(BACKLOG / BLOCK))
        self._full = False
        self._stopping = False
        self._failure: str | None = None
        self._stream: Any = None

    def __enter__(self) -> Microphone:
        refused = []
        for rate in dict.fromkeys((self.device.rate, float(SAMPLE_RATE))):
            try:
                self._open(rate)
                return self
            except portaudio().PortAudioError as error:
                refused.append(f"at {rate:,.0f} Hz: {reason(error)}")
        raise AudioError(
            f"{self.device.full_name} cannot be opened ({'; '.join(refused)}): "
            "end other programs that use it, or choose another --device"
        )

    def __exit__(self, *raised: object) -> None:
        self._close()

    @property
    def heard(self) -> int:
        """The position up to which audio has come in, taken or not."""
        return round((self._given + self._gaps.lost) / self.rate * SAMPLE_RATE)

    def stop(self) -> None:
        """Hear no more; what has come in is still given.  May be called by a signal handler."""
        self._stopping = True  # nothing with a lock, which the handler may have interrupted

    def chunks(self) -> Iterator[AudioChunk]:
        """What is heard, as it comes, until `stop`; once.

        Raises `AudioError`, after all that was heard, when the device is gone or gives no more audio.
        """
        position = 0
        for samples in self._resampled():
            if len(samples):
                yield AudioChunk(position, samples)
                position += len(samples)
        if self._failure is not None:
            raise AudioError(self._failure)

    def _open(self, rate: float) -> None:
        self.rate = rate
        self._gaps = Gaps(rate)
        with messages_hidden():
            self._stream = portaudio().InputStream(
                samplerate=rate,
                blocksize=round(rate * BLOCK),
                device=self.device.number,
                channels=1,
                dtype="float32",
                callback=self._take,
                finished_callback=self._finished,
            )
            try:
                self._stream.start()
            except BaseException:
                self._stream.close()
                raise

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            close(stream)

    def _take(self, data: Samples, frames: int, _time: object, status: Any) -> None:
        """PortAudio's callback, on a thread of its own: copy and be gone."""
        # once it is full, half of it must be free again: one long gap is better than hundreds of short ones
        self._full = self._queue.full() or (self._full and self._queue.qsize() > self._queue.maxsize // 2)
        if not self._full:
            self._queue.put_nowait(Block(self._given, data[:, 0].copy(), time.monotonic(), status.input_overflow))
        self._given += frames

    def _finished(self) -> None:
        """PortAudio has ended the stream, be it because the device is gone."""
        with suppress(Full):  # then it will be seen that nothing comes any more
            self._queue.put_nowait(None)

    def _resampled(self) -> Iterator[Samples]:
        resampler = Resampler(self.rate)
        for piece in self._filled():
            yield resampler.push(piece)
        yield resampler.flush()

    def _filled(self) -> Iterator[Samples]:
        """What came, with silence where audio is missing."""
        second = round(self.rate)
        frames = 0
        for missing, samples in self._found():
            if missing:
                self.gaps += 1
                self.lost += missing / self.rate
                log.warning(
                    "%s: %.2f s of audio were lost after %.1f s and are taken as silence",
                    self.device.name,
                    missing / self.rate,
                    frames / self.rate,
                )
            for start in range(0, missing, second):
                yield np.zeros(min(second, missing - start), np.float32)
            yield mended(samples)[0]
            frames += missing + len(samples)

    def _found(self) -> Iterator[tuple[int, Samples]]:
        for block in self._blocks():
            yield from self._gaps.push(block)
        yield from self._gaps.flush(self._given)

    def _blocks(self) -> Iterator[Block]:
        """What came, as it comes, until we stop or the device does."""
        looks = 0
        while not self._stopping:
            try:
                block = self._queue.get(timeout=POLL)
            except Empty:
                looks += 1
                if looks * POLL < STALLED:
                    continue
                block = None
            if block is None:
                self._failure = f"{self.device.full_name} gives no more audio: was it unplugged?"
                return
            looks = 0
            yield block
        self._close()
        with suppress(Empty):
            while True:
                block = self._queue.get_nowait()
                if block is not None:
                    yield block
