"""The front of a live stream: audio to windows of speech, on a clock that is the audio itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, AudioChunk, Clock, Held, SpeechWindow, position, seconds
from diarize.vad import VoiceActivityDetection
from diarize.windows import SlidingWindows

TICK = SAMPLE_RATE // 10
"""Samples.  Live decisions fall at multiples of it, wherever the audio was cut: a tenth of a second is less than anyone
sees, and seldom enough to cost nothing."""


@dataclass(frozen=True)
class LiveConfig:
    """How a live stream is followed.

    latency: seconds, 0.5..5; a label is shown when the audio has gone so far beyond what it labels. Longer gives
        steadier labels.
    """

    latency: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.latency <= 5:
            raise ValueError(f"live.latency is {self.latency} s: give 0.5 to 5")


@dataclass
class LiveFrontState:
    """The audio of the tick that is not full yet."""

    audio: Held = field(default_factory=Held)


class LiveFront(Stage[AudioChunk, SpeechWindow | Clock]):
    """Speech detection and sliding windows, with the time told after every tick.

    The windows are those of `vad | windows`, bit for bit.  Where the next of them would come too late to label speech
    within the latency, what is there of it comes before it, provisional.  What comes out between two clocks depends on
    the audio up to the second alone.

    Raises ValueError for a chunk that does not follow the one before, and where the detector is too slow for the
    latency.
    """

    state: LiveFrontState

    def __init__(self, vad: VoiceActivityDetection, windows: SlidingWindows, config: LiveConfig) -> None:
        slowest = vad.delay + 2 * TICK
        if slowest > position(config.latency):
            raise ValueError(
                f"live.latency is {config.latency} s, but with these settings the detector takes up to "
                f"{seconds(slowest):.2f} s: lower vad.min_on or vad.smoothing, or raise the latency"
            )
        self.vad, self.windows = vad, windows
        self._latency = position(config.latency)
        self.state = LiveFrontState()

    def push(self, item: AudioChunk, /) -> list[SpeechWindow | Clock]:
        audio = self.state.audio
        if item.position != audio.end:
            raise ValueError(f"audio chunk at {item.position} does not follow the audio before it, up to {audio.end}")
        audio.append(item.samples)
        out: list[SpeechWindow | Clock] = []
        for until in range(audio.start + TICK, audio.end + 1, TICK):
            out += self._hear(until - TICK, until)
        audio.forget(audio.end - audio.end % TICK)
        return out

    def flush(self) -> list[SpeechWindow | Clock]:
        audio = self.state.audio
        rest = self._hear(audio.start, audio.end) if audio.start < audio.end else []
        closed = [window for piece in self.vad.flush() for window in self.windows.push(piece)]
        return [*rest[:-1], *closed, *self.windows.flush(), *rest[-1:]]

    def _hear(self, start: int, until: int) -> list[SpeechWindow | Clock]:
        """One tick of the audio held."""
        out: list[SpeechWindow | Clock] = []
        for piece in self.vad.push(AudioChunk(start, self.state.audio.cut(start, until))):
            out += self.windows.push(piece)
        unsaid = self.windows.unsaid
        # before the next tick comes, as much more audio may have come in
        if unsaid is not None and unsaid < until + TICK - self._latency:
            out += self.windows.grow()
        return [*out, Clock(until)]

    def save(self) -> Any:
        return (super().save(), self.vad.save(), self.windows.save())

    def restore(self, state: Any) -> None:
        own, vad, windows = state
        super().restore(own)
        self.vad.restore(vad)
        self.windows.restore(windows)
