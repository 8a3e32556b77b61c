"""Microphones and loudspeakers: each law by itself, on sounds that show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch

from diarize.training.carriers import LOUDSPEAKERS, MICROPHONES, Device, through
from diarize.training.recording import rms
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation
from tests.lags import lag

DEVICES = [*MICROPHONES.values(), *LOUDSPEAKERS.values()]
NAMES = [*(f"{name} microphone" for name in MICROPHONES), *(f"{name} loudspeaker" for name in LOUDSPEAKERS)]
FLAT = Device(((31, 0.0), (8000, 0.0)))


def tone(level: float, hertz: float = 500, seconds: float = 1) -> Samples:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def drawn(device: Device, samples: Samples, count: int) -> list[Samples]:
    return [through(samples, device, np.random.default_rng(seed)) for seed in range(count)]


def test_there_are_ten_microphones() -> None:
    assert len(MICROPHONES) == 10


@pytest.mark.parametrize("device", DEVICES, ids=NAMES)
def test_a_device_has_its_response(device: Device) -> None:
    noise = np.random.default_rng(9).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    hertz, before = welch(noise, SAMPLE_RATE, nperseg=2048)
    heard = drawn(replace(device, noise=None, ratio=1, distortion=0), noise, 40)
    gains = np.mean([10 * np.log10(welch(one, SAMPLE_RATE, nperseg=2048)[1] / before) for one in heard], axis=0)
    for at, decibels in device.response:
        if 200 <= at <= 7000 and decibels > -25:  # the filter follows no steeper slopes
            assert np.interp(at, hertz, gains) == pytest.approx(decibels, abs=2.5)


@pytest.mark.parametrize("device", DEVICES, ids=NAMES)
def test_a_device_keeps_length_and_time(device: Device) -> None:
    voice = conversation(4)
    for heard in drawn(device, voice, 3):
        assert heard.dtype == np.float32
        assert heard.shape == voice.shape
        assert abs(lag(heard, voice)) <= 0.002
    first, again, other = (through(voice, device, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-4)  # no two devices of a kind are alike


def test_noise_is_so_much_softer_than_the_voice() -> None:
    sound = np.concatenate([tone(0.3), np.zeros(SAMPLE_RATE, np.float32)])
    ratios = [
        20 * np.log10(rms(heard) / rms(heard[-SAMPLE_RATE // 2 :]))
        for heard in drawn(replace(FLAT, noise=30), sound, 40)
    ]
    assert np.mean(ratios) == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0])
def test_a_compressor_brings_levels_together(ratio: float) -> None:
    sound = np.concatenate([tone(0.8), tone(0.2)])  # 12 dB
    for heard in drawn(replace(FLAT, ratio=ratio), sound, 3):
        loud, soft = heard[4000:12000], heard[20000:28000]
        assert 20 * np.log10(rms(loud) / rms(soft)) == pytest.approx(12.04 / ratio, abs=0.1)


def test_distortion_makes_even_and_odd_overtones() -> None:
    def overtones(device: Device) -> list[float]:
        spectrum = np.abs(np.fft.rfft(through(tone(0.5), device, np.random.default_rng(0))[4000:12000]))
        return [20 * np.log10(spectrum[250 * order] / spectrum[250]) for order in (2, 3)]

    plain, mild, bad = (overtones(replace(FLAT, distortion=distortion)) for distortion in (0.0, 0.05, 0.35))
    assert max(plain) < -60
    assert max(plain) < min(mild) < min(bad)
    assert max(bad) > -35


def test_silence_and_nothing_go_through() -> None:
    for device in DEVICES:
        assert not through(np.zeros(0, np.float32), device, np.random.default_rng(0)).size
        assert not through(np.zeros(500, np.float32), device, np.random.default_rng(0)).any()
