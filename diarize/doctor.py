"""`diarize doctor`: what is installed, what would fail, and how to mend it.

Whatever it looks at is imported by the check that looks, so that what is broken is told and the rest still checked.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version

DISTRIBUTION = "diarize-live"
REINSTALL = f"install {DISTRIBUTION} again"
DEVICES = {"cuda": "an NVIDIA GPU and torch's CUDA build", "mps": "a Mac with Apple's own chip"}


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


def examine() -> list[Finding]:
    """Try everything that a diarization needs; never raises."""
    findings = [_python(), *map(_package, _packages())]
    findings.append(_tried("audio", _audio, "install soundfile, av and soxr again"))
    findings.append(_tried("recipes", _recipes, REINSTALL))
    findings += [_tried(f"vad {name}", partial(_vad, name), f"install {package} again") for name, package in _VADS]
    findings.append(_tried("model", _model, f"{REINSTALL}, and torch"))
    findings.append(_tried("compute cpu", partial(_device, "cpu"), "install torch again"))
    findings.append(_optional("microphone", _microphone, "an input device, and PortAudio (Debian: libportaudio2)"))
    findings += [_optional(f"compute {name}", partial(_device, name), need) for name, need in DEVICES.items()]
    return findings


_VADS = (("silero", "silero-vad"), ("webrtc", "webrtcvad-wheels"))


def _tried(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception as error:  # whatever is wrong is what is to be told
        return Finding(name, False, " ".join(f"{type(error).__name__}: {error}".split()), remedy)


def _optional(name: str, check: Callable[[], str], need: str) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception:  # why does not matter: nobody has to have it
        return Finding(name, None, f"not there: it needs {need}")


def _python() -> Finding:
    new_enough = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {platform.platform()}"
    return Finding("python", new_enough, detail, "" if new_enough else "install Python 3.11 or later")


def _packages() -> list[str]:
    """What the package requires, by its own account."""
    try:
        needed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return [DISTRIBUTION]
    return [DISTRIBUTION, *(re.split(r"[^\w.-]", one)[0] for one in needed if "extra ==" not in one)]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", f"pip install {name}")


def _audio() -> str:
    import av
    import soundfile
    import soxr

    found = {"libsndfile": soundfile.__libsndfile_version__, "ffmpeg": av.ffmpeg_version_info, "soxr": soxr.__version__}
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _recipes() -> str:
    from diarize.config import recipes
    from diarize.pipeline import load_config

    found = recipes()
    if not found:
        raise FileNotFoundError("no recipe in the package")
    for name in found:
        load_config(name)
    return ", ".join(found)


def _vad(name: str) -> str:
    import numpy as np

    from diarize.types import SAMPLE_RATE, AudioChunk
    from diarize.vad import VadConfig, VoiceActivityDetection

    VoiceActivityDetection(VadConfig(name=name)).push(AudioChunk(0, np.zeros(SAMPLE_RATE, dtype=np.float32)))
    return "works"


def _model() -> str:
    import numpy as np

    from diarize.models.encoder import SpeakerEncoder
    from diarize.models.known import BUNDLED
    from diarize.types import SAMPLE_RATE

    encoder = SpeakerEncoder.from_pretrained()
    encoder.encode(np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) / 10)
    return f"{next(iter(BUNDLED))}, {encoder.dimensions} dimensions, sha256 {encoder.fingerprint[:12]}"


def _microphone() -> str:
    from diarize.microphone.device import choose, devices

    return choose(devices()).name


def _device(name: str) -> str:
    from diarize.models.encoder import device

    return f"available ({device(name)})"
