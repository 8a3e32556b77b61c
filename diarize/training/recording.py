"""What a recording adds to the voices: noise, a microphone and a line."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, firwin2, oaconvolve, resample_poly, sosfilt, welch

from diarize.training.speech import read_audio
from diarize.types import SAMPLE_RATE, Samples

_LTASS = {63: -22.0, 125: -5.4, 250: -1.8, 500: 0.0, 1000: -6.8, 2000: -11.7, 4000: -15.9, 8000: -20.0}
"""dB by octave: the long-term average speech spectrum of Byrne et al. (1994), third octaves summed; 63 Hz by ear."""

EQUALISER_DELAY = 256
"""Samples by which `equaliser` delays."""

_CROSSFADE = SAMPLE_RATE // 5


def rms(samples: Samples) -> float:
    """The root of the mean power."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def steady_noise(file: Path | None, length: int, rng: np.random.Generator) -> Samples:
    """A background of `length` samples with RMS 1: cuts of a recording that run into each other, or coloured noise.

    file: the recording, or None for noise whose spectrum falls by a drawn 0 to 9 dB an octave.
    """
    if file is None:
        noise = _coloured(length, rng)
    else:
        sound = np.trim_zeros(read_audio(file))
        noise = np.zeros(length + len(sound), dtype=np.float32)
        fade = min(_CROSSFADE, len(sound) // 4)
        ramp = np.sqrt(np.linspace(0, 1, fade, dtype=np.float32))
        at = 0
        while at < length:
            piece = sound[int(rng.integers(0, len(sound) // 4)) :].copy()
            piece[:fade] *= ramp
            piece[-fade:] *= ramp[::-1]
            noise[at : at + len(piece)] += piece
            at += len(piece) - fade
        noise = noise[:length]
    return noise / np.float32(max(rms(noise), 1e-9))


def events(files: Sequence[Path], length: int, per_minute: float, rng: np.random.Generator) -> Samples:
    """Sounds here and there in `length` samples, each with RMS 1."""
    out = np.zeros(length, dtype=np.float32)
    for _ in range(rng.poisson(per_minute * length / (60 * SAMPLE_RATE))):
        sound = np.trim_zeros(read_audio(files[int(rng.integers(len(files)))]))
        at = int(rng.integers(length))
        sound = sound[: length - at]
        out[at : at + len(sound)] += sound / np.float32(max(rms(sound), 1e-9))
    return out


def tilt(rng: np.random.Generator) -> Samples:
    """A microphone: a linear-phase filter with a drawn slope and a drawn gain in each octave, a few dB."""
    octaves = np.array([0, 62.5, 125, 250, 500, 1000, 2000, 4000, SAMPLE_RATE / 2])
    slope = rng.normal(0, 1.5)
    gains = slope * (np.arange(len(octaves)) - 4.5) + rng.normal(0, 2.5, len(octaves))
    return np.asarray(firwin2(255, octaves, 10 ** (gains / 20), fs=SAMPLE_RATE), dtype=np.float32)


def equaliser(voice: Samples, share: float) -> Samples:
    """A filter that brings the mean spectrum of a voice `share` of the way to that of all speech, octave by octave."""
    frequency, power = welch(voice, SAMPLE_RATE, nperseg=1024)
    octaves = np.array(list(_LTASS))
    bands = np.clip(np.round(np.log2(np.maximum(frequency, 1) / 62.5)), 0, len(octaves) - 1)
    own = np.array([10 * np.log10(power[bands == band].sum() + 1e-20) for band in range(len(octaves))])
    gains = np.array(list(_LTASS.values())) - own
    gains = np.clip(share * (gains - np.median(gains)), -12, 12)
    edges = np.concatenate([[0], octaves[:-1], [SAMPLE_RATE / 2]])
    return np.asarray(
        firwin2(2 * EQUALISER_DELAY + 1, edges, 10 ** (gains[[0, *range(len(gains))]] / 20), fs=SAMPLE_RATE),
        dtype=np.float32,
    )


def centred(samples: Samples, taps: Samples) -> Samples:
    """`samples` through a symmetric filter, without its delay."""
    return np.asarray(oaconvolve(samples, taps, mode="same"), dtype=np.float32)


def telephone(samples: Samples, _: np.random.Generator) -> Samples:
    """A telephone line: 300 to 3400 Hz, 8 kHz, mu-law (ITU-T G.711)."""
    sos = butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = resample_poly(sosfilt(sos, samples), 1, 2)
    scale = max(float(np.abs(narrow).max()), 1e-9)
    law = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / scale) / np.log(256)
    law = np.round(law * 127) / 127
    narrow = scale * np.sign(law) * np.expm1(np.abs(law) * np.log(256)) / 255
    return np.asarray(resample_poly(narrow, 2, 1)[: len(samples)], dtype=np.float32)


def band_limited(samples: Samples, rng: np.random.Generator) -> Samples:
    """An encoder that leaves the highest frequencies out: from a drawn 3.8 to 7 kHz on."""
    sos = butter(8, rng.uniform(3800, 7000), "lowpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(sos, samples), dtype=np.float32)


def vorbis(samples: Samples, _: np.random.Generator) -> Samples:
    """A lossy encoder and decoder: Ogg Vorbis at a drawn low quality."""
    scale = np.float32(0.5 / max(float(np.abs(samples).max()), 1e-9))
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS", compression_level=0.9) as ogg:
        for at in range(0, len(samples), SAMPLE_RATE):  # libsndfile crashes on much more at once
            ogg.write(samples[at : at + SAMPLE_RATE] * scale)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return np.asarray(decoded[: len(samples)] / scale, dtype=np.float32)


def wideband(samples: Samples, _: np.random.Generator) -> Samples:
    """All of it: what the microphone heard."""
    return samples


LINES: dict[str, tuple[float, Callable[[Samples, np.random.Generator], Samples]]] = {
    "wideband": (0.5, wideband),
    "band-limited": (0.2, band_limited),
    "vorbis": (0.15, vorbis),
    "telephone": (0.15, telephone),
}
"""What the recording went through after the microphone, with how often."""


def _coloured(length: int, rng: np.random.Generator) -> Samples:
    # a block's spectrum is shaped at once, and the block repeats: half a minute of noise is not recognised again
    block = min(length, 30 * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(block))
    frequency = np.maximum(np.fft.rfftfreq(block, 1 / SAMPLE_RATE), 40)
    noise: NDArray[np.float64] = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1.5), block)
    return np.resize(noise, length).astype(np.float32)
