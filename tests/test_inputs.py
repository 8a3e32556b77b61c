"""Files, folders and patterns as a list of recordings."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import soundfile

from diarize.inputs import STDIN, SUFFIXES, find_recordings, is_search

FILES = ("b.WAV", "a.mp3", "z/c.flac", "m/n/d.opus", "m/e.mp4", "m/notes.txt", "a.rttm", ".hidden.wav", ".git/f.wav")


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `talks` in the current one."""
    for file in FILES:
        (tmp_path / "talks" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "talks" / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "talks"


def found(*names: str) -> list[tuple[str, str]]:
    """Each recording's path and place."""
    return [(recording.path, recording.place) for recording in find_recordings(names)]


BELOW = [
    ("talks/a.mp3", "a"),
    ("talks/b.WAV", "b"),
    ("talks/m/e.mp4", "m/e"),
    ("talks/m/n/d.opus", "m/n/d"),
    ("talks/z/c.flac", "z/c"),
]


def test_a_folder_gives_the_audio_in_it_and_below_by_name(talks: Path) -> None:
    assert found("talks") == found("talks/") == BELOW
    assert found(str(talks)) == [(str(talks.parent / path), place) for path, place in BELOW]
    assert [place for _, place in found("talks/m/..")] == [place for _, place in BELOW]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("talks/*.mp3", [("talks/a.mp3", "a")]),
        ("talks/?.[mr]*", [("talks/a.mp3", "a"), ("talks/a.rttm", "a")]),  # what a pattern matches is meant
        ("talks/[mz]", [one for one in BELOW if "/" in one[1]]),  # folders
        ("talks/**/*.flac", [("talks/z/c.flac", "z/c")]),
        ("t*/*/*.mp4", [("talks/m/e.mp4", "talks/m/e")]),
        ("talks/m/**", [("talks/m/e.mp4", "e"), ("talks/m/n/d.opus", "n/d"), ("talks/m/notes.txt", "notes")]),
    ],
)
def test_a_pattern_is_taken_as_a_shell_takes_it(talks: Path, pattern: str, expected: list[tuple[str, str]]) -> None:
    assert is_search(pattern)
    assert found(pattern) == expected


def test_none_is_taken_twice(talks: Path) -> None:
    assert found("talks/m", "talks", "./talks/a.mp3") == [
        ("talks/m/e.mp4", "e"),
        ("talks/m/n/d.opus", "n/d"),
        *(one for one in BELOW if "/m/" not in one[0]),
    ]


def test_what_is_named_is_taken_as_it_is(talks: Path) -> None:
    (talks / "[1].wav").touch()
    names = ["nowhere.wav", "talks/a.rttm", STDIN, "talks/[1].wav", "talks/.hidden.wav", "x/a.b.wav"]
    assert not any(is_search(name) for name in names)
    assert found(*names) == list(zip(names, ["nowhere", "a", "stdin", "[1]", ".hidden", "a.b"], strict=True))
    assert find_recordings([]) == []


def test_links_to_folders_are_not_followed(talks: Path) -> None:
    (talks / "m" / "back").symlink_to(talks)
    (talks / "linked.wav").symlink_to(talks / "b.WAV")
    assert found("talks") == sorted([*BELOW, ("talks/linked.wav", "linked")])


def test_a_folder_that_cannot_be_searched_is_told(
    talks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scan = __import__("os").scandir

    def refuse(path: str) -> object:
        if path.endswith("z"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)  # root, who may run this, may search every folder
    assert found("talks") == BELOW[:-1]
    assert caplog.messages == ["talks/z: cannot be searched (Permission denied)"]


@pytest.mark.parametrize("name", ["talks/.git", "talks/*.wma", "nowhere/**/*.wav"])
def test_nothing_to_do_is_an_error(talks: Path, name: str) -> None:
    (talks / ".git" / "f.wav").unlink()
    with pytest.raises(ValueError, match=r"^nothing to do: "):
        find_recordings(["talks/a.mp3", name])


def test_every_suffix_is_of_a_format_that_can_be_decoded() -> None:
    known = {f".{name.lower()}" for name in soundfile.available_formats()}
    for name in av.formats_available:
        for mode in ("r", "w"):  # FFmpeg knows some suffixes only as its own outputs'
            try:
                known |= {f".{suffix}" for suffix in av.format.ContainerFormat(name, mode).extensions}
            except ValueError:
                continue
    aliases = {".aif", ".aifc", ".snd"}  # of .aiff and .au
    assert SUFFIXES - known - aliases == set()
