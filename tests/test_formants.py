"""Another vocal tract: the resonances move, the pitch, the length and the level stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from diarize.training.formants import move_formants
from diarize.training.recording import rms
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation

RESONANCES = ((700, 80), (1220, 90), (2600, 120), (3500, 180))
"""Frequency and bandwidth in Hz: an open vowel of a grown man."""


def vowel(pitch: float) -> Samples:
    """A second of pulses through the resonances of a vocal tract."""
    sound: NDArray[np.float64] = np.zeros(SAMPLE_RATE)
    sound[np.arange(0, SAMPLE_RATE, SAMPLE_RATE / pitch).astype(int)] = 1
    for frequency, bandwidth in RESONANCES:
        pole = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        sound = lfilter([1.0], [1.0, -2 * pole * np.cos(2 * np.pi * frequency / SAMPLE_RATE), pole**2], sound)
    return np.asarray(0.1 * sound / rms(sound.astype(np.float32)), np.float32)


def resonances(samples: Samples) -> NDArray[np.float64]:
    """The formants in Hz, by linear prediction (Markel and Gray, "Linear Prediction of Speech", 1976)."""
    sound = lfilter([1.0, -0.97], [1.0], samples.astype(np.float64)) * np.hanning(len(samples))
    correlation = np.correlate(sound, sound, "full")[len(sound) - 1 :][:13]
    poles = np.roots([1, *-solve_toeplitz(correlation[:12], correlation[1:])])
    poles = poles[(poles.imag > 0) & (-np.log(np.abs(poles)) * SAMPLE_RATE / np.pi < 400)]
    return np.sort(np.angle(poles) * SAMPLE_RATE / (2 * np.pi))


def period(samples: Samples, expected: float) -> int:
    """Samples between two pulses: the lag of the highest autocorrelation around what is expected."""
    correlation = np.correlate(samples, samples, "full")[len(samples) - 1 :]
    first, last = round(0.6 * expected), round(1.5 * expected)
    return first + int(np.argmax(correlation[first:last]))


def test_the_factor_of_one_changes_nothing() -> None:
    samples = conversation(5)
    assert np.abs(move_formants(samples, 1.0) - samples).max() < 1e-6


@pytest.mark.parametrize("pitch", [90, 130, 220])
@pytest.mark.parametrize("factor", [0.86, 0.93, 1.08, 1.16])
def test_the_resonances_move_by_the_factor_and_the_pitch_stays(pitch: float, factor: float) -> None:
    before = vowel(pitch)
    after = move_formants(before, factor)
    assert period(before, SAMPLE_RATE / pitch) == pytest.approx(SAMPLE_RATE / pitch, abs=1)
    assert period(after, SAMPLE_RATE / pitch) == pytest.approx(SAMPLE_RATE / pitch, abs=1)
    was, now = resonances(before), resonances(after)
    assert was == pytest.approx([frequency for frequency, _ in RESONANCES], rel=0.12)
    assert now[2:] / was[2:] == pytest.approx([factor, factor], rel=0.03)
    # the low ones are hardly farther apart than the envelope resolves: they go there, but not all the way
    assert ((now / was - 1) / (factor - 1) > 0.25).all()
    assert now[:2] / was[:2] == pytest.approx([factor, factor], rel=0.12)


@pytest.mark.parametrize("factor", [0.8, 0.86, 1.16, 1.25])
def test_speech_is_as_loud_as_before(factor: float) -> None:
    samples = conversation(10)
    assert abs(20 * np.log10(rms(move_formants(samples, factor)) / rms(samples))) < 1


@given(st.integers(0, 2000), st.floats(0.5, 2), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_piece_stays_as_long_and_is_made_alike(length: int, factor: float, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)
    kept = samples.copy()
    moved = move_formants(samples, factor)
    assert moved.shape == samples.shape
    assert moved.dtype == np.float32
    assert np.isfinite(moved).all()
    assert np.array_equal(move_formants(samples, factor), moved)
    assert np.array_equal(samples, kept), "what was given is not changed"


def test_a_piece_shorter_than_a_window_stays_as_it_is() -> None:
    samples = conversation(1)[:500]
    moved = move_formants(samples, 1.3)
    assert np.array_equal(moved, samples)
    assert not np.shares_memory(moved, samples)


def test_silence_stays_silent() -> None:
    assert not move_formants(np.zeros(SAMPLE_RATE, np.float32), 1.2).any()


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.49, 2.01, float("nan"), float("inf")])
def test_a_factor_that_cannot_be(factor: float) -> None:
    with pytest.raises(ValueError, match=r"a factor of formants must be in 0\.5\.\.2, not"):
        move_formants(conversation(1), factor)
