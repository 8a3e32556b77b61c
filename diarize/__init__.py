"""Who spoke when, live and offline, by name.

>>> from diarize import SpeakerDiarization
>>> annotation = SpeakerDiarization()("meeting.wav")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diarize.formats import Diarization
    from diarize.models.encoder import SpeakerEncoder
    from diarize.pipeline import PipelineConfig, SpeakerDiarization, load_config

__version__ = "0.1.0"

__all__ = ["Diarization", "PipelineConfig", "SpeakerDiarization", "SpeakerEncoder", "load_config"]

_HOMES = {
    "Diarization": "diarize.formats",
    "PipelineConfig": "diarize.pipeline",
    "SpeakerDiarization": "diarize.pipeline",
    "SpeakerEncoder": "diarize.models.encoder",
    "load_config": "diarize.pipeline",
}


def __getattr__(name: str) -> object:
    """Load what is asked for when it is asked for (PEP 562): torch takes seconds, and not every use needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
