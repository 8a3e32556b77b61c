"""What the client of a session has been told of turns and speakers, and the messages that change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from diarize.server import messages
from diarize.server.messages import Merge, Message, ProtocolError, Reason, Rename
from diarize.types import Identity, TurnUpdate


@dataclass
class Shown:
    """The turns as the client has them, by id, and the speakers.

    labels: of every speaker there has been, by first appearance.
    names: what the user calls them, by label; it comes before what is found.
    identities: who they are found to be, by label.
    merged: the labels that are gone, each with the one in its place.
    """

    turns: dict[int, TurnUpdate] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)

    def update(self, updates: Iterable[TurnUpdate], reason: Reason) -> list[Message]:
        """Show the newest update of each turn: messages for speakers, new and grown turns, and one revision."""
        newest = list({update.id: update for update in updates}.values())
        told, changes = self._introduce(newest), []
        for update in newest:
            before = self.turns.pop(update.id, None)
            was = None if before is None else before.speaker
            if update.speaker is not None:
                self.turns[update.id] = update
            name = self.name(update.speaker or "")
            if was is not None and was != update.speaker:
                changes.append(messages.change(update, was, name, reason))
            elif update.speaker is not None and not _renamed(before, update):
                told.append(messages.segment(update, name))
        return [*told, messages.revision(changes)] if changes else told

    def _introduce(self, updates: Iterable[TurnUpdate]) -> list[Message]:
        """Who is new, and whose name has changed."""
        told, called = [], self._called()
        for update in updates:
            if update.speaker is None:
                continue
            if update.speaker not in self.labels:
                self.labels.append(update.speaker)
                told.append(messages.speaker(update.speaker, "new"))
            if update.identity is not None:
                self.identities[update.speaker] = update.identity
        return [*told, *self._identified(called)]

    def rename(self, rename: Rename) -> list[Message]:
        """Give a speaker a name, or take it back.  Raises ProtocolError for a label that nobody goes by."""
        self._check(rename.speaker)
        called = {**self._called(), rename.speaker: None}  # so that a name that was found is told again
        self.names[rename.speaker] = rename.name
        if not rename.name:
            del self.names[rename.speaker]
        return [
            messages.speaker(rename.speaker, "renamed", name=rename.name or None),
            *self._identified(called),
        ]

    def merge(self, merge: Merge) -> list[Message]:
        """One label goes; its name, where it has one, goes on unless the other label has its own.

        Raises ProtocolError for a label that nobody goes by.
        """
        self._check(merge.speaker)
        self._check(merge.into)
        called = self._called()
        self.merged[merge.speaker] = merge.into
        self.identities.pop(merge.speaker, None)
        name = self.names.pop(merge.speaker, "")
        told = [messages.speaker(merge.speaker, "merged", into=merge.into)]
        if name and merge.into not in self.names:
            self.names[merge.into] = name
            told.append(messages.speaker(merge.into, "renamed", name=name))
        return [*told, *self._identified(called)]

    def name(self, label: str) -> str | None:
        """What a speaker is called, if they are."""
        identity = self.identity(label)
        return None if identity is None else identity.name

    def identity(self, label: str) -> Identity | None:
        """Who a speaker is, as the user says or else as was found.  Whom the user has named, nobody else is."""
        if label in self.names:
            return named(self.names[label])
        found = self.identities.get(label)
        if found is not None and found.name in self.names.values():
            return replace(found, name=None, reason=f"the user calls another speaker {found.name}")
        return found

    def copy(self) -> Shown:
        """The same, that stays as it is when this one changes."""
        return Shown(dict(self.turns), list(self.labels), dict(self.names), dict(self.identities), dict(self.merged))

    def snapshot(self) -> list[Message]:
        """All of it, for a client that knows nothing."""
        return [
            *(messages.speaker(label, "new", name=self.names.get(label)) for label in self.labels),
            *self._identified({}),
            *(messages.speaker(label, "merged", into=into) for label, into in self.merged.items()),
            *(messages.segment(turn, self.name(turn.speaker or "")) for _, turn in sorted(self.turns.items())),
        ]

    def named_turns(self) -> tuple[TurnUpdate, ...]:
        """The turns, under the names that the user has given or that were found."""
        return tuple(replace(turn, identity=self.identity(turn.speaker or "")) for turn in self.turns.values())

    def _called(self) -> dict[str, str | None]:
        return {label: self.name(label) for label in self.labels}

    def _identified(self, called: Mapping[str, str | None]) -> list[Message]:
        """Messages for those whose name was found, or has gone, since they were `called` so; not who has the user's."""
        found = {label: self.identity(label) for label in self.labels if label not in {**self.names, **self.merged}}
        return [
            messages.identified(label, identity)
            for label, identity in found.items()
            if identity is not None and identity.name != called.get(label)
        ]

    def _check(self, label: str) -> None:
        if label in self.merged:
            raise ProtocolError("bad_message", f"{label} is gone: it was merged into {self.merged[label]}")
        if label not in self.labels:
            known = ", ".join(known for known in self.labels if known not in self.merged)
            raise ProtocolError("bad_message", f"no speaker {label}; there is {known or 'none yet'}")


def named(name: str) -> Identity:
    """Who a speaker is when the user says so."""
    return Identity(name, 1.0, None, "named by the user")


def _renamed(before: TurnUpdate | None, update: TurnUpdate) -> bool:
    """Whether nothing but the identity has changed, which has been told with the speaker."""
    return before is not None and before != update and replace(before, identity=update.identity) == update
