"""One SQLite file: opened, recognised, written in transactions, and its errors in words.

The journal is SQLite's rollback journal and not its write-ahead log: the log keeps deleted pages for as long as anybody
reads, and at rest there is one file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diarize.profiles.person import ProfilesError

HEADER = b"SQLite format 3\0"
"""What every database of SQLite begins with (its file format, section 1.3)."""

APPLICATION = 0x64694170
"""PRAGMA application_id, by which a store is told from other databases."""

VERSION = 1
"""PRAGMA user_version: of the schema.  A newer one is refused."""

PATIENCE = 30.0
"""Seconds to wait for other programs that write."""

SCHEMA = (
    "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE reference (
        id INTEGER PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES person ON DELETE CASCADE,
        embedding BLOB NOT NULL, -- float32, little endian
        model TEXT NOT NULL,
        speech REAL NOT NULL, -- seconds
        cohesion REAL NOT NULL,
        made TEXT NOT NULL,
        path BLOB, -- the system's bytes: not every file name is text
        sha256 TEXT,
        stretches TEXT -- JSON
    )""",
    "CREATE INDEX reference_person ON reference (person)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

DAMAGED = "it was left as it is: move it away, then import an export of it, or enrol again"
REMEDIES = {
    sqlite3.SQLITE_BUSY: f"other programs have been using it for {PATIENCE:g} s: try again",
    sqlite3.SQLITE_READONLY: "it cannot be written: change the permissions, or choose another place",
    sqlite3.SQLITE_CANTOPEN: "change the permissions, or choose another place",
    sqlite3.SQLITE_PERM: "change the permissions, or choose another place",
    sqlite3.SQLITE_FULL: "make room, or choose another place",
    sqlite3.SQLITE_IOERR: "make room, or choose another place",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
"""What to do, by SQLite's primary result code."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What SQLite raises in here, as one line that names the file and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says how, not what
        raise ProfilesError(f"{path}: {error}; {REMEDIES.get(code, DAMAGED)}") from error


def check_no_store(output: Path) -> None:
    """Raise ValueError where an output would overwrite a database, OSError where what is there cannot be read."""
    if output.is_file():
        with output.open("rb") as file:
            if file.read(len(HEADER)) == HEADER:
                raise ValueError(f"{output} is a store of people and would be overwritten: choose another output")


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that is there.  Raises ProfilesError where it is no store, damaged or of a newer version."""
    with path.open("rb"):  # SQLite would not say why it cannot
        pass
    with explained(path):
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA temp_store = MEMORY")  # VACUUM would put a copy of all voices into a temporary file
            _recognise(db, path)
        except BaseException:
            db.close()
            raise
    return db


def create(path: Path) -> sqlite3.Connection:
    """Open a file, made where there is none: only its user can read it and its folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = connect(path)
    if is_empty(db):
        with transaction(db, path):
            if is_empty(db):  # or another program has made it meanwhile
                for statement in SCHEMA:
                    db.execute(statement)
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path, *, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All of what is done in here, or nothing; nobody else writes meanwhile."""
    with explained(path):
        db.execute(begin)
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has ended it already
                db.execute("ROLLBACK")
            raise


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether there is nothing in it, not even a table: a file that a program made and was killed before it wrote."""
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def check_writable(db: sqlite3.Connection, path: Path) -> None:
    """Raise ProfilesError where the file is damaged: what writes to it would make it worse.

    A file that has got a write-ahead log from another program is brought back to the journal, its log written and gone.
    """
    with explained(path):
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise ProfilesError(f"{path}: damaged ({' '.join(found.split())}); {DAMAGED}")
    with explained(path):
        db.execute("PRAGMA journal_mode = DELETE")  # or what is erased stays in the log


def _recognise(db: sqlite3.Connection, path: Path) -> None:
    (application,), (version,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application == APPLICATION and version > VERSION:
        raise ProfilesError(f"{path}: made by a newer diarize (version {version}, not {VERSION}): update diarize")
    if application != APPLICATION and not is_empty(db):
        raise ProfilesError(f"{path}: the database of another program; choose another --profiles")
