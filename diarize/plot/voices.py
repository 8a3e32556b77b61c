"""The windows of speech as the pictures of voices show them: who talks in each, and no more than can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.rttm import Turn
from diarize.types import EmbeddingWindow, Interval

NOBODY = -1
"""The number of the speaker of a window that no turn covers."""


def turns_by_speaker(turns: Iterable[Turn]) -> dict[str, list[Interval]]:
    """When each speaker talks, by first appearance; turns of one speaker that overlap are joined."""
    talks: dict[str, list[Interval]] = {}
    for turn in sorted(turns):
        own = talks.setdefault(turn.speaker, [])
        start, end = turn.start, turn.end
        if own and start < own[-1][1]:
            start, before = own.pop()
            end = max(end, before)
        own.append((start, end))
    return talks


def window_speakers(windows: Sequence[EmbeddingWindow], turns: Iterable[Turn]) -> NDArray[np.int64]:
    """Who talks in each window: the speaker, numbered by first appearance, whose turns cover most of its speech.

    Shape (windows,); `NOBODY` where no turn covers any.
    """
    speech = np.array([interval for window in windows for interval in window.speech], np.int64).reshape(-1, 2)
    owner = np.repeat(np.arange(len(windows)), [len(window.speech) for window in windows])
    covered = [np.full(len(windows), 0.5)]  # samples, by nobody: less than by anybody
    for talks in turns_by_speaker(turns).values():
        # the time talked up to a moment is linear between the bounds of turns, and an interval's a difference of two
        bounds = np.array(talks, np.float64)
        talked = np.cumsum(np.diff(bounds, axis=1, prepend=bounds[:, :1]))
        until = np.interp(speech, bounds.ravel(), talked)
        covered.append(np.bincount(owner, until[:, 1] - until[:, 0], minlength=len(windows)))
    most: NDArray[np.int64] = np.argmax(covered, axis=0)
    return most + NOBODY


def thinned(windows: Sequence[EmbeddingWindow], most: int) -> list[EmbeddingWindow]:
    """By time, at most so many of them, evenly spread."""
    ordered = sorted(windows, key=lambda window: (window.start, window.group))
    if len(ordered) <= most:
        return ordered
    return [ordered[at] for at in np.linspace(0, len(ordered) - 1, most).round().astype(int)]


def embeddings_of(windows: Sequence[EmbeddingWindow]) -> NDArray[np.float32]:
    """Shape (windows, dimensions), unit norm."""
    return np.stack([window.embedding for window in windows]) if windows else np.zeros((0, 1), np.float32)
