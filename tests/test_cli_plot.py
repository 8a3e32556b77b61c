"""`diarize plot`: what is drawn from what is given, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from diarize.embedded import EmbeddedRecording, write_embedded
from diarize.rttm import Turn, format_rttm
from diarize.types import EmbeddingWindow
from tests.command import SAMPLE, here, process, write_clip

SECOND = 16_000
CONTENT = re.compile(r'<script type="application/json" id="content">(.*?)</script>', re.DOTALL)
SOUND = re.compile(r'<script type="text/plain" id="sound">(.*?)</script>', re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings' turns, one's reference, voices and audio, and what is no such thing."""
    talk = [Turn(0, 2 * SECOND, "A"), Turn(2 * SECOND, 4 * SECOND, "B")]
    truth = [Turn(0, 3 * SECOND, "Ana"), Turn(3 * SECOND, 4 * SECOND, "Bob")]
    (tmp_path / "talk.rttm").write_text(format_rttm(talk, "talk"))
    (tmp_path / "both.rttm").write_text(format_rttm(talk, "talk") + format_rttm(truth, "other talk"))
    (tmp_path / "truth.rttm").write_text(format_rttm(truth, "talk"))
    (tmp_path / "other.rttm").write_text(format_rttm(truth, "other"))
    (tmp_path / "silent.rttm").touch()
    (tmp_path / "damaged.rttm").write_text("SPEAKER talk\n")
    write_clip(tmp_path / "talk.flac", 4)
    windows = []
    for at in range(4):
        bounds = (at * SECOND, (at + 1) * SECOND)
        windows.append(EmbeddingWindow(*bounds, (bounds,), at, np.eye(4, dtype=np.float32)[at // 2], 1.0))
    for uri in ("talk", "other"):
        write_embedded(tmp_path / f"{uri}.voices", EmbeddedRecording(uri, 4 * SECOND, "test", (tuple(windows),)))
    (tmp_path / "damaged.voices").write_bytes((tmp_path / "talk.voices").read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-o x.svg", {"A  50%", "B  50%"}),
        ("-o x.svg --kind timeline --reference truth.rttm", {"reference", "hypothesis", "Ana  75%", "A  50%"}),
        ("-o x.svg --kind similarity --voices talk.voices", {"cosine", "A", "B", "0:00.0"}),
        ("-o x.svg --kind similarity --by-speaker --voices talk.voices", {"cosine", "A", "B"}),
        ("-o x.svg --kind map --voices talk.voices", {"A", "B"}),
    ],
)
def test_a_picture(folder: Path, capfd: pytest.CaptureFixture[str], options: str, said: set[str]) -> None:
    done = here(capfd, "plot", "talk.rttm", *options.split())
    assert (done.code, done.out, done.err) == (0, "", "x.svg: drawn\n")
    texts = set(re.findall(r"<!-- (.*?) -->", (folder / "x.svg").read_text()))
    assert said | {"talk"} <= texts


def test_a_page_has_all_that_is_given(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ["--reference", "truth.rttm", "--audio", "talk.flac", "--voices", "talk.voices"]
    done = here(capfd, "plot", "talk.rttm", "-o", "x.html", *given)
    assert (done.code, done.out, done.err) == (0, "", "x.html: drawn\n")
    page = (folder / "x.html").read_text()
    (found,) = CONTENT.findall(page)
    content = json.loads(found)
    assert content["title"] == "talk"
    assert content["duration"] == 4
    assert [group["name"] for group in content["groups"]] == ["reference", "hypothesis"]
    assert content["groups"][1]["speakers"][1]["turns"] == [[2, 4]]
    assert {kind["name"]: kind["turns"] for kind in content["errors"]} == {
        "miss": [],
        "false alarm": [],
        "confusion": [[2, 3]],
    }
    assert content["voices"]["speakers"] == [0, 0, 1, 1]
    assert len(SOUND.findall(page)[0]) > 10_000
    here(capfd, "plot", "talk.rttm", "-o", "x.html")
    page = (folder / "x.html").read_text()
    assert SOUND.findall(page) == [""]
    assert json.loads(CONTENT.findall(page)[0])["voices"] is None


def test_one_of_several_recordings(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = here(capfd, "plot", "both.rttm", "-o", "x.svg")
    assert done.code == 2
    assert done.err == "error: both.rttm has 2 recordings: choose one with --uri, of 'talk', 'other talk'\n"
    assert here(capfd, "plot", "both.rttm", "-o", "x.svg", "--uri", "other talk").code == 0
    assert "Ana  75%" in (folder / "x.svg").read_text()
    done = here(capfd, "plot", "both.rttm", "-o", "x.svg", "--uri", "third")
    assert done.err == "error: both.rttm has no recording 'third', only 'talk', 'other talk'\n"


def test_no_speech_at_all(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("x.png", "x.svg", "x.html"):
        assert here(capfd, "plot", "silent.rttm", "-o", name, "--reference", "silent.rttm").code == 0
        assert (folder / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("talk.rttm -o x.gif", "its name must end in .png, .svg or .html"),
        ("talk.rttm", "Missing option '--output'"),
        ("talk.rttm -o x.png --kind pie", "unknown kind 'pie': choose one of timeline, similarity, map"),
        ("talk.rttm -o x.png --kind map", "add --voices FILE"),
        ("talk.rttm -o x.png --voices talk.voices", "choose --kind similarity or --kind map, or a .html"),
        ("talk.rttm -o x.png --audio talk.flac", "a picture has no sound"),
        ("talk.rttm -o x.png --by-speaker", "--by-speaker goes with --kind similarity"),
        ("talk.rttm -o x.png --kind map --voices talk.voices --reference truth.rttm", "shows no reference"),
        ("talk.rttm -o x.html --kind map --voices talk.voices", "a page shows everything"),
        ("absent.rttm -o x.png", "absent.rttm: No such file"),
        ("damaged.rttm -o x.png", "damaged.rttm, line 1: expected 10 fields"),
        ("talk.rttm -o x.png --reference other.rttm", "other.rttm is of another recording: it has 'other', not 'talk'"),
        ("talk.rttm -o x.html --voices other.voices", "other.voices is of another recording: of 'other', not 'talk'"),
        (
            "talk.rttm -o x.html --voices damaged.voices",
            "damaged.voices: not the embeddings of a recording",
        ),
        ("talk.rttm -o x.html --voices absent.voices", "absent.voices: No such file"),
        ("talk.rttm -o x.html --audio absent.wav", "absent.wav: no such file"),
        ("talk.rttm -o x.html --audio talk.rttm", "talk.rttm: is in no known audio format"),
        ("talk.rttm -o talk.rttm/x.html", "a file stands where a folder should"),
    ],
)
def test_what_cannot_be_is_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], options: str, complaint: str
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    done = here(capfd, "plot", *options.split())
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert complaint in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_audio_that_is_not_the_recording_s_is_told(folder: Path) -> None:
    write_clip(folder / "short.flac", 2)
    done = process("plot", "talk.rttm", "-o", "x.html", "--audio", "short.flac")
    assert done.code == 0
    assert done.err.splitlines() == [
        "warning: the audio ends after 2.0 s, and the last turn after 4.0 s: is it the same recording?",
        "x.html: drawn",
    ]


def test_audio_that_breaks_off_is_told(folder: Path) -> None:
    (folder / "broken.flac").write_bytes(SAMPLE.read_bytes()[:150_000])
    done = process("plot", "talk.rttm", "-o", "x.html", "--audio", "broken.flac")
    assert done.code == 0
    assert re.match(r"warning: broken.flac: damaged or cut short; taking the [\d.]+ s", done.err)
    assert json.loads(CONTENT.findall((folder / "x.html").read_text())[0])["duration"] > 4


def test_from_recording_to_page(tmp_path: Path) -> None:
    shutil.copy(SAMPLE.with_suffix(".rttm"), tmp_path / "turns.rttm")
    done = process("plot", str(tmp_path / "turns.rttm"), "-o", str(tmp_path / "a" / "x.html"), "--audio", str(SAMPLE))
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "a" / "x.html").stat().st_size > 200_000
