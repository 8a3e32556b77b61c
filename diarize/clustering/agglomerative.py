"""Agglomerative clustering: average linkage on cosine distance, cut where enough large clusters stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

Embeddings = NDArray[np.float32]
Labels = NDArray[np.int64]


def agglomerative(
    embeddings: Embeddings, threshold: float, *, smallest: int = 1, minimum: int = 1, maximum: int | None = None
) -> Labels:
    """Cluster embeddings bottom-up and cut the tree at `threshold`.

    Only clusters of at least `smallest` embeddings count as speakers; the others, which are mostly overlap, noise and
    short words, go to the nearest speaker (pyannote 3.1 does the same with 12).  Where the cut at `threshold` gives
    fewer speakers than `minimum` or more than `maximum`, the cut nearest in height that gives an allowed number is
    taken instead.

    embeddings: shape (n, dimensions), unit norm.
    threshold: cosine distance in 0..2.
    Returns labels, shape (n,), 0..k-1 in order of first appearance.
    """
    n = len(embeddings)
    if n < 2:
        return np.zeros(n, dtype=np.int64)
    tree = linkage(embeddings.astype(np.float64), "average", metric="cosine")
    smallest = max(1, min(smallest, n // max(minimum, 1)))
    large = _large_clusters(tree, smallest)
    while large.max() < min(minimum, n):  # not even the best cut has so many: let smaller clusters count
        smallest = max(1, smallest // 2)
        large = _large_clusters(tree, smallest)
    allowed = (large >= min(minimum, n)) & (large <= (maximum or n))
    wanted = int(np.searchsorted(tree[:, 2], threshold, side="right"))
    steps = np.flatnonzero(allowed)
    heights = np.concatenate(([0.0], tree[:, 2]))
    distance = np.abs(heights[steps] - threshold)
    step = wanted if allowed[wanted] else int(steps[np.argmin(distance)])
    return absorb(embeddings, _labels_after(tree, step), smallest)


def centroids(embeddings: Embeddings, labels: Labels) -> Embeddings:
    """The unit mean of each cluster, shape (labels.max() + 1, dimensions)."""
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, embeddings)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(norms, 1e-12), dtype=np.float32)


def absorb(embeddings: Embeddings, labels: Labels, smallest: int) -> Labels:
    """Give the members of clusters below `smallest` to the nearest remaining one; number by first appearance.

    Where no cluster is that large, the largest one remains.
    """
    sizes = np.bincount(labels)
    keep = np.flatnonzero(sizes >= min(smallest, sizes.max()))
    middle = centroids(embeddings, labels)[keep]
    nearest = keep[np.argmax(embeddings @ middle.T, axis=1)]
    return by_first_appearance(np.where(np.isin(labels, keep), labels, nearest))


def by_first_appearance(labels: Labels) -> Labels:
    """The same partition, numbered 0, 1, ... as its clusters first appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse]


def _large_clusters(tree: NDArray[np.float64], smallest: int) -> NDArray[np.int64]:
    """How many clusters of at least `smallest` there are after 0, 1, ... n-1 merges, shape (n,)."""
    n = len(tree) + 1
    sizes = np.concatenate((np.ones(n), tree[:, 3])) >= smallest
    left, right = tree[:, 0].astype(int), tree[:, 1].astype(int)
    change = sizes[n:].astype(np.int64) - sizes[left] - sizes[right]
    return np.concatenate(([n * int(sizes[0])], n * int(sizes[0]) + np.cumsum(change)))


def _labels_after(tree: NDArray[np.float64], merges: int) -> Labels:
    """The partition after the first `merges` merges."""
    n = len(tree) + 1
    parent = np.arange(2 * n - 1)
    for i, (left, right) in enumerate(tree[:merges, :2].astype(int)):
        parent[left] = parent[right] = n + i
    for node in range(2 * n - 2, -1, -1):  # parents have higher numbers: one pass from the top resolves all
        parent[node] = parent[parent[node]]
    return np.unique(parent[:n], return_inverse=True)[1].astype(np.int64)
