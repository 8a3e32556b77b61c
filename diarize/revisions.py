"""From labelled windows that may be labelled anew to turns that are corrected: what is shown live."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from diarize.live import TICK, LiveConfig
from diarize.stage import Stage
from diarize.turns import SpeakerTurn, TurnsConfig, cut, cut_turns, label, smooth, update
from diarize.types import Clock, Identity, Merge, Named, SpeakerWindow, TurnUpdate, position


@dataclass
class RevisedTurnsState:
    """What has been heard and what is shown.  Positions in samples.

    windows: by group, in order of its voices, those that can still change what is shown before the end.
    changed: one of them came or changed since the last clock.
    hidden: where the first piece begins that is labelled and not shown yet; None when there is none.
    edge: before it nothing changes before the end.
    stumps: of turns that lie across the edge, the part before it.
    shown: every turn that is shown, by its id.
    open: the ids of those that can still change before the end.
    ids: how many ids have been given.
    merged: whose label the user has replaced by whose.
    identities: who the speakers are, by number.
    renamed: the speakers, by the numbers in their labels, whose turns are shown under another name than they now have.
    """

    windows: dict[int, list[SpeakerWindow]] = field(default_factory=dict)
    changed: bool = False
    hidden: int | None = None
    edge: int = 0
    stumps: list[SpeakerTurn] = field(default_factory=list)
    shown: dict[int, SpeakerTurn] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    ids: int = 0
    merged: dict[int, int] = field(default_factory=dict)
    identities: dict[int, Identity] = field(default_factory=dict)
    renamed: set[int] = field(default_factory=set)


class RevisedTurns(Stage[SpeakerWindow | Named | Clock | Merge, TurnUpdate]):
    """Shows turns when the audio has gone `latency` beyond where they begin, lets them grow, and corrects them.

    A turn keeps its id as long as anything is said where it was; else it is withdrawn.  When a speaker gets a name, or
    loses it, all turns of theirs are said again.  At the end every turn is said once more, final: those of `cut_turns`
    over all windows, as offline.

    buffer: groups of windows; so many of the newest can be labelled anew before the end.
    """

    state: RevisedTurnsState

    def __init__(self, turns: TurnsConfig, live: LiveConfig, buffer: int) -> None:
        self.config = turns
        self._latency, self._buffer = position(live.latency), buffer
        self.state = RevisedTurnsState()

    def push(self, item: SpeakerWindow | Named | Clock | Merge, /) -> list[TurnUpdate]:
        state = self.state
        if isinstance(item, Merge):
            return self._merge(item)
        if isinstance(item, SpeakerWindow):
            self._take(item)
            return []
        if isinstance(item, Named):
            self._name(item)
            return []
        self._withdraw(item.settled)
        limit = item.position + TICK - self._latency  # before the next tick comes, as much more may have been heard
        if not state.changed and (state.hidden is None or state.hidden >= limit):
            return self._again()
        updates = self._show(self._turns(limit), state.open, final=False)
        updates += self._again({update.id for update in updates})
        if len(state.windows) > self._buffer + self._buffer // 4:
            self._settle()
        return updates

    def flush(self) -> list[TurnUpdate]:
        windows = [window for window in self._windows() if not window.provisional]
        return self._show(cut_turns(windows, self.config), set(self.state.shown), final=True)

    def _take(self, window: SpeakerWindow) -> None:
        """A window comes in the place of what was said of its voice, or of its group while that was provisional."""
        state = self.state
        group = state.windows.get(window.group, [])
        if group and group[0].provisional and (window.voice == 0 or not window.provisional):
            group = []
        state.windows[window.group] = [*group[: window.voice], self._renamed(window), *group[window.voice + 1 :]]
        state.changed = True

    def _withdraw(self, settled: int) -> None:
        """Nothing provisional that begins before this holds any more."""
        windows = self.state.windows
        for number in [i for i, (first, *_) in windows.items() if first.provisional and first.start < settled]:
            del windows[number]
            self.state.changed = True

    def _turns(self, limit: int) -> list[SpeakerTurn]:
        """The turns after the edge, with the parts before it, as far as pieces that begin before `limit` tell."""
        state = self.state
        pieces = [piece for piece in cut(self._windows(), exclusive=self.config.exclusive) if piece.end > state.edge]
        state.changed = False
        state.hidden = min((piece.start for piece in pieces if piece.start >= limit), default=None)
        told = [
            piece if piece.start >= state.edge else replace(piece, start=state.edge)
            for piece in pieces
            if piece.start < limit
        ]
        return smooth([*state.stumps, *told], self.config)

    def _show(self, turns: Sequence[SpeakerTurn], ids: set[int], *, final: bool) -> list[TurnUpdate]:
        """Put these turns in place of those shown under `ids`; what that changes."""
        state = self.state
        kept = _kept({i: state.shown[i] for i in sorted(ids)}, turns)
        updates = [_withdrawn(i, state.shown.pop(i), final) for i in sorted(ids.difference(kept.values()))]
        labels, identities = self._labels(turns), self._identities(turns)
        state.open.clear()
        for place, turn in enumerate(turns):
            number = kept.get(place, state.ids)
            state.ids = max(state.ids, number + 1)
            before = state.shown.get(number)
            state.shown[number] = turn
            state.open.add(number)
            same = before is not None and _said(before) == _said(turn)
            if final or not same:
                updates.append(update(number, turn, labels, identities, final=final))
        return updates

    def _again(self, said: Collection[int] = ()) -> list[TurnUpdate]:
        """The turns of all whose name has changed, but for those under the ids that have just been said."""
        state = self.state
        if not state.renamed:
            return []
        updates = [
            self._provisional(number, turn)
            for number, turn in state.shown.items()
            if turn.speaker in state.renamed and number not in said
        ]
        state.renamed.clear()
        return updates

    def _provisional(self, number: int, turn: SpeakerTurn) -> TurnUpdate:
        return update(number, turn, self._labels([turn]), self._identities([turn]), final=False)

    def _settle(self) -> None:
        """Let go of the oldest windows, which cannot change any more."""
        state = self.state
        ordered = self._ordered()
        (before, *_), (first, *_) = ordered[-self._buffer - 1], ordered[-self._buffer]
        state.edge = max(first.start, (before.end + first.start) // 2)  # where `cut` parts the two
        state.windows = {group[0].group: group for group in ordered[-self._buffer :]}
        across = [state.shown[i] for i in sorted(state.open)]
        state.stumps = [
            replace(turn, end=min(turn.end, state.edge)) for turn in across if turn.start < state.edge < turn.end
        ]
        state.open = {i for i in state.open if state.shown[i].end > state.edge}

    def _merge(self, merge: Merge) -> list[TurnUpdate]:
        state = self.state
        one, into = self._label(merge.speaker), self._label(merge.into)  # either may have been merged before
        if one == into:
            return []
        before = self._called(into)
        state.merged = {speaker: into if to == one else to for speaker, to in state.merged.items()}
        state.merged[one] = into
        state.windows = {i: [self._renamed(window) for window in group] for i, group in state.windows.items()}
        state.stumps = [replace(stump, speaker=self._label(stump.speaker)) for stump in state.stumps]
        state.changed = True
        renamed = {into} if self._called(into) != before else set()
        updates = []
        for number, turn in state.shown.items():
            if turn.speaker == one or turn.speaker in renamed:
                state.shown[number] = replace(turn, speaker=into)
                updates.append(self._provisional(number, state.shown[number]))
        return updates

    def _name(self, named: Named) -> None:
        label = self._label(named.speaker)
        before = self._called(label)
        self.state.identities[named.speaker] = named.identity
        if self._called(label) != before:
            self.state.renamed.add(label)

    def _called(self, speaker: int) -> str | None:
        """The name of a speaker who is a label of their own; None when unknown."""
        identity = self._identity(speaker)
        return None if identity is None else identity.name

    def _identity(self, speaker: int) -> Identity | None:
        """Their own, or where nobody is found for them, that of who was merged into them."""
        state = self.state
        numbers = [speaker, *sorted(one for one, into in state.merged.items() if into == speaker)]
        found = [state.identities[number] for number in numbers if number in state.identities]
        return next((one for one in found if one.name is not None), found[0] if found else None)

    def _identities(self, turns: Sequence[SpeakerTurn]) -> dict[int, Identity]:
        """Of those who talk in these turns, as far as somebody has been sought for them."""
        sought = {turn.speaker: self._identity(turn.speaker) for turn in turns}
        return {speaker: identity for speaker, identity in sought.items() if identity is not None}

    def _label(self, speaker: int) -> int:
        return self.state.merged.get(speaker, speaker)

    def _labels(self, turns: Sequence[SpeakerTurn]) -> dict[int, str]:
        """The labels of those who talk in these turns, under the numbers of those merged into them too."""
        present = {turn.speaker for turn in turns}
        numbers = present | {one for one, into in self.state.merged.items() if into in present}
        return {number: label(self._label(number)) for number in sorted(numbers)}

    def _renamed(self, window: SpeakerWindow) -> SpeakerWindow:
        speaker = self._label(window.speaker)
        return window if speaker == window.speaker else replace(window, speaker=speaker)

    def _ordered(self) -> list[list[SpeakerWindow]]:
        """The groups, by time."""
        return sorted(self.state.windows.values(), key=lambda group: (group[0].start, group[0].end))

    def _windows(self) -> list[SpeakerWindow]:
        return [window for group in self._ordered() for window in group]


def _said(turn: SpeakerTurn) -> tuple[int, int, int]:
    """What is shown of a turn; a confidence that moves a little is not worth an update."""
    return turn.start, turn.end, turn.speaker


def _kept(shown: dict[int, SpeakerTurn], turns: Sequence[SpeakerTurn]) -> dict[int, int]:
    """For the place of a turn the id it goes on under: that of the turn it shares most with, of its speaker first."""
    shared = []
    first = 0
    old = sorted(shown.items(), key=lambda item: (item[1].start, item[1].end))
    longest = max((turn.length for turn in shown.values()), default=0)
    for place, turn in enumerate(turns):
        while first < len(old) and old[first][1].start + longest <= turn.start:
            first += 1
        for number, before in old[first:]:
            if before.start >= turn.end:
                break
            overlap = min(turn.end, before.end) - max(turn.start, before.start)
            if overlap > 0:
                shared.append((before.speaker == turn.speaker, overlap, -number, place))
    kept: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, negative, place in sorted(shared, reverse=True):
        if place not in kept and -negative not in taken:
            kept[place] = -negative
            taken.add(-negative)
    return kept


def _withdrawn(number: int, turn: SpeakerTurn, final: bool) -> TurnUpdate:
    return TurnUpdate(number, turn.start, turn.end, None, None, turn.confidence, final)
