"""Scenes: each disturbance by itself, as strong as it is said to be, and all of them shared by several crops."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diarize.training.carriers import CarrierConfig, SceneConfig, Sources, disturb
from diarize.types import SAMPLE_RATE
from tests.command import conversation
from tests.lags import lag

LENGTH = 16_000
SHARES = {"band", "room", "open", "bleed", "babble", "noise", "clipping"}
NOTHING = SceneConfig(equaliser=0, slope=0, level=(-30, -30), **dict.fromkeys(SHARES, 0.0))  # type: ignore[arg-type]  # shares only
STEP = 1 / 32768
TINY = Sources(np.random.default_rng(0).integers(-3000, 3000, 60 * SAMPLE_RATE).astype(np.int16), np.ones((1, 1), "f4"))


def heard(waveforms: NDArray[np.float32], scene: SceneConfig, seed: int = 0) -> NDArray[np.float32]:
    return disturb(waveforms, np.random.default_rng(seed), CarrierConfig(scenes=scene), TINY)


def talk(crops: int) -> NDArray[np.float32]:
    samples = conversation(5)
    return np.stack([samples[at : at + LENGTH] for at in np.linspace(0, len(samples) - LENGTH, crops).astype(int)])


def noises(crops: int) -> NDArray[np.float32]:
    """Sounds of one level that have nothing to do with one another."""
    return (0.1 * np.random.default_rng(1).standard_normal((crops, LENGTH))).astype(np.float32)


def decibels(samples: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    return np.asarray(10 * np.log10(np.mean(np.square(samples, dtype=np.float64), axis=-1)))


def shares(mixed: NDArray[np.float32], parts: NDArray[np.float32]) -> NDArray[np.float64]:
    """The factor with which each part is in the mixture, by least squares, shape (parts,)."""
    return np.asarray(np.linalg.lstsq(parts.T.astype(np.float64), mixed.astype(np.float64))[0])


def test_the_same_state_gives_the_same_bits() -> None:
    waveforms = talk(20)
    before = waveforms.copy()
    first, again, other = (disturb(waveforms, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(waveforms, before)
    assert first.dtype == np.float32
    assert first.shape == waveforms.shape
    assert np.array_equal(np.rint(first / STEP) * STEP, first)  # 16 bits
    assert np.abs(first).max() <= 1


def test_where_nothing_is_drawn_only_the_level_changes() -> None:
    waveforms = talk(5)
    out = heard(waveforms, NOTHING)
    scaled = waveforms * 10 ** ((-30 - decibels(waveforms)) / 20)[:, None]
    assert np.abs(out - scaled).max() < STEP


def test_levels_spread_over_50_db_and_low_ones_are_coarse() -> None:
    waveforms = noises(200)
    levels = decibels(heard(waveforms, replace(NOTHING, level=(-60, -8))))
    assert levels.max() - levels.min() > 50
    assert -60.5 < levels.min() < levels.max() < -7.5
    assert len(np.unique(heard(waveforms[:1], replace(NOTHING, level=(-85, -85))))) < 20


def test_clipping_is_at_a_share_of_the_peak() -> None:
    waveforms = talk(30)
    plain, clipped = (heard(waveforms, replace(NOTHING, clipping=share)) for share in (0.0, 1.0))
    ratios = np.abs(clipped).max(axis=1) / np.abs(plain).max(axis=1)
    assert 0.29 < ratios.min() < 0.5 < ratios.max() < 0.91
    for one, other in zip(clipped, plain, strict=True):
        inside = np.abs(one) < np.abs(one).max()
        assert np.abs(one - other)[inside].max() <= STEP


def test_noise_is_at_its_snr() -> None:
    waveforms = noises(60)
    for snr in ((10.0, 10.0), (0.0, 30.0)):
        out = heard(waveforms, replace(NOTHING, noise=1, snr=snr))
        factors = np.array([shares(one, said[None])[0] for one, said in zip(out, waveforms, strict=True)])
        ratios = decibels(factors[:, None] * waveforms) - decibels(out - factors[:, None] * waveforms)
        assert snr[0] - 0.7 < ratios.min() <= ratios.max() < snr[1] + 0.7
        assert ratios.max() - ratios.min() > 0.8 * (snr[1] - snr[0])


def test_another_voice_bleeds_in_a_little_later() -> None:
    waveforms = noises(40)
    out = heard(waveforms, replace(NOTHING, open=1, bleed=1, bleed_level=(-15, -5), together=4))
    others = set()
    for number, one in enumerate(out):
        spectra = np.fft.rfft(waveforms, 2 * LENGTH)
        found = np.fft.irfft(np.fft.rfft(one, 2 * LENGTH) * spectra.conj(), axis=1)[:, : SAMPLE_RATE // 50]
        own = found[number].copy()
        found[number] = 0
        other, delay = np.unravel_index(np.argmax(found), found.shape)
        assert np.argmax(own) == 0  # its own voice is where it was
        assert 8 <= delay <= 240  # half a ms to 15 ms
        assert -22 < 20 * np.log10(found[other, delay] / own[0]) < -2  # the three loudest may share the level
        others.add(int(other))
    assert len(others) > 15


def test_own_voice_reaches_the_other_microphones_too() -> None:
    click = np.zeros((1, LENGTH), dtype=np.float32)
    click[0, 100] = 1
    late = []
    for seed in range(20):
        (one,) = heard(click, replace(NOTHING, open=1, level=(-60, -60)), seed)
        assert not np.abs(one[:100]).any()
        echoes = one[101:] / one[100]
        assert 10 ** (-26 / 20) < echoes.max() < 3 * 10 ** (-5 / 20)
        late.append(int(np.flatnonzero(echoes > 0.03).max()))
    assert max(late) < 241


def test_babble_is_of_several_voices_at_its_snr() -> None:
    waveforms = noises(30)
    out = heard(waveforms, replace(NOTHING, babble=1, babble_snr=(6, 6)))
    counts = []
    for number, one in enumerate(out):
        factors = shares(one, waveforms)
        behind = np.flatnonzero(np.abs(factors) > 0.05 * factors[number])
        counts.append(len(behind) - 1)
        ratio = factors[number] ** 2 / (np.sum(factors**2) - factors[number] ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(6, abs=0.6)
    assert 3 <= min(counts) < max(counts) <= 6


def test_crops_of_a_scene_share_its_channel() -> None:
    same = np.repeat(noises(1), 12, axis=0)
    for scene in (
        replace(NOTHING, equaliser=4.0, slope=2.0, together=4),
        replace(NOTHING, band=1, together=4),
        replace(NOTHING, open=1, together=4),
    ):
        out = heard(same, scene)
        kinds, sizes = np.unique(out, axis=0, return_counts=True)
        assert len(kinds) == 3
        assert sizes.tolist() == [4, 4, 4]


def test_a_scene_is_reverberant_where_it_is_drawn() -> None:
    click = np.zeros((4, LENGTH), dtype=np.float32)
    click[:, 100] = 1
    scene = CarrierConfig(scenes=replace(NOTHING, room=1, together=1, level=(-60, -60)))
    out = disturb(click, np.random.default_rng(0), scene, Sources.computed())
    assert not np.abs(out[:, :100]).max() > 2 * STEP
    assert (np.abs(out[:, 101:4000]).sum(axis=1) > 2 * np.abs(out[:, 100])).all()
    assert len(np.unique(out, axis=0)) == 4


def test_equalisers_are_strong_and_differ() -> None:
    sound = noises(60)
    out = heard(sound, replace(NOTHING, equaliser=SceneConfig.equaliser, slope=SceneConfig.slope, together=1))
    edges = [0, 125, 250, 500, 1000, 2000, 4000, 8000]
    gains = np.empty((len(sound), len(edges) - 1))
    hertz = np.fft.rfftfreq(LENGTH, 1 / SAMPLE_RATE)
    for band, (low, high) in enumerate(pairwise(edges)):
        inside = (hertz >= low) & (hertz < high)
        power = [np.square(np.abs(np.fft.rfft(one)))[:, inside].sum(axis=1) for one in (out, sound)]
        gains[:, band] = 10 * np.log10(power[0] / power[1])
    spread = np.std(gains - gains.mean(axis=1, keepdims=True), axis=1)
    assert spread.min() < 1  # some scenes have hardly any channel
    assert np.median(spread) > 2
    assert np.percentile(spread, 90) > 5


def test_a_voice_stays_at_its_time() -> None:
    waveforms = talk(16)
    scene = replace(SceneConfig(), room=0, bleed=0, babble=0, snr=(10, 30))
    assert max(abs(lag(one, said)) for one, said in zip(heard(waveforms, scene), waveforms, strict=True)) <= 0.005


@pytest.mark.parametrize("shape", [(0, 100), (3, 0), (1, 1), (1, 37), (2, 1600), (3, 25_600)])
def test_any_shape_and_silence_go_through(shape: tuple[int, int]) -> None:
    waveforms = noises(3)[:, :1].repeat(shape[1], axis=1)[: shape[0]] if shape[1] else np.zeros(shape, np.float32)
    all_of_it = SceneConfig(**dict.fromkeys(SHARES, 1.0))  # type: ignore[arg-type]  # shares only
    out = heard(waveforms, all_of_it)
    assert out.shape == shape
    assert np.isfinite(out).all()
    assert not heard(np.zeros(shape, np.float32), all_of_it).any()


def test_what_cannot_be_disturbed() -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(crops, samples\), not \(9,\)"):
        disturb(np.zeros(9, np.float32), np.random.default_rng(0))
    with pytest.raises(ValueError, match="not finite numbers"):
        disturb(np.full((1, 9), np.inf, np.float32), np.random.default_rng(0))


def test_every_share_is_known_here() -> None:
    assert {one.name for one in fields(SceneConfig) if one.type == "float"} == SHARES | {"equaliser", "slope"}
