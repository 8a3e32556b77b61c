"""The best sequence of speakers when changing between them has a price."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def viterbi(scores: NDArray[np.float32], penalty: NDArray[np.float64]) -> NDArray[np.int64]:
    """The path through `scores` with the highest sum, less `penalty[i]` for a change between i and i + 1.

    scores: shape (n, speakers), any scale.
    penalty: shape (n - 1,), at least 0, in the scale of the scores.
    Returns the speaker at each step, shape (n,).
    """
    n, speakers = scores.shape
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    total = scores[0].astype(np.float64)
    came_from = np.empty((n, speakers), dtype=np.int64)
    stay = np.arange(speakers)
    for i in range(1, n):
        best = int(np.argmax(total))
        change = total[best] - penalty[i - 1]
        came_from[i] = np.where(total >= change, stay, best)
        total = np.maximum(total, change) + scores[i]
    path = np.empty(n, dtype=np.int64)
    path[-1] = np.argmax(total)
    for i in range(n - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path
