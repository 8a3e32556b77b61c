"""Sliding windows over speech: what is embedded at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from diarize.stage import Stage
from diarize.types import Samples, SpeechChunk, SpeechWindow, position


@dataclass(frozen=True)
class WindowsConfig:
    """How speech is cut into windows.

    length: seconds, 0.1..10; longer windows tell voices apart better and change of speaker worse.
    step: seconds from one window's start to the next, above 0 and up to length.
    """

    length: float = 1.6
    step: float = 0.4

    def __post_init__(self) -> None:
        if not 0.1 <= self.length <= 10:
            raise ValueError(f"windows length is {self.length} s: give 0.1 to 10")
        if not (0 < self.step <= self.length and position(self.step) > 0):
            raise ValueError(f"windows step is {self.step} s: give more than 0 and at most the length, {self.length}")

    @property
    def samples(self) -> int:
        """The length in samples."""
        return position(self.length)


def _nothing() -> Samples:
    return np.zeros(0, np.float32)


@dataclass
class WindowsState:
    """The stretch of speech that is open.  Positions in samples.

    audio, start: the last of its samples, and the position of the first of them; start is None between stretches.
    next: where the next window starts.
    covered: where the last window ended, or None while there is none.
    group: how many windows the stream has had.
    """

    audio: Samples = field(default_factory=_nothing)
    start: int | None = None
    next: int = 0
    covered: int | None = None
    group: int = 0


class SlidingWindows(Stage[SpeechChunk, SpeechWindow]):
    """From stretches of speech to windows of one length, each as soon as its audio is there.

    Windows start at the stretch's start and every `step` after.  When the stretch closes, one more is aligned to its
    end unless a window already ends there, so that all speech is in a window.  A stretch shorter than a window gives
    one window, as short as it is.  No more than the last `length` is held.

    Raises ValueError for a piece that does not follow the one before in its stretch.
    """

    state: WindowsState

    def __init__(self, config: WindowsConfig | None = None) -> None:
        config = config or WindowsConfig()
        self._length, self._step = config.samples, position(config.step)
        self.state = WindowsState()

    def push(self, item: SpeechChunk, /) -> list[SpeechWindow]:
        state = self.state
        if state.start is None:
            state.start = state.next = item.position
        end = state.start + len(state.audio)
        if item.position != end:
            raise ValueError(f"speech at {item.position} does not follow its stretch, which goes up to {end}")
        state.audio = np.concatenate((state.audio, item.samples))
        end += len(item.samples)
        out = []
        while end - state.next >= self._length:
            out.append(self._window(state.start, state.next, state.next + self._length))
            state.next += self._step
        if item.closes:
            return out + self.flush()
        if len(state.audio) > self._length:
            state.audio = state.audio[-self._length :].copy()
            state.start = end - self._length
        return out

    def flush(self) -> list[SpeechWindow]:
        state = self.state
        out = []
        if state.start is not None:
            end = state.start + len(state.audio)
            if len(state.audio) and state.covered != end:
                out = [self._window(state.start, max(state.start, end - self._length), end)]
        self.state = WindowsState(group=state.group)
        return out

    def _window(self, held: int, start: int, end: int) -> SpeechWindow:
        """The window [start, end) of the audio held from position `held` on."""
        state = self.state
        window = SpeechWindow(start, end, ((start, end),), state.group, state.audio[start - held : end - held].copy())
        state.covered = end
        state.group += 1
        return window
