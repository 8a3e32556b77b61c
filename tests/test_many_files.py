"""Many recordings at once, as on a command line: folders, several formats, killed and taken up again."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diarize.embedded import read_embedded
from diarize.rttm import read_rttm, talk_time
from tests.command import DIARIZE, SAMPLE, Done, conversation, here, quickly, write_clip

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `talks` in the current one: a.wav, more/a.wav, and what is no audio."""
    talks = tmp_path / "talks"
    (talks / "more").mkdir(parents=True)
    write_clip(talks / "a.wav", 6)
    write_clip(talks / "more" / "a.wav", 7)
    (talks / "notes.txt").write_text("no audio\n")
    monkeypatch.chdir(tmp_path)
    return talks


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder and below."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_becomes_a_folder(talks: Path, tmp_path: Path, capfd: Capture) -> None:
    options = ["--format", "rttm", "--format", "json", "--save-embeddings", "kept", "--summary", "all.csv"]
    done = here(capfd, "file", "talks", "-o", "out", "--num-speakers", "2", *options)
    assert (done.code, done.out) == (0, "")
    first, second, last = done.err.splitlines()
    assert first.startswith("out/a.rttm, out/a.json, kept/a.voices: 2 speakers, ")
    assert second.startswith("out/more/a.rttm, out/more/a.json, kept/more/a.voices: 2 speakers, ")
    assert last.startswith("2 recordings: 2 done; 0:00:13 of audio in 0:0")
    assert sorted(files(tmp_path / "out")) == ["a.json", "a.rttm", "more/a.json", "more/a.rttm"]
    assert [len(read_rttm(tmp_path / "out" / name)["a"]) for name in ("a.rttm", "more/a.rttm")] == [
        len(json.loads((tmp_path / "out" / name).read_text())["turns"]) for name in ("a.json", "more/a.json")
    ]
    assert read_embedded(tmp_path / "kept" / "more" / "a.voices").duration == 7 * 16_000
    assert [(row["file"], row["state"], row["seconds"], row["speakers"]) for row in rows(tmp_path / "all.csv")] == [
        ("talks/a.wav", "done", "6.0", "2"),
        ("talks/more/a.wav", "done", "7.0", "2"),
    ]
    assert here(capfd, "file", "talks/**/a.wav", "-o", "by pattern", "--num-speakers", "2").code == 0
    assert files(tmp_path / "by pattern") == {
        name: content for name, content in files(tmp_path / "out").items() if name.endswith(".rttm")
    }


def test_what_is_done_is_skipped(talks: Path, tmp_path: Path, capfd: Capture) -> None:
    again = ["file", "talks", "-o", "out", "--resume", "--summary", "all.csv"]
    (talks / "bad.wav").write_text("no audio\n")
    done = here(capfd, *again)
    assert done.code == 1
    assert "3 recordings: 2 done, 1 failed; 0:00:13 of audio in" in done.err
    before = files(tmp_path / "out")
    os.utime(talks / "a.wav", (2e9, 2e9))  # recorded anew
    os.utime(talks / "bad.wav", (1, 1))
    shutil.copy(talks / "a.wav", talks / "bad.wav")
    (tmp_path / "out" / "a.rttm").write_text("of before\n")
    done = here(capfd, *again)
    assert done.code == 0
    assert "3 recordings: 2 done, 1 skipped; 0:00:12 of audio in" in done.err
    assert files(tmp_path / "out") == {**before, "bad.rttm": before["a.rttm"].replace(b" a ", b" bad ")}
    assert [(row["file"], row["state"], row["seconds"]) for row in rows(tmp_path / "all.csv")] == [
        ("talks/a.wav", "done", "6.0"),
        ("talks/bad.wav", "done", "6.0"),
        ("talks/more/a.wav", "skipped", "7.0"),
    ]
    os.utime(talks / "a.wav", (1e9, 1e9))
    assert quickly(*again) == Done(0, "", "3 recordings: 3 skipped\n")


def test_a_killed_run_is_taken_up_again(tmp_path: Path, capfd: Capture) -> None:
    talks, out = tmp_path / "talks", tmp_path / "out"
    talks.mkdir()
    write_clip(talks / "0.wav", 10)
    for number in range(1, 6):
        shutil.copy(talks / "0.wav", talks / f"{number}.wav")
    options = ["-o", str(out), "--format", "rttm", "--format", "srt", "--summary", f"{tmp_path}/all.csv"]
    running = subprocess.Popen([*DIARIZE, "file", talks, *options], stderr=subprocess.DEVNULL)
    while len(list(out.glob("*.rttm"))) < 2:
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.wait()
    assert not (out / "5.srt").exists()  # it was killed in the middle
    states = {row["file"]: row["state"] for row in rows(tmp_path / "all.csv")}
    written = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    complete = [str(talks / f"{n}.wav") for n in range(6) if {out / f"{n}.rttm", out / f"{n}.srt"} <= set(written)]
    assert {file for file, state in states.items() if state == "done"} <= set(complete)

    done = here(capfd, "file", talks, *options, "--resume")
    assert done.code == 0
    assert f"6 recordings: {6 - len(complete)} done, {len(complete)} skipped; " in done.err
    whole = {path.suffix: path.read_text() for path in (out / "5.rttm", out / "5.srt")}
    for number in range(6):
        assert (out / f"{number}.rttm").read_text() == whole[".rttm"].replace("SPEAKER 5 ", f"SPEAKER {number} ")
        assert (out / f"{number}.srt").read_text() == whole[".srt"]
    kept = [out / f"{Path(name).stem}{suffix}" for name in complete for suffix in whole]
    assert [path.stat().st_mtime_ns for path in kept] == [written[path] for path in kept]


def people(path: Path) -> list[str]:
    """Who talks, by first appearance."""
    (turns,) = read_rttm(path).values()
    return list(talk_time(turns))


def test_a_person_has_one_label_in_all_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    voices = conversation(30)
    parts = {"1 clara, robin": (0, 11.3), "2 robin, angus": (5.2, 16.8), "3 clara, robin": (19.9, 29)}
    for name, (start, end) in parts.items():
        soundfile.write(f"{name}.wav", voices[round(16_000 * start) : round(16_000 * end)], 16_000)
    first, second, third = (Path("out", f"{name}.rttm") for name in parts)
    command = ["file", "*.wav", "-o", "out", "--save-embeddings", "kept", "--format", "rttm", "--format", "json"]
    Path("3 clara, robin.wav").rename("later")
    done = here(capfd, *command)
    assert people(first) == people(second) == ["SPEAKER_00", "SPEAKER_01"]

    Path("later").rename("3 clara, robin.wav")  # one more has come
    done = here(capfd, *command, "--link", "--resume", "--summary", "all.csv")
    assert done.code == 0
    (told, last) = done.err.splitlines()
    assert told.startswith("out/3 clara, robin.rttm, ")
    assert last.startswith("3 recordings: 1 done, 2 skipped; ")
    assert people(first) == ["PERSON_000", "PERSON_001"]
    assert people(second) == ["PERSON_001", "PERSON_002"]
    assert people(third) == ["PERSON_000", "PERSON_001"]
    said = json.loads(first.with_suffix(".json").read_text())
    assert [turn["second"]["speaker"] for turn in said["turns"]] == ["PERSON_001", "PERSON_000"]
    assert [row["speakers"] for row in rows(Path("all.csv"))] == ["2", "2", "2"]

    Path("kept", f"{first.stem}.voices").write_text("damaged")
    before = first.read_bytes()
    done = here(capfd, *command, "--link", "--resume")
    assert done.code == 1
    assert done.err.startswith("error: kept/1 clara, robin.voices: not the embeddings of a recording, or damaged; ")
    assert first.read_bytes() == before
    assert people(second) == ["PERSON_000", "PERSON_001"]

    done = here(capfd, "file", "*.wav", "-o", "out", "--link", "--resume")
    assert done.code == 2
    assert done.err.startswith("error: --link needs the voices of what --resume skips: add --save-embeddings, or ")


def test_who_is_enrolled_has_one_name_in_all_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    voices, store = conversation(60), tmp_path / "people.db"
    clara = [turn for turn in read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"] if turn.speaker == "Clara"]
    soundfile.write("clara.wav", np.concatenate([voices[turn.start : turn.end] for turn in clara[3:]]), 16_000)
    assert here(capfd, "enroll", "Clara", "clara.wav", "--profiles", store).code == 0
    (tmp_path / "in").mkdir()
    for name, (start, end) in {"1 clara, robin": (0, 11.3), "2 robin, clara": (16.8, 29)}.items():
        soundfile.write(f"in/{name}.wav", voices[round(16_000 * start) : round(16_000 * end)], 16_000)
    command = ["file", "in", "-o", "out", "--link", "--format", "json", "--profiles", str(store)]
    # plain cosines, which need no cohort: what is tested is the label
    command += ["--set", "identification.normalise=false", "--set", "identification.threshold=0.5"]
    assert here(capfd, *command).code == 0
    said = [json.loads(path.read_text())["speakers"] for path in sorted(Path("out").glob("*.json"))]
    assert [{one["speaker"] for one in speakers if one["identity"] == "Clara"} for speakers in said] == [{"Clara"}] * 2
    strangers = {one["speaker"] for speakers in said for one in speakers if one["identity"] is None}
    assert {"PERSON_000", "PERSON_001"} <= strangers <= {f"PERSON_00{number}" for number in range(4)}


def test_a_terminal_gets_a_table(talks: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*DIARIZE, "file", str(talks), f"{talks}/nowhere.wav", "-o", str(tmp_path / "out"), "--num-speakers", "2"]
    running = subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"})
    os.close(theirs)
    shown = b""
    while piece := read(ours):
        shown += piece
    os.close(ours)
    assert running.wait() == 1
    lines = shown.decode().splitlines()
    assert f"error: {talks}/nowhere.wav: no such file; check the name" in shown.decode()
    table = [line.split() for line in lines if line.strip().startswith(str(talks))]
    assert [(row[0], row[-1]) for row in table] == [
        (f"{talks}/a.wav", "done"),
        (f"{talks}/more/a.wav", "done"),
        (f"{talks}/nowhere.wav", "failed"),
    ]
    assert table[0][1:4] == ["0:00:06", "2", "2"]
    assert "3 recordings: 2 done, 1 failed" in lines[-1]


def read(terminal: int) -> bytes:
    """The next of what a terminal shows; nothing when its program has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way of saying so
        return b""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "slurm"], "unknown engine 'slurm': choose one of local, ray"),
        (["--address", "head:6379"], "--address is that of a Ray cluster: add --engine ray"),
        (
            ["--engine", "ray", "--jobs", "2"],
            "--jobs is for this machine: leave it out with --engine ray, which uses the whole cluster",
        ),
        (["--summary", "talks/a.wav"], "talks/a.wav is a recording and would be overwritten: choose another summary"),
    ],
)
def test_what_does_not_go_together_is_refused(
    talks: Path, tmp_path: Path, capfd: Capture, options: list[str], message: str
) -> None:
    assert here(capfd, "file", "talks", "-o", "out", *options) == Done(2, "", f"error: {message}\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_nothing_to_do_is_one_line(talks: Path, tmp_path: Path, capfd: Capture) -> None:
    (talks / "none").mkdir()
    message = "error: nothing to do: talks/none holds no audio; leave it out, or name the files in it\n"
    assert here(capfd, "file", "talks", "talks/none", "-o", "out") == Done(2, "", message)
    assert not (tmp_path / "out").exists()
