"""Where things lie that nobody gave a place."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def state_folder(platform: str = sys.platform) -> Path:
    """The user's folder for what should survive a restart, such as live sessions; it need not exist.

    $XDG_STATE_HOME/diarize where that is set (XDG Base Directory Specification 0.8, which says to ignore a relative
    path), else where the system keeps such things.

    Raises ValueError where it is unknown who the user is.
    """
    told, windows = Path(os.environ.get("XDG_STATE_HOME", "")), os.environ.get("LOCALAPPDATA")
    if told.is_absolute():
        return told / "diarize"
    if platform == "win32" and windows:
        return Path(windows) / "diarize"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ValueError("this user has no home folder: say where to keep things, or set XDG_STATE_HOME") from error
    return home / ("Library/Application Support" if platform == "darwin" else ".local/state") / "diarize"
