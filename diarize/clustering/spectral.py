"""Spectral clustering: the graph of nearest windows falls into fragments of speakers, merged by their means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from diarize.clustering.agglomerative import Embeddings, Labels, absorb, by_first_appearance, merge_nearest

Graph = NDArray[np.float32]

FEW = 6
"""Below so many windows a graph says nothing: each is a fragment of its own."""

SAMPLE = 400
"""Windows on which the number of neighbours is tuned, at the price of one eigendecomposition each."""

CANDIDATES = 16
"""Numbers of neighbours tried, up to a tenth of the windows."""

MOST = 8
"""Speakers that the eigengap can tell; with more, what follows them in the spectrum is as likely noise."""

SPARE = 2
"""Fragments more than the eigengap counts: what two speakers share is cut off, and merged with the nearer one."""


def spectral_clusters(
    embeddings: Embeddings,
    threshold: float,
    *,
    smallest: int = 1,
    minimum: int = 1,
    maximum: int | None = None,
) -> Labels | None:
    """Cluster embeddings by the spectrum of their graph, first windows into fragments, then fragments into speakers.

    Each window is joined to its nearest ones.  How many these are, and how many clusters there are, is where the
    largest gap in the spectrum of the graph's Laplacian is largest for so few neighbours (normalised maximum eigengap,
    NME-SC: Park, Han, Kumar and Narayanan, 2020).  K-means on the first eigenvectors, two more than that, gives
    fragments, of which the two with the nearest means are merged, again and again, while they are at most `threshold`
    apart: eigengaps alone miss who talks little.

    embeddings: shape (n, dimensions), unit norm, n at least 2; memory grows with the square of n.
    threshold: cosine distance in 0..2 between the means of two speakers.
    smallest: windows in a fragment; a tenth of all windows will do.
    minimum, maximum: allowed numbers of speakers.
    Returns labels, shape (n,), 0..k-1 in order of first appearance; None where there are fewer fragments than
    `minimum`.
    """
    n = len(embeddings)
    fragments = np.arange(n)
    if n >= FEW:
        neighbours, count = _tuned(embeddings[np.linspace(0, n - 1, min(n, SAMPLE)).round().astype(int)])
        neighbours = round(neighbours * n / min(n, SAMPLE))
        count = min(n, max(count, minimum) + SPARE)
        fragments = _k_means(_places(_connected(embeddings, neighbours), count), count)
    smallest = max(1, min(smallest, n // 10, n // minimum))
    large = absorb(embeddings, fragments, smallest)
    while smallest > 1 and large.max() + 1 < minimum:  # not so many are that large: let smaller fragments count
        smallest //= 2
        large = absorb(embeddings, fragments, smallest)
    if large.max() + 1 < minimum:
        return None
    return merge_nearest(embeddings, large, threshold, minimum, maximum)


def _tuned(embeddings: Embeddings) -> tuple[int, int]:
    """The best number of neighbours, each window itself among them, and the number of clusters there.

    The gap is taken relative to the largest eigenvalue, and the share of neighbours relative to the gap: the fewest
    neighbours for the clearest gap.
    """
    n = len(embeddings)
    nearest = np.argsort(-embeddings @ embeddings.T, axis=1, kind="stable")
    best = (np.inf, n, 1)
    for neighbours in np.unique(np.linspace(2, max(2, n // 10), CANDIDATES).round().astype(int)).tolist():
        graph = _graph(nearest[:, :neighbours])
        spectrum = eigvalsh(_laplacian(graph))
        gaps = np.diff(spectrum[: MOST + 1])
        score = neighbours / n / max(gaps.max() / spectrum[-1], 1e-9)
        best = min(best, (score, neighbours, int(np.argmax(gaps)) + 1))
    return best[1:]


def _connected(embeddings: Embeddings, neighbours: int) -> Graph:
    """The graph with so many neighbours, and where it is in parts, an edge from each to its nearest window outside."""
    n = len(embeddings)
    nearest = [  # in stretches, since the likenesses of all to all, and their order, take much memory
        np.argpartition(-embeddings[at : at + 500] @ embeddings.T, neighbours - 1, axis=1)[:, :neighbours].copy()
        for at in range(0, n, 500)
    ]
    graph = _graph(np.concatenate(nearest))
    parts, part = connected_components(csr_array(graph))
    for _ in range(parts - 1):
        sizes = np.bincount(part, minlength=parts)
        inside = part == np.argmin(np.where(sizes, sizes, n + 1))
        here, there = np.flatnonzero(inside), np.flatnonzero(~inside)
        likeness = embeddings[here] @ embeddings[there].T
        one, other = np.unravel_index(np.argmax(likeness), likeness.shape)
        graph[here[one], there[other]] = graph[there[other], here[one]] = 1
        part[inside] = part[there[other]]
    return graph


def _graph(nearest: NDArray[np.int64]) -> Graph:
    """Edges of 1 between windows that are near to each other, of 1/2 where only one is to the other; shape (n, n)."""
    graph = np.zeros((len(nearest), len(nearest)), dtype=np.float32)
    np.put_along_axis(graph, nearest, 0.5, axis=1)
    graph += graph.T
    np.fill_diagonal(graph, 0)
    return graph


def _laplacian(graph: Graph) -> Graph:
    """Degrees less edges, not normalised, as NME-SC has it; in place of the graph."""
    degrees = graph.sum(axis=1)
    np.negative(graph, out=graph)
    np.fill_diagonal(graph, degrees)
    return graph


def _places(graph: Graph, count: int) -> Graph:
    """The Laplacian's first `count` eigenvectors but the very first, which is constant; shape (n, count - 1)."""
    n = len(graph)
    laplacian = _laplacian(graph)
    if n <= SAMPLE or count >= n // 2:
        values, vectors = eigh(laplacian, subset_by_index=(0, count - 1))
    else:  # by Lanczos' method, around a point that makes it solvable; the start is fixed, for equal answers
        start = np.random.default_rng(0).standard_normal(n, dtype=np.float32)
        values, vectors = eigsh(laplacian, count, sigma=-1.0, v0=start)
    return np.asarray(vectors[:, np.argsort(values)[1:]])


def _k_means(points: Graph, count: int) -> Labels:
    """So many clusters, the same at every run."""
    from sklearn.cluster import KMeans  # it loads slowly, and only who wants it should wait

    found = KMeans(count, n_init=10, random_state=0).fit_predict(points)
    return by_first_appearance(found.astype(np.int64))
