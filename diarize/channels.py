"""The channels of a recording side by side, each listened to by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diarize.crosstalk import Loudness, Powers
from diarize.stage import Stage
from diarize.types import AudioChunk, SpeechWindow

Front = Stage[AudioChunk, SpeechWindow]


class Channels(Stage[tuple[AudioChunk, ...], tuple[int, SpeechWindow]]):
    """Every channel through a front of its own, and its loudness kept: each window comes with its channel, from 0.

    front: makes one; how many are needed, the first chunks say.
    """

    def __init__(self, front: Callable[[], Front]) -> None:
        self._front = front
        self._fronts: list[Front] = []
        self._loudness: list[Loudness] = []
        self._powers: list[list[Powers]] = []

    @property
    def powers(self) -> Powers:
        """Of all frames so far, shape (channels, frames)."""
        none = np.zeros(0, np.float32)
        return np.array([np.concatenate([none, *pieces]) for pieces in self._powers], np.float32)

    def push(self, item: tuple[AudioChunk, ...], /) -> list[tuple[int, SpeechWindow]]:
        if not self._fronts:
            self._make(len(item))
        for stage, pieces, chunk in zip(self._loudness, self._powers, item, strict=True):
            pieces += stage.push(chunk)
        said = [front.push(chunk) for front, chunk in zip(self._fronts, item, strict=True)]
        return _numbered(said)

    def flush(self) -> list[tuple[int, SpeechWindow]]:
        for stage, pieces in zip(self._loudness, self._powers, strict=True):
            pieces += stage.flush()
        return _numbered([front.flush() for front in self._fronts])

    def save(self) -> Any:
        stages = zip(self._fronts, self._loudness, self.powers, strict=True)
        return [(front.save(), loudness.save(), powers) for front, loudness, powers in stages]

    def restore(self, state: Any) -> None:
        self._make(len(state))
        self._powers = [[powers] for _, _, powers in state]
        for front, loudness, (heard, frame, _) in zip(self._fronts, self._loudness, state, strict=True):
            front.restore(heard)
            loudness.restore(frame)

    def _make(self, channels: int) -> None:
        self._fronts = [self._front() for _ in range(channels)]
        self._loudness = [Loudness() for _ in range(channels)]
        self._powers = [[] for _ in range(channels)]


def _numbered(said: Sequence[Sequence[SpeechWindow]]) -> list[tuple[int, SpeechWindow]]:
    return [(channel, window) for channel, windows in enumerate(said) for window in windows]
