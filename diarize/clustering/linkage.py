"""The average-linkage tree of very many windows: the whole of it, in memory that grows with their number only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import Embeddings, Labels, Tree, centroids, labels_after, totals

AT_ONCE = 20_000
"""Windows, over three hours of speech, of which each is compared with each; time grows with the square up to here."""

_ROWS = 512  # compared with all others at a time: 512 of 20,000 are 40 MB


def long_linkage(embeddings: Embeddings, at_once: int = AT_ONCE) -> Tree:
    """The tree of `average_linkage`, for any number of embeddings.

    Up to `at_once` it is the same tree, but for rounding.  Of more, each stretch of so many is first linked by itself,
    until `at_once` clusters are left in all; these are linked with one another, at the average distance between their
    windows as before, so that time grows with the number of windows, not with its square.  Somebody who talks seldom
    is not lost by this, as by a sample: in each stretch the last merges are left open, whatever they are of.

    embeddings: shape (n, dimensions), unit norm, n at least 2, in order of time.
    Returns the tree as SciPy gives it, shape (n - 1, 4); what was merged in the stretches has height 0.
    """
    n = len(embeddings)
    stretches = np.array_split(np.arange(n), -(-n // at_once))
    if len(stretches) == 1:  # equal ones are one from the start: of many ties only one pair is merged at a time
        clusters = np.unique(embeddings, axis=0, return_inverse=True)[1].astype(np.int64)
    else:
        clusters = np.empty(n, dtype=np.int64)
        first = 0
        for stretch in stretches:
            tree = long_linkage(embeddings[stretch], at_once)
            clusters[stretch] = first + labels_after(tree, len(stretch) - at_once // len(stretches))
            first = clusters[stretch].max() + 1
    sizes = np.bincount(clusters)
    means = (totals(embeddings, clusters) / sizes[:, None]).astype(np.float32)
    return _grown(clusters, *_merges(means, sizes))


def representatives(embeddings: Embeddings, tree: Tree, limit: int) -> tuple[Embeddings, Labels]:
    """At most `limit` voices that stand for all embeddings: the unit means of clusters of the tree.

    The clusters are those that its last merges join, so that they are small where voices are few.

    Returns the voices, shape (m, dimensions), and which of them stands for each embedding, shape (n,).
    """
    n = len(embeddings)
    if n <= limit:
        return embeddings, np.arange(n)
    clusters = labels_after(tree, n - limit)
    return centroids(embeddings, clusters), clusters


def _merges(means: Embeddings, sizes: Labels) -> tuple[Labels, Labels, NDArray[np.float64]]:
    """All merges of average linkage: which cluster, into which other, at what distance; each of shape (clusters - 1,).

    The average cosine distance between the windows of two clusters is 1 less the product of their means (not brought
    to unit norm), so no distances are kept.  In each round all pairs that are nearest to each other are merged: for
    average linkage this gives the same tree as one merge at a time (reducibility: Murtagh, 1983).
    """
    means, sizes, number = means.copy(), sizes.astype(np.float64), np.arange(len(means))
    nearest = np.zeros(len(means), dtype=np.int64)
    likeness = np.zeros(len(means), dtype=np.float32)
    outdated = np.arange(len(means))
    merges = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    while len(means) > 1:
        for at in range(0, len(outdated), _ROWS):
            rows = outdated[at : at + _ROWS]
            products = means[rows] @ means.T
            products[np.arange(len(rows)), rows] = -np.inf
            nearest[rows] = products.argmax(axis=1)
            likeness[rows] = products[np.arange(len(rows)), nearest[rows]]
        every = np.arange(len(means))
        into = np.flatnonzero((nearest[nearest] == every) & (every < nearest))
        if not len(into):  # rounding made a ring of equal distances
            into = likeness.argmax(axis=0, keepdims=True)
        other = nearest[into]
        merges.append((number[other], number[into], likeness[into]))
        both = sizes[into] + sizes[other]
        share = (sizes[into] / both).astype(np.float32)[:, None]
        means[into] = share * means[into] + (1 - share) * means[other]
        sizes[into] = both
        gone = np.zeros(len(means), dtype=bool)
        gone[other] = True
        changed = gone.copy()
        changed[into] = True
        stay = np.flatnonzero(~gone)
        outdated = np.flatnonzero((changed | changed[nearest])[stay])
        nearest = (np.cumsum(~gone) - 1)[nearest[stay]]
        means, sizes, number, likeness = means[stay], sizes[stay], number[stay], likeness[stay]
    one, other, near = (np.concatenate(part) for part in zip(*merges, strict=True))
    return one, other, np.maximum(0.0, 1 - near.astype(np.float64))


def _grown(clusters: Labels, one: Labels, other: Labels, heights: NDArray[np.float64]) -> Tree:
    """The tree of all windows: first the clusters, at height 0, then their merges by height."""
    n = len(clusters)
    tree = np.zeros((n - 1, 4))
    root = [-1] * (clusters.max() + 1)  # the node, in SciPy's numbers, that holds each cluster
    size = [1] * n
    merged = list(range(len(root)))  # into which cluster each has gone
    rows = 0

    def join(a: int, b: int, height: float) -> int:
        nonlocal rows
        size.append(size[a] + size[b])
        tree[rows] = min(a, b), max(a, b), height, size[-1]
        rows += 1
        return n + rows - 1

    for window, cluster in enumerate(clusters.tolist()):
        root[cluster] = window if root[cluster] < 0 else join(root[cluster], window, 0.0)
    for i in np.argsort(heights, kind="stable").tolist():
        pair = []
        for cluster in (int(one[i]), int(other[i])):
            while merged[cluster] != cluster:  # rounding may have put a merge before one that it follows
                merged[cluster] = merged[merged[cluster]]
                cluster = merged[cluster]
            pair.append(cluster)
        merged[pair[0]] = pair[1]
        root[pair[1]] = join(root[pair[0]], root[pair[1]], float(heights[i]))
    return tree
