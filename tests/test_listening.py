"""`diarize mic` from beginning to end: a conversation is played into the microphone of a private PulseAudio."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from diarize.microphone.device import Device
from diarize.microphone.listening import _interruption_calls, listen
from diarize.pipeline import SpeakerDiarization, load_config
from diarize.rttm import Turn, read_rttm, turns_from
from tests.command import DIARIZE, Done, write_clip
from tests.pulse import Listener, delay, pulse

NOWHERE = Device(99, "no device", "ALSA", 16_000.0, default=True)
GONE = "default, ALSA gives no more audio: was it unplugged?"


@dataclass(frozen=True)
class Heard:
    """What a session did, and the folder with its files."""

    done: Done
    folder: Path
    temporary: Path

    @property
    def recording(self) -> Path:
        return self.folder / "meeting.flac"


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Heard]:
    """What sessions did that all heard the same 12.5 s of conversation, of three people.

    terminal: draws on a terminal.  plain: does not; both are interrupted.  unplugged: its device goes.
    homeless: its device goes too, and its output's folder has gone before.
    """
    folder = tmp_path_factory.mktemp("heard")
    clip = write_clip(folder / "clip.wav", 12.5)
    with pulse(tmp_path_factory.mktemp("pulse")) as speaker:

        def session(name: str, *options: str, terminal: bool = False) -> Listener:
            command = (*DIARIZE, "mic", "--record", "meeting.flac", *options)
            return Listener(speaker, folder / name, *command, terminal=terminal)

        sessions = {
            "terminal": session("terminal", "-o", "meeting.rttm", terminal=True),
            "plain": session("plain", "--device", "DEFAULT"),
            "unplugged": session("unplugged", "-o", "who.json"),
            "homeless": session("homeless", "-o", "results/who.rttm"),
        }
        speaker.wait_for_listeners(len(sessions))
        speaker.play(clip)
        time.sleep(1)
        shutil.rmtree(folder / "homeless" / "results")
        interrupted = ("terminal", "plain")
        for name in interrupted:
            sessions[name].interrupt()
        done = {name: sessions[name].ended() for name in interrupted}
        speaker.kill()
        done |= {name: session.ended() for name, session in sessions.items() if name not in interrupted}
    return {name: Heard(done[name], folder / name, session.temporary) for name, session in sessions.items()}


def assert_same(live: list[Turn], expected: list[Turn]) -> None:
    """The same boundaries, to RTTM's millisecond, and the same partition into speakers."""

    def times(turns: list[Turn]) -> list[tuple[int, int]]:
        return [(round(turn.start / 16), round(turn.end / 16)) for turn in turns]

    assert times(live) == times(expected)
    pairs = {(one.speaker, other.speaker) for one, other in zip(live, expected, strict=True)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def as_rttm(text: str, path: Path) -> list[Turn]:
    """The turns of printed RTTM, whose recording is named after the file that was recorded."""
    path.write_text(text)
    return read_rttm(path)["meeting"]


def as_json(path: Path) -> list[Turn]:
    """The turns of JSON."""
    said = json.loads(path.read_text())
    return [Turn(round(one["start"] * 16_000), round(one["end"] * 16_000), one["speaker"]) for one in said["turns"]]


ANSWERS: dict[str, Callable[[Heard, Path], list[Turn]]] = {
    "terminal": lambda heard, _: read_rttm(heard.folder / "meeting.rttm")["meeting"],
    "plain": lambda heard, place: as_rttm(heard.done.out, place),
    "unplugged": lambda heard, _: as_json(heard.folder / "who.json"),
    "homeless": lambda heard, place: as_rttm(heard.done.out, place),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_final_turns_are_those_of_the_offline_run_over_the_recording(
    heard: dict[str, Heard], name: str, tmp_path: Path
) -> None:
    turns = ANSWERS[name](heard[name], tmp_path / "printed.rttm")
    assert len({turn.speaker for turn in turns}) > 1
    offline = SpeakerDiarization(load_config("microphone")).diarize(heard[name].recording)
    assert_same(turns, turns_from(offline.updates))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_recording_holds_what_was_played(heard: dict[str, Heard], name: str) -> None:
    assert delay(heard[name].recording, 9, 12) == pytest.approx(delay(heard[name].recording, 1, 4), abs=0.005)


@pytest.mark.parametrize(
    ("name", "files"),
    [("terminal", {"meeting.rttm"}), ("plain", set()), ("unplugged", {"who.json"}), ("homeless", set())],
)
def test_nothing_else_is_left(heard: dict[str, Heard], name: str, files: set[str]) -> None:
    assert {file.name for file in heard[name].folder.iterdir()} == {"meeting.flac", "tmp"} | files
    assert not list(heard[name].temporary.iterdir())
    assert bool(heard[name].done.out) == (not files)


def test_the_terminal_shows_who_talks(heard: dict[str, Heard]) -> None:
    done = heard["terminal"].done
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.err)
    for shown in ("nobody talks", "● SPEAKER_00", "● SPEAKER_01", "100%"):
        assert shown in seen
    assert re.search(r"level [█·]{20} +-\d+ dBFS   delay \d+\.\d s", seen)
    assert done.code == 0
    assert "error" not in seen


def test_without_a_terminal_turns_are_lines(heard: dict[str, Heard], tmp_path: Path) -> None:
    done = heard["plain"].done
    lines = done.err.splitlines()
    assert done.code == 0
    # a line for each turn at least; how many turns there are differs with what the microphone caught
    assert len(lines) >= len(ANSWERS["plain"](heard["plain"], tmp_path / "printed.rttm")) > 0
    for line in lines:
        time = r"0:00:\d\d\.\d"
        corrected = r"  (revised|withdrawn), was SPEAKER_\d\d"
        assert re.fullmatch(rf"{time} - {time}  (-|SPEAKER_\d\d)  \d\.\d\d({corrected})?", line)


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("unplugged", [GONE]),
        ("homeless", [GONE, "results/who.rttm: No such file or directory; check the name"]),
    ],
)
def test_a_device_that_goes_is_told(heard: dict[str, Heard], name: str, errors: list[str]) -> None:
    done = heard[name].done
    assert done.code == 1
    assert done.err.splitlines()[-1] == f"error: {'; '.join(errors)}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interruption_is_not_held_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    calls: list[str] = []
    signal.signal(number, lambda *_: calls.append("as before"))
    try:
        with _interruption_calls(lambda: calls.append("stop")):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert calls == ["stop", "as before", "as before"]


@pytest.mark.parametrize(
    ("output", "record", "problem"),
    [
        ("a.flac", "a.flac", "a.flac cannot be both the recording and the result: give two names"),
        ("file/a.rttm", None, "file/a.rttm"),
        (None, "file/a.flac", "file/a.flac"),
        (None, "file", "cannot record to 'file'"),
        ("there", None, "there"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None, record: str | None, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a file")
    Path("there").mkdir()
    with pytest.raises((ValueError, OSError)) as caught:
        listen(
            SpeakerDiarization(load_config("microphone")),
            NOWHERE,
            output=Path(output) if output else None,
            form="rttm",
            record=Path(record) if record else None,
            console=Console(file=io.StringIO()),
        )
    assert problem in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "there"]
