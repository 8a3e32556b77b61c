"""Sets of moments: what sorted lists of intervals that lie apart have in common, and what not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.types import Interval


def union(stretches: Iterable[Interval]) -> list[Interval]:
    """All moments in any of them, by time; stretches that touch become one, and those without length are left out."""
    joined: list[Interval] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return joined


def runs(active: NDArray[np.bool_], frame: int = 1, at: int = 0) -> list[Interval]:
    """Where frames are set, as intervals in samples.

    active: shape (frames,). frame: samples in each. at: where the first one starts.
    """
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0)) * frame + at
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def length(stretches: Iterable[Interval]) -> int:
    """How long they last together."""
    return sum(end - start for start, end in stretches)


def without(stretches: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """The moments in `stretches` and not in `others`; both by time and apart."""
    left: list[Interval] = []
    first = 0
    for start, end in stretches:
        while first < len(others) and others[first][1] <= start:
            first += 1
        for other in range(first, len(others)):
            begin, finish = others[other]
            if begin >= end:
                break
            if start < begin:
                left.append((start, begin))
            start = finish
        if start < end:
            left.append((start, end))
    return left


def common(stretches: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """The moments in both; both by time and apart."""
    return without(stretches, without(stretches, others))


def shared(some: Collection[Sequence[Interval]], others: Collection[Sequence[Interval]]) -> NDArray[np.int64]:
    """How long each of some sets of moments has in common with each of others, shape (some, others), in samples.

    All by time and apart.  Made for many against a few, as windows against speakers.
    """
    bounds = np.array([stretch for one in some for stretch in one], np.float64).reshape(-1, 2)
    owner = np.repeat(np.arange(len(some)), [len(one) for one in some])
    lengths = np.zeros((len(some), len(others)), np.int64)
    for column, other in enumerate(others):
        if other:
            # the time passed inside up to a moment is linear between the edges, and a stretch's a difference of two
            edges = np.array(other, np.float64)
            passed = np.cumsum(np.diff(edges, axis=1, prepend=edges[:, :1]))
            inside = np.diff(np.interp(bounds, edges.ravel(), passed), axis=1)[:, 0]
            lengths[:, column] = np.bincount(owner, inside, len(some))
    return lengths
