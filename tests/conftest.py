"""What the tests share: where the real speech lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech; the test is skipped where there is none."""
    folder = Path(os.environ.get("DIARIZE_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}: set DIARIZE_SPEECH to a folder that holds it")
    return folder
