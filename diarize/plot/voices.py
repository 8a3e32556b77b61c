"""The windows of speech as the pictures of voices show them: who talks in each, and no more than can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import shared
from diarize.rttm import Turn, talking
from diarize.types import EmbeddingWindow

NOBODY = -1
"""The number of the speaker of a window that no turn covers, or several as much."""


def window_speakers(windows: Sequence[EmbeddingWindow], turns: Iterable[Turn]) -> NDArray[np.int64]:
    """Who talks in each window: the speaker, numbered by first appearance, whose turns cover most of its speech.

    Shape (windows,); `NOBODY` where no turn covers any, or several as much: then its voice may be either's.
    """
    said = shared([window.speech for window in windows], talking(turns).values())
    said = np.hstack((np.zeros((len(windows), 1), np.int64), said))
    alone = (said == said.max(axis=1, keepdims=True)).sum(axis=1) == 1
    most: NDArray[np.int64] = np.where(alone, said.argmax(axis=1), 0)
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
