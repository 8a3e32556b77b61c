"""What is kept of sessions: enough to go on to the bit, no audio, nothing that runs, nothing for longer than said."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diarize
from diarize.clustering.memory import EmbeddingFile
from diarize.formats import as_rttm
from diarize.pipeline import SpeakerDiarization
from diarize.server.journal import Entry, Journal, new_id
from diarize.server.messages import Options, Rename, Start
from diarize.server.recovery import recover
from diarize.server.saved import loads
from diarize.server.session import Session
from diarize.turns import TurnsConfig
from diarize.types import EmbeddingWindow, Held
from tests.kept_session import LENGTH, START
from tests.overlap import Reader
from tests.sessions import RATE, Client, ended, heard, remembering, run, speech, write_known


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    return remembering()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


Kept = tuple[Entry, Session]


@pytest.fixture
def kept(pipeline: SpeakerDiarization, journal: Journal) -> Iterator[Kept]:
    """A session of eight seconds, with a name, kept."""
    entry = journal.create("Kept", Start(uri="a call"), pipeline)
    session = entry.session(pipeline)
    heard(pipeline, session, speech(8))
    session.command(Rename("SPEAKER_00", "Clara"))
    entry.checkpoint(session.save())
    yield entry, session
    entry.close()


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_session_goes_on_from_its_journal(pipeline: SpeakerDiarization, journal: Journal, kept: Kept) -> None:
    entry, session = kept
    heard(pipeline, session, speech(12)[2 * 8 * RATE :])  # which is not kept
    entry.close()
    entry = journal.open("Kept")
    assert entry.begun.start == Start(uri="a call")
    assert entry.result is None
    again, client = entry.session(pipeline), Client("a call")
    ready = again.ready(message_bytes=1, idle_s=1, resumable=True)
    client.take([ready, *again.snapshot()])
    assert ready["resumed"]
    assert 0 < ready["position"] < 8 * RATE
    said = run(pipeline, again, [speech(12)[2 * again.position :]])
    client.take(said)
    whole = Session("Kept", Start(uri="a call"), pipeline, EmbeddingFile())
    heard(pipeline, whole, speech(12))
    whole.command(Rename("SPEAKER_00", "Clara"))
    assert ended(pipeline, whole)[-1]["rttm"] == client.rttm
    assert "Clara" in str(client.rttm)
    whole.close()
    entry.close()


def test_a_session_without_a_checkpoint_begins_again(pipeline: SpeakerDiarization, journal: Journal) -> None:
    entry = journal.create("a", Start(), pipeline)
    heard(pipeline, entry.session(pipeline), speech(4))
    assert len(entry.embeddings) > 3
    entry.close()
    entry = journal.open("a")
    session = entry.session(pipeline)
    assert session.position == len(entry.embeddings) == 0
    assert not session.ready(message_bytes=1, idle_s=1, resumable=True)["resumed"]
    entry.close()


def test_who_resumes_never_sees_a_number_twice(pipeline: SpeakerDiarization, kept: Kept) -> None:
    entry, session = kept
    seqs = [session.say({"type": "ack", "position": 0})[0]["seq"]]
    for _ in range(3):
        session = entry.session(pipeline)
        entry.checkpoint(session.save())
        seqs += [message["seq"] for message in session.snapshot()]
    assert all(a < b for a, b in pairwise(seqs))


def test_only_this_user_can_read_it(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        entry = Journal(tmp_path / "new" / "journal").create("a", Start(), pipeline)
        entry.checkpoint(entry.session(pipeline).save())
        entry.checkpoint(entry.session(pipeline).save())
        opened = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
        entry.finish(0, [{"type": "done"}])
        closed = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    finally:
        os.umask(before)
    assert opened.pop("journal") == opened.pop("a") == 0o700
    assert set(opened) == {"start.json", "state", "embeddings.bin", "result.json"}
    assert set(opened.values()) == {0o600}
    assert closed == {"journal": 0o700, "a": 0o700, "start.json": 0o600, "result.json": 0o600}


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "/etc/x", "a\\b", "a\0b", "a b", "é", "x" * 65, "a\n"])
def test_an_id_is_no_path(pipeline: SpeakerDiarization, journal: Journal, bad: str) -> None:
    before = sorted(journal.folder.parent.rglob("*"))
    for use in (journal.open, journal.erase, lambda name: journal.create(name, Start(), pipeline)):
        with pytest.raises(ValueError, match="is no session: an id has 1 to 64 of the characters"):
            use(bad)
    assert sorted(journal.folder.parent.rglob("*")) == before


def test_ids_cannot_be_guessed_nor_taken_twice(pipeline: SpeakerDiarization, journal: Journal) -> None:
    ids = {new_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert min(map(len, ids)) >= 22  # 128 bits
    for name in list(ids)[:20]:
        journal.create(name, Start(), pipeline).close()
    assert set(journal.ids()) <= ids
    with pytest.raises(ValueError, match="already"):
        journal.create(journal.ids()[0], Start(), pipeline)
    with pytest.raises(LookupError, match="no session Unknown: sessions are kept for 24 hours"):
        journal.open("Unknown")


def test_no_audio_is_on_disk(pipeline: SpeakerDiarization, journal: Journal, kept: Kept) -> None:
    entry, session = kept
    data = speech(14)
    for end in range(9, 15):
        heard(pipeline, session, data[2 * session.position : 2 * end * RATE])
        entry.checkpoint(session.save())
        written = b"".join(files(journal.folder).values())
        state = journal.folder / "Kept" / "state"
        assert b"Held" not in state.read_bytes()
        assert len(written) < 32_000 * end / 4
        floats = (np.frombuffer(data[: 2 * end * RATE], "<i2") / 32_768).astype("<f4")
        # every stretch of 5 ms of what the stages held, and some of all that was heard
        for audio, step in ((floats[8 * RATE :], 80), (floats, 8_000)):
            for i in range(0, len(audio) - 80, step):
                piece = audio[i : i + 80]
                assert piece.tobytes() not in written
                assert (piece * 32_768).astype("<i2").tobytes() not in written


class Evil:
    """Runs a command when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def named(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls what goes by this name."""
    stack = pickle.SHORT_BINUNICODE
    parts = b"".join(stack + bytes([len(text)]) + text.encode() for text in (module, name))
    called = stack + bytes([len(argument)]) + argument.encode() + pickle.TUPLE1 + pickle.REDUCE
    return pickle.PROTO + b"\x04" + parts + pickle.STACK_GLOBAL + called + pickle.STOP


def test_a_state_runs_nothing(pipeline: SpeakerDiarization, journal: Journal, kept: Kept) -> None:
    marker = journal.folder / "marker"
    command = f"touch {marker}"
    evil = [
        pickle.dumps(Evil(marker)),
        named("os", "system", command),
        named("builtins", "eval", f"open({str(marker)!r}, 'w')"),
        named("diarize.server.journal", "os.system", command),  # out of the package again
        named("diarize.server.journal", "shutil.rmtree", str(journal.folder)),
        named("diarize.clustering.memory", "EmbeddingFile", str(marker)),  # ours, but it writes
        named("numpy", "load", str(marker)),
        named("diarize.formats", "write_atomically", str(marker)),
        pickle.dumps([Evil(marker)], protocol=0),
    ]
    for data in evil:
        (journal.folder / "Kept" / "state").write_bytes(hashlib.sha256(data).digest() + data)
        with pytest.raises(ValueError, match=r"was not written by this program.*is no part of a session"):
            kept[0].session(pipeline)
    assert not marker.exists()
    assert (journal.folder / "Kept").exists()
    pickle.loads(evil[0])  # noqa: S301 - it does run where anything may be named
    assert marker.exists()


def test_what_is_no_session_is_refused() -> None:
    for value in ({"heard": 3}, Held(), None):
        data = pickle.dumps(value)
        with pytest.raises(ValueError, match="the saved state is of type"):
            loads(hashlib.sha256(data).digest() + data)


def test_a_damaged_state_is_refused(pipeline: SpeakerDiarization, journal: Journal, kept: Kept) -> None:
    state = journal.folder / "Kept" / "state"
    whole = state.read_bytes()
    random = np.random.default_rng(0)
    for at in [0, 31, 32, len(whole) - 1, *random.integers(0, len(whole), 30).tolist()]:
        flipped = whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :]
        for damaged in (flipped, whole[: at + 1] if at + 1 < len(whole) else whole + b"x"):
            state.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"journal/Kept/state: the saved state is damaged"):
                kept[0].session(pipeline)
    state.unlink()
    with pytest.raises(ValueError, match="is gone: session Kept cannot be resumed"):
        kept[0].session(pipeline)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"at": 1}', b'{"at": 1, "start": {"rate": 3}}'])
def test_a_damaged_beginning_or_answer_is_refused(
    pipeline: SpeakerDiarization, journal: Journal, kept: Kept, content: bytes
) -> None:
    (journal.folder / "Kept" / "result.json").write_bytes(content)
    if content:
        with pytest.raises(ValueError, match=r"result.json: the answer of this session is damaged"):
            kept[0].result  # noqa: B018 - reading it is what is tested
    (journal.folder / "Kept" / "start.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"start.json: the beginning of this session is damaged"):
        journal.open("Kept")


def test_another_version_or_model_or_other_settings_are_refused(
    pipeline: SpeakerDiarization, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "session Kept was begun by another version of this program, with other settings or with another model"
    with pytest.raises(ValueError, match=refused):
        kept[0].session(remembering(replace(pipeline.config, turns=TurnsConfig(gap=1))))
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.encoder, "fingerprint", "another")
        with pytest.raises(ValueError, match=refused):
            kept[0].session(pipeline)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "segmenter", Reader())
        with pytest.raises(ValueError, match=refused):
            kept[0].session(pipeline)
    with monkeypatch.context() as patch:
        patch.setattr(diarize, "__version__", "99.0")
        with pytest.raises(ValueError, match=refused):
            kept[0].session(pipeline)
    assert kept[0].session(pipeline).position > 0


def test_of_a_session_that_is_over_its_answer_stays_alone(
    pipeline: SpeakerDiarization, journal: Journal, kept: Kept
) -> None:
    entry, session = kept
    (journal.folder / "Kept" / ".0123.part").write_bytes(b"what a killed process had half written")
    done = ended(pipeline, session)[-1]
    entry.finish(session.position, [*session.snapshot(), done])
    assert set(files(journal.folder)) == {"Kept/start.json", "Kept/result.json"}
    again = Journal(journal.folder).open("Kept")
    result = again.result
    assert result is not None
    assert result.position == 8 * RATE
    assert result.messages[-1] == done
    client = Client("a call")
    client.take({**message, "seq": seq} for seq, message in enumerate(result.messages, 1))
    assert client.rttm == done["rttm"]
    again.close()


def test_it_is_gone_after_its_time(pipeline: SpeakerDiarization, tmp_path: Path, kept: Kept) -> None:
    journal = Journal(tmp_path / "journal", keep=2)
    for name in ("old", "busy", "young"):
        journal.create(name, Start(), pipeline).close()
    for name, hours in (("old", 2.1), ("busy", 9), ("young", 1.9)):
        for path in (*(journal.folder / name).iterdir(), journal.folder / name):
            at = path.stat().st_mtime - 3600 * hours
            os.utime(path, (at, at))
    assert journal.ids() == ["busy", "old", "young", "Kept"]
    assert journal.expire(busy={"busy"}) == ["old"]
    assert journal.ids() == ["busy", "young", "Kept"]
    assert journal.expire() == ["busy"]
    journal.erase("young")
    journal.erase("young")
    journal.erase("Kept")  # also while it is open
    assert list(journal.folder.iterdir()) == []
    with pytest.raises(OSError, match=r"journal/Kept"):
        kept[0].checkpoint(kept[1].save())


@pytest.mark.parametrize("keep", [0, -1, float("nan"), float("inf")])
def test_hours_that_cannot_be_are_refused(tmp_path: Path, keep: float) -> None:
    with pytest.raises(ValueError, match="cannot be kept for"):
        Journal(tmp_path, keep)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"/file"):
        Journal(tmp_path / "file" / "journal")


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(
    pipeline: SpeakerDiarization, journal: Journal, kept: Kept
) -> None:
    entry, session = kept
    before = files(journal.folder)
    heard(pipeline, session, speech(10)[2 * 8 * RATE :])
    saved = session.save()
    with limited(1_000), pytest.raises(OSError, match=r"File too large: .*journal/Kept/state"):
        entry.checkpoint(saved)
    after = files(journal.folder)
    assert after.keys() == before.keys()
    assert after["Kept/state"] == before["Kept/state"]
    assert entry.session(pipeline).heard == 8 * RATE


def test_an_embedding_that_does_not_fit_is_told_and_does_no_harm(tmp_path: Path) -> None:
    embedding = EmbeddingFile(tmp_path / "embeddings.bin")
    window = EmbeddingWindow(0, 10, ((0, 10),), 0, np.ones(192, np.float32), 1.0)
    embedding.append(window)
    embedding.append(window)
    with limited(2_000), pytest.raises(OSError, match=r"File too large|No space left"):
        embedding.append(window)
    assert len(embedding) == len(embedding.read_all()) == 2
    embedding.close()
    again = EmbeddingFile(tmp_path / "embeddings.bin")
    assert len(again) == 2
    again.close()


def test_an_abandoned_session_is_recovered_and_left_as_it_is(
    pipeline: SpeakerDiarization, journal: Journal, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    _, session = kept
    before = files(journal.folder)
    result = recover(journal, "Kept")
    assert files(journal.folder) == before
    assert caplog.messages == ["session Kept was not ended: what came after 8.0 s is lost"]
    session.finish()
    assert as_rttm(result) == as_rttm(session.result)
    assert "SPEAKER a%20call 1 0.482 4.600 <NA> <NA> Clara" in as_rttm(result)
    assert result.duration == 8 * RATE
    with pytest.raises(LookupError, match="no session Unknown"):
        recover(journal, "Unknown")


def test_a_session_that_is_over_is_recovered_too(pipeline: SpeakerDiarization, journal: Journal, kept: Kept) -> None:
    entry, session = kept
    done = ended(pipeline, session)[-1]
    entry.finish(session.position, [*session.snapshot(), done])
    assert as_rttm(recover(journal, "Kept")) == done["rttm"]


def test_a_recovered_session_has_the_options_of_its_start(pipeline: SpeakerDiarization, journal: Journal) -> None:
    entry = journal.create("one", Start(options=Options(num_speakers=1, latency=2)), pipeline)
    assert recover(journal, "one").updates == ()
    session = entry.session(pipeline)
    heard(pipeline, session, speech(8))
    entry.checkpoint(session.save())
    result = recover(journal, "one")
    assert {update.speaker for update in result.updates} == {"SPEAKER_00"}
    assert result.settings["live"] == {"latency": 2.0}
    entry.close()


def test_a_killed_server_loses_nothing(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    whole = Session("Killed", START, pipeline, EmbeddingFile())
    expected = run(pipeline, whole, [speech(LENGTH, START)])[-1]["rttm"]
    whole.close()
    write_known(pipeline, tmp_path / "embeddings.npz")
    random = np.random.default_rng(0)
    acknowledged, kills, said = 0, 0, b""
    for seed in range(100):
        program: list[str | Path] = [sys.executable, "-m", "tests.kept_session"]
        program += [tmp_path / "journal", "Killed", tmp_path / "embeddings.npz", str(seed)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            (word, position), limit = process.stdout.readline().split(), int(random.integers(1, 20))
            assert word == b"position"
            assert int(position) >= acknowledged, "audio that had been acknowledged is asked for again"
            said = b""
            while said.count(b"\n") < limit and (line := process.stdout.readline()):
                said += line
            if kills < 4:
                time.sleep(random.uniform(0, 0.02))  # anywhere between two checkpoints
                process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        acks = [int(line.split()[1]) for line in said.splitlines(keepends=True) if re.fullmatch(rb"ack \d+\n", line)]
        acknowledged = max([acknowledged, *acks])
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    assert said[said.index(b"SPEAKER") :].decode() == expected
