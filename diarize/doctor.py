"""`diarize doctor`: what is installed, what would fail, and how to mend it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from diarize.pipeline import PipelineConfig, SpeakerDiarization, load_config, recipes
from diarize.types import SAMPLE_RATE, AudioChunk
from diarize.vad import VadConfig, VoiceActivityDetection

PACKAGES = ("torch", "soundfile", "av", "soxr", "silero-vad", "webrtcvad-wheels", "scikit-learn", "pyannote.core")
EXTRAS = {"matplotlib": "pictures (--plot)", "pyannote.metrics": "scores (diarize score)"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    ok: True; False when something does not work; None when something optional is not there.
    remedy: what to do, or "".
    """

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def examine(config: PipelineConfig) -> list[Finding]:
    """Try everything a diarization needs; never raises."""
    findings = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")]
    findings += [_package(name, "", False) for name in PACKAGES]
    findings += [_package(name, use, None) for name, use in EXTRAS.items()]
    for name, check in (("audio", _audio), ("devices", _devices), ("recipes", _recipes)):
        findings.append(_tried(name, check, "reinstall diarize-live and what it needs"))
    for vad in ("silero", "webrtc"):
        findings.append(_tried(f"vad {vad}", partial(_vad, vad), "reinstall silero-vad and webrtcvad-wheels"))
    findings.append(_tried("model", partial(_model, config), "reinstall diarize-live: its weights are damaged"))
    return findings


def _tried(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception as error:  # whatever is wrong is what is to be told
        return Finding(name, False, " ".join(f"{type(error).__name__}: {error}".split()), remedy)


def _package(name: str, use: str, missing: bool | None) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, missing, f"not installed{use and f': no {use}'}", f"pip install {name}")


def _audio() -> str:
    import av
    import soundfile

    return f"libsndfile {soundfile.__libsndfile_version__}, ffmpeg {av.ffmpeg_version_info}"


def _devices() -> str:
    from diarize.models.encoder import COMPUTE, device

    present = []
    for name in COMPUTE:
        with suppress(ValueError):  # says that the device is not there
            device(name)
            present.append(name)
    return ", ".join(present)


def _recipes() -> str:
    found = sorted(path.stem for path in recipes().glob("*.toml"))
    for name in found:
        load_config(name)
    return f"{', '.join(found)} in {recipes()}"


def _vad(name: str) -> str:
    VoiceActivityDetection(VadConfig(name=name)).push(AudioChunk(0, np.zeros(SAMPLE_RATE, dtype=np.float32)))
    return "works"


def _model(config: PipelineConfig) -> str:
    diarization = SpeakerDiarization(config)
    diarization.diarize(np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) / 10)
    encoder = diarization.encoder
    return f"{config.embedding.model or 'bundled'}, {encoder.dimensions} dimensions, sha256 {encoder.fingerprint[:12]}"
