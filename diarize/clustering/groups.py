"""Groups of windows, by time: the windows of one group are different voices at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.types import EmbeddingWindow


def groups(windows: Sequence[EmbeddingWindow]) -> NDArray[np.int64]:
    """The group of each window, shape (n,)."""
    return np.array([window.group for window in windows], np.int64)


def alone(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which windows are the only ones of their group, by the group of each; both of shape (n,)."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(sizes[group] == 1)


def voices(windows: Sequence[EmbeddingWindow]) -> list[int]:
    """The place of each window among those of its group, from 0."""
    seen: Counter[int] = Counter()
    places = []
    for window in windows:
        places.append(seen[window.group])
        seen[window.group] += 1
    return places


def group_start(windows: Sequence[EmbeddingWindow], group: int) -> int:
    """Where in `windows` this group begins, if they end with it; else how many they are."""
    start = len(windows)
    while start > 0 and windows[start - 1].group == group:
        start -= 1
    return start
