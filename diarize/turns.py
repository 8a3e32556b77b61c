"""From labelled windows to turns: cut where neighbouring windows meet, join short gaps, absorb slivers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from diarize.intervals import common, union, without
from diarize.stage import Stage
from diarize.types import Identity, Interval, Named, SpeakerWindow, TurnUpdate, position


@dataclass(frozen=True)
class TurnsConfig:
    """How turns are cut.

    gap: seconds; two turns of one speaker with at most this much silence between them are one.
    sliver: seconds; a shorter turn that touches another speaker's turn on both sides becomes part of it.
    exclusive: one speaker at a time: where several talk at once, the surest voice counts, and no turn runs on over
        another.
    """

    gap: float = 0.3
    sliver: float = 0.3
    exclusive: bool = False

    def __post_init__(self) -> None:
        for name in ("gap", "sliver"):
            if not 0 <= getattr(self, name) <= 60:
                raise ValueError(f"turns.{name} is {getattr(self, name)}: it must be between 0 and 60 seconds")


@dataclass(frozen=True)
class SpeakerTurn:
    """One uninterrupted turn: samples [start, end), the speaker's number, confidence in 0..1, a window's distances."""

    start: int
    end: int
    speaker: int
    confidence: float
    distances: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """In samples."""
        return self.end - self.start


@dataclass
class TurnsState:
    """The labelled windows heard so far, and who the speakers are, by number."""

    windows: list[SpeakerWindow] = field(default_factory=list)
    identities: dict[int, Identity] = field(default_factory=dict)


class Turns(Stage[SpeakerWindow | Named, TurnUpdate]):
    """Collects labelled windows and says all turns, final, at the end.

    Speakers are labelled SPEAKER_00, SPEAKER_01, ... in order of their first turn, or by the person that was said to
    talk in one of their windows.

    speakers, turns: so many there are already, on other channels of the recording; numbers go on from there.
    taken: labels that nobody else may get.
    """

    state: TurnsState

    def __init__(
        self, config: TurnsConfig, speakers: int = 0, turns: int = 0, taken: Collection[str] = frozenset()
    ) -> None:
        self.config, self._speakers, self._turns, self._taken = config, speakers, turns, taken
        self.state = TurnsState()

    def push(self, item: SpeakerWindow | Named, /) -> list[TurnUpdate]:
        if isinstance(item, Named):
            self.state.identities[item.speaker] = item.identity
        else:
            self.state.windows.append(item)
        return []

    def flush(self) -> list[TurnUpdate]:
        turns = cut_turns(self.state.windows, self.config)
        labels = self._labels(list(dict.fromkeys(turn.speaker for turn in turns)))
        identities = self.state.identities
        return [update(i, turn, labels, identities, final=True) for i, turn in enumerate(turns, start=self._turns)]

    def _labels(self, speakers: Sequence[int]) -> dict[int, str]:
        people = {window.speaker: window.person for window in self.state.windows if window.person is not None}
        free = (label(i) for i in count(self._speakers) if label(i) not in self._taken)
        return {speaker: people.get(speaker) or next(free) for speaker in speakers}


def label(number: int) -> str:
    """The label of a speaker nobody knows: SPEAKER_00, SPEAKER_01, ..."""
    return f"SPEAKER_{number:02d}"


def is_label(name: str) -> bool:
    """Whether it is such a label, and not a name that somebody has given."""
    return re.fullmatch(r"SPEAKER_\d\d+", name) is not None


def update(
    number: int, turn: SpeakerTurn, labels: Mapping[int, str], identities: Mapping[int, Identity], *, final: bool
) -> TurnUpdate:
    """A turn as it is said, under its id.

    labels: of every speaker that there is, by number; several numbers may be one person.
    identities: of the speakers for whom somebody has been sought, by number.
    """
    said = labels[turn.speaker]
    away = [(distance, labels[i]) for i, distance in enumerate(turn.distances) if i in labels]
    own = min((distance for distance, name in away if name == said), default=None)
    other = min(((distance, name) for distance, name in away if name != said), default=None)
    second = None if other is None else (other[1], other[0])
    identity = identities.get(turn.speaker)
    return TurnUpdate(number, turn.start, turn.end, said, identity, turn.confidence, final, own, second)


def cut_turns(windows: Iterable[SpeakerWindow], config: TurnsConfig) -> list[SpeakerTurn]:
    """The turns that the windows say, by start; turns of one speaker never touch or overlap.

    windows: those of a group with the surest voice first.
    Neighbouring windows that overlap are cut at the middle of the overlap (as SpeechBrain and WeSpeaker do); in the
    stretch that is left to a group of windows those of its voices talk whose `speech` covers it.
    """
    return smooth(cut(windows, exclusive=config.exclusive), config)


def cut(windows: Iterable[SpeakerWindow], *, exclusive: bool = False) -> list[SpeakerTurn]:
    """What each window has the say over, as turns of their own; by start of the groups.

    exclusive: it has none over what an earlier window of its group says.
    """
    return [piece for group, share in _shares(list(windows)) for piece in _pieces(group, share, exclusive)]


def smooth(pieces: Iterable[SpeakerTurn], config: TurnsConfig) -> list[SpeakerTurn]:
    """Turns out of the pieces of windows: joined, and rid of slivers."""
    slivers_gone = absorb_slivers(join(pieces, 0), position(config.sliver))
    return join(slivers_gone, position(config.gap), exclusive=config.exclusive)


def join(turns: Iterable[SpeakerTurn], gap: int, *, exclusive: bool = False) -> list[SpeakerTurn]:
    """Turns of one speaker at most `gap` samples apart become one; confidence and distances are means over time.

    exclusive: only if nobody else's turn begins between them.
    """
    joined: list[SpeakerTurn] = []
    last: dict[int, int] = {}  # speaker -> place in joined
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
        if exclusive and joined and joined[-1].speaker != turn.speaker:
            last.clear()
        before = joined[last[turn.speaker]] if turn.speaker in last else None
        if before is not None and turn.start - before.end <= gap:
            weight = before.length + turn.length
            confidence = (before.confidence * before.length + turn.confidence * turn.length) / weight
            distances = tuple(
                (one * before.length + other * turn.length) / weight
                for one, other in zip(before.distances, turn.distances, strict=False)  # live windows have none
            )
            end = max(before.end, turn.end)
            joined[last[turn.speaker]] = SpeakerTurn(before.start, end, turn.speaker, confidence, distances)
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
            result[i] = replace(turn, speaker=before.speaker, confidence=0.0)
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


def _pieces(group: list[SpeakerWindow], share: Interval, exclusive: bool) -> list[SpeakerTurn]:
    """What each voice of a group says within the group's share of time."""
    pieces = []
    taken: list[Interval] = []
    for window in group:
        own = common(window.speech, [share])
        for start, end in without(own, taken):
            pieces.append(SpeakerTurn(start, end, window.speaker, window.confidence, window.distances))
        if exclusive:
            taken = union([*taken, *own])
    return pieces
