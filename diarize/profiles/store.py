"""The people who are enrolled, in one file."""

from __future__ import annotations

import difflib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from diarize.folders import state_folder
from diarize.profiles import database
from diarize.profiles.gate import Gate
from diarize.profiles.people import People
from diarize.profiles.person import (
    Person,
    Profile,
    ProfilesError,
    Reference,
    checked_name,
    one_model,
    short,
)
from diarize.profiles.portable import numbered, read_people, write_people
from diarize.profiles.rows import COLUMNS, to_people, to_reference, to_row

ENVIRONMENT = "DIARIZE_PROFILES"
"""The environment variable that names the store."""


def store_path(given: str | Path | None = None) -> Path:
    """Where the store is: as given, else as the environment says, else among the user's state.

    Raises ValueError where it is unknown who the user is.
    """
    told = given or os.environ.get(ENVIRONMENT)
    return Path(told) if told else state_folder() / "people.db"


class ProfileStore:
    """The enrolled people in one SQLite file.  The first enrolment makes it; where there is none, nobody is enrolled.

    >>> with ProfileStore("people.db") as store:  # doctest: +SKIP
    ...     people = store.people(encoder.fingerprint)

    Several processes may use a store at once; each write is done whole or not at all, even when the process is killed
    in it.  All voices are of one model, as those of different ones cannot be compared.

    Methods raise ProfilesError for a name that nobody has or can have, for what cannot be written, and for a file that
    is no store, damaged or of a newer version, which is left as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._db: sqlite3.Connection | None = None
        self._whole = False

    def __enter__(self) -> Self:
        if self.path.exists():
            db = database.connect(self.path)
            if database.is_empty(db):
                db.close()
            else:
                self._db = db
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def list(self) -> Sequence[Profile]:
        """Everybody, by name."""
        rows = self._rows(
            "SELECT name, count(*), sum(speech), max(made) FROM person JOIN reference ON person = person.id "
            "GROUP BY person.id ORDER BY name"
        )
        return [Profile(*row) for row in rows]

    def show(self, name: str) -> Person:
        """One person with all references."""
        with self._reading():
            return self._person(self._known(name), checked_name(name))

    def check_model(self, fingerprint: str, dimensions: int | None = None) -> None:
        """Raise ProfilesError where the voices are of another model, or have another number of dimensions."""
        for model, size in self._rows("SELECT model, length(embedding) FROM reference LIMIT 1"):  # all are alike
            if model != fingerprint:
                raise ProfilesError(
                    f"{self.path}: its voices are of the model {short(model)}..., not of {short(fingerprint)}..., and "
                    "voices of different models cannot be compared: use that --model, or diarize profiles re-enroll"
                )
            if dimensions not in (None, size // 4):
                raise ProfilesError(f"embeddings of {dimensions} numbers, where the store has such of {size // 4}")

    def people(self, fingerprint: str) -> People:
        """Everybody, by when they were first enrolled, as arrays, for voices of the model with this fingerprint.

        Raises ProfilesError where people were enrolled with another.
        """
        with self._reading():
            self.check_model(fingerprint)
            persons = self._rows("SELECT id, name FROM person ORDER BY id")
            rows = self._rows("SELECT person, embedding FROM reference ORDER BY person, id")
        try:
            return to_people(persons, rows, fingerprint)
        except ValueError as error:
            raise self._damaged(error) from error

    def enroll(self, name: str, references: Sequence[Reference], gate: Gate | None = None) -> None:
        """Add references to a person; one who is not known yet becomes so.

        Raises ProfilesError for references of another model than the store's and for a recording that is a reference of
        this person already, `RefusedError` where they are not of the voice that has this name already.
        """
        name, model = checked_name(name), one_model(references)
        with self._writing(create=True) as db:
            self.check_model(model, len(references[0].embedding))
            found = db.execute("SELECT id FROM person WHERE name = ?", (name,)).fetchone()
            known = self._person(found[0], name).references if found else ()
            _check_new(name, references, known)
            new = np.stack([reference.embedding for reference in references])
            earlier = np.array([one.embedding for one in known], np.float32).reshape(-1, new.shape[1])
            names = [reference.origin.path if reference.origin else "the recording" for reference in references]
            (gate or Gate()).check_agreement(names, new, earlier, name)
            self._add(found[0] if found else self._new(name), references)

    def rename(self, name: str, new: str) -> None:
        """Give a person another name.  Raises ProfilesError where somebody has it."""
        new = checked_name(new)
        with self._writing(erase=True) as db:
            person = self._known(name)
            if new != checked_name(name):
                self._check_free([new])
            db.execute("UPDATE person SET name = ? WHERE id = ?", (new, person))

    def merge(self, name: str, other: str) -> None:
        """Two people are one, who has the first one's name and the references of both.

        Their voices need not agree: so somebody can be known over channels that change a voice beyond the gate.
        """
        with self._writing(erase=True) as db:
            kept, gone = self._known(name), self._known(other)
            if kept == gone:
                raise ProfilesError(f"{name} and {other} are one person already")
            db.execute("UPDATE reference SET person = ? WHERE person = ?", (kept, gone))
            db.execute("DELETE FROM person WHERE id = ?", (gone,))

    def delete(self, name: str) -> None:
        """Erase a person: what was kept is overwritten, and the file is written anew without it."""
        with self._writing(erase=True) as db:
            db.execute("DELETE FROM person WHERE id = ?", (self._known(name),))

    def export(self, path: str | Path, names: Sequence[str] = ()) -> int:
        """Write people, everybody if none is named, into one portable file; returns how many."""
        if Path(path).resolve() == self.path.resolve():
            raise ProfilesError(f"{path} is the store itself: choose another file")
        with self._reading():
            chosen = list(dict.fromkeys(map(checked_name, names))) or [one.name for one in self.list()]
            people = [self._person(self._known(name), name) for name in chosen]
        write_people(path, people)
        return len(people)

    def import_(self, path: str | Path, *, rename: bool = False, replace: bool = False) -> Sequence[str]:
        """Add the people of an export; returns their names.

        rename: whose name somebody in the store has gets a number after it.
        replace: who has it takes the place of the one in the store.

        Raises ProfilesError for a file that is no export, for voices of another model and, without either, where a name
        is taken.
        """
        if rename and replace:
            raise ProfilesError("who has a taken name can be renamed or take the other's place, not both")
        people = read_people(path)
        if not people:
            return []
        names = [person.name for person in people]
        with self._writing(create=True, erase=replace) as db:
            if replace:
                db.executemany("DELETE FROM person WHERE name = ?", [(name,) for name in names])
            first = people[0].references[0]
            self.check_model(first.model, len(first.embedding))
            if rename:
                names = numbered(names, {one.name for one in self.list()})
            self._check_free(names, "; rename them, or let them take their places (--rename, --replace)")
            for name, person in zip(names, people, strict=True):
                self._add(self._new(name), person.references)
        return names

    def reenroll(self, again: Callable[[Sequence[Person]], Sequence[Person]]) -> None:
        """Make the references of everybody anew: all of them, or none.

        again: from everybody to the same with new references (see `diarize.enrolment.heard_again`); who is not
            among them any more is erased.

        Raises ProfilesError where the store has changed meanwhile: nobody is held up while recordings are heard.
        """
        with self._reading():
            version = self._rows("PRAGMA data_version")
            everybody = [self.show(one.name) for one in self.list()]
        if not everybody:
            return
        after = again(everybody)
        one_model([reference for person in after for reference in person.references])
        with self._writing(erase=True) as db:
            if self._rows("PRAGMA data_version") != version:
                raise ProfilesError(f"{self.path}: another program has changed it meanwhile: try again")
            db.execute("DELETE FROM reference")
            for person in after:
                self._add(self._known(person.name), person.references)
            db.execute("DELETE FROM person WHERE id NOT IN (SELECT person FROM reference)")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the store, whatever others write meanwhile."""
        if self._db is None or self._db.in_transaction:
            yield
        else:
            with database.transaction(self._db, self.path, begin="BEGIN"):
                yield

    @contextmanager
    def _writing(self, *, create: bool = False, erase: bool = False) -> Iterator[sqlite3.Connection]:
        """erase: leave nothing in the file of what is taken away."""
        if self._db is None and not create:
            raise ProfilesError(f"nobody is enrolled: there is no store at {self.path}")
        if self._db is None:
            self._db = database.create(self.path)
        if not self._whole:
            database.check_writable(self._db, self.path)
            self._whole = True
        with database.transaction(self._db, self.path):
            yield self._db
        if erase:
            try:
                with database.explained(self.path):
                    self._db.execute("VACUUM")
            except ProfilesError as error:
                raise ProfilesError(f"{error}; it is done and overwritten, but the file is not written anew") from error

    def _rows(self, query: str, values: Sequence[object] = ()) -> Sequence[Any]:
        if self._db is None:
            return []
        with database.explained(self.path):
            return self._db.execute(query, values).fetchall()

    def _known(self, name: str) -> int:
        kept = checked_name(name)
        rows = self._rows("SELECT id FROM person WHERE name = ?", (kept,))
        if rows:
            return int(rows[0][0])
        names = {one.casefold(): one for (one,) in self._rows("SELECT name FROM person ORDER BY name")}
        if not names:
            raise ProfilesError(f"nobody is called {kept!r}: nobody is enrolled in {self.path}")
        near = [names[one] for one in difflib.get_close_matches(kept.casefold(), names)]
        hint = f"did you mean {' or '.join(near)}?" if near else "diarize profiles list says who is enrolled"
        raise ProfilesError(f"nobody is called {kept!r}: {hint}")

    def _person(self, number: int, name: str) -> Person:
        rows = self._rows(f"SELECT {COLUMNS} FROM reference WHERE person = ? ORDER BY id", (number,))  # noqa: S608 - our own words
        try:
            return Person(name, tuple(map(to_reference, rows)))
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def _new(self, name: str) -> int:
        self._rows("INSERT INTO person (name) VALUES (?)", (name,))
        return int(self._rows("SELECT last_insert_rowid()")[0][0])

    def _add(self, person: int, references: Sequence[Reference]) -> None:
        for reference in references:
            row = (person, *to_row(reference))
            self._rows(f"INSERT INTO reference (person, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", row)  # noqa: S608 - our own words

    def _check_free(self, names: Sequence[str], remedy: str = ": merge them, or choose another name") -> None:
        taken = {one.name for one in self.list()}.intersection(names)
        if taken:
            raise ProfilesError(f"{', '.join(sorted(taken)[:5])}: somebody has this name already{remedy}")

    def _damaged(self, error: Exception) -> ProfilesError:
        return ProfilesError(f"{self.path}: damaged ({error}); {database.DAMAGED}")


def _check_new(name: str, references: Sequence[Reference], known: Sequence[Reference]) -> None:
    """Raise ProfilesError where one was heard in what another was: it would count twice."""
    heard = {(one.origin.sha256, one.origin.stretches) for one in known if one.origin}
    for one in references:
        if one.origin and (one.origin.sha256, one.origin.stretches) in heard:
            raise ProfilesError(f"{one.origin.path}: this recording is a reference of {name} already: leave it out")
        if one.origin:
            heard.add((one.origin.sha256, one.origin.stretches))
