"""Windows averaged with their neighbours: what a voice sounds like for a while, not for a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import Embeddings
from diarize.clustering.groups import alone

FOREIGN = 0.1
"""Cosine up to which two windows have nothing to do with each other; found on simulated `dev` conversations."""


def averaged(
    embeddings: Embeddings, middles: NDArray[np.float64], groups: NDArray[np.int64], reach: float
) -> Embeddings:
    """Each window as the mean of those around it that sound like it.

    Where one person talks on, that is a longer window; where another begins, neighbours are unlike and hardly count.
    So windows can be short, to fall between two speakers, and still be sure: Kwon et al., "Adapting speaker embeddings
    for speaker diarisation" (2021), so denoise windows by those like them, and Tomasi and Manduchi's bilateral filter
    (1998) smooths pictures without their edges.

    embeddings: shape (n, dimensions), unit norm, in order of time.
    middles: seconds, shape (n,), in order.
    groups: shape (n,); the windows of a group of several, voices at the same time, stay as they are and count nowhere.
    reach: seconds between the middles of two windows that are neighbours; the weight is their cosine above `FOREIGN`.
    Returns shape (n, dimensions), unit norm.
    """
    single = alone(groups)
    sums = (1 - FOREIGN) * embeddings.astype(np.float64)
    for step in range(1, len(embeddings)):
        near = middles[step:] - middles[:-step] <= reach + 1e-6
        if not near.any():
            break
        like = np.einsum("ij,ij->i", embeddings[step:], embeddings[:-step])
        weight = np.where(near & single[step:] & single[:-step], np.maximum(like - FOREIGN, 0), 0)[:, None]
        sums[step:] += weight * embeddings[:-step]
        sums[:-step] += weight * embeddings[step:]
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)
