"""What the tests share: where the real speech lies, one thread a process, and no skip unnoticed."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

# several workers share the cores, and results must not depend on how many there are; set before anything loads torch
os.environ.setdefault("OMP_NUM_THREADS", "1")
# whoever runs the tests may have enrolled people, who would be named; here nobody is, and nobody can be
os.environ["DIARIZE_PROFILES"] = os.path.join(os.devnull, "people.db")  # noqa: PTH118 - it is to be no path

pytest_plugins = ["pytester"]

NO_SPEECH = "no real speech at "
STRICT = os.environ.get("DIARIZE_STRICT_SKIPS", "0") != "0"


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech; the test is skipped where there is none."""
    folder = Path(os.environ.get("DIARIZE_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
    if not folder.is_dir():
        pytest.skip(f"{NO_SPEECH}{folder}: set DIARIZE_SPEECH to a folder that holds it")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where skips are strict, a skipped test fails unless the real speech is what is absent."""
    report = yield
    if not hasattr(report, "wasxfail"):
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself."""
    report = yield
    refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, where skips are strict."""
    if not (STRICT and report.skipped and isinstance(report.longrepr, tuple)):
        return
    file, line, reason = report.longrepr
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(NO_SPEECH):
        report.outcome = "failed"
        report.longrepr = f"{file}:{line}: skipped, which is a failure here: {reason}"
