"""Where things go that nobody gave a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from diarize.folders import state_folder


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".local/state/diarize"),
        ("freebsd14", ".local/state/diarize"),
        ("darwin", "Library/Application Support/diarize"),
        ("win32", "AppData/diarize"),
    ],
)
def test_each_system_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, folder: str) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData"))
    assert state_folder(platform) == tmp_path / folder


def test_the_user_may_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    assert state_folder() == tmp_path / "mine" / "diarize"
    for relative in ("", "mine"):  # the specification: paths must be absolute, others are ignored
        monkeypatch.setenv("XDG_STATE_HOME", relative)
        assert state_folder("linux") == tmp_path / ".local" / "state" / "diarize"


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(ValueError, match="no home folder: say where to keep things"):
        state_folder("linux")
