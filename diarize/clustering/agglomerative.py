"""Agglomerative clustering: average linkage of windows on cosine distance, then of speakers by their means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

Embeddings = NDArray[np.float32]
Labels = NDArray[np.int64]
Tree = NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)


def average_linkage(embeddings: Embeddings) -> Tree:
    """The tree of at least two embeddings, as SciPy gives it: cosine distance, average linkage (UPGMA)."""
    return np.asarray(linkage(embeddings.astype(np.float64), "average", metric="cosine"))


def agglomerative(
    embeddings: Embeddings,
    tree: Tree,
    threshold: float,
    *,
    fragment: float,
    smallest: int = 1,
    minimum: int = 1,
    maximum: int | None = None,
) -> Labels:
    """Cluster embeddings bottom-up, first windows into fragments of speakers, then fragments into speakers.

    Fragments are the large branches of the average-linkage tree cut at `fragment`; small branches, which are mostly
    overlap, noise and short words, go to the nearest large one (as in pyannote 3.1).  Then the two fragments whose mean
    voices are nearest are merged, again and again, while they are at most `threshold` apart.  The second step is there
    because the distance between single windows of one speaker grows with noise and from recording to recording, so
    that no cut of the tree counts speakers well in all of them; the means of many windows differ by their voices only.

    embeddings: shape (n, dimensions), unit norm, n at least 2.
    tree: their `average_linkage`.
    threshold: cosine distance in 0..2 between the means of two speakers.
    fragment: average cosine distance in 0..2 between the windows of a fragment.
    smallest: windows in a large branch; a tenth of all windows will do.
    minimum, maximum: allowed numbers of speakers; `minimum` is met whenever there are so many windows.
    Returns labels, shape (n,), 0..k-1 in order of first appearance.
    """
    n = len(embeddings)
    minimum = min(minimum, n)
    smallest = max(1, min(smallest, n // 10, n // minimum))
    large = _large_clusters(tree, smallest)
    while large.max() < minimum:  # not even the best cut has so many: let smaller clusters count
        smallest //= 2
        large = _large_clusters(tree, smallest)
    merges = int(np.searchsorted(tree[:, 2], fragment, side="right"))
    if large[merges] < minimum:  # the nearest cut that has enough
        heights = np.concatenate(([0.0], tree[:, 2]))
        enough = np.flatnonzero(large >= minimum)
        merges = int(enough[np.argmin(np.abs(heights[enough] - fragment))])
    fragments = absorb(embeddings, labels_after(tree, merges), smallest)
    return merge_nearest(embeddings, fragments, threshold, minimum, maximum)


def merge_nearest(
    embeddings: Embeddings,
    labels: Labels,
    threshold: float | Callable[[Labels], NDArray[np.float64]],
    minimum: int = 1,
    maximum: int | None = None,
    different: NDArray[np.bool_] | None = None,
) -> Labels:
    """Merge the two clusters with the nearest means while they are at most `threshold` apart, or too many.

    threshold: cosine distance; or what gives it for two clusters by the windows in the lesser, and then the nearest
        are those that most undercut it.
    different: the clusters, shape (labels.max() + 1,), no two of which may be merged with each other; fewer than
        `minimum`, or at most `maximum`.
    Never below `minimum` clusters; returns labels numbered by first appearance.
    """
    labels = labels.copy()
    sums, sizes = totals(embeddings, labels), np.bincount(labels)
    left = len(sums)
    alive = np.ones(left, dtype=bool)
    held = np.zeros(left, dtype=bool) if different is None else different.copy()
    while left > minimum:
        means = unit(sums)
        excess = 1 - means @ means.T - (threshold(np.minimum.outer(sizes, sizes)) if callable(threshold) else threshold)
        excess[~alive] = excess[:, ~alive] = np.inf
        excess[np.outer(held, held)] = np.inf
        np.fill_diagonal(excess, np.inf)
        a, b = np.unravel_index(np.argmin(excess), excess.shape)
        if excess[a, b] > 0 and (maximum is None or left <= maximum):
            break
        labels[labels == b] = a
        sums[a] += sums[b]
        sizes[a] += sizes[b]
        held[a] |= held[b]
        alive[b] = held[b] = False
        left -= 1
    return by_first_appearance(labels)


def one_speaker(embeddings: Embeddings, tree: Tree, threshold: float, smallest: int = 1) -> bool:
    """Whether all windows are one voice: whether even the two most different halves have nearly the same mean.

    The halves are the two large branches that the average-linkage tree joins last.  A test before any clustering,
    since algorithms that look for density find clusters in a single voice, or none.
    """
    halves = agglomerative(embeddings, tree, 0.0, fragment=2.0, smallest=smallest, minimum=2, maximum=2)
    first, second = centroids(embeddings, halves)
    return bool(1 - first @ second <= threshold)


def centroids(embeddings: Embeddings, labels: Labels) -> Embeddings:
    """The unit mean of each cluster, shape (labels.max() + 1, dimensions)."""
    return unit(totals(embeddings, labels)).astype(np.float32)


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


def totals(embeddings: Embeddings, labels: Labels) -> NDArray[np.float64]:
    """The sum of each cluster's embeddings, shape (labels.max() + 1, dimensions)."""
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    return sums


def unit(rows: NDArray[Real]) -> NDArray[Real]:
    """Each row at unit norm; a row of zeros stays one."""
    scaled: NDArray[Real] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def _large_clusters(tree: Tree, smallest: int) -> NDArray[np.int64]:
    """How many clusters of at least `smallest` there are after 0, 1, ... n-1 merges, shape (n,)."""
    n = len(tree) + 1
    sizes = np.concatenate((np.ones(n), tree[:, 3])) >= smallest
    left, right = tree[:, 0].astype(int), tree[:, 1].astype(int)
    change = sizes[n:].astype(np.int64) - sizes[left] - sizes[right]
    return np.concatenate(([n * int(sizes[0])], n * int(sizes[0]) + np.cumsum(change)))


def labels_after(tree: Tree, merges: int) -> Labels:
    """The partition after the first `merges` merges."""
    n = len(tree) + 1
    parent = np.arange(2 * n - 1)
    for i, (left, right) in enumerate(tree[:merges, :2].astype(int)):
        parent[left] = parent[right] = n + i
    for node in range(2 * n - 2, -1, -1):  # parents have higher numbers: one pass from the top resolves all
        parent[node] = parent[parent[node]]
    return np.unique(parent[:n], return_inverse=True)[1].astype(np.int64)
