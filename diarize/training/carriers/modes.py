"""The slow part: the six modes of carriers that a voice may come over, with real codecs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple
from types import MappingProxyType

import numpy as np

from diarize.training.carriers.codecs import CODECS, available_codecs, coded
from diarize.training.carriers.config import CarrierConfig
from diarize.training.carriers.devices import LOUDSPEAKERS, MICROPHONES, Device, through
from diarize.training.carriers.sources import Sources
from diarize.training.recording import rms
from diarize.types import Samples

_Mode = Callable[[Samples, np.random.Generator, Sources], Samples]

_LOUDNESS = (0.02, 0.9)  # of full scale: a drawn peak at a codec, since its steps are coarse where it is low
_BACKGROUND = (10, 35)  # dB of a voice in a room above the noise there


def chain(
    samples: Samples,
    rng: np.random.Generator,
    config: CarrierConfig | None = None,
    sources: Sources | None = None,
) -> Samples:
    """A voice over a drawn one of `MODES`: as long, at the same time, as loud (softer where it would not fit).

    The same generator state gives the same bits.

    samples: shape (samples,), at most full scale.
    sources: noises and rooms; None: computed ones.
    Raises ValueError for what is not one-dimensional, and for samples that are no numbers.
    """
    shares = np.array(astuple((config or CarrierConfig()).modes))
    mode = list(MODES)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    return over(samples, mode, rng, sources)


def over(samples: Samples, mode: str, rng: np.random.Generator, sources: Sources | None = None) -> Samples:
    """A voice over one of `MODES`, as `chain` draws them.  Raises ValueError as it does, and for an unknown mode."""
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}: one of {', '.join(MODES)}")
    if samples.ndim != 1:
        raise ValueError(f"samples must have the shape (samples,), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("there are samples that are not finite numbers: leave such recordings out")
    if not samples.any():  # nothing to carry, and no level to keep
        return samples
    carried = MODES[mode](samples, rng, sources or Sources.computed())
    gain = rms(samples) / max(rms(carried), 1e-9)
    loudest = max(1.0, float(np.abs(samples).max())) / max(float(np.abs(carried).max()), 1e-9)
    return carried * np.float32(min(gain, loudest))


def _clean(samples: Samples, _rng: np.random.Generator, _sources: Sources) -> Samples:
    return samples


def _codec(samples: Samples, rng: np.random.Generator, _sources: Sources) -> Samples:
    names = available_codecs()
    name = names[int(rng.integers(len(names)))]
    rates = CODECS[name].bit_rates
    bit_rate = rates[int(rng.integers(len(rates)))] if rates else None
    return coded(samples, name, bit_rate, float(np.exp(rng.uniform(*np.log(_LOUDNESS)))))


def _microphone(samples: Samples, rng: np.random.Generator, _sources: Sources) -> Samples:
    return through(samples, _drawn(MICROPHONES, rng), rng)


def _codec_microphone(samples: Samples, rng: np.random.Generator, sources: Sources) -> Samples:
    return _codec(_microphone(samples, rng, sources), rng, sources)


def _reverb_codec(samples: Samples, rng: np.random.Generator, sources: Sources) -> Samples:
    return _codec(_in_room(samples, rng, sources), rng, sources)


def _playback(samples: Samples, rng: np.random.Generator, sources: Sources) -> Samples:
    played = through(_codec(samples, rng, sources), _drawn(LOUDSPEAKERS, rng), rng)
    return _microphone(_in_room(played, rng, sources), rng, sources)


def _in_room(samples: Samples, rng: np.random.Generator, sources: Sources) -> Samples:
    """In a drawn room, every other time with a noise there."""
    heard = sources.in_room(samples, rng)
    return sources.noisy(heard, _BACKGROUND, rng) if rng.random() < 0.5 else heard


def _drawn(devices: Mapping[str, Device], rng: np.random.Generator) -> Device:
    return list(devices.values())[int(rng.integers(len(devices)))]


MODES: Mapping[str, _Mode] = MappingProxyType(
    {
        "clean": _clean,
        "codec": _codec,
        "microphone": _microphone,
        "codec_microphone": _codec_microphone,
        "reverb_codec": _reverb_codec,
        "playback": _playback,
    }
)
"""By name, in the order of `ModeShares`."""
