"""A folder that is there when it is whole: what a killed process leaves goes, what a living one works on stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diarize.training.unfinished import made_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from diarize.training.unfinished import made_whole
with made_whole(Path(sys.argv[1])) as beside:
    (beside / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="no locks of folders there")


def names(folder: Path) -> set[str]:
    return {entry.name.partition("-")[0] for entry in folder.iterdir()}


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with made_whole(tmp_path / "made") as beside:
        (beside / "file").write_text("whole")
        assert names(tmp_path) == {"made.unfinished"}
    assert names(tmp_path) == {"made"}
    assert (tmp_path / "made" / "file").read_text() == "whole"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), made_whole(tmp_path / "made") as beside:  # noqa: PT012 - it fails in its midst
        (beside / "file").write_text("half")
        raise error
    assert not names(tmp_path)


def test_what_has_come_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="made"), made_whole(tmp_path / "made"):  # noqa: PT012 - the end is what fails
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "file").write_text("another's")
    assert names(tmp_path) == {"made"}
    assert (tmp_path / "made" / "file").read_text() == "another's"


@needs_locks
def test_what_a_killed_process_has_left_goes_and_nothing_else(tmp_path: Path) -> None:
    here = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "made"], cwd=here, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    shutil.copytree(left, tmp_path / "other.unfinished-12345678")
    (tmp_path / "made.unfinished-notes").write_text("no folder")
    with made_whole(tmp_path / "made"):
        assert not left.exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "made",
        "made.unfinished-notes",
        "other.unfinished-12345678",
    }


@needs_locks
def test_what_another_works_on_stays(tmp_path: Path) -> None:
    with made_whole(tmp_path / "made") as ours:
        (ours / "file").write_text("ours")
        code = "import sys; from pathlib import Path; from diarize.training.unfinished import made_whole\n"
        code += "with made_whole(Path(sys.argv[1])): pass\n"
        other = subprocess.run([sys.executable, "-c", code, tmp_path / "made"], cwd=os.curdir, check=False)
        assert other.returncode == 0
        assert (ours / "file").read_text() == "ours"
        (tmp_path / "made").rmdir()
    assert (tmp_path / "made" / "file").read_text() == "ours"


def test_where_there_are_no_locks_leftovers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made.unfinished-0123").mkdir()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with made_whole(tmp_path / "made"):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == {"made", "made.unfinished-0123"}
