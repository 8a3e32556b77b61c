"""From labelled windows to turns: cut where neighbouring windows meet, join short gaps, absorb slivers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from diarize.stage import Stage
from diarize.types import Interval, SpeakerWindow, TurnUpdate, position


@dataclass(frozen=True)
class TurnsConfig:
    """How turns are cut.

    gap: seconds; two turns of one speaker with at most this much silence between them are one.
    sliver: seconds; a shorter turn that touches another speaker's turn on both sides becomes part of it.
    """

    gap: float = 0.3
    sliver: float = 0.3

    def __post_init__(self) -> None:
        for name in ("gap", "sliver"):
            if not 0 <= getattr(self, name) <= 60:
                raise ValueError(f"turns.{name} is {getattr(self, name)}: it must be between 0 and 60 seconds")


@dataclass(frozen=True)
class SpeakerTurn:
    """One uninterrupted turn: samples [start, end), the speaker's number, confidence in 0..1."""

    start: int
    end: int
    speaker: int
    confidence: float

    @property
    def length(self) -> int:
        """In samples."""
        return self.end - self.start


@dataclass
class TurnsState:
    """The labelled windows heard so far."""

    windows: list[SpeakerWindow] = field(default_factory=list)


class Turns(Stage[SpeakerWindow, TurnUpdate]):
    """Collects labelled windows and says all turns, final, at the end.

    Speakers are named SPEAKER_00, SPEAKER_01, ... in order of their first turn.
    """

    state: TurnsState

    def __init__(self, config: TurnsConfig) -> None:
        self.config = config
        self.state = TurnsState()

    def push(self, item: SpeakerWindow, /) -> list[TurnUpdate]:
        self.state.windows.append(item)
        return []

    def flush(self) -> list[TurnUpdate]:
        turns = cut_turns(self.state.windows, self.config)
        numbers = {speaker: i for i, speaker in enumerate(dict.fromkeys(turn.speaker for turn in turns))}
        return [
            TurnUpdate(i, turn.start, turn.end, f"SPEAKER_{numbers[turn.speaker]:02d}", None, turn.confidence, True)
            for i, turn in enumerate(turns)
        ]


def cut_turns(windows: Iterable[SpeakerWindow], config: TurnsConfig) -> list[SpeakerTurn]:
    """The turns that the windows say, by start; turns of one speaker never touch or overlap.

    Neighbouring windows that overlap are cut at the middle of the overlap (as SpeechBrain and WeSpeaker do); in the
    stretch that is left to a group of windows those of its voices talk whose `speech` covers it.
    """
    return smooth(cut(windows), config)


def cut(windows: Iterable[SpeakerWindow]) -> list[SpeakerTurn]:
    """What each window has the say over, as a turn of its own; by start."""
    return [piece for group, share in _shares(list(windows)) for piece in _pieces(group, share)]


def smooth(pieces: Iterable[SpeakerTurn], config: TurnsConfig) -> list[SpeakerTurn]:
    """Turns out of the pieces of windows: joined, and rid of slivers."""
    joined = join(pieces, 0)
    return join(absorb_slivers(joined, position(config.sliver)), position(config.gap))


def join(turns: Iterable[SpeakerTurn], gap: int) -> list[SpeakerTurn]:
    """Turns of one speaker at most `gap` samples apart become one; its confidence is the mean over time."""
    joined: list[SpeakerTurn] = []
    last: dict[int, int] = {}  # speaker -> place in joined
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
        before = joined[last[turn.speaker]] if turn.speaker in last else None
        if before is not None and turn.start - before.end <= gap:
            weight = before.length + turn.length
            confidence = (before.confidence * before.length + turn.confidence * turn.length) / weight
            joined[last[turn.speaker]] = SpeakerTurn(before.start, max(before.end, turn.end), turn.speaker, confidence)
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return joined


def absorb_slivers(turns: Sequence[SpeakerTurn], sliver: int) -> list[SpeakerTurn]:
    """A turn shorter than `sliver` samples between two turns of one other speaker, touching both, becomes theirs.

    A short turn that stands free, or at a change of speakers, is a word of somebody's and stays.
    """
    result = list(turns)
    for i in range(1, len(result) - 1):
        before, turn, after = result[i - 1], result[i], result[i + 1]
        touching = before.end == turn.start and turn.end == after.start
        if touching and turn.length < sliver and before.speaker == after.speaker:
            result[i] = SpeakerTurn(turn.start, turn.end, before.speaker, 0.0)
    return result


def _shares(windows: list[SpeakerWindow]) -> list[tuple[list[SpeakerWindow], Interval]]:
    """The groups in order of time, each with the stretch it has the say over."""
    groups: dict[int, list[SpeakerWindow]] = {}
    for window in windows:
        groups.setdefault(window.group, []).append(window)
    ordered = sorted(groups.values(), key=lambda group: group[0].start + group[0].end)
    follows = [group[0].start for group in ordered[1:]] + [group[0].end for group in ordered[-1:]]
    shares = []
    start = ordered[0][0].start if ordered else 0
    for group, after in zip(ordered, follows, strict=True):
        cut = (group[0].end + after) // 2
        shares.append((group, (start, min(group[0].end, cut))))
        start = max(after, cut)
    return shares


def _pieces(group: list[SpeakerWindow], share: Interval) -> list[SpeakerTurn]:
    """What each voice of a group says within the group's share of time."""
    return [
        SpeakerTurn(max(start, share[0]), min(end, share[1]), window.speaker, window.confidence)
        for window in group
        for start, end in window.speech
        if min(end, share[1]) > max(start, share[0])
    ]
