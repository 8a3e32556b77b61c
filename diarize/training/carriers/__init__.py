"""What carries a voice to whoever is to know it again: codecs, devices, rooms, noises and other voices."""

from diarize.training.carriers.codecs import CODECS, available_codecs, coded
from diarize.training.carriers.conditions import CARRIERS, carried
from diarize.training.carriers.config import CarrierConfig, ModeShares, SceneConfig
from diarize.training.carriers.devices import LOUDSPEAKERS, MICROPHONES, Device, through
from diarize.training.carriers.modes import MODES, chain, over
from diarize.training.carriers.scenes import disturb
from diarize.training.carriers.sources import Sources

__all__ = [
    "CARRIERS",
    "CODECS",
    "LOUDSPEAKERS",
    "MICROPHONES",
    "MODES",
    "CarrierConfig",
    "Device",
    "ModeShares",
    "SceneConfig",
    "Sources",
    "available_codecs",
    "carried",
    "chain",
    "coded",
    "disturb",
    "over",
    "through",
]
