"""The fast part: crops in drawn scenes, each with one equaliser, one room and one noise for several voices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from diarize.training.carriers.config import CarrierConfig, SceneConfig
from diarize.training.carriers.sources import Sources
from diarize.types import SAMPLE_RATE, Samples

_RESPONSE = round(0.3 * SAMPLE_RATE)  # samples of a room that count here
_OCTAVES = 62.5 * 2.0 ** np.arange(8)  # Hz, 62.5 to 8000
_GRID = np.concatenate([[0.0], np.geomspace(30, SAMPLE_RATE / 2, 160)])  # Hz, on which an equaliser is computed
_LARGEST = 25.0  # dB, of an equaliser's gain
_NEAREST, _FARTHEST = 0.0005, 0.015  # seconds to another open microphone: 0.2 to 5 m
_SILENCE = 1e-12  # of power: what has less is left as it is

Spectra = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class _Scene:
    """Where several crops are recorded; spectra of shape (bins,).

    voice: from a mouth to the recording; others: the same from those who are not meant; microphone: the equaliser.
    noise: of RMS 1, shape (samples,).
    """

    voice: Spectra
    others: Spectra
    opened: bool
    noise: Samples


def disturb(
    waveforms: NDArray[np.float32],
    rng: np.random.Generator,
    config: CarrierConfig | None = None,
    sources: Sources | None = None,
) -> NDArray[np.float32]:
    """Crops as they are recorded in drawn scenes, shape (crops, samples) as given; the same state, the same bits.

    waveforms: float32, full scale -1..1; of different voices, since they also are what bleeds into and babbles behind
        one another.  A silent row stays silent; a single row has no other voices in it.
    sources: noises and rooms; None: computed ones.
    Raises ValueError for what is not two-dimensional, and for samples that are no numbers.
    """
    if waveforms.ndim != 2:
        raise ValueError(f"waveforms must have the shape (crops, samples), not {waveforms.shape}")
    if not np.isfinite(waveforms).all():
        raise ValueError("waveforms have samples that are not finite numbers: leave such recordings out")
    settings = (config or CarrierConfig()).scenes
    sources = sources or Sources.computed()
    crops, length = waveforms.shape
    out = np.zeros((crops, length), dtype=np.float32)
    if not out.size:
        return out
    size = next_fast_len(length + _RESPONSE, real=True)
    spectra = np.stack([rfft(row, size) for row in np.asarray(waveforms, dtype=np.float32)])
    powers = np.array([_power(one) for one in spectra])
    for members in np.array_split(rng.permutation(crops), -(-crops // settings.together)):
        scene = _draw_scene(size, settings, sources, rng)
        for crop in members:
            out[crop] = _record(int(crop), spectra, powers, length, scene, settings, rng)
    return out


def _draw_scene(size: int, config: SceneConfig, sources: Sources, rng: np.random.Generator) -> _Scene:
    equaliser = _equaliser(size, config, rng)
    voice, others = (np.zeros(_RESPONSE, dtype=np.float32) for _ in range(2))
    voice[0] = others[0] = 1
    if rng.random() < config.room:
        voice, others = (_faded(sources.room(rng)) for _ in range(2))
    opened = bool(rng.random() < config.open)
    if opened:
        voice, others = _through_others(voice, rng, direct=True), _through_others(others, rng, direct=False)
    noise = sources.noise(size, rng)
    noise = np.asarray(irfft(rfft(noise, size) * equaliser, size), dtype=np.float32)
    noise /= np.float32(max(np.sqrt(np.mean(np.square(noise))), 1e-6))
    return _Scene(rfft(voice, size) * equaliser, rfft(others, size) * equaliser, opened, noise)


def _record(
    crop: int,
    spectra: Spectra,
    powers: NDArray[np.float64],
    length: int,
    scene: _Scene,
    config: SceneConfig,
    rng: np.random.Generator,
) -> Samples:
    """One crop in its scene, at its level."""
    size = len(scene.noise)
    spectrum = spectra[crop] * scene.voice
    power = _power(spectrum)
    _add_voices(spectrum, crop, spectra, powers, scene, config, rng)
    samples = np.asarray(irfft(spectrum, size)[:length], dtype=np.float32)
    if rng.random() < config.noise:
        voice = np.sqrt(2 * power / (size * length))  # RMS, by Parseval: the spectrum of real samples is half of it
        level = np.float32(voice * 10 ** (-rng.uniform(*config.snr) / 20))
        at = int(rng.integers(size))
        samples += level * np.take(scene.noise, np.arange(at, at + length), mode="wrap")
    return _levelled(samples, config, rng)


def _add_voices(
    spectrum: Spectra,
    crop: int,
    spectra: Spectra,
    powers: NDArray[np.float64],
    scene: _Scene,
    config: SceneConfig,
    rng: np.random.Generator,
) -> None:
    """Add what other crops of the batch say to the spectrum of one: into open microphones, and in the background."""
    count, power = len(spectra), _power(spectrum)
    if scene.opened and rng.random() < config.bleed and count > 1:
        other = (crop + int(rng.integers(1, count))) % count
        _add(spectrum, spectra[other] * scene.others, power, rng.uniform(*config.bleed_level))
    if rng.random() < config.babble and count > 2:
        behind = (crop + rng.choice(count - 1, min(count - 1, int(rng.integers(3, 7))), replace=False) + 1) % count
        weights = (1 / np.sqrt(np.maximum(powers[behind], _SILENCE))).astype(np.float32)
        _add(spectrum, (weights @ spectra[behind]) * scene.others, power, -rng.uniform(*config.babble_snr))


def _levelled(samples: Samples, config: SceneConfig, rng: np.random.Generator) -> Samples:
    """At a drawn level, clipped where it is drawn or does not fit, in 16 bits."""
    decibels, clipped = rng.uniform(*config.level), rng.random() < config.clipping
    highest = rng.uniform(0.3, 0.9)
    power = float(np.dot(samples, samples)) / len(samples)
    if power < _SILENCE:
        return np.zeros_like(samples)
    samples = samples * np.float32(32768 * 10 ** (decibels / 20) / np.sqrt(power))
    most = min(32767.0, highest * float(np.abs(samples).max())) if clipped else 32767.0
    return np.asarray(np.rint(np.clip(samples, -most, most)) / np.float32(32768), dtype=np.float32)


def _equaliser(size: int, config: SceneConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gains of shape (bins,): a drawn tilt, a drawn gain in each octave, and often a lower and an upper end."""
    tilt = rng.normal(0, config.slope) * (np.arange(len(_OCTAVES)) - (len(_OCTAVES) - 1) / 2)
    strength = rng.uniform(0, 2)
    gains = np.clip(strength * (tilt + rng.normal(0, config.equaliser, len(_OCTAVES))), -_LARGEST, _LARGEST)
    hertz = np.maximum(_GRID, 1)
    decibels = np.interp(np.log(hertz), np.log(_OCTAVES), gains)
    if rng.random() < config.band:
        lowest, highest = np.exp(rng.uniform(np.log(60), np.log(400))), np.exp(rng.uniform(np.log(3000), np.log(7500)))
        decibels -= 10 * np.log10(1 + (lowest / hertz) ** 4) + 10 * np.log10(1 + (hertz / highest) ** 16)
    bins = rfftfreq(size, 1 / SAMPLE_RATE)
    return np.asarray(np.interp(bins, _GRID, 10 ** (np.maximum(decibels, -60) / 20)), dtype=np.float32)


def _faded(response: Samples) -> Samples:
    """The beginning of a room's response, faded out where it is longer, shape (_RESPONSE,)."""
    beginning = np.zeros(_RESPONSE, dtype=np.float32)
    beginning[: len(response)] = response[:_RESPONSE]
    if len(response) > _RESPONSE:
        fade = _RESPONSE // 4
        beginning[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return beginning


def _through_others(response: Samples, rng: np.random.Generator, direct: bool) -> Samples:
    """What several open microphones hear of a voice, each later and more faintly: mixed, it sounds like a comb."""
    mixed = response.copy() if direct else np.zeros_like(response)
    for _ in range(int(rng.integers(1, 4))):
        delay = round(rng.uniform(_NEAREST, _FARTHEST) * SAMPLE_RATE)
        gain = 10 ** (rng.uniform(-25, -5) / 20)
        mixed[delay:] += np.float32(gain) * response[:-delay]
    return mixed


def _add(spectrum: Spectra, other: Spectra, power: float, decibels: float) -> None:
    """Add another sound to a spectrum of this power, in place, so many dB louder or softer."""
    own = _power(other)
    if own > _SILENCE:
        spectrum += np.float32(np.sqrt(power / own) * 10 ** (decibels / 20)) * other


def _power(spectrum: Spectra) -> float:
    return float(np.vdot(spectrum, spectrum).real)
