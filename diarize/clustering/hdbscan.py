"""HDBSCAN: where windows lie dense are fragments of speakers, which are merged by their means."""

from __future__ import annotations

import numpy as np

from diarize.clustering.agglomerative import Embeddings, Labels, centroids, merge_nearest

DIMENSIONS = 24
"""Of the embeddings' principal components: with many more, windows lie equally thin everywhere."""

NEIGHBOURS = 3
"""Windows within whose distance the density at a window is measured (`min_samples`); more find fewer fragments."""


def hdbscan_clusters(
    embeddings: Embeddings,
    threshold: float,
    *,
    smallest: int = 1,
    minimum: int = 1,
    maximum: int | None = None,
) -> Labels | None:
    """Cluster embeddings by density, first windows into fragments of speakers, then fragments into speakers.

    Fragments are the leaves of HDBSCAN's tree (Campello, Moulavi and Sander, 2013; McInnes and Healy, 2017): mostly
    more of them than speakers, each nearly of one voice, where HDBSCAN's usual choice from that tree, the most
    persistent branches, mixes voices.  Windows that it calls noise, often half of them, go to the nearest fragment;
    then the two with the nearest means are merged, again and again, while they are at most `threshold` apart.

    embeddings: shape (n, dimensions), unit norm, n at least 2.
    threshold: cosine distance in 0..2 between the means of two speakers.
    smallest: windows in a fragment, at least 2; a tenth of all windows will do.
    minimum, maximum: allowed numbers of speakers; `minimum` is met whenever there are so many windows.
    Returns labels, shape (n,), 0..k-1 in order of first appearance; None where there are no fragments, or fewer than
    `minimum`.
    """
    n = len(embeddings)
    fragments = _dense_regions(embeddings, max(2, min(smallest, n // 10, n // minimum)))
    if fragments.max() + 1 < minimum:
        return None
    dense = fragments >= 0
    nearest = np.argmax(embeddings @ centroids(embeddings[dense], fragments[dense]).T, axis=1)
    return merge_nearest(embeddings, np.where(dense, fragments, nearest), threshold, minimum, maximum)


def _dense_regions(embeddings: Embeddings, smallest: int) -> Labels:
    """The leaves of HDBSCAN's tree with at least `smallest` windows, numbered from 0; -1 between them."""
    from hdbscan import HDBSCAN  # these load slowly, and only who wants them should wait
    from sklearn.decomposition import PCA

    # "full" since the default turns to a randomized solver by size
    components = PCA(min(DIMENSIONS, *embeddings.shape), svd_solver="full")
    with np.errstate(invalid="ignore"):  # equal embeddings: the shares of their variance, 0 / 0, are never looked at
        points = components.fit_transform(embeddings.astype(np.float64))
    leaves = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=NEIGHBOURS,
        cluster_selection_method="leaf",
        allow_single_cluster=False,  # whether there is one voice only, `one_speaker` says before
        core_dist_n_jobs=1,  # more would be processes of their own
    )
    # between unit vectors, nearer in euclidean distance is nearer in cosine
    return np.asarray(leaves.fit_predict(points), dtype=np.int64)
