"""The server's commands as its operator meets them."""

from __future__ import annotations

import inspect
import json
import re
import signal
import socket
import subprocess
from contextlib import closing
from dataclasses import fields
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from pathlib import Path

import pytest

from diarize.commands import server as server_commands
from diarize.pipeline import SpeakerDiarization
from diarize.rttm import Turn, read_rttm
from diarize.server.journal import Journal
from diarize.server.messages import Rename, Start
from diarize.server.shared import ServerConfig
from tests.command import DIARIZE, Done, here, process
from tests.sessions import ended, heard, speech

Capture = pytest.CaptureFixture[str]
ANYWHERE = "0.0.0.0"  # noqa: S104 - no test comes to listen there


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization()


@pytest.fixture
def journal(tmp_path: Path, diarization: SpeakerDiarization) -> Path:
    """A journal in which `cut` was left after 9 s of audio, with a name for its speaker, and `over` came to its end."""
    kept = Journal(tmp_path / "sessions")
    for name in ("cut", "over"):
        entry = kept.create(name, Start(uri=f"the {name}"), diarization)
        session = entry.session(diarization)
        heard(diarization, session, speech(9))
        session.command(Rename("SPEAKER_00", "Clara"))
        if name == "over":
            said = ended(diarization, session)
            entry.finish(session.position, [*session.snapshot(), said[-1]])
        else:
            entry.checkpoint(session.save())
            session.close()
            entry.close()
    return kept.folder


def turns(text: str, folder: Path) -> dict[str, list[Turn]]:
    (folder / "printed").write_text(text)
    return read_rttm(folder / "printed")


def test_a_session_that_nobody_ended_is_recovered(journal: Path, tmp_path: Path, capfd: Capture) -> None:
    done = process("recover", "cut", "--journal", journal)
    assert done.code == 0
    assert done.err.startswith("warning: session cut was not ended: what came after ")
    assert done.err.count("\n") == 1
    cut = turns(done.out, tmp_path)["the cut"]
    over = turns(here(capfd, "recover", "over", "--journal", journal).out, tmp_path)["the over"]
    assert {turn.speaker for turn in cut} == {"Clara", "SPEAKER_01"}
    assert cut[0] == over[0]
    assert [turn.speaker for turn in cut] == [turn.speaker for turn in over]


def test_the_result_goes_to_a_file_and_the_session_stays(journal: Path, tmp_path: Path, capfd: Capture) -> None:
    printed = here(capfd, "recover", "cut", "--journal", journal)
    done = here(capfd, "recover", "cut", "--journal", journal, "-o", tmp_path / "new" / "cut.rttm")
    assert (done.code, done.out, done.err) == (0, "", f"{tmp_path}/new/cut.rttm: 2 speakers, 2 turns\n")
    assert (tmp_path / "new" / "cut.rttm").read_text() == printed.out
    here(capfd, "recover", "cut", "--journal", journal, "-o", tmp_path / "cut.json")
    assert json.loads((tmp_path / "cut.json").read_text())["uri"] == "the cut"
    assert here(capfd, "recover", "cut", "--journal", journal) == printed


def test_sessions_are_listed_and_erased(journal: Path, capfd: Capture) -> None:
    (journal / "broken").mkdir()
    (journal / "broken" / "start.json").write_text("{")
    before = {path: path.read_bytes() for path in journal.rglob("*") if path.is_file()}
    done = here(capfd, "recover", "--list", "--journal", journal)
    assert (done.code, done.err) == (0, "")
    told = {line.split()[0]: line.split("  ")[1:] for line in done.out.splitlines()}
    assert told["broken"] == ["damaged"]
    assert (told["cut"][1], told["over"][1]) == ("not ended", "ended")
    assert {path: path.read_bytes() for path in journal.rglob("*") if path.is_file()} == before
    for name in ("cut", "broken"):
        assert here(capfd, "recover", name, "--erase", "--journal", journal) == Done(0, "", "")
    assert Journal(journal).ids() == ["over"]


def test_the_journal_is_the_users_own_unless_told_otherwise(
    journal: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    message = f"error: {tmp_path}/state/diarize/sessions: no sessions are kept here; give the server's --journal\n"
    assert here(capfd, "recover", "--list") == Done(2, "", message)
    (tmp_path / "state" / "diarize").mkdir(parents=True)
    journal.rename(tmp_path / "state" / "diarize" / "sessions")
    assert len(here(capfd, "recover", "--list").out.splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("recover", 2, "which session? diarize recover --list says which there are"),
        ("recover cut --erase -o x", 2, "--erase writes nothing: recover the session first, then erase it"),
        ("recover other", 1, "sessions: no session 'other' is kept here"),
        ("recover ../sessions/cut --erase", 1, "sessions: no session '../sessions/cut' is kept here"),
        ("recover cut -o sessions", 1, "sessions: Is a directory; name a file, or end a folder's name with /"),
        ("recover cut --set vad.onset=0.6", 2, "No such option: --set*; see diarize recover --help"),
    ],
)
def test_what_cannot_be_recovered_is_told(
    journal: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, line: str, code: int, message: str
) -> None:
    monkeypatch.chdir(journal.parent)
    done = here(capfd, *line.split(), "--journal", "sessions")
    assert (done.code, done.out) == (code, "")
    assert fnmatchcase(done.err, f"error: {message}\n")


def test_what_the_command_takes_for_granted_is_what_the_server_does() -> None:
    options = {name: one.default for name, one in inspect.signature(server_commands.serve).parameters.items()}
    settings = {field.name: field.default for field in fields(ServerConfig)}
    for name in ("host", "port", "max_sessions", "tls_cert", "tls_key", "keep", "idle"):
        assert options[name] == settings[name]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--port 99999", 2, "port is 99999: give 0 to 65535"),
        ("--port x", 2, "Invalid value for '--port': *; see diarize serve --help"),
        ("--port {taken}", 1, "cannot listen at 127.0.0.1:{taken}: Address already in use; choose another"),
        (
            "--host no.such.host.invalid --token-file token",
            1,
            "cannot listen at no.such.host.invalid:8787: *; choose another",
        ),
        ("--token-file nowhere", 2, "nowhere: No such file or directory; check the name"),
        ("--token-file empty", 2, "empty: must hold the token, one word, and nothing else"),
        ("--token-file two", 2, "two: must hold the token, one word, and nothing else"),
        ("--token-file bytes", 2, "bytes: a token is text in UTF-8"),
        ("--tls-cert token", 2, "TLS needs a certificate and its key: give both, or neither"),
        ("--tls-cert token --tls-key token", 1, "token and token cannot be used for TLS: *"),
        (
            "--tls-cert nowhere --tls-key token",
            1,
            "nowhere and token cannot be used for TLS: *No such file or directory",
        ),
        ("--journal token", 1, "token: *"),
        ("--keep 0", 2, "keep is 0.0: give more than 0"),
        ("--max-sessions 0", 2, "max_sessions is 0: give at least 1"),
        ("--pipeline nowhere", 2, "no recipe 'nowhere': *"),
        ("--latency 0.5 --set vad.min_on=0.4", 2, "live.latency is 0.5 s, but with these settings the *"),
    ],
)
def test_what_cannot_be_served_is_told(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, options: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, content in {"token": b"secret\n", "empty": b"\n", "two": b"one two", "bytes": b"\xff"}.items():
        Path(name).write_bytes(content)
        Path(name).chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        done = here(capfd, "serve", *options.replace("{taken}", taken).split())
    assert (done.code, done.out) == (code, "")
    assert fnmatchcase(done.err, f"error: {message.replace('{taken}', taken)}\n")


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        *((far, True) for far in (ANYWHERE, "::", "", "192.0.2.1", "no.such.host.invalid")),
        *((near, False) for near in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
    ],
)
def test_who_lets_everybody_in_is_warned(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, host: str, warned: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("none").touch()
    done = here(capfd, "serve", "--host", host, "--journal", "none")  # which ends it
    assert done.code == 1
    assert ("can use this server: give a --token-file" in done.err) == warned


def test_a_token_that_others_can_read_is_warned_of(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("none").touch()
    Path("token").write_text("secret")
    refused = "error: none: File exists; a file stands where a folder should; choose another place\n"
    for mode, warning in [(0o644, "warning: token can be read by other users: chmod 600 token\n"), (0o600, "")]:
        Path("token").chmod(mode)
        done = here(capfd, "serve", "--host", ANYWHERE, "--token-file", "token", "--journal", "none")
        assert done.err == warning + refused
        assert "secret" not in done.err


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [*DIARIZE, "serve", "--port", "0", "--journal", str(tmp_path / "sessions")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        line = running.stderr.readline()
        found = re.fullmatch(r"listening at http://(127\.0\.0\.1:\d+)/; Ctrl-C ends\n", line)
        assert found, line
        with closing(HTTPConnection(found[1], timeout=30)) as client:
            client.request("GET", "/healthz")
            assert json.load(client.getresponse())["status"] == "ok"
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=60) == ("", "")
        assert running.returncode == 0
    finally:
        running.kill()
        running.wait()
