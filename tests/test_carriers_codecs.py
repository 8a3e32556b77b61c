"""Real codecs: they keep the time, and do what codecs do."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.training.carriers import CODECS, available_codecs, codecs, coded
from diarize.training.recording import rms
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation
from tests.lags import lag

AVAILABLE = available_codecs()
WIDE = [name for name in AVAILABLE if not CODECS[name].narrow]
NARROW = [name for name in AVAILABLE if CODECS[name].narrow]


@pytest.fixture(scope="module")
def voice() -> Samples:
    return conversation(4)


def power(samples: Samples, lowest: float, highest: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(spectrum[(hertz >= lowest) & (hertz < highest)].sum())


def test_the_usual_codecs_are_there() -> None:
    assert {"gsm", "mu-law", "a-law", "opus", "mp3", "aac", "g722"} <= set(AVAILABLE)
    assert set(AVAILABLE) <= set(CODECS)


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_codec_keeps_length_and_time(voice: Samples, name: str) -> None:
    for bit_rate in CODECS[name].bit_rates or (None,):
        heard = coded(voice, name, bit_rate)
        assert heard.dtype == np.float32
        assert heard.shape == voice.shape
        assert abs(lag(heard, voice)) <= 0.005
        assert np.array_equal(heard, coded(voice, name, bit_rate))


@pytest.mark.parametrize("name", AVAILABLE)
def test_the_end_is_as_loud_as_the_rest(voice: Samples, name: str) -> None:
    """A codec's delay must not cut the end off."""
    tone = np.sin(2 * np.pi * 700 * np.arange(8000) / SAMPLE_RATE).astype(np.float32)
    heard = coded(tone, name, CODECS[name].bit_rates[-1] if CODECS[name].bit_rates else None)
    assert rms(heard[-320:]) > 0.5 * rms(heard[2000:6000]) > 0.2


@pytest.mark.parametrize("name", NARROW)
def test_a_telephone_carries_its_band_only(voice: Samples, name: str) -> None:
    heard = coded(voice, name)
    assert power(heard, 4200, 8001) < 1e-3 * power(heard, 0, 8001)
    assert power(heard, 400, 3000) == pytest.approx(power(voice, 400, 3000), rel=0.35)


@pytest.mark.parametrize("name", WIDE)
def test_a_wide_codec_carries_more_than_a_telephone(voice: Samples, name: str) -> None:
    heard = coded(voice, name, CODECS[name].bit_rates[-1] if CODECS[name].bit_rates else None)
    assert power(heard, 100, 300) > 0.5 * power(voice, 100, 300)
    assert power(heard, 4200, 6000) > 0.4 * power(voice, 4200, 6000)


@pytest.mark.parametrize("name", ["aac", "mp3", "opus"])
def test_more_bits_are_nearer(voice: Samples, name: str) -> None:
    rates = CODECS[name].bit_rates
    errors = [rms(coded(voice, name, rate) - voice) for rate in (rates[0], rates[-1])]
    assert errors[1] < 0.9 * errors[0]


def test_a_low_voice_has_coarse_steps(voice: Samples) -> None:
    loud, low = (coded(voice, "mu-law", peak=peak) for peak in (0.9, 0.002))
    assert rms(low - loud) > 0.05 * rms(loud)
    assert rms(low) == pytest.approx(rms(loud), rel=0.3)


@given(st.integers(1, 700), st.sampled_from(AVAILABLE))
@settings(deadline=None, max_examples=60)
def test_any_length(length: int, name: str) -> None:
    heard = coded(conversation(2)[-length:], name)
    assert heard.shape == (length,)
    assert np.isfinite(heard).all()
    assert not coded(np.zeros(0, np.float32), name).size


@pytest.mark.parametrize(
    ("name", "bit_rate", "peak", "words"),
    [
        ("pigeon", None, 0.5, "unknown codec 'pigeon': one of gsm, mu-law"),
        ("aac", 7, 0.5, r"aac at 7 bits a second is not known: one of \(12000"),
        ("gsm", 13_000, 0.5, "gsm at 13000 bits a second is not known: one of None"),
        ("gsm", None, 0.0, "peak must be above 0 and at most 1, not 0.0"),
        ("gsm", None, 2.0, "peak must be above 0 and at most 1, not 2.0"),
    ],
)
def test_what_cannot_be_coded(voice: Samples, name: str, bit_rate: int | None, peak: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        coded(voice, name, bit_rate, peak)


@pytest.mark.parametrize("encoder", ["no_such_codec", "WAV/NONE", "NONE/GSM610"])
def test_a_codec_that_is_not_installed(voice: Samples, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = replace(CODECS["gsm"], encoder=encoder)
    monkeypatch.setattr(codecs, "CODECS", MappingProxyType({"mu-law": CODECS["mu-law"], "new": lacking}))
    monkeypatch.setattr(codecs, "available_codecs", available_codecs.__wrapped__)  # what was found is kept
    assert codecs.available_codecs() == ("mu-law",)
    with pytest.raises(ValueError, match=f"have no new .{encoder}.: draw from others"):
        coded(voice, "new")
