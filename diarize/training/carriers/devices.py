"""Microphones and loudspeakers: their frequency responses, noises, compressors and distortions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import firwin2

from diarize.training.recording import centred, rms
from diarize.types import SAMPLE_RATE, Samples

_TAPS = 511  # a filter of 32 ms: it follows a response down to about 60 Hz
_FRAME = SAMPLE_RATE // 100  # samples between two gains of a compressor
_HOLD = 10  # frames: a compressor lets go after a tenth of a second
_VARIATION = 2.0  # dB, the standard deviation between two devices of one kind, at each point


@dataclass(frozen=True)
class Device:
    """A kind of microphone or loudspeaker.

    response: (Hz, dB) points, between which the gain is interpolated on a logarithmic scale of frequency.
    noise: dB, of its own noise below the voice; None: none that counts.
    ratio: of its compressor or automatic gain control: so many dB of change in give one dB out; 1: none.
    distortion: 0..1, of the voice's peak; 0: none.  A small loudspeaker that is too loud has 0.3 and more.
    """

    response: tuple[tuple[float, float], ...]
    noise: float | None = None
    ratio: float = 1.0
    distortion: float = 0.0


MICROPHONES: Mapping[str, Device] = MappingProxyType(
    {
        "webcam": Device(((80, -18), (200, -5), (500, 0), (2000, 2), (4000, 5), (6500, 0), (8000, -8)), 32, 1.5),
        "laptop": Device(((80, -14), (150, -6), (400, 0), (1500, -2), (3500, 4), (6000, 2), (8000, -4)), 35, 1.8),
        "phone": Device(((100, -20), (250, -3), (600, 0), (2500, 4), (3400, 5), (5500, 0), (8000, -6)), 42, 2.0),
        "speakerphone": Device(
            ((120, -20), (300, -4), (800, 0), (2200, 3), (3600, 2), (6800, -3), (8000, -12)), 30, 3.0
        ),
        "headset": Device(((60, -10), (150, -2), (500, 0), (2000, 3), (5000, 6), (7000, 2), (8000, -2)), 48, 1.3),
        "bluetooth headset": Device(
            ((150, -22), (300, -4), (700, 1), (2000, 4), (3300, 2), (3900, -20), (8000, -50)), 38, 2.5
        ),
        "lapel": Device(((60, -4), (200, 3), (600, 2), (1500, -2), (3000, -6), (5000, -4), (8000, -9)), 45),
        "conference table": Device(
            ((70, -12), (180, -2), (350, 2), (900, -3), (1800, 1), (4000, -2), (8000, -8)), 28, 2.0
        ),
        "dictaphone": Device(((100, -16), (250, -4), (700, 0), (1500, 4), (3000, 6), (5000, -2), (8000, -18)), 26, 3.0),
        "studio": Device(((40, -3), (100, 1), (300, 1), (1000, 0), (3000, 1), (6000, 3), (8000, 3)), None),
    }
)
"""Ten kinds, in shapes that are typical of what is sold; no single product was measured."""

LOUDSPEAKERS: Mapping[str, Device] = MappingProxyType(
    {
        "phone": Device(
            ((200, -30), (500, -12), (900, 2), (1500, 3), (3000, 0), (5000, 4), (8000, -4)), None, 2.5, 0.35
        ),
        "laptop": Device(
            ((120, -28), (300, -10), (700, 0), (1200, 2), (2500, -3), (5000, 3), (8000, -2)), None, 2.0, 0.2
        ),
        "tablet": Device(
            ((150, -25), (350, -8), (800, 2), (2000, 0), (4000, 3), (6500, -3), (8000, -6)), None, 2.0, 0.25
        ),
        "smart speaker": Device(
            ((50, -14), (120, 4), (300, 2), (1000, -1), (3000, 0), (6000, -3), (8000, -7)), None, 1.5, 0.1
        ),
        "television": Device(
            ((80, -16), (200, -3), (450, 2), (1200, -2), (2500, 1), (5000, -3), (8000, -5)), None, 1.3, 0.1
        ),
        "conference phone": Device(
            ((200, -22), (400, -5), (900, 1), (2000, 2), (3400, 0), (4200, -15), (8000, -40)), None, 2.0, 0.15
        ),
        "bookshelf": Device(((50, -9), (100, 1), (300, 0), (1000, 0), (2500, -2), (6000, 1), (8000, 0)), None),
    }
)
"""Seven kinds that voices are played on."""


def through(samples: Samples, device: Device, rng: np.random.Generator) -> Samples:
    """A voice through a drawn device of this kind: as long, and at the same time; its level may change.

    In the order of the signal: the response, each point off by a drawn few dB, the compressor, the distortion, and the
    noise.  The same generator state gives the same bits.
    """
    if not len(samples):
        return samples
    hertz, decibels = np.array(device.response).T
    drawn = decibels + rng.normal(0, _VARIATION, len(decibels))
    voice = centred(samples, _filter(hertz, drawn))
    if device.ratio > 1:
        voice = _compressed(voice, device.ratio)
    if device.distortion:
        voice = _distorted(voice, device.distortion * rng.uniform(0.3, 1))
    if device.noise is not None:
        level = rms(voice) * 10 ** (-(device.noise + rng.normal(0, 3)) / 20)
        voice = voice + np.float32(level) * rng.standard_normal(len(voice), dtype=np.float32)
    return voice


def _filter(hertz: Samples, decibels: Samples) -> Samples:
    grid = np.geomspace(31.25, SAMPLE_RATE / 2, 128)
    gains = 10 ** (np.interp(np.log(grid), np.log(hertz), decibels) / 20)
    points = np.concatenate([[0.0], grid])
    points[-1] = SAMPLE_RATE / 2
    return np.asarray(firwin2(_TAPS, points, np.concatenate([gains[:1] / 4, gains]), fs=SAMPLE_RATE), dtype=np.float32)


def _compressed(voice: Samples, ratio: float) -> Samples:
    """The loud parts made softer: above a tenth of the loudest frame, `ratio` dB more in give one dB more out."""
    frames = -(-len(voice) // _FRAME)
    padded = np.pad(voice, (0, frames * _FRAME - len(voice))).reshape(frames, _FRAME)
    levels = np.sqrt(np.mean(np.square(padded), axis=1))
    held = uniform_filter1d(maximum_filter1d(levels, _HOLD), 3)
    threshold = max(0.1 * float(held.max(initial=0)), 1e-9)
    gains = np.maximum(held / threshold, 1) ** (1 / ratio - 1)
    middles = (np.arange(frames) + 0.5) * _FRAME
    return voice * np.interp(np.arange(len(voice)), middles, gains).astype(np.float32)


def _distorted(voice: Samples, strength: float) -> Samples:
    """A soft and slightly lopsided limit: odd and even harmonics, as of a membrane that is driven too far."""
    peak = float(np.abs(voice).max(initial=0))
    if not peak:
        return voice
    drive = np.float32(6 * strength)
    x = voice * (drive / np.float32(peak))
    bent = np.tanh(x + np.float32(0.15 * strength) * np.square(x))
    return np.asarray((bent - bent.mean()) * (np.float32(peak) / drive), dtype=np.float32)
