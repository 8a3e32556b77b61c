"""Sliding windows over speech: what is embedded at once."""

from __future__ import annotations

from dataclasses import dataclass

from diarize.stage import Stage
from diarize.types import Held, SpeechChunk, SpeechWindow, position


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


@dataclass
class WindowsState:
    """The stretch of speech that is open.  Positions in samples.

    audio: the last of its samples; None between stretches.
    next: where the next window starts.
    covered: where the last window ended, or None while there is none.
    said: up to where windows have reached, those included that were still growing.
    group: how many windows the stream has had.
    """

    audio: Held | None = None
    next: int = 0
    covered: int | None = None
    said: int = 0
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
        if state.audio is None:
            state.audio = Held(item.position)
            state.next = state.said = item.position
        audio = state.audio
        if item.position != audio.end:
            raise ValueError(f"speech at {item.position} does not follow its stretch, which goes up to {audio.end}")
        audio.append(item.samples)
        out = []
        while audio.end - state.next >= self._length:
            out.append(self._window(audio, state.next, state.next + self._length))
            state.next += self._step
        if item.closes:
            return out + self.flush()
        audio.forget(audio.end - self._length)
        return out

    def flush(self) -> list[SpeechWindow]:
        audio = self.state.audio
        out = []
        if audio is not None and len(audio.samples) and self.state.covered != audio.end:
            out = [self._window(audio, max(audio.start, audio.end - self._length), audio.end)]
        self.state = WindowsState(group=self.state.group)
        return out

    @property
    def unsaid(self) -> int | None:
        """Where the speech begins that no window has reached yet, or None where there is none."""
        state = self.state
        return state.said if state.audio is not None and state.said < state.audio.end else None

    def grow(self) -> list[SpeechWindow]:
        """The next window as far as it has come: the last `length` of the open stretch, provisional."""
        audio = self.state.audio
        if audio is None or self.unsaid is None:
            return []
        start = max(audio.start, audio.end - self._length)
        self.state.said = audio.end
        return [
            SpeechWindow(
                start, audio.end, ((start, audio.end),), self.state.group, audio.cut(start, audio.end), provisional=True
            )
        ]

    def _window(self, audio: Held, start: int, end: int) -> SpeechWindow:
        state = self.state
        window = SpeechWindow(start, end, ((start, end),), state.group, audio.cut(start, end))
        state.covered = end
        state.said = max(state.said, end)
        state.group += 1
        return window
