"""A folder that is there when it is whole, and what is left of one whose maker was killed."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A new folder beside, `NAME.unfinished-XXXXXXXX`, which takes the name when the block ends well; else it goes.

    What a killed process has left of the same folder is removed first; what a living one works on stays, wherever that
    runs: the system takes its lock away when it dies.  Where there are no such locks (Windows), leftovers stay.
    Raises OSError where the folder cannot be made, or is there when the block ends.
    """
    for left in folder.parent.iterdir():
        if left.name.startswith(f"{folder.name}.unfinished-") and left.is_dir():
            _remove(left)
    beside = folder.with_name(f"{folder.name}.unfinished-{secrets.token_hex(4)}")
    try:
        beside.mkdir()
        with _locked(beside):
            yield beside
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove(left: Path) -> None:
    """Remove a folder if it can be locked: then nobody works on it."""
    try:
        with _locked(left) as mine:
            if mine:
                _log.info("%s is left from a process that was killed: removed", left)
                shutil.rmtree(left, ignore_errors=True)
    except FileNotFoundError:  # its maker has finished
        pass


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether we have it alone, for as long."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another has it, or this file system knows no locks
            yield False
        else:
            yield True
    finally:
        os.close(place)
