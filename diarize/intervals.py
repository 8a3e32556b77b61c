"""Sets of moments: what sorted lists of intervals that lie apart have in common, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
