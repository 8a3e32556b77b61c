"""Corrections by hand: what they say of a recording's windows, and how they hold in its turns.

A correction is a turn: in [start, end) this person talks, and nobody else but whom other corrections name; the empty
name is nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import length, shared, union, without
from diarize.metrics import pair_speakers
from diarize.rttm import Turn, talking, turns_from
from diarize.turns import label
from diarize.types import EmbeddingWindow, Interval, TurnUpdate, position

Spoken = TypeVar("Spoken", Turn, TurnUpdate)
Channels = tuple[tuple[EmbeddingWindow, ...], ...]
"""The windows of each channel of a recording."""

MARGIN = position(0.8)
"""So far beyond a boundary set by hand the windows that lie across it may carry a voice: half of a window."""


def override(old: Iterable[Turn], new: Sequence[Turn]) -> tuple[Turn, ...]:
    """Old corrections and new ones, which hold where both say something."""
    return (*outside(old, spans(new)), *new)


def told(channels: Channels, corrections: Sequence[Turn]) -> Channels:
    """The windows of each channel with the people that corrections name in them, without those where nobody talks.

    A person talks in a window when a correction says so of more than half of the speech in it, and of nobody else; of
    several windows of a group in the first, which is the surest voice, and in the others nobody does.
    Each talks on one channel, that on which corrections name them most.
    """
    talk = talking(corrections)
    if not talk:
        return channels
    names = list(talk)
    shares = [_shares(windows, talk) for windows in channels]
    homes = np.argmax([share.sum(axis=0) for share in shares], axis=0)
    marked = []
    for channel, (windows, share) in enumerate(zip(channels, shares, strict=True)):
        most = share > 0.5
        ones = np.where(most.sum(axis=1) == 1, most.argmax(axis=1), -1).tolist()
        kept = []
        found: set[tuple[int, int]] = set()  # the groups and the people in them
        for window, one in zip(windows, ones, strict=True):
            if one < 0 or (names[one] != "" and homes[one] != channel):
                kept.append(window)
            elif names[one] != "" and (window.group, one) not in found:
                kept.append(replace(window, person=names[one]))
                found.add((window.group, one))
        marked.append(tuple(kept))
    return tuple(marked)


def lay_over(updates: Sequence[TurnUpdate], corrections: Sequence[Turn]) -> list[TurnUpdate]:
    """The final turns with the corrections in place of what they say there; one speaker's that touch become one."""
    rest = _drawn_back(outside(updates, spans(corrections)), corrections)
    by_hand = [
        TurnUpdate(0, turn.start, turn.end, turn.speaker, None, 1.0, final=True)
        for turn in corrections
        if turn.speaker != ""
    ]
    joined: list[TurnUpdate] = []
    last: dict[str | None, int] = {}  # speaker -> place in joined
    for turn in sorted([*rest, *by_hand], key=lambda turn: (turn.start, turn.end)):
        place = last.get(turn.speaker)
        if place is not None and turn.start <= joined[place].end:
            before = joined[place]
            longer = max(before, turn, key=lambda one: one.end - one.start)
            joined[place] = replace(longer, start=before.start, end=max(before.end, turn.end))
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return [replace(turn, id=number) for number, turn in enumerate(joined)]


def _drawn_back(rest: Sequence[TurnUpdate], corrections: Sequence[Turn]) -> list[TurnUpdate]:
    """What corrections leave of the turns; what windows have carried over a boundary set by hand goes to its neighbour.

    That is a short rest of a turn between a correction of the same speaker and somebody else's turn.
    """
    starts = {(turn.start, turn.speaker) for turn in corrections}
    ends = {(turn.end, turn.speaker) for turn in corrections}
    kept = dict(enumerate(rest))
    for number, turn in enumerate(rest):
        after, before = (turn.start, turn.speaker) in ends, (turn.end, turn.speaker) in starts
        if turn.end - turn.start >= MARGIN or after == before:
            continue
        for other, neighbour in kept.items():
            if after and neighbour.start == turn.end and neighbour.speaker != turn.speaker:
                kept[other] = replace(neighbour, start=turn.start)
            elif before and neighbour.end == turn.start and neighbour.speaker != turn.speaker:
                kept[other] = replace(neighbour, end=turn.end)
            else:
                continue
            del kept[number]
            break
    return list(kept.values())


def kept_labels(updates: Sequence[TurnUpdate], before: Sequence[TurnUpdate], people: Collection[str]) -> dict[str, str]:
    """A label for each in `updates`: `people` keep theirs, and the others get what they have in `before`.

    Whoever is new there, or whose label there is somebody's by hand, gets one that was not in use.
    """
    pairs = pair_speakers(*(turns_from(replace(update, identity=None) for update in one) for one in (before, updates)))
    taken = {*people, *(update.speaker for update in before)}
    unused = (label(i) for i in count() if label(i) not in taken)
    present = dict.fromkeys(update.speaker for update in updates if update.speaker is not None)
    kept: dict[str, str] = {}
    for one in present:
        was = pairs.get(one)
        if one not in people:
            kept[one] = next(unused) if was is None or (was in people and was in present) else was
    return {one: kept.get(one, one) for one in present}


def relabelled(update: TurnUpdate, labels: Mapping[str, str]) -> TurnUpdate:
    """A turn under other labels."""
    second = update.second and (labels.get(update.second[0], update.second[0]), update.second[1])
    return replace(update, speaker=labels.get(update.speaker or "", update.speaker), second=second)


def outside(turns: Iterable[Spoken], region: Sequence[Interval]) -> list[Spoken]:
    """What of the turns lies outside a region, as turns."""
    return [
        replace(turn, start=start, end=end)
        for turn in turns
        for start, end in without([(turn.start, turn.end)], region)
    ]


def spans(turns: Iterable[Turn]) -> list[Interval]:
    """The moments in any of the turns."""
    return union((turn.start, turn.end) for turn in turns)


def _shares(windows: Sequence[EmbeddingWindow], talk: Mapping[str, Sequence[Interval]]) -> NDArray[np.float64]:
    """The share of each window's speech in which each person talks, shape (windows, persons)."""
    speech = [window.speech for window in windows]
    lengths = np.array([length(one) for one in speech])
    shares: NDArray[np.float64] = shared(speech, talk.values()) / np.maximum(lengths, 1)[:, None]
    return shares
