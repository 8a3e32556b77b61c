"""What the client of a session has been told of turns and speakers, and the messages that change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from diarize.server import messages
from diarize.server.messages import Merge, Message, ProtocolError, Reason, Rename
from diarize.types import Identity, TurnUpdate


@dataclass
class Shown:
    """The turns as the client has them, by id, and the speakers.

    labels: of every speaker there has been, by first appearance.
    names: what the user calls them.
    merged: the labels that are gone, each with the one in its place.
    """

    turns: dict[int, TurnUpdate] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)

    def update(self, updates: Iterable[TurnUpdate], reason: Reason) -> list[Message]:
        """Show the newest update of each turn: messages for new speakers, new and grown turns, and one revision."""
        told, changes = [], []
        for update in {update.id: update for update in updates}.values():
            before = self.turns.pop(update.id, None)
            was = None if before is None else before.speaker
            if update.speaker is not None:
                self.turns[update.id] = update
                if update.speaker not in self.labels:
                    self.labels.append(update.speaker)
                    told.append(messages.speaker(update.speaker, "new"))
            name = self.names.get(update.speaker or "")
            if was is not None and was != update.speaker:
                changes.append(messages.change(update, was, name, reason))
            elif update.speaker is not None:
                told.append(messages.segment(update, name))
        return [*told, messages.revision(changes)] if changes else told

    def rename(self, rename: Rename) -> list[Message]:
        """Give a speaker a name, or take it back.  Raises ProtocolError for a label that nobody goes by."""
        self._check(rename.speaker)
        self.names[rename.speaker] = rename.name
        if not rename.name:
            del self.names[rename.speaker]
        return [messages.speaker(rename.speaker, "renamed", name=rename.name or None)]

    def merge(self, merge: Merge) -> list[Message]:
        """One label goes; its name, where it has one, goes on unless the other label has its own.

        Raises ProtocolError for a label that nobody goes by.
        """
        self._check(merge.speaker)
        self._check(merge.into)
        self.merged[merge.speaker] = merge.into
        name = self.names.pop(merge.speaker, "")
        told = []
        if name and merge.into not in self.names:
            told = self.rename(Rename(merge.into, name))
        return [messages.speaker(merge.speaker, "merged", into=merge.into), *told]

    def copy(self) -> Shown:
        """The same, that stays as it is when this one changes."""
        return Shown(dict(self.turns), list(self.labels), dict(self.names), dict(self.merged))

    def snapshot(self) -> list[Message]:
        """All of it, for a client that knows nothing."""
        return [
            *(messages.speaker(label, "new", name=self.names.get(label)) for label in self.labels),
            *(messages.speaker(label, "merged", into=into) for label, into in self.merged.items()),
            *(messages.segment(turn, self.names.get(turn.speaker or "")) for _, turn in sorted(self.turns.items())),
        ]

    def named_turns(self) -> tuple[TurnUpdate, ...]:
        """The turns, under the names that the user has given."""
        return tuple(replace(turn, identity=named(self.names.get(turn.speaker or ""))) for turn in self.turns.values())

    def _check(self, label: str) -> None:
        if label in self.merged:
            raise ProtocolError("bad_message", f"{label} is gone: it was merged into {self.merged[label]}")
        if label not in self.labels:
            known = ", ".join(known for known in self.labels if known not in self.merged)
            raise ProtocolError("bad_message", f"no speaker {label}; there is {known or 'none yet'}")


def named(name: str | None) -> Identity | None:
    """Who a speaker is when the user says so."""
    return None if name is None else Identity(name, 1.0, None, "named by the user")
