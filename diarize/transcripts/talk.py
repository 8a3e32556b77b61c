"""Who talks in a stretch of time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from diarize.rttm import Turn
from diarize.types import SAMPLE_RATE


class _Stretches(NamedTuple):
    """When one speaker talks, by time; the stretches do not overlap."""

    starts: list[int]
    ends: list[int]

    def add(self, turn: Turn) -> None:
        """Turns come by time."""
        if self.ends and turn.start <= self.ends[-1]:
            self.ends[-1] = max(self.ends[-1], turn.end)
        else:
            self.starts.append(turn.start)
            self.ends.append(turn.end)

    def within(self, start: int, end: int) -> int:
        """For how long they talk during [start, end)."""
        these = slice(bisect_right(self.ends, start), bisect_left(self.starts, end))
        return sum(min(b, end) - max(a, start) for a, b in zip(self.starts[these], self.ends[these], strict=True))

    def away(self, start: int, end: int) -> int:
        """How far [start, end), in which they do not talk, is from where they do."""
        after = bisect_left(self.starts, end)
        before = [start - one for one in self.ends[max(after - 1, 0) : after]]
        return min([*before, *(one - end for one in self.starts[after : after + 1])])


class Talk:
    """Who talks when in one recording: its turns, to be asked for any stretch of time.

    nearest: seconds, 0 or more; where nobody talks, whoever does nearest counts if that is no further away; 0 switches
        that off.
    speakers: the names of all who talk, in order of their first turn.

    Raises ValueError for another `nearest`.
    """

    def __init__(self, turns: Iterable[Turn], nearest: float = 1.0) -> None:
        if not nearest >= 0:  # nor NaN
            raise ValueError(f"the nearest turn cannot be looked for within {nearest} s: give 0 or more seconds")
        self._nearest = nearest * SAMPLE_RATE
        self._stretches: dict[str, _Stretches] = {}
        for turn in sorted(turns):
            self._stretches.setdefault(turn.speaker, _Stretches([], [])).add(turn)
        self.speakers = tuple(self._stretches)

    def speaker(self, start: int, end: int) -> str | None:
        """Who talks most during [start, end), in sample positions; None for nobody; of equals who had the first turn.

        A stretch without length is taken as one sample.
        """
        end = max(end, start + 1)
        heard = {name: stretches.within(start, end) for name, stretches in self._stretches.items()}
        if any(heard.values()):
            return max(heard, key=heard.__getitem__)
        away = {name: stretches.away(start, end) for name, stretches in self._stretches.items() if self._nearest}
        nearest = min(away, key=away.__getitem__, default=None)
        return nearest if nearest is not None and away[nearest] <= self._nearest else None
