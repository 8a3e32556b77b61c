"""What is planned before any work: what goes where, and what is done already."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from diarize.formats import FORMATS
from diarize.orders import Order, check_writable, explain, plan


def folder(tmp_path: Path, *files: str) -> Path:
    """A folder with these files, all empty."""
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def test_where_the_outputs_go(tmp_path: Path) -> None:
    def planned(inputs: list[str], output: str | None, form: str = "rttm") -> list[Path | None]:
        return [path for order in plan(inputs, output, [form]) for path in order.outputs.values()]

    new = tmp_path / "new"
    assert planned(["a.wav"], None) == [None]
    assert planned(["a.wav"], str(new)) == [new]
    assert planned(["a.wav"], f"{new}{os.sep}", "json") == [new / "a.json"]
    assert planned(["a.wav"], str(tmp_path)) == [tmp_path / "a.rttm"]
    assert planned(["x/a.b.wav", "b.mp3"], str(new)) == [new / "a.b.rttm", new / "b.rttm"]
    assert not new.exists()


def test_each_format_gets_a_file_of_its_own(tmp_path: Path) -> None:
    def planned(output: str, *formats: str) -> dict[str, Path | None]:
        (order,) = plan(["a.wav"], output, formats)
        return dict(order.outputs)

    new = tmp_path / "new.d"
    assert planned(str(tmp_path), "rttm", "srt", "rttm") == {"rttm": tmp_path / "a.rttm", "srt": tmp_path / "a.srt"}
    assert planned(f"{new}.json", "rttm", "audacity") == {"rttm": Path(f"{new}.rttm"), "audacity": Path(f"{new}.txt")}
    assert planned(str(new), "json", "vtt") == {"json": Path(f"{new}.json"), "vtt": Path(f"{new}.vtt")}
    everything = planned(str(tmp_path), *FORMATS)
    assert [path.suffix for path in everything.values() if path] == [form.suffix for form in FORMATS.values()]


def test_the_outputs_of_a_folder_lie_as_its_recordings(tmp_path: Path) -> None:
    given = folder(tmp_path / "in", "a.wav", "x/a.wav", "x/y/b.mp3")
    orders = plan([str(given)], str(tmp_path / "out"), ["rttm", "csv"], embeddings=str(tmp_path / "kept"))
    assert [[str(path.relative_to(tmp_path)) for path in order.writes] for order in orders] == [
        ["out/a.rttm", "out/a.csv", "kept/a.voices"],
        ["out/x/a.rttm", "out/x/a.csv", "kept/x/a.voices"],
        ["out/x/y/b.rttm", "out/x/y/b.csv", "kept/x/y/b.voices"],
    ]


def test_the_embeddings_of_one_recording_go_into_a_file_or_a_folder(tmp_path: Path) -> None:
    for given, planned in [("x.voices", "x.voices"), (f"new{os.sep}", "new/a.voices"), (str(tmp_path), None)]:
        (order,) = plan(["a.wav"], embeddings=given)
        assert order.embeddings == (tmp_path / "a.voices" if planned is None else Path(planned))
        assert order.outputs == {"rttm": None}


@pytest.mark.parametrize(
    ("output", "given", "expected"),
    [
        (None, [], "rttm"),
        ("a.json", [], "json"),
        ("a.TextGrid", [], "textgrid"),
        ("a.json", ["rttm"], "rttm"),
        ("a.txt", [], "rttm"),
        ("a.rttm", ["json"], "json"),
    ],
)
def test_the_ending_of_the_output_says_the_format_unless_it_is_given(
    output: str | None, given: list[str], expected: str
) -> None:
    (order,) = plan(["x.wav"], output, given)
    assert list(order.outputs) == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["in"]}, "3 inputs need a folder to write to: add --output DIR"),
        ({"inputs": ["in/*.wav"]}, "in/[*].wav needs a folder to write to: add --output DIR"),
        ({"inputs": ["in"], "output": "in/x/b.wav"}, "3 inputs need a folder to write to, and in/x/b.wav is a file"),
        (
            {"inputs": ["in"], "output": "out", "embeddings": "in/a.wav"},
            "3 inputs need a folder to write to, and in/a.wav is a file",
        ),
        ({"inputs": ["empty"], "output": "out"}, "nothing to do: empty holds no audio; leave it out, or *"),
        ({"inputs": ["in/*.mp3"], "output": "out"}, "nothing to do: in/*.mp3 matches no audio; check the pattern"),
        (
            {"inputs": ["in/a.wav"], "formats": ["rttm", "srt"]},
            "standard output takes one format, not rttm, srt: add *",
        ),
        ({"inputs": ["in/a.wav"], "embeddings": "in/a.wav"}, "in/a.wav is a recording and would be overwritten: *"),
        (
            {"inputs": ["in/a.wav"], "output": "in/x/b.wav", "summary": Path("in/x/b.wav")},
            "in/x/b.wav would be written twice, for the summary and for in/a.wav: *",
        ),
        (
            {"inputs": ["in/a.wav"], "output": "out", "summary": Path("in/a.wav")},
            "in/a.wav is a recording and would be overwritten: choose another summary",
        ),
        (
            {"inputs": ["in/a.wav", "in/x/a.flac"], "output": "out"},
            "out/a.rttm would be written twice, for in/a.wav and for in/x/a.flac: *",
        ),
        ({"inputs": ["in"], "output": "out", "plot": Path("x.png")}, "--plot draws one recording: give one input"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    folder(tmp_path, "in/a.wav", "in/x/b.wav", "in/x/a.flac", "empty/notes.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - its message is held below
        plan(**options)  # type: ignore[arg-type]  # the cases are right, and of many types
    assert fnmatchcase(str(error.value), message)


def test_done_is_what_is_all_there_and_not_older_than_the_recording(tmp_path: Path) -> None:
    audio, rttm, voices = (folder(tmp_path, name) / name for name in ("a.wav", "a.rttm", "a.voices"))
    order = Order(str(audio), {"rttm": rttm}, embeddings=voices)
    for at, file in [(100, audio), (100, rttm), (101, voices)]:
        os.utime(file, (at, at))
    assert order.is_done()
    os.utime(audio, (102, 102))
    assert not order.is_done()  # recorded anew
    os.utime(audio, (99, 99))
    voices.unlink()
    assert not order.is_done()  # something is missing
    assert not Order(str(audio), {"rttm": None}, embeddings=rttm).is_done()  # it is to be printed
    audio.unlink()
    assert not Order(str(audio), {"rttm": rttm}).is_done()  # which is told when it is opened


def test_writable_is_found_out_by_writing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder" / "a.rttm")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    check_writable(Path(os.devnull))  # no file: written to as it is
    link = tmp_path / "link.rttm"
    link.symlink_to("nowhere/a.rttm")
    check_writable(link)
    assert (tmp_path / "nowhere").is_dir()
    with pytest.raises(IsADirectoryError, match=f"'{tmp_path}'"):
        check_writable(tmp_path)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("vad onset is 2: give 0 to 1"), "vad onset is 2: give 0 to 1"),
        (FileNotFoundError(2, "No such file or directory", "x"), "x: No such file or directory; check the name"),
        (OSError(5, "Input/output error", "x"), "x: Input/output error"),
        (OSError(28, "No space left on device"), "No space left on device; make room, or choose another place"),
        (OSError("of its own words"), "of its own words"),
    ],
)
def test_errors_are_explained(error: Exception, sentence: str) -> None:
    assert explain(error) == sentence
