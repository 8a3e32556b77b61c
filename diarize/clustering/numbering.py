"""The numbers of speakers, which stay when windows are clustered anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diarize.clustering.agglomerative import Labels


def numbered(labels: Labels, shown: Labels, weights: NDArray[np.float64], opened: int) -> dict[int, int]:
    """The number of each cluster: of the speaker it shares most with, one to one; new ones where none is left.

    labels, shown, weights: cluster, speaker and number of windows, each of shape (n,).
    opened: so many speakers there have been; new ones are numbered from it on.
    """
    clusters, column = np.unique(labels, return_inverse=True)
    numbers, row = np.unique(shown, return_inverse=True)
    shared = np.zeros((len(numbers), len(clusters)))
    np.add.at(shared, (row, column), weights)
    pairs = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
    found = {int(clusters[j]): int(numbers[i]) for i, j in pairs if shared[i, j] > 0}
    new = [label for label in clusters.tolist() if label not in found]
    return found | dict(zip(new, range(opened, opened + len(new)), strict=True))
