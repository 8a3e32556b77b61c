"""The front of a live stream: audio to windows of speech, on a clock that is the audio itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from diarize.stage import Chain, Stage
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


class Front(Protocol):
    """Audio to windows of speech, some of which can be said before they are whole; `Segmentation` is one."""

    @property
    def lag(self) -> int:
        """In samples: what can be said, for good or for now, is behind the audio by at most this."""

    @property
    def unsaid(self) -> int | None:
        """Where what can be said begins that has not been said; None where there is none."""

    @property
    def settled(self) -> int:
        """Before it everything has been said for good; 0 where each provisional window is followed by another."""

    def grow(self) -> list[SpeechWindow]:
        """What has not been said, for now: provisional windows."""

    def push(self, item: AudioChunk, /) -> list[SpeechWindow]:
        """As of a stage, like the following."""

    def flush(self) -> list[SpeechWindow]: ...

    def save(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class DetectedSpeech(Chain[AudioChunk, SpeechWindow]):
    """`vad | windows`: sliding windows over the speech that a detector finds."""

    settled = 0

    def __init__(self, vad: VoiceActivityDetection, windows: SlidingWindows) -> None:
        super().__init__(vad, windows)
        self.vad, self.windows = vad, windows

    @property
    def lag(self) -> int:
        """That of the detector."""
        return self.vad.delay

    @property
    def unsaid(self) -> int | None:
        """Where the speech begins that no window has reached yet."""
        return self.windows.unsaid

    def grow(self) -> list[SpeechWindow]:
        """The next window as far as it has come."""
        return self.windows.grow()


@dataclass
class LiveFrontState:
    """The audio of the tick that is not full yet."""

    audio: Held = field(default_factory=Held)


class LiveFront(Stage[AudioChunk, SpeechWindow | Clock]):
    """A front, with the time told after every tick.

    The windows are those of the front, bit for bit.  Where the next of them would come too late to label speech within
    the latency, what is there of it comes before it, provisional.  What comes out between two clocks depends on the
    audio up to the second alone.

    Raises ValueError for a chunk that does not follow the one before, and where the front is too slow for the latency.
    """

    state: LiveFrontState

    def __init__(self, front: Front, config: LiveConfig) -> None:
        slowest = front.lag + 2 * TICK
        if slowest > position(config.latency):
            raise ValueError(
                f"live.latency is {config.latency} s, but with these settings the detector takes up to "
                f"{seconds(slowest):.2f} s: lower vad.min_on or vad.smoothing, or raise the latency"
            )
        self.front = front
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
        return [*rest[:-1], *self.front.flush(), *rest[-1:]]

    def _hear(self, start: int, until: int) -> list[SpeechWindow | Clock]:
        """One tick of the audio held."""
        front = self.front
        out = front.push(AudioChunk(start, self.state.audio.cut(start, until)))
        unsaid = front.unsaid
        # before the next tick comes, as much more audio may have come in
        if unsaid is not None and unsaid < until + TICK - self._latency:
            out += front.grow()
        return [*out, Clock(until, front.settled)]

    def save(self) -> Any:
        return (super().save(), self.front.save())

    def restore(self, state: Any) -> None:
        own, front = state
        super().restore(own)
        self.front.restore(front)
