from __future__ import annotations

import csv
import json
import os
import tempfile
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from diarize.formats import COLUMNS, FORMATS, Diarization, to_annotation, write_atomically
from diarize.rttm import Turn, read_rttm
from diarize.types import SAMPLE_RATE, Identity, TurnUpdate

ANA = Identity("Ana María", 0.71234, ("Bob", 0.3), "0.41 above the next")
MEETING = Diarization(
    uri="my meeting",
    duration=10 * SAMPLE_RATE,
    updates=(
        TurnUpdate(0, 0, 16_000, "SPEAKER_00", None, 0.5, final=False),
        TurnUpdate(1, 32_000, 48_008, "SPEAKER_01", ANA, 0.87654, True, 0.21234, ("SPEAKER_00", 0.65432)),
        TurnUpdate(0, 0, 24_000, "SPEAKER_00", None, 1.0, final=True),
        TurnUpdate(2, 40_000, 64_000, "SPEAKER_01", ANA, 0.25, final=True),
        TurnUpdate(3, 70_000, 80_000, "SPEAKER_02", None, 0.25, final=False),
        TurnUpdate(3, 70_000, 80_000, None, None, 0.25, final=True),
    ),
    settings={"num_speakers": 2, "model": Path("model.safetensors")},
)
SILENCE = Diarization("silence", 5 * SAMPLE_RATE, ())


def test_json_says_it_all() -> None:
    decision = {"score": 0.712, "runner_up": {"name": "Bob", "score": 0.3}, "reason": "0.41 above the next"}
    ana = {"name": "Ana María", **decision}
    unknown = {"distance": None, "second": None}
    known = {"distance": 0.212, "second": {"speaker": "SPEAKER_00", "distance": 0.654}}
    assert json.loads(FORMATS["json"].write(MEETING)) == {
        "version": 1,
        "uri": "my meeting",
        "duration": 10.0,
        "speakers": [
            {"speaker": "SPEAKER_00", "identity": None, "decision": None, "seconds": 1.5},
            {"speaker": "SPEAKER_01", "identity": "Ana María", "decision": decision, "seconds": 2.0},
        ],
        "turns": [
            {"start": 0.0, "end": 1.5, "speaker": "SPEAKER_00", "identity": None, "confidence": 1.0} | unknown,
            {"start": 2.0, "end": 3.001, "speaker": "SPEAKER_01", "identity": ana, "confidence": 0.877} | known,
            {"start": 2.5, "end": 4.0, "speaker": "SPEAKER_01", "identity": ana, "confidence": 0.25} | unknown,
        ],
        "settings": {"num_speakers": 2, "model": "model.safetensors"},
    }
    assert "Ana María" in FORMATS["json"].write(MEETING)


def test_channels_told_apart_are_in_every_table() -> None:
    call = replace(MEETING, channels={"SPEAKER_00": 1, "SPEAKER_01": 2})
    speakers = json.loads(FORMATS["json"].write(call))["speakers"]
    assert [(one["speaker"], one["channel"]) for one in speakers] == [("SPEAKER_00", 1), ("SPEAKER_01", 2)]
    assert [row["channel"] for row in table(call)] == ["1", "2", "2"]
    lines = [line.split() for line in FORMATS["rttm"].write(call).splitlines()]
    assert [(fields[2], fields[7]) for fields in lines] == [
        ("1", "SPEAKER_00"),
        ("2", "Ana%20María"),
        ("2", "Ana%20María"),
    ]


def test_who_is_unknown_goes_by_the_label_and_the_reason_is_given(tmp_path: Path) -> None:
    unknown = Identity(None, 0.4, ("Bob", 0.35), "too near the next")
    result = replace(MEETING, updates=(TurnUpdate(0, 0, 16_000, "SPEAKER_00", unknown, 0.5, final=True),))
    content = json.loads(FORMATS["json"].write(result))
    assert content["turns"][0]["identity"] is None
    assert content["speakers"] == [
        {
            "speaker": "SPEAKER_00",
            "identity": None,
            "decision": {"score": 0.4, "runner_up": {"name": "Bob", "score": 0.35}, "reason": "too near the next"},
            "seconds": 1.0,
        }
    ]
    assert [row["name"] for row in table(result)] == [""]
    write_atomically(tmp_path / "x.rttm", FORMATS["rttm"].write(result))
    assert read_rttm(tmp_path / "x.rttm") == {"my meeting": [Turn(0, 16_000, "SPEAKER_00")]}


def table(result: Diarization) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(FORMATS["csv"].write(result), newline="")))


def test_csv_has_a_row_for_each_turn() -> None:
    assert [tuple(row.values()) for row in table(MEETING)] == [
        ("my meeting", "", "0.000", "1.500", "SPEAKER_00", "", "1.0", "", "", ""),
        ("my meeting", "", "2.000", "3.001", "SPEAKER_01", "Ana María", "0.877", "0.212", "SPEAKER_00", "0.654"),
        ("my meeting", "", "2.500", "4.000", "SPEAKER_01", "Ana María", "0.25", "", "", ""),
    ]
    assert FORMATS["csv"].write(SILENCE) == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize(
    ("name", "cell"),
    [('Ana, "the boss"\r\nSmith', 'Ana, "the boss"\r\nSmith'), ("x=1", "x=1"), ("\udce9", "?"), ("", "")]
    + [(f"{sign}1+1", f"'{sign}1+1") for sign in "=+-@\t\r"],
)
def test_a_name_in_a_table_is_no_formula(name: str, cell: str) -> None:
    update = TurnUpdate(0, 0, 16, name, Identity(name, 0.5, None, ""), 1.0, True, 0.0, (name, 0.1))
    (row,) = table(Diarization(name, 16, (update,)))
    assert [row[key] for key in ("uri", "speaker", "name", "second")] == [cell] * 4


def test_rttm_names_enrolled_people_and_labels_the_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x.rttm", FORMATS["rttm"].write(MEETING))
    assert read_rttm(tmp_path / "x.rttm") == {
        "my meeting": [
            Turn(0, 24_000, "SPEAKER_00"),
            Turn(32_000, 48_016, "Ana María"),  # the nearest millisecond
            Turn(40_000, 64_000, "Ana María"),
        ]
    }


def test_silence_is_valid_in_every_format() -> None:
    assert [FORMATS[name].write(SILENCE) for name in ("rttm", "srt", "audacity")] == [""] * 3
    assert FORMATS["vtt"].write(SILENCE) == "WEBVTT\n"
    assert "xmax = 5.000" in FORMATS["textgrid"].write(SILENCE)
    content = json.loads(FORMATS["json"].write(SILENCE))
    assert (content["duration"], content["turns"], content["speakers"]) == (5.0, [], [])


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_that_is_not_utf8_can_be_written_and_read(tmp_path: Path, name: str) -> None:
    uri = os.fsdecode(b"caf\xe9 \xf0\x9f\x8e\x99")
    update = TurnUpdate(0, 0, 16_000, uri, None, 1.0, final=True)
    write_atomically(tmp_path / "x", FORMATS[name].write(Diarization(uri, 16_000, (update,))))
    text = (tmp_path / "x").read_text(encoding="utf-8")
    if name in ("rttm", "json"):  # exactly
        found = json.loads(text)["turns"][0]["speaker"] if name == "json" else read_rttm(tmp_path / "x")[uri][0].speaker
        assert found == uri
    else:
        assert "caf? 🎙" in text


def test_json_is_strict() -> None:
    broken = Diarization("x", 16_000, (TurnUpdate(0, 0, 16, "A", None, float("nan"), final=True),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        FORMATS["json"].write(broken)


def test_formats_are_known_by_name_and_suffix() -> None:
    assert {name: one.suffix for name, one in FORMATS.items()} == {
        "rttm": ".rttm",
        "json": ".json",
        "csv": ".csv",
        "srt": ".srt",
        "vtt": ".vtt",
        "textgrid": ".TextGrid",
        "audacity": ".txt",
    }
    assert all(one.name == name for name, one in FORMATS.items())


def test_an_annotation_has_every_turn_and_exact_times() -> None:
    turns = [Turn(8, 16, "b"), Turn(0, 16_001, "a"), Turn(0, 16_001, "b"), Turn(0, 16_001, "a")]
    annotation = to_annotation(turns, "meeting")
    assert annotation.uri == "meeting"
    assert [(segment.start, segment.end, name) for segment, _, name in annotation.itertracks(yield_label=True)] == [
        (0.0, 16_001 / SAMPLE_RATE, "a"),
        (0.0, 16_001 / SAMPLE_RATE, "a"),
        (0.0, 16_001 / SAMPLE_RATE, "b"),
        (0.0005, 0.001, "b"),
    ]
    assert not to_annotation([], "silence")


@pytest.mark.parametrize("content", ["žluťoučký\nkůň", b"\x89PNG\r\n", ""])
def test_a_file_is_written_whole_and_alone(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / ("n" * 250 + ".rttm")  # as long as names can be
    for _ in range(2):  # anew, and in place of what is there
        write_atomically(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_the_umask_s_and_then_the_file_s(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    (tmp_path / "x").chmod(0o600)
    write_atomically(tmp_path / "x", "newer")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "file"
    link.symlink_to(target)
    for content in ("to a file that is not there yet", "to one that is"):
        write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomically(pipe, "through the pipe")
    reader.join(10)
    assert heard == [b"through the pipe"]
    assert pipe.is_fifo()


def test_what_stood_there_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.rttm"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.rttm'"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    places = {
        tmp_path / "absent" / "x.rttm": FileNotFoundError,
        tmp_path / "file" / "x.rttm": NotADirectoryError,
        tmp_path: IsADirectoryError,
        tmp_path / ("n" * 300): OSError,
    }
    for path, kind in places.items():
        with pytest.raises(kind) as error:
            write_atomically(path, "text")
        assert error.value.filename == str(path)
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_without_permission_is_named() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # below no private folder, for root to try it as somebody else
        Path(folder).chmod(0o555)
        path = Path(folder) / "x.rttm"
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(PermissionError) as error:
                write_atomically(path, "text")
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)
        assert str(error.value) == f"[Errno 13] Permission denied: '{path}'"
