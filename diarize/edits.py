"""Edits by hand: from what somebody typed, or has made of an answer, to corrections.

Whoever's name takes part in an edit gets an anchor besides, some speech of theirs that was right as it was, so that the
name means the same voice when the recording is clustered again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import unit
from diarize.corrections import MARGIN, Channels, outside, spans
from diarize.intervals import common, union, without
from diarize.metrics import pair_speakers
from diarize.rttm import Turn, talking
from diarize.types import Interval, position, seconds

RESOLUTION = position(0.02)
"""A boundary that is moved by less was only rounded: there are tools that write two decimals."""

ANCHOR = position(10.0)
"""The longest anchor: nobody has said that it is right, so not too much of it is taken for certain."""


def parse_turn(text: str) -> Turn:
    """A turn as it is typed: `12.5-15=Ana`, `1:02:03.5-1:02:10=Ana Maria`; without a name nobody talks.

    Raises ValueError for what is none.
    """
    match = re.fullmatch(r"([\d.:\s]+)-([\d.:\s]+)=(.*)", text, re.DOTALL)
    if match is None:
        raise ValueError(f"{text!r} is not of the form START-END=NAME, such as 12.5-15=Ana or 1:02-1:05.5=Ana")
    start, end = (_time(time.strip(), text) for time in match.groups()[:2])
    if start >= end:
        raise ValueError(f"{text!r} does not end after its start: give START-END=NAME")
    return Turn(start, end, match[3].strip())


def _time(time: str, text: str) -> int:
    """Of seconds, m:ss or h:mm:ss."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", time)
    if match is None or len(time) > 20:
        raise ValueError(f"{time!r} in {text!r} is no time: give seconds, m:ss or h:mm:ss")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return position(3600 * hours + 60 * minutes + rest)


def check_inside(turns: Iterable[Turn], duration: int) -> list[Turn]:
    """The turns, cut off at the end of the recording where they were only rounded beyond it.

    duration: of the recording, in samples.
    Raises ValueError for a turn that lies outside.
    """
    inside = []
    for turn in turns:
        if turn.start >= duration or turn.end > duration + RESOLUTION:
            raise ValueError(
                f"the turn from {seconds(turn.start):.3f} to {seconds(turn.end):.3f} s lies outside the recording, "
                f"which ends at {seconds(duration):.3f} s"
            )
        inside.append(replace(turn, end=min(turn.end, duration)))
    return inside


def set_turns(answer: Sequence[Turn], turns: Sequence[Turn], channels: Channels) -> tuple[Turn, ...]:
    """The corrections by which these turns hold, the later where they overlap, in place of what `answer` says there.

    channels: the recording's windows, to choose the anchors by their voices.
    """
    edited = list(answer)
    for turn in turns:
        edited = [*outside(edited, spans([turn])), turn]
    return _corrections(answer, edited, spans(turns), set(), channels)


def edit(answer: Sequence[Turn], edited: Sequence[Turn], channels: Channels) -> tuple[Turn, ...]:
    """The corrections by which `answer` becomes what somebody has made of it.

    Speakers are paired so that as little as possible has changed: who has another name everywhere was renamed.

    channels: as in `set_turns`.
    """
    names = pair_speakers(edited, answer)
    # who has gone must not pass for somebody of the same name, so their name is none that can be typed
    before = [replace(turn, speaker=names.get(turn.speaker, f"\0{turn.speaker}")) for turn in answer]
    renamed = {name for label, name in names.items() if name != label}
    return _corrections(before, edited, _changed(before, edited), renamed, channels)


def _corrections(
    before: Sequence[Turn],
    edited: Sequence[Turn],
    changed: Sequence[Interval],
    renamed: Collection[str],
    channels: Channels,
) -> tuple[Turn, ...]:
    """What somebody has said of the stretches that changed and of their margins, and the anchors.

    before: the answer, under the names it has in `edited`.
    changed: stretches by time and apart.
    renamed: who has a new name.
    """
    spoken = talking(turn for turn in edited if turn.speaker)
    certain = union([*changed, *_margins(spoken.values(), changed)])
    taken = {name: common(own, changed) for name, own in talking(before).items()}
    involved = {name for name, own in taken.items() if own} | set(renamed)
    involved |= {name for name, own in spoken.items() if common(own, certain)}
    heard = _Heard(channels)
    for name in sorted(spoken.keys() & involved):
        others = union(stretch for other, own in spoken.items() if other != name for stretch in own)
        alone = without(without(spoken[name], certain), others)
        if alone:
            certain = union([*certain, _anchor(alone, taken.get(name, []), heard)])
        elif name in renamed:  # who talks only while others do has no anchor: the new name holds by hand at least
            certain = union([*certain, *spoken[name]])
    said = [Turn(*stretch, name) for name, own in spoken.items() for stretch in common(own, certain)]
    silent = without(certain, union(stretch for own in spoken.values() for stretch in own))
    return tuple(sorted([*said, *(Turn(*stretch, "") for stretch in silent)]))


def _anchor(alone: Sequence[Interval], taken: Sequence[Interval], heard: _Heard) -> Interval:
    """Of the speech of one speaker that was not corrected, a long piece that is most certainly theirs.

    Their cluster may be that of several people.  The piece is like all of it, but unlike what was taken from them.
    """
    pieces: list[Interval] = []
    for start, end in alone:
        edges = np.linspace(start, end, 1 - (start - end) // ANCHOR).round().astype(int).tolist()
        pieces += pairwise(edges)
    longest = max(end - start for start, end in pieces)
    theirs = heard.voice(alone) - heard.voice(taken)
    return max(
        (piece for piece in pieces if piece[1] - piece[0] >= longest / 2),
        key=lambda piece: float(heard.voice([piece]) @ theirs),
    )


class _Heard:
    """All windows of a recording."""

    def __init__(self, channels: Channels) -> None:
        windows = [window for channel in channels for window in channel]
        self._middles = np.array([(one.speech[0][0] + one.speech[-1][1]) // 2 for one in windows], np.int64)
        self._embeddings = (
            np.stack([window.embedding for window in windows]) if windows else np.zeros((0, 1), np.float32)
        )

    def voice(self, stretches: Sequence[Interval]) -> NDArray[np.float32]:
        """The unit mean of the windows with the middle of their speech in these stretches; zeros without any."""
        inside = np.zeros(len(self._middles), bool)
        for start, end in stretches:
            inside |= (start <= self._middles) & (self._middles < end)
        (mean,) = unit(self._embeddings[inside].sum(axis=0, keepdims=True))
        return np.asarray(mean)


def _changed(before: Sequence[Turn], edited: Sequence[Turn]) -> list[Interval]:
    """Where not the same people talk in both, roundings left out."""
    one, other = talking(before), talking(edited)
    different = [
        stretch
        for name in one.keys() | other.keys()
        for a, b in [(one.get(name, []), other.get(name, []))]
        for stretch in [*without(a, b), *without(b, a)]
    ]
    return [(start, end) for start, end in union(different) if end - start >= RESOLUTION]


def _margins(spoken: Iterable[Sequence[Interval]], changed: Sequence[Interval]) -> list[Interval]:
    """Where a change ends inside a turn, the rest of this turn as far as windows blur it; all of it if it is short."""
    margins = []
    for start, end in (stretch for own in spoken for stretch in own):
        for left, right in without([(start, end)], changed):
            reach = MARGIN if right - left >= 2 * MARGIN else right - left
            if left > start:
                margins.append((left, left + reach))
            if right < end:
                margins.append((right - reach, right))
    return margins
