"""What is known beforehand of who talks: must-link and cannot-link, whatever the algorithm (Wagstaff et al., 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diarize.clustering.agglomerative import Embeddings, Labels, by_first_appearance, centroids, merge_nearest
from diarize.clustering.viterbi import viterbi

FORBIDDEN = -1e6
"""The score of a speaker who certainly does not talk in a window."""

GOES_ON = 1e3
"""Added to the score of the speaker who certainly is one of a group."""


def check_known(known: Labels, maximum: int | None) -> None:
    """Raises ValueError where more people are known than there may be speakers."""
    people = len(np.unique(known[known >= 0]))
    if maximum is not None and people > maximum:
        raise ValueError(
            f"{people} people are known by hand, and at most {maximum} speakers are allowed: "
            f"allow {people}, or take corrections back"
        )


def constrained(
    embeddings: Embeddings, labels: Labels, known: Labels, minimum: int = 1, maximum: int | None = None
) -> Labels:
    """Change clusters as little as what is known asks for.

    Each person gets the cluster where most of their windows are, one to one, or a new one, and all their windows go
    there.  A cluster in which several people talk is divided: its other windows go to whoever of them is nearest.
    That somebody talks in a window of a cluster does not make them one with the others in it: most often it is there
    that the cluster is wrong.

    embeddings: shape (n, dimensions), unit norm.
    labels: of all clusters, shape (n,), 0..k-1.
    known: who talks, shape (n,): the number of a person, -1 where it is not known.
    minimum, maximum: allowed numbers of clusters, at least as many as people; `minimum` is met whenever there are so
        many people and windows that are not known.
    Returns labels, shape (n,), 0..k-1 in order of first appearance: windows of one person share a label, windows of
    different people do not.
    """
    sure = known >= 0
    _, person = np.unique(known[sure], return_inverse=True)
    people, clusters = int(person.max()) + 1, int(labels.max()) + 1
    shared = np.zeros((people, clusters))
    np.add.at(shared, (person, labels[sure]), 1)
    own = np.arange(clusters, clusters + people)
    for one, cluster in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[one, cluster]:
            own[one] = cluster
    result = labels.copy()
    voices = centroids(embeddings[sure], person)
    for cluster in own[own < clusters]:
        here = np.flatnonzero(shared[:, cluster])
        rest = (labels == cluster) & ~sure
        result[rest] = own[here[np.argmax(embeddings[rest] @ voices[here].T, axis=1)]]
    result[sure] = own[person]
    result = by_first_appearance(_with_more(embeddings, result, ~sure, minimum))
    if maximum is None:
        return result
    held = np.isin(np.arange(result.max() + 1), result[sure])
    return merge_nearest(embeddings, result, -1.0, minimum, maximum, held)


def smoothed(
    scores: NDArray[np.float32], penalty: NDArray[np.float64], known: Labels | None, groups: Labels | None
) -> Labels:
    """The speaker of each window, when changing from one to the next has a price and some are known.

    Windows of one group are different voices at the same time.  The path of speakers runs over the groups: in each,
    one goes on, and the others are given to the windows one to one by their scores.

    scores: cosine similarity of each window to each speaker, shape (n, speakers).
    penalty: of a change between a window and the next, shape (n - 1,).
    known: the speaker of each window, shape (n,), -1 where it is not known; None: of no window.
    groups: which windows talk at the same time, shape (n,); None: none do.
    Returns labels, shape (n,).  Those of one group differ unless there are fewer speakers, or `known` says otherwise.
    """
    if known is not None:
        sure = np.flatnonzero(known >= 0)
        forced = scores.copy()
        forced[sure] = FORBIDDEN
        forced[sure, known[sure]] = scores[sure, known[sure]]
        scores = forced
    n, speakers = scores.shape
    _, first, of, sizes = np.unique(_in_order(groups, n), return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) == n:
        return viterbi(scores, penalty)
    best = np.full((len(sizes), speakers), -np.inf, np.float32)
    np.maximum.at(best, of, scores)
    path = viterbi(best, penalty[first[1:] - 1])
    labels = path[of]
    for group in np.flatnonzero(sizes > 1):
        windows = np.flatnonzero(of == group)
        labels[windows] = scores[windows].argmax(axis=1)
        wanted = scores[windows].astype(np.float64)
        wanted[:, path[group]] += GOES_ON
        rows, columns = linear_sum_assignment(wanted, maximize=True)
        labels[windows[rows]] = columns
    if known is not None:
        labels[sure] = known[sure]
    return labels


def _in_order(groups: Labels | None, n: int) -> Labels:
    return np.arange(n) if groups is None else by_first_appearance(groups)


def _with_more(embeddings: Embeddings, labels: Labels, free: NDArray[np.bool_], minimum: int) -> Labels:
    """Make windows clusters of their own, those least like theirs first, until there are `minimum`."""
    labels = by_first_appearance(labels)
    sizes = np.bincount(labels)
    likeness = np.einsum("ij,ij->i", embeddings, centroids(embeddings, labels)[labels])
    for window in np.argsort(likeness, kind="stable"):
        if len(sizes) >= minimum:
            break
        if free[window] and sizes[labels[window]] > 1:
            sizes[labels[window]] -= 1
            labels[window] = len(sizes)
            sizes = np.append(sizes, 1)
    return labels
