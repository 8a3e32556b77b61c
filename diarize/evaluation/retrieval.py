"""How often the nearest utterances are the speaker's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEAREST = (1, 5)
"""The K of Recall@K."""

_ROWS = 1024  # of the matrix of cosines that is held


def found_within(
    embeddings: NDArray[np.float32], speakers: NDArray[np.int64], nearest: Sequence[int] = NEAREST
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Recall@K: whether another utterance of the speaker is among the K nearest of all other utterances.

    embeddings: shape (utterances, dimensions), unit norm. speakers: of each, shape (utterances,).
    Returns which utterances were asked for, shape (probes,), as somebody's only utterance cannot be found; and
    whether they were found within each of `nearest`, shape (probes, len(nearest)).
    """
    asked = np.flatnonzero(np.bincount(speakers)[speakers] > 1)
    ranks = np.zeros(len(asked), np.int64)
    for start in range(0, len(asked), _ROWS):
        rows = asked[start : start + _ROWS]
        cosines = embeddings[rows] @ embeddings.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        own = speakers[rows][:, None] == speakers
        best = np.where(own, cosines, -np.inf).max(axis=1, keepdims=True)
        ranks[start : start + _ROWS] = (~own & (cosines >= best)).sum(axis=1)  # a tie counts against the model
    return asked, ranks[:, None] < np.asarray(nearest)
