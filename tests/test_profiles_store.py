"""The store of enrolled people: what it keeps, what it refuses, and that nothing of what is erased is left."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from diarize.profiles import database
from diarize.profiles.gate import RefusedError
from diarize.profiles.person import Origin, Person, ProfilesError, Reference
from diarize.profiles.portable import numbered, read_people, write_people
from diarize.profiles.store import ProfileStore, store_path
from tests.voices import DIMENSIONS, MODEL, reference, references

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "people.db"


def fill(path: Path, people: int) -> None:
    """Person 0 has voice 0, and so on; at once, as each write waits for the disk."""
    with ProfileStore(path) as store, tempfile.NamedTemporaryFile() as export:
        write_people(export.name, [Person(f"Person {voice}", tuple(references(voice))) for voice in range(people)])
        store.import_(export.name)


def names(path: Path) -> list[str]:
    with ProfileStore(path) as store:
        return [one.name for one in store.list()]


def same(one: Reference, other: Reference) -> bool:
    return one.embedding.tobytes() == other.embedding.tobytes() and astuple(one)[1:] == astuple(other)[1:]


def traces(folder: Path, secrets: Sequence[bytes]) -> list[str]:
    """The files, of all in a folder, that hold one of these."""
    return [str(file) for file in folder.rglob("*") if file.is_file() and any(s in file.read_bytes() for s in secrets)]


def secrets(name: str, kept: Sequence[Reference]) -> list[bytes]:
    """What must be found nowhere once a person is erased: the name, and any 16 bytes of the embeddings."""
    vectors = [one.embedding.tobytes() for one in kept]
    return [name.encode(), *(vector[at : at + 16] for vector in vectors for at in range(0, len(vector), 16))]


# What it keeps


def test_what_is_enrolled_is_kept_exactly(path: Path) -> None:
    odd = os.fsdecode(b"/rec/\xff \xc3\xa9.wav")  # a name that is no UTF-8
    one = reference(1, 0, origin=Origin(odd, "ab" * 32, ((0, 80_000), (160_000, 200_000))))
    two = reference(1, 1)
    with ProfileStore(path) as store:
        store.enroll("  Ana Mari\u0301a ", [one])
        store.enroll("Ana Mar\u00eda", [two])
        store.enroll("Ben", references(2))
    with ProfileStore(path) as store:
        ana = store.show("Ana Mari\u0301a")
        assert ana.name == "Ana Mar\u00eda"
        assert [same(kept, given) for kept, given in zip(ana.references, (one, two), strict=True)] == [True, True]
        assert [astuple(profile) for profile in store.list()] == [
            ("Ana Mar\u00eda", 2, 12.0, "2026-01-02T10:00:00+00:00"),
            ("Ben", 2, 12.0, "2026-01-02T10:00:00+00:00"),
        ]


def test_people_as_arrays(path: Path) -> None:
    with ProfileStore(path) as store:
        for name, voice, count in (("Zoe", 3, 1), ("Ana", 1, 2), ("Ben", 2, 3)):
            store.enroll(name, references(voice, count))
        store.enroll("Zoe", [reference(3, 7)])
        store.delete("Ana")
        people = store.people(MODEL)
    assert (people.names, people.fingerprint) == (("Zoe", "Ben"), MODEL)
    assert people.owner.tolist() == [0, 0, 1, 1, 1]
    expected = [reference(3), reference(3, 7), *references(2, 3)]
    assert np.array_equal(people.references, np.stack([one.embedding for one in expected]))
    assert people.references.dtype == np.float32


def test_nobody_is_enrolled_where_there_is_no_store(path: Path) -> None:
    with ProfileStore(path) as store:
        assert list(store.list()) == []
        assert store.people(MODEL).names == ()
        with pytest.raises(ProfilesError, match="nobody is called 'Ana': nobody is enrolled in "):
            store.show("Ana")
        with pytest.raises(ProfilesError, match="nobody is enrolled: there is no store at "):
            store.delete("Ana")
    assert not path.parent.exists()  # asking makes none


def test_a_store_that_was_made_and_not_filled_is_empty(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert names(path) == []
    fill(path, 1)
    assert names(path) == ["Person 0"]


def test_only_its_user_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        fill(path, 1)
        with ProfileStore(path) as store:
            store.export(path.parent / "export.json")
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path, path.parent, path.parent / "export.json")}
    assert modes == {"people.db": 0o600, "state": 0o700, "export.json": 0o600}


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.delenv("DIARIZE_PROFILES", raising=False)
    assert store_path() == Path("/state/diarize/people.db")
    monkeypatch.setenv("DIARIZE_PROFILES", "/elsewhere/team.db")
    assert store_path() == Path("/elsewhere/team.db")
    assert store_path("mine.db") == Path("mine.db")


# Names


def test_rename_and_merge(path: Path) -> None:
    fill(path, 3)
    with ProfileStore(path) as store:
        store.rename("Person 0", "Ana")
        store.rename("Ana", "Ana")  # as it is
        store.merge("Ana", "Person 2")
        assert [one.name for one in store.list()] == ["Ana", "Person 1"]
        kept = store.show("Ana").references
    assert all(map(same, kept, [*references(0), *references(2)]))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "SPEAKER_07", "\ud800"])
def test_names_that_cannot_be(name: str, path: Path) -> None:
    fill(path, 1)
    with ProfileStore(path) as store:
        with pytest.raises(ProfilesError, match="give"):
            store.enroll(name, references(9))
        with pytest.raises(ProfilesError, match="give"):
            store.rename("Person 0", name)
    assert names(path) == ["Person 0"]


def test_an_unknown_name_brings_the_nearest_to_mind(path: Path) -> None:
    with ProfileStore(path) as store:
        store.enroll("Annabel", references(1))
        store.enroll("Zoe", references(2))
        for do in (
            store.show,
            store.delete,
            lambda name: store.rename(name, "X"),
            lambda name: store.merge("Zoe", name),
        ):
            with pytest.raises(ProfilesError, match=r"^nobody is called 'anabell': did you mean Annabel\?$"):
                do("anabell")
        with pytest.raises(ProfilesError, match=r"^nobody is called 'Q': diarize profiles list says who is enrolled$"):
            store.show("Q")


def test_a_name_that_is_taken_stays_whose_it_is(path: Path) -> None:
    fill(path, 2)
    with ProfileStore(path) as store:
        with pytest.raises(ProfilesError, match="Person 1: somebody has this name already: merge them, or"):
            store.rename("Person 0", "Person 1")
        with pytest.raises(ProfilesError, match="are one person already"):
            store.merge("Person 0", " Person 0")
        with pytest.raises(RefusedError, match=r"not the voice of Person 0: the similarity is -?0\.\d\d, and 0\.45 is"):
            store.enroll("Person 0", references(1))
        with pytest.raises(RefusedError, match="not the voice of the recording"):  # nor two new people under one name
            store.enroll("New", [reference(5), reference(6)])
        with pytest.raises(RefusedError):  # many of another voice do not carry the vote
            store.enroll("Person 0", [reference(0, 9), *references(1, 9)])
        assert [(one.name, one.references) for one in store.list()] == [("Person 0", 2), ("Person 1", 2)]


def test_a_recording_counts_once(path: Path) -> None:
    origin = Origin("/rec/ana.wav", "ab" * 32)
    part = replace(origin, stretches=((0, 80_000),))
    with ProfileStore(path) as store:
        store.enroll("Ana", [reference(1, 0, origin=origin), reference(1, 1, origin=part)])
        for copy in (origin, replace(part, path="/rec/copy.wav")):
            with pytest.raises(ProfilesError, match=f"{copy.path}: this recording is a reference of Ana already"):
                store.enroll("Ana", [reference(1, 2), reference(1, 3, origin=copy)])
        with pytest.raises(ProfilesError, match="is a reference of Ben already"):
            store.enroll("Ben", [reference(2, 0, origin=origin), reference(2, 1, origin=origin)])
        assert [(one.name, one.references) for one in store.list()] == [("Ana", 2)]


# Models


def test_voices_of_different_models_are_never_compared(path: Path) -> None:
    fill(path, 1)
    other = "b" * 64
    with ProfileStore(path) as store:
        for do in (
            lambda: store.people(other),
            lambda: store.enroll("Ben", [reference(1, model=other)]),
            lambda: store.enroll("Person 0", [reference(0, 5, model=other)]),
        ):
            with pytest.raises(
                ProfilesError, match=f"of the model {'a' * 12}..., not of {'b' * 12}..., and .* re-enroll"
            ):
                do()
        with pytest.raises(ProfilesError, match="references of different models cannot be kept together"):
            store.enroll("Ben", [reference(1), reference(1, model=other)])
        short = reference(1)
        short = replace(short, embedding=short.embedding[:8] / np.linalg.norm(short.embedding[:8]))
        with pytest.raises(ProfilesError, match=f"embeddings of 8 numbers, where the store has such of {DIMENSIONS}"):
            store.enroll("Ben", [short])
        store.delete("Person 0")
        store.enroll("Ben", [reference(1, model=other)])  # an empty store is of no model
        assert store.people(other).names == ("Ben",)


def test_all_are_enrolled_again_or_nobody(path: Path) -> None:
    fill(path, 3)

    def again(people: Sequence[Person]) -> list[Person]:
        return [
            replace(one, references=tuple(replace(old, model="b" * 64) for old in one.references)) for one in people
        ]

    def mixed(people: Sequence[Person]) -> list[Person]:
        return [again(people)[0], *people[1:]]

    def meanwhile(people: Sequence[Person]) -> list[Person]:
        with ProfileStore(path) as another:
            another.rename("Person 2", "Zoe")
        return again(people)

    with ProfileStore(path) as store:
        before = path.read_bytes()
        with pytest.raises(ProfilesError, match="different models"):
            store.reenroll(mixed)
        with pytest.raises(ProfilesError, match="no reference"):
            store.reenroll(lambda _: [])
        assert path.read_bytes() == before
        with pytest.raises(ProfilesError, match="another program has changed it meanwhile"):
            store.reenroll(meanwhile)
        assert store.people(MODEL).names == ("Person 0", "Person 1", "Zoe")
        store.reenroll(lambda people: again(people)[:2])
        people = store.people("b" * 64)
    assert people.names == ("Person 0", "Person 1")
    gone = secrets("Zoe", references(2))
    assert traces(path.parent, gone) == []


# Erasing


def test_what_is_erased_is_nowhere(path: Path) -> None:
    fill(path, 120)
    export = path.parent / "one.json"
    with ProfileStore(path) as store:
        changes: tuple[tuple[str, int, Callable[[], None]], ...] = (
            ("delete", 60, lambda: store.delete("Person 60")),
            ("rename", 61, lambda: store.rename("Person 61", "Zoe")),
            ("merge", 62, lambda: store.merge("Zoe", "Person 62")),
        )
        for doing, victim, do in changes:
            name = f"Person {victim}"
            kept = references(victim)
            assert traces(path.parent, secrets(name, kept)), "the search finds nothing even where it is"
            do()
            assert traces(path.parent, secrets(name, kept if doing == "delete" else ())) == [], doing
        write_people(export, [Person("Person 70", tuple(references(500)))])
        store.import_(export, replace=True)
        export.unlink()
        assert traces(path.parent, secrets("no such name", references(70))) == []
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]


def test_what_is_erased_is_in_no_log_either(path: Path) -> None:
    """Where another program has switched the file to a write-ahead log, and was killed with the voices in it."""
    fill(path, 3)
    program = (
        "import os, signal, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA journal_mode = WAL');"
        "db.execute('UPDATE reference SET cohesion = 0.5'); db.commit(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    gone = secrets("Person 1", references(1))
    assert f"{path}-wal" in traces(path.parent, gone)
    with ProfileStore(path) as store:
        store.delete("Person 1")
        assert traces(path.parent, gone) == []
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]
    assert names(path) == ["Person 0", "Person 2"]


def test_of_the_last_one_nothing_is_left(path: Path) -> None:
    fill(path, 4)
    with ProfileStore(path) as store:
        for number in range(4):
            store.delete(f"Person {number}")
    assert path.read_bytes().count(0) > 0.9 * path.stat().st_size
    assert traces(path.parent, [b"Person", *(one for n in range(4) for one in secrets("Person", references(n)))]) == []


KILLED = """
import os, signal, sys
from diarize.profiles.store import ProfileStore
with ProfileStore(sys.argv[1]) as store, store._writing() as db:
    db.execute("PRAGMA cache_size = 1")  # changed pages go to the file before the transaction ends
    db.execute("PRAGMA cache_spill = ON")
    db.execute("UPDATE reference SET embedding = zeroblob(256)")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_in_a_write_leaves_nothing_of_it(path: Path) -> None:
    fill(path, 50)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() != before  # it was in the middle
    assert len(list(path.parent.iterdir())) == 2  # what was is in the journal
    with ProfileStore(path) as store:
        assert all(same(*pair) for n in range(50) for pair in zip(store.show(f"Person {n}").references, references(n)))  # noqa: B905 - both are two
        store.delete("Person 7")
    assert traces(path.parent, secrets("Person 7", references(7))) == []
    assert len(names(path)) == 49


WRITER = """
import sys
from diarize.profiles.store import ProfileStore
from tests.voices import references
path, writer, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    with ProfileStore(path) as store:
        store.enroll(f"{writer}-{number}", references(1000 * writer + number, 3))
        if number % 3 == 2:
            store.delete(f"{writer}-{number - 1}")
    print(number, flush=True)
"""


def writer(path: Path, number: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(number), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_writers_side_by_side_lose_nothing(path: Path) -> None:
    writers = [writer(path, number, 6) for number in range(3)]
    assert [one.wait(120) for one in writers] == [0] * 3
    for one in writers:
        assert one.stdout
        one.stdout.close()
    expected = {f"{number}-{n}" for number in range(3) for n in range(6) if n % 3 != 1}
    assert set(names(path)) == expected
    with ProfileStore(path) as store:
        people = store.people(MODEL)
    assert np.bincount(people.owner).tolist() == [3] * len(expected)
    for place, name in enumerate(people.names):
        number, n = map(int, name.split("-"))
        kept = people.references[people.owner == place]
        assert np.array_equal(kept, np.stack([one.embedding for one in references(1000 * number + n, 3)]))


def test_of_two_people_who_come_under_one_name_at_once_one_has_it(path: Path) -> None:
    fill(path, 1)
    together = Barrier(2)

    def enroll(voice: int) -> None:
        for round_ in range(8):
            together.wait(60)
            with ProfileStore(path) as store:
                try:
                    store.enroll(f"New {round_}", references(10 * round_ + voice))
                    became.append((round_, "enrolled"))
                except RefusedError:
                    became.append((round_, "refused"))

    became: list[tuple[int, str]] = []
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(enroll, (1, 2)))
    assert sorted(became) == [(round_, what) for round_ in range(8) for what in ("enrolled", "refused")]


def test_what_was_done_before_a_kill_stays_done(path: Path) -> None:
    for round_ in range(3):
        process = writer(path, round_, 10_000)
        assert process.stdout
        done = [int(process.stdout.readline()) for _ in range(2 + round_)]
        time.sleep(0.004 * round_)
        process.kill()
        done += [int(line) for line in process.stdout.read().split()]
        process.wait()
        process.stdout.close()
        found = {int(name.split("-")[1]) for name in names(path) if name.startswith(f"{round_}-")}
        surely = {n for n in done if n % 3 != 1 or n + 1 not in done}
        unsure = {done[-1], done[-1] + 1}  # what it was about when it was killed
        assert surely - unsure <= found <= set(done) | {done[-1] + 1}
        with ProfileStore(path) as store:
            assert {one.references for one in store.list()} == {3}  # never some of what was enrolled at once
            store.people(MODEL)
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()


def test_who_waits_too_long_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 1)
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM person").fetchall()
    with ProfileStore(path) as store:
        with pytest.raises(ProfilesError, match="database is locked; other programs have been using it"):
            store.delete("Person 0")
        reader.close()
        assert [one.name for one in store.list()] == ["Person 0"]
        store.delete("Person 0")


def test_who_reads_between_erasing_and_writing_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 3)
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    reader = sqlite3.connect(path, isolation_level=None)
    original = database.transaction

    @contextmanager
    def then_somebody_reads(*args: Any) -> Iterator[None]:
        with original(*args):
            yield
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM person").fetchall()

    with ProfileStore(path) as store, monkeypatch.context() as patch:
        patch.setattr(database, "transaction", then_somebody_reads)
        with pytest.raises(ProfilesError, match=r"is locked; .* it is done and overwritten, but the file is not"):
            store.delete("Person 0")
    reader.close()
    assert traces(path.parent, secrets("Person 0", references(0))) == []
    assert names(path) == ["Person 1", "Person 2"]


# What is no store


def everything(path: Path) -> list[str]:
    """What each thing that can be done says of a file that is no store."""
    said = []
    actions: tuple[Callable[[ProfileStore], object], ...] = (
        lambda store: store.list(),
        lambda store: store.people(MODEL),
        lambda store: store.show("Person 0"),
        lambda store: store.enroll("Ben", references(77)),
        lambda store: store.rename("Person 0", "Zoe"),
        lambda store: store.delete("Person 0"),
    )
    for do in actions:
        with pytest.raises(ProfilesError) as error, ProfileStore(path) as store:
            do(store)
        said.append(str(error.value))
    return said


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    db.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"RIFF" + bytes(5000)), "file is not a database; it was left as it is: move it"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-6000]),
            "it was left as it is: move it away, then import an",
        ),
        (newer, "made by a newer diarize \\(version 2, not 1\\): update diarize"),
        (foreign, "the database of another program; choose another --profiles"),
    ],
    ids=["garbage", "truncated", "newer", "foreign"],
)
def test_what_is_no_store_is_left_as_it_is(spoil: Callable[[Path], object], says: str, path: Path) -> None:
    fill(path, 30)
    spoil(path)
    before = path.read_bytes()
    for said in everything(path):
        assert said.startswith(f"{path}: ")
        assert re.search(says, said)
        assert "\n" not in said
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]


def test_a_damaged_page_is_not_written_to(path: Path) -> None:
    fill(path, 200)
    content = bytearray(path.read_bytes())
    page = content.index(reference(100).embedding.tobytes()) // 4096 * 4096
    content[page : page + 100] = b"\xff" * 100
    path.write_bytes(content)
    with ProfileStore(path) as store, pytest.raises(ProfilesError, match="it was left as it is"):
        store.enroll("Ben", references(999))  # to other pages
    with ProfileStore(path) as store, pytest.raises(ProfilesError, match="it was left as it is"):
        store.people(MODEL)
    assert path.read_bytes() == content


def test_embeddings_that_are_none_are_no_voices(path: Path) -> None:
    fill(path, 3)
    content = path.read_bytes()
    path.write_bytes(content.replace(reference(1).embedding.tobytes(), b"\xff" * 4 * DIMENSIONS))
    with ProfileStore(path) as store:
        with pytest.raises(ProfilesError, match=r"damaged .* it was left as it is"):
            store.people(MODEL)
        with pytest.raises(ProfilesError, match=r"damaged .* it was left as it is"):
            store.show("Person 1")


def test_a_disk_that_cannot_be_written() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # below no private folder, for root to try it as somebody else
        folder = Path(name)
        path = folder / "people.db"
        fill(path, 2)
        path.chmod(0o444)
        folder.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            with ProfileStore(path) as store:
                assert len(store.people(MODEL).names) == 2
                with pytest.raises(
                    ProfilesError, match="readonly database; it cannot be written: change the permissions"
                ):
                    store.enroll("Ben", references(9))
                with pytest.raises(PermissionError) as denied:
                    store.export(folder / "export.json")
                assert denied.value.filename == str(folder / "export.json")
            with pytest.raises(PermissionError), ProfileStore(folder / "new.db") as store:
                store.enroll("Ben", references(9))
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        assert names(path) == ["Person 0", "Person 1"]
        assert len(list(folder.iterdir())) == 1


FULL = """
import resource, signal, sys
from diarize.profiles.person import ProfilesError
from diarize.profiles.store import ProfileStore
from tests.voices import references
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # as a disk that is full
with ProfileStore(sys.argv[1]) as store:
    try:
        store.enroll("Ben", references(9, 200))
    except ProfilesError as error:
        print(error)
"""


def test_a_full_disk_changes_nothing(path: Path) -> None:
    fill(path, 20)
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"{path}: ")
    assert done.stdout.endswith("; make room, or choose another place\n")
    assert len(names(path)) == 20


# Portable


def test_an_export_brings_everybody_elsewhere(path: Path, tmp_path: Path) -> None:
    fill(path, 3)
    with ProfileStore(path) as store:
        one = reference(1, 5, origin=Origin(os.fsdecode(b"/rec/\xff.wav"), "ab" * 32, ((1, 2), (4, 6))))
        store.enroll("Person 1", [one])
        assert store.export(tmp_path / "all.json") == 3
        assert store.export(tmp_path / "one.json", ["Person 1", "Person 1"]) == 1
        with pytest.raises(ProfilesError, match="nobody is called 'Ben'"):
            store.export(tmp_path / "none.json", ["Person 1", "Ben"])
        with pytest.raises(ProfilesError, match="is the store itself"):
            store.export(path.parent / ".." / "state" / "people.db")
    assert not (tmp_path / "none.json").exists()
    with ProfileStore(tmp_path / "other.db") as other, ProfileStore(path) as store:
        assert other.import_(tmp_path / "all.json") == ["Person 0", "Person 1", "Person 2"]
        assert list(other.list()) == list(store.list())
        for number in range(3):
            pair = (db.show(f"Person {number}").references for db in (store, other))
            assert all(same(*both) for both in zip(*pair, strict=True))
    assert [person.name for person in read_people(tmp_path / "one.json")] == ["Person 1"]


def test_names_that_are_taken_where_an_export_comes_to(path: Path, tmp_path: Path) -> None:
    fill(path, 2)
    export = tmp_path / "export.json"
    write_people(export, [Person("Person 1", tuple(references(8))), Person("Cleo", tuple(references(9)))])
    with ProfileStore(path) as store:
        with pytest.raises(ProfilesError, match=r"^Person 1: somebody has this name already; .*--rename, --replace"):
            store.import_(export)
        assert names(path) == ["Person 0", "Person 1"]
        with pytest.raises(ProfilesError, match="not both"):
            store.import_(export, rename=True, replace=True)
        assert store.import_(export, rename=True) == ["Person 1 (2)", "Cleo"]
        assert store.import_(export, replace=True) == ["Person 1", "Cleo"]
        assert [one.name for one in store.list()] == ["Cleo", "Person 0", "Person 1", "Person 1 (2)"]
        assert same(store.show("Person 1").references[0], reference(8))
        write_people(export, [Person("Dan", (reference(4, model="b" * 64),))])
        with pytest.raises(ProfilesError, match="voices of different models cannot be compared"):
            store.import_(export)
        write_people(export, [Person(one.name, (reference(4, model="b" * 64),)) for one in store.list()])
        store.import_(export, replace=True)  # nobody of the old model is left
        assert len(store.people("b" * 64).names) == 4


def test_numbers_for_taken_names() -> None:
    assert numbered(["Ana", "Ana (2)", "Ben"], {"Ana", "Ben (2)"}) == ["Ana (3)", "Ana (2)", "Ben"]
    assert numbered(["Ana"], {"Ana", "Ana (2)"}) == ["Ana (3)"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"{", b"", "no export of people"),
        (b"diarize people", b"diarize purple", "no export of people"),
        (b'"version": 1', b'"version": 2', "of version 2, and this program reads 1: update diarize"),
        (b'"speech": 5.5', b'"speech": NaN', "damaged"),
        (b'"speech": 5.5', b'"spoken": 5.5', "damaged .*'speech'"),
        (b'"cohesion": 0.8', b'"cohesion": 8', "damaged"),
        (b'"embedding": "', b'"embedding": "AAAA', "damaged"),
        (b"Person 1", b"Person 0", "damaged .a name is in it twice"),
        (b"Person 1", b"SPEAKER_01", "damaged"),
        (b"2026-01-01T", b"yesterday T", "damaged"),
        (b"a" * 64, b"b" * 64, "damaged .*different models"),
    ],
)
def test_a_damaged_export_changes_nothing(old: bytes, new: bytes, says: str, path: Path, tmp_path: Path) -> None:
    fill(path, 2)
    export = tmp_path / "export.json"
    with ProfileStore(path) as store:
        store.export(export)
        for one in list(store.list()):
            store.delete(one.name)
        store.enroll("Ben", references(9))
        before = path.read_bytes()
        content = export.read_bytes()
        assert old in content
        export.write_bytes(content.replace(old, new, 1))
        with pytest.raises(ProfilesError, match=says) as error:
            store.import_(export)
    assert str(error.value).startswith(f"{export}: ")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


# Whatever is done in whatever order


class AgainstADictionary(RuleBasedStateMachine):
    """The store does what a dictionary of lists does, from one opening to the next."""

    people = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "people.db"
        self.expected: dict[str, list[bytes]] = {}
        self.voices = 0
        self.store = ProfileStore(self.path).__enter__()

    def teardown(self) -> None:
        self.store.__exit__()
        self.folder.cleanup()

    @rule(target=people, count=st.integers(1, 3))
    def enroll(self, count: int) -> str:
        self.voices += 1
        name = f"Person {self.voices}"
        self.store.enroll(name, references(self.voices, count))
        self.expected[name] = [one.embedding.tobytes() for one in references(self.voices, count)]
        return name

    @rule(target=people, name=consumes(people))
    def rename(self, name: str) -> str:
        new = f"Once {name}"
        self.store.rename(name, new)
        self.expected[new] = self.expected.pop(name)
        return new

    @rule(name=people, other=consumes(people))
    def merge(self, name: str, other: str) -> None:
        if name in self.expected and name != other:
            self.store.merge(name, other)
            self.expected[name] += self.expected.pop(other)
        else:
            self.store.delete(other)
            del self.expected[other]

    @rule(name=consumes(people))
    def delete(self, name: str) -> None:
        self.store.delete(name)
        del self.expected[name]

    @rule()
    def open_again(self) -> None:
        self.store.__exit__()
        self.store.__enter__()

    @rule()
    def carry_elsewhere(self) -> None:
        export = self.path.with_suffix(".json")
        self.store.export(export)
        self.store.__exit__()
        self.path.unlink(missing_ok=True)
        self.store.__enter__()
        self.store.import_(export)

    @invariant()
    def agrees(self) -> None:
        people = self.store.people(MODEL)
        kept: dict[str, list[bytes]] = {name: [] for name in people.names}
        for owner, row in zip(people.owner.tolist(), people.references, strict=True):
            kept[people.names[owner]].append(row.tobytes())
        assert {name: sorted(rows) for name, rows in kept.items()} == {
            name: sorted(rows) for name, rows in self.expected.items()
        }


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(deadline=None, max_examples=8, stateful_step_count=12)
