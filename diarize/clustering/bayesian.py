"""Bayesian clustering: as many voices as pay for themselves, then those merged that differ no more than noise does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from diarize.clustering.agglomerative import (
    Embeddings,
    Labels,
    Tree,
    absorb,
    by_first_appearance,
    labels_after,
    merge_nearest,
    totals,
)

START = 0.5
"""Average cosine distance between the windows of a fragment to start from: more fragments than speakers."""

FEWEST = 3
"""Windows in a fragment to start from."""

ROUGH = 0.65
"""Average cosine distance of the coarser fragments within which the recording's own scatter is measured."""

EVIDENCE = 48.0
"""What one window says, by the scatter: a quarter of its 192 numbers, since four windows overlap everywhere."""

SPREAD = 0.65
"""Variance of voices by the variance of windows around their voice."""

SHRINKAGE = 0.615
"""Windows by which a voice is drawn to zero, times the root of the number of windows: the price of a speaker."""

PRICES = tuple(0.7**fall for fall in range(13))
"""Of a speaker, by the usual one: where more are wanted than pay for themselves, it falls to a hundredth."""

SLOPE, USUAL = 0.15, 28
"""Means of n windows are one voice at up to `threshold` - SLOPE log(n / USUAL): of fewer they are less sure."""

SUREST = 0.235
"""Means of however many windows are one voice up to here: in hours a voice drifts, and never comes to be sure."""

_ROUNDS = 40


def bayesian_clusters(
    embeddings: Embeddings,
    tree: Tree,
    threshold: float,
    *,
    scale: float = 1.0,
    smallest: int = 1,
    minimum: int = 1,
    maximum: int | None = None,
) -> Labels | None:
    """Cluster embeddings as a mixture of voices, in which a speaker who explains too little disappears.

    Small fragments of speakers (average linkage) are the first voices of a mixture of Gaussians of one width, which is
    taken from the recording itself.  Variational Bayes, as in VBx (Landini, Profant, Diez and Burget, 2022) but with
    neither trained covariances nor a model of turns, shares the windows out again and again; a voice that others
    explain as well loses all of its windows.  Where that leaves fewer than `minimum`, speakers get cheaper until there
    are as many.  In the end the two voices whose means differ least, by what is usual for means of so many windows, are
    merged, again and again: a single threshold would either split who talks much, whose voice drifts, or lose who talks
    little.

    embeddings: shape (n, dimensions), unit norm, n at least 2.
    tree: their `average_linkage`.
    threshold: cosine distance in 0..2 between the means of two speakers, the lesser with `USUAL` windows.
    scale: of the distances above, which were found with the bundled network.
    smallest: windows in a fragment of which the scatter is measured; a tenth of all windows will do.
    minimum, maximum: allowed numbers of speakers.
    Returns labels, shape (n,), 0..k-1 in order of first appearance; None where no price gives `minimum`.
    """
    n = len(embeddings)

    def fragments(distance: float, least: int) -> Labels:
        merges = int(np.searchsorted(tree[:, 2], scale * distance, side="right"))
        return absorb(embeddings, labels_after(tree, merges), max(1, min(least, n // 10)))

    scatter = _scatter(embeddings, fragments(ROUGH, smallest))
    start = fragments(START, FEWEST)
    if start.max() + 1 < minimum:  # there are never more voices
        return None
    for price in PRICES:
        voices = _mixture(embeddings, start, scatter, price)
        if voices.max() + 1 >= minimum:
            break
    else:
        return None

    def limit(lesser: Labels) -> NDArray[np.float64]:
        limits: NDArray[np.float64] = np.maximum(scale * SUREST, threshold - scale * SLOPE * np.log(lesser / USUAL))
        return limits

    return merge_nearest(embeddings, voices, limit, minimum, maximum)


def _scatter(embeddings: Embeddings, labels: Labels) -> float:
    """The mean squared distance of windows from the mean of their cluster, in 0.1..2."""
    sizes = np.bincount(labels)
    around = len(labels) - (totals(embeddings, labels) ** 2).sum(axis=1) @ (1 / sizes)
    return max(0.1, float(around) / max(1, len(labels) - len(sizes)))


def _mixture(embeddings: Embeddings, labels: Labels, scatter: float, price: float) -> Labels:
    """The most likely voice of each window, after variational Bayes from these clusters.

    price: of a speaker, beside the usual one.
    """
    n = len(labels)
    drawn = price * SHRINKAGE * np.sqrt(n)
    shares: NDArray[np.float64] = np.eye(labels.max() + 1)[labels]
    for _ in range(_ROUNDS):
        windows = shares.sum(axis=0)
        sure = windows > 1e-3
        shares, windows = shares[:, sure], windows[sure]
        means = (shares.T @ embeddings) / (windows + drawn)[:, None]
        unsure = SPREAD * scatter * drawn / (windows + drawn)
        fit = embeddings @ means.T - ((means**2).sum(axis=1) + unsure) / 2
        new = softmax(EVIDENCE / scatter * fit + np.log(windows / n), axis=1)
        settled = np.abs(new - shares).max() < 1e-3
        shares = new
        if settled:
            break
    return by_first_appearance(shares.argmax(axis=1))
