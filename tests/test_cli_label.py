"""`diarize label` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import SAMPLE, Done, here, process

Capture = pytest.CaptureFixture[str]
SRT = "1\n00:00:00,500 --> 00:00:02,000\nGood morning\n\n2\n00:00:05,500 --> 00:00:06,000\nYes, please\n"
TALK = "SPEAKER talk 1 0.5 4.5 <NA> <NA> Ana%20Mar\u00eda <NA> <NA>\nSPEAKER talk 1 5.4 5 <NA> <NA> Bob <NA> <NA>\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with talk.srt, talk.json and talk.rttm, where the commands run."""
    words = [{"word": "Good", "start": 0.5, "end": 0.9}, {"word": "Yes", "start": 5.5, "end": 5.9}]
    segment = {"start": 0.5, "end": 5.9, "text": "Good Yes", "words": words}
    (tmp_path / "talk.json").write_text(json.dumps({"segments": [segment]}))
    (tmp_path / "talk.srt").write_text(SRT)
    (tmp_path / "talk.rttm").write_text(TALK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cues_are_labelled_on_standard_output(folder: Path) -> None:
    named = SRT.replace("Good", "Ana María: Good").replace("Yes", "Bob: Yes")
    assert process("label", "talk.srt", "talk.rttm") == Done(0, named, "")


def test_the_sample_is_labelled_as_it_was_spoken(tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "who.json"
    done = here(capfd, "label", SAMPLE.with_suffix(".json"), SAMPLE.with_suffix(".rttm"), "-o", out)
    assert done == Done(0, "", f"{out}: 4 speakers\n")
    segments = json.loads(out.read_text())["segments"]
    assert [segment["speaker"] for segment in segments] == ["Clara", "Clara", "Robin", "Angus", "Karl", "Clara"]
    first = [word["word"] for word in segments[1]["words"] if word["speaker"] == "Robin"]
    assert first == ["Yes,", "please."]


def test_json_becomes_cues_and_a_transcript_may_be_its_own_output(folder: Path, capfd: Capture) -> None:
    assert here(capfd, "label", "talk.json", "talk.rttm", "-o", "x.vtt") == Done(0, "", "x.vtt: 2 speakers\n")
    assert Path("x.vtt").read_text(encoding="utf-8") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:00.900\n<v Ana María>Good\n\n00:00:05.500 --> 00:00:05.900\n<v Bob>Yes\n"
    )
    assert here(capfd, "label", "talk.json", "talk.rttm", "-o", "x.txt", "--format", "srt").code == 0
    assert Path("x.txt").read_text(encoding="utf-8").startswith("1\n00:00:00,500 --> 00:00:00,900\nAna María: Good\n")
    for _ in range(2):
        assert here(capfd, "label", "x.vtt", "talk.rttm", "-o", "x.vtt").code == 0
    assert Path("x.vtt").read_text(encoding="utf-8").count("<v ") == 2


def test_the_limit_can_be_set_and_what_has_no_speaker_is_counted(folder: Path, capfd: Capture) -> None:
    Path("talk.rttm").write_text(TALK.replace("5.4 5", "7 5"), encoding="utf-8")
    Path("talk.srt").write_text(SRT.replace("05,500", "05,100"))
    said = {"0": "1 speaker; 1 of 2 words or cues have none", "0.09": "1 speaker; 1 of 2 words or cues have none"}
    for nearest, told in {**said, "0.1": "1 speaker", "5": "1 speaker"}.items():
        assert (
            here(capfd, "label", "talk.srt", "talk.rttm", "-o", "x.srt", "--nearest", nearest).err == f"x.srt: {told}\n"
        )


def test_the_recording_is_chosen_by_the_transcripts_name(folder: Path, capfd: Capture) -> None:
    other = TALK.replace("talk", "other").replace("Bob", "Eve")
    Path("all.rttm").write_text(other + TALK, encoding="utf-8")
    assert "Bob: Yes" in here(capfd, "label", "talk.srt", "all.rttm").out
    Path("talk.srt").rename("speech.srt")
    done = here(capfd, "label", "speech.srt", "all.rttm")
    assert done == Done(1, "", "error: speech.srt: the RTTM has no recording named 'speech': it has other, talk\n")
    assert here(capfd, "label", "speech.srt", "talk.rttm").code == 0  # the only one


@pytest.mark.parametrize(
    ("transcript", "content", "message"),
    [
        ("t.json", b"", "t.json: the file is empty"),
        ("t.json", b"{", "t.json: line 1: not JSON: Expecting property name enclosed in double quotes"),
        ("t.json", b'{"text": "Hi"}', "t.json: not a transcript: expected JSON as "),
        ("t.json", b'{"segments": [{"text": "Hi"}]}', "t.json: no word and no segment has a start and an end"),
        ("t.json", b"\xff\xfe", "t.json: the file is empty"),
        ("t.srt", b"Hi\n\x80", "t.srt: line 2: not text in UTF-8; save it as UTF-8"),
        ("t.srt", b"Hi", "t.srt: it has no cue with times"),
        ("t.vtt", b"Hi", "t.vtt: not VTT: WebVTT, and only that, begins with WEBVTT"),
        (
            "t.srt",
            b"1\n00:10:00,000 --> 00:10:01,000\nHi",
            "t.srt: nobody talks where anything is said: is the RTTM of",
        ),
        ("absent.srt", None, "absent.srt: No such file or directory; check the name"),
    ],
)
def test_a_transcript_that_cannot_be_labelled(
    folder: Path, capfd: Capture, transcript: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        Path(transcript).write_bytes(content)
    done = here(capfd, "label", transcript, "talk.rttm", "-o", "out.srt" if transcript.endswith("srt") else "out.vtt")
    assert_fails(done, 1, message)
    assert not list(Path().glob("out.*"))


def assert_fails(done: Done, code: int, message: str) -> None:
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
    assert done.err.startswith(f"error: {message}")


def test_an_rttm_that_cannot_be_used(folder: Path, capfd: Capture) -> None:
    Path("silence.rttm").write_text("")
    Path("broken.rttm").write_text("SPEAKER x\n")
    message = "talk.srt: the RTTM has no recording named 'talk': nobody talks in it"
    assert_fails(here(capfd, "label", "talk.srt", "silence.rttm"), 1, message)
    assert_fails(here(capfd, "label", "talk.srt", "broken.rttm"), 1, "broken.rttm, line 1: expected 10 fields, got 2")
    assert_fails(here(capfd, "label", "talk.srt", "absent.rttm"), 1, "absent.rttm: No such file or directory")
    assert_fails(here(capfd, "label", "talk.srt", "talk.srt"), 1, "talk.srt, line 1: '1' is not a type of RTTM line")


def test_what_cannot_be_done_as_given(folder: Path, capfd: Capture) -> None:
    ends = "the name of a transcript must end in .json, .srt or .vtt"
    assert_fails(here(capfd, "label", "talk.txt", "talk.rttm"), 2, f"talk.txt: {ends}")
    assert_fails(here(capfd, "label", "talk.json", "talk.rttm", "-o", "talk.rttm"), 2, f"talk.rttm: {ends}")
    both = ("label", "talk.json", "talk.rttm", "--format")
    rttm = folder / "talk.rttm"
    assert_fails(here(capfd, *both, "json", "-o", rttm), 2, f"{rttm} is the RTTM and would be overwritten: choose")
    assert_fails(here(capfd, *both, "csv"), 2, "talk.json cannot become 'csv': choose one of json, srt, vtt")
    done = here(capfd, "label", "talk.srt", "talk.rttm", "-o", "x.json")
    assert_fails(done, 2, "talk.srt cannot become 'json': choose one of srt")
    assert_fails(here(capfd, *both, "srt", "--nearest", "-1"), 2, "Invalid value for '--nearest': ")
    assert_fails(here(capfd, "label", "talk.json"), 2, "Missing argument 'RTTM'")
    assert Path("talk.rttm").read_text(encoding="utf-8") == TALK


def test_an_output_that_cannot_be_written(folder: Path, capfd: Capture) -> None:
    assert_fails(here(capfd, "label", "talk.srt", "talk.rttm", "-o", "talk.rttm/x.srt"), 1, "talk.rttm/x.srt: ")
