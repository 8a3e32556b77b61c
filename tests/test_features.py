from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.models.features import DYNAMIC_RANGE, MEL_BANDS, FilterBank, mel_triangles
from tests.peers import speechbrain


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equals_speechbrain() -> None:
    fbank = speechbrain("lobes.features").Fbank(n_mels=80)
    centred = speechbrain("processing.features").InputNormalization(norm_type="sentence", std_norm=False)
    waveforms = noise(5, 24_321)
    waveforms[1] *= 1e-3
    waveforms[2, 4000:9000] = 0.0  # below the dynamic range
    waveforms[3] = 0.5 * torch.sin(torch.arange(24_321) * 0.3)
    waveforms[4] = 0.0
    expected = centred(fbank(waveforms), torch.ones(5))
    assert FilterBank()(waveforms).numpy() == pytest.approx(expected.numpy(), abs=1e-5, rel=0)


def test_one_frame_by_the_definition() -> None:
    waveform = noise(1, 1600).double().numpy()[0]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(waveform, 200)
    frames = np.stack([padded[start : start + 400] for start in range(0, 1601, 160)])
    dft = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    decibels = 10 * np.log10(np.maximum(np.abs(frames * window @ dft) ** 2 @ mel_triangles().numpy(), 1e-10))
    expected = decibels - decibels.mean(axis=0)
    assert FilterBank()(noise(1, 1600))[0].numpy() == pytest.approx(expected, abs=1e-3)


@settings(deadline=None, max_examples=20)
@given(samples=st.integers(1, 5000))
def test_one_frame_every_ten_milliseconds(samples: int) -> None:
    assert FilterBank()(noise(2, samples)).shape == (2, 1 + samples // 160, MEL_BANDS)


def test_every_band_has_mean_zero() -> None:
    assert FilterBank()(noise(2, 16_000)).mean(dim=1).abs().max() < 1e-4


def test_loudness_does_not_matter() -> None:
    waveforms = noise(1, 16_000)
    assert FilterBank()(0.01 * waveforms).numpy() == pytest.approx(FilterBank()(waveforms).numpy(), abs=1e-3)


def test_the_dynamic_range_is_each_utterances_own() -> None:
    loud, quiet = noise(1, 8000), 1e-4 * noise(1, 8000, seed=1)
    together = FilterBank()(torch.cat([loud, quiet]))
    assert torch.equal(together[0], FilterBank()(loud)[0])
    assert torch.equal(together[1], FilterBank()(quiet)[0])


def test_silence_is_cut_off_at_the_dynamic_range() -> None:
    waveform = noise(1, 16_000)
    waveform[0, 8000:] = 0.0
    features = FilterBank()(waveform)[0]
    assert (features.amax(dim=0) - features.amin(dim=0)).max() <= DYNAMIC_RANGE + 1e-3
    assert torch.equal(FilterBank()(torch.zeros(1, 8000)), torch.zeros(1, 51, MEL_BANDS))


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_tone_that_starts_late_lights_up_its_own_band(hertz: float) -> None:
    waveform = 1e-3 * noise(1, 16_000)
    time = torch.arange(8000) / 16_000
    waveform[0, 8000:] += torch.sin(2 * torch.pi * hertz * time)
    rise = FilterBank()(waveform)[0, 75]
    centres = 700 * (10 ** (torch.arange(1, 81) * 2840.023 / 81 / 2595) - 1)
    assert abs(float(centres[rise.argmax()]) - hertz) < 0.1 * hertz


def test_it_has_nothing_to_save() -> None:
    assert not FilterBank().state_dict()
    assert not list(FilterBank().parameters())
