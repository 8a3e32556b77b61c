"""`diarize evaluate`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import soundfile

from diarize.types import SAMPLE_RATE
from tests.command import conversation, here

MODEL = "ecapa-tdnn-c256"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with `speakers.csv`, of two people's pieces of a conversation."""
    talk, rows = conversation(11), []
    for speaker, start in (("first", 0.5), ("second", 6.0)):
        for number in range(2):
            at = round((start + 2.1 * number) * SAMPLE_RATE)
            name = f"{speaker}{number}.wav"
            soundfile.write(tmp_path / name, talk[at : at + round(2.1 * SAMPLE_RATE)], SAMPLE_RATE)
            rows.append({"set": "talk", "speaker": speaker, "split": "eval", "file": name, "seconds": "2.1"})
    with (tmp_path / "speakers.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return tmp_path


def test_a_folder_becomes_a_report(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    done = here(capfd, "evaluate", MODEL, "--data", data, "-o", tmp_path / "out" / "first")
    assert done.code == 0, done.err
    assert "EER over carriers" in done.out
    assert "noises and rooms are computed ones" in caplog.text
    assert "no AS-norm" in done.err
    made = {path.name for path in (tmp_path / "out" / "first").iterdir()}
    assert made == {"report.md", "report.json", "roc.png", "det.png", "scores.png", "tsne.png"}
    report = json.loads((tmp_path / "out" / "first" / "report.json").read_text())
    assert report["speakers"] == 2
    assert list(report["models"]) == [MODEL]
    found = {row["heard"]: row for row in report["verification"]}
    assert list(found) == ["1 s", "2 s", "whole"]
    assert found["2 s"]["eer"]["value"] == 0
    again = here(capfd, "evaluate", MODEL, "--data", data, "-o", tmp_path / "again")
    assert again.code == 0
    assert (tmp_path / "again" / "report.json").read_text() == (tmp_path / "out" / "first" / "report.json").read_text()


def test_a_list_of_trials(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (data / "list.txt").write_text("1 first0.wav first1.wav\n0 first0.wav second0.wav\n0 first1.wav gone.wav\n")
    done = here(
        *(capfd, "evaluate", MODEL, "--data", data, "--trials", data / "list.txt"),
        *("-o", tmp_path / "out", "--no-carriers"),
    )
    assert done.code == 0, done.err
    assert "1 of 3 trials left out" in caplog.text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["utterances"] == 3
    assert report["carriers"] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([MODEL, "--split", "test"], "unknown split 'test'"),
        ([MODEL, MODEL], "a model is named twice"),
        ([MODEL, "--against", "resemblyzer"], "--against resemblyzer is none of the models"),
        ([MODEL, "--split", "dev"], "no speech of the split 'dev'"),
        (["no-such-model"], "unknown model 'no-such-model'"),
        ([MODEL, "--trials", "speakers.csv"], "speakers.csv:1: no trial"),
        ([MODEL, "--trials", "absent.txt"], "absent.txt"),
    ],
)
def test_what_cannot_be_done(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(data)
    done = here(capfd, "evaluate", *arguments, "--data", data, "-o", data / "out")
    assert done.code == 2
    assert complaint in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (data / "out").exists()


def test_a_folder_without_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = here(capfd, "evaluate", MODEL, "--data", tmp_path / "absent", "-o", tmp_path / "out")
    assert done.code == 2
    assert "give a folder with speakers.csv, or with SET/SPEAKER/files" in done.err
