"""`diarize doctor`: what works, what does not, and that it says so even where hardly anything does."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from diarize import doctor
from diarize.models.known import BUNDLED
from tests.command import process

ROOT = Path(__file__).parents[1]


def test_here_everything_works() -> None:
    found = {finding.name: finding for finding in doctor.examine()}
    assert not [finding for finding in found.values() if finding.ok is False]
    assert found["model"].detail.startswith(f"{next(iter(BUNDLED))}, 192 dimensions, sha256 ")
    assert "telephone" in found["recipes"].detail
    assert {"vad silero", "vad webrtc", "audio", "compute cpu", "compute cuda", "compute mps"} <= found.keys()
    assert found["microphone"].ok in (True, None)


def test_every_package_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {canonicalize_name(finding.name) for finding in doctor.examine()}
    assert {canonicalize_name(Requirement(text).name) for text in project["dependencies"]} <= names


def test_what_is_broken_is_told_with_a_remedy_and_the_rest_is_still_looked_at() -> None:
    broken = "import sys; sys.modules['soundfile'] = None; from diarize.cli import main; main()"
    done = process("doctor", program=[sys.executable, "-c", broken])
    lines = done.out.splitlines()
    assert (done.code, done.err) == (1, "")
    (audio,) = (i for i, line in enumerate(lines) if line.split()[:2] == ["FAIL", "audio"])
    assert "soundfile" in lines[audio]
    assert lines[audio + 1].strip() == "-> install soundfile, av and soxr again"
    assert any(line.split()[:3] == ["ok", "vad", "webrtc"] for line in lines)
    done = process("file", "a.wav", program=[sys.executable, "-c", broken])
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: import of soundfile halted; None in sys.modules; diarize doctor says what is missing\n"


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> str:
        if name == "soxr":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", without)
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["soxr"] == doctor.Finding("soxr", False, "not installed", "pip install soxr")


def test_a_damaged_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"damaged")
    monkeypatch.setitem(BUNDLED, next(iter(BUNDLED)), tmp_path / "weights.safetensors")
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["model"].ok is False
    assert "weights.safetensors: not a checkpoint, or damaged" in found["model"].detail
    assert found["model"].remedy == "install diarize-live again, and torch"
