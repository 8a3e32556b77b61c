"""Numbers and bytes to samples, channels mixed down, any rate to 16 kHz."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.audio import ENCODINGS, AudioError, Resampler, check_layout, decode_pcm, mixdown, to_float
from diarize.types import Samples

RATES = [1_000, 8_000, 11_025, 12_345, 16_000, 22_050, 44_100, 48_000, 96_000, 384_000]


def resample(samples: Samples, rate: int, cuts: list[int]) -> Samples:
    resampler = Resampler(rate)
    pieces = [resampler.push(piece) for piece in np.split(samples, sorted(cuts))]
    return np.concatenate([*pieces, resampler.flush()])


@given(st.sampled_from(RATES), st.integers(0, 6000), st.data())
@settings(deadline=None, max_examples=60)
def test_any_cut_resamples_as_one_shot(rate: int, length: int, data: st.DataObject) -> None:
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=20))
    whole = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000, "HQ")
    resampled = resample(samples, rate, cuts)
    np.testing.assert_array_equal(resampled, whole)
    assert abs(len(resampled) - length * 16_000 / rate) <= 0.5
    assert resampled.dtype == np.float32


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_stays_and_what_16_khz_cannot_hold_goes(rate: int) -> None:
    def tone(hertz: float, at: int) -> Samples:
        return np.sin(2 * np.pi * hertz * np.arange(at) / at).astype(np.float32)

    middle = slice(4_000, 12_000)
    np.testing.assert_allclose(resample(tone(1000, rate), rate, [])[middle], tone(1000, 16_000)[middle], atol=1e-3)
    if rate > 24_000:
        assert np.abs(resample(tone(9_500, rate), rate, [])[middle]).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 40, 64])
def test_mixdown_is_the_mean_whatever_the_memory_layout(channels: int) -> None:
    block = np.random.default_rng(channels).standard_normal((500, channels)).astype(np.float32)
    mono = mixdown(block)
    np.testing.assert_allclose(mono, block.astype(np.float64).mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(mixdown(np.asfortranarray(block)), mono)
    np.testing.assert_array_equal(np.concatenate([mixdown(block[:1]), mixdown(block[1:])]), mono)
    assert mono.dtype == np.float32


def test_mixdown_leaves_its_block_alone() -> None:
    block = np.ones((4, 2), np.float32)
    mixdown(block)
    np.testing.assert_array_equal(block, 1)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16])
def test_integers_are_scaled_to_full_scale(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    middle = 0 if limits.min else (limits.max + 1) // 2
    low, centre, high = to_float(np.array([limits.min, middle, limits.max], dtype))
    assert (low, centre) == (-1, 0)
    assert 1 - 2 / 2.0**limits.bits <= high <= 1


def test_floats_stay_and_are_not_clipped() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(to_float(np.array([-3.5, 0.25, 1.0], dtype)), [-3.5, 0.25, 1.0])
    assert np.isinf(to_float(np.array([1e300]))[0])


@pytest.mark.parametrize("dtype", [bool, complex, object, "U1", "datetime64[s]"])
def test_other_types_are_no_audio(dtype: Any) -> None:
    with pytest.raises(AudioError, match="give integers or floats"):
        to_float(np.zeros(3, dtype))


@given(st.lists(st.tuples(*[st.integers(-32768, 32767)] * 3), max_size=30))
@settings(deadline=None, max_examples=30)
def test_pcm_keeps_frames_and_channels(frames: list[tuple[int, int, int]]) -> None:
    expected = np.array(frames, np.int16).reshape(-1, 3) / np.float32(32768)
    np.testing.assert_array_equal(decode_pcm((expected * 32768).astype("<i2").tobytes(), "s16le", 3), expected)
    np.testing.assert_array_equal(decode_pcm(expected.astype("<f4").tobytes(), "f32le", 3), expected)


def test_mulaw_is_that_of_libsndfile() -> None:
    data = bytes(range(256))
    expected, _ = soundfile.read(
        io.BytesIO(data), dtype="float32", samplerate=8000, channels=1, format="RAW", subtype="ULAW"
    )
    np.testing.assert_array_equal(decode_pcm(data, "mulaw", 1)[:, 0], expected)


def test_pcm_refuses_what_it_cannot_be() -> None:
    with pytest.raises(AudioError, match="5 bytes are no whole number of s16le frames of 2 channels"):
        decode_pcm(bytes(5), "s16le", 2)
    with pytest.raises(AudioError, match=r"unknown encoding 'mp3'.*s16le, f32le, mulaw"):
        decode_pcm(bytes(4), "mp3", 1)
    assert [len(decode_pcm(b"", encoding, 2)) for encoding in ENCODINGS] == [0, 0, 0]


@pytest.mark.parametrize("rate", [-1, 0, 8, 999, 1_000_001, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(AudioError, match=r"^meeting: .* Hz is no audio rate; give audio at 1,000 to 1,000,000 Hz$"):
        check_layout(rate, 1, "meeting")


@pytest.mark.parametrize("channels", [-1, 0, 1_025, 480_000])
def test_impossible_channels_are_refused(channels: int) -> None:
    with pytest.raises(AudioError, match=r"^meeting: .* channels are no audio; give 1 to 1,024"):
        check_layout(16_000, channels, "meeting")


def test_ordinary_layouts_pass() -> None:
    for rate in RATES:
        for channels in (1, 2, 40, 1_024):
            check_layout(rate, channels, "meeting")
