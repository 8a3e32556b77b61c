"""Numbers and bytes to samples, channels mixed down, any rate to 16 kHz."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.audio import ENCODINGS, AudioError, Resampler, check_layout, decode_pcm, first_frame, mixdown, to_float
from diarize.types import Samples

RATES = [1_000, 8_000, 11_025, 12_345, 16_000, 22_050, 44_100, 48_000, 96_000, 384_000]


BORDER_RATES = [1_000, 8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000]


def resample(samples: Samples, rate: float, cuts: list[int], position: int = 0) -> Samples:
    resampler = Resampler(rate, position)
    pieces = [resampler.push(piece) for piece in np.split(samples, sorted(cuts))]
    return np.concatenate([*pieces, resampler.flush()])


def full_scale(length: int) -> Samples:
    return np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)


def near_a_border(rate: int) -> st.SearchStrategy[int]:
    """Frames around where a section ends or the stream of the next begins."""
    border = st.sampled_from([9, 10, 11, 19, 20, 21])
    return st.builds(lambda second, off: second * rate + off, border, st.integers(-rate // 5, rate // 5))


@given(st.sampled_from(RATES), st.integers(0, 6000), st.data())
@settings(deadline=None, max_examples=60)
def test_any_cut_of_the_first_section_resamples_as_one_shot(rate: int, length: int, data: st.DataObject) -> None:
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=20))
    whole = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000, "HQ")
    resampled = resample(samples, rate, cuts)
    np.testing.assert_array_equal(resampled, whole)
    assert abs(len(resampled) - length * 16_000 / rate) <= 0.5
    assert resampled.dtype == np.float32


@given(st.sampled_from(BORDER_RATES), st.data())
@settings(deadline=None, max_examples=60)
def test_sections_are_those_of_one_shot_but_for_rounding(rate: int, data: st.DataObject) -> None:
    samples = full_scale(data.draw(near_a_border(rate)))
    resampled = resample(samples, rate, [])
    whole = soxr.resample(samples, rate, 16_000, "HQ")
    assert len(resampled) == len(whole)
    np.testing.assert_array_equal(resampled[:160_000], whole[:160_000])
    np.testing.assert_allclose(resampled, whole, rtol=0, atol=1e-6 if rate >= 8_000 else 1.5e-6)


@given(st.sampled_from(BORDER_RATES), st.data())
@settings(deadline=None, max_examples=40)
def test_any_cut_resamples_as_any_other(rate: int, data: st.DataObject) -> None:
    samples = full_scale(data.draw(near_a_border(rate)))
    cuts = data.draw(st.lists(st.one_of(near_a_border(rate), st.integers(0, len(samples))), max_size=20))
    cuts = [min(cut, len(samples)) for cut in cuts]
    np.testing.assert_array_equal(resample(samples, rate, cuts), resample(samples, rate, []))


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025])
def test_frame_by_frame(rate: int) -> None:
    samples = full_scale(round(rate * 11.3))
    np.testing.assert_array_equal(resample(samples, rate, list(range(1, len(samples)))), resample(samples, rate, []))


@given(st.sampled_from([*BORDER_RATES, 12_345, 16_000, 47_999]), st.data())
@settings(deadline=None, max_examples=60)
def test_a_resampler_begun_in_the_middle_goes_on_bit_for_bit(rate: int, data: st.DataObject) -> None:
    samples = full_scale(data.draw(near_a_border(rate)))
    whole = resample(samples, rate, [])
    position = data.draw(st.one_of(near_a_border(16_000), st.integers(0, len(whole)))) % (len(whole) + 1)
    frame = first_frame(rate, position)
    cuts = data.draw(st.lists(st.integers(0, len(samples) - frame), max_size=5))
    np.testing.assert_array_equal(resample(samples[frame:], rate, cuts, position), whole[position:])


@given(st.sampled_from(BORDER_RATES), st.integers(0, 10**9), st.integers(0, 10**6))
@settings(deadline=None, max_examples=100)
def test_little_audio_is_needed_to_begin_in_the_middle(rate: int, position: int, later: int) -> None:
    assert Resampler(rate).restartable
    frame = first_frame(rate, position)
    assert max(0, position / 16_000 - 11) <= frame / rate <= max(0, position / 16_000 - 1)
    assert frame <= first_frame(rate, position + later)
    assert first_frame(16_000, position) == position


def test_a_rate_of_no_whole_number_begins_at_the_start() -> None:
    rate = 44_100.5
    samples = full_scale(round(rate * 21))
    whole = soxr.resample(samples, rate, 16_000, "HQ")
    assert not Resampler(rate).restartable
    assert first_frame(rate, 300_000) == 0
    np.testing.assert_array_equal(resample(samples, rate, [5, 400_000]), whole)
    np.testing.assert_array_equal(resample(samples, rate, [5, 400_000], 300_000), whole[300_000:])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100.5])
def test_a_position_before_the_audio_is_refused(rate: float) -> None:
    for begin in (first_frame, Resampler):
        with pytest.raises(ValueError, match="position -1 lies before the audio; give 0 or later"):
            begin(rate, -1)


@pytest.mark.parametrize("rate", BORDER_RATES)
def test_sections_delay_nothing(rate: int) -> None:
    pieces = np.split(full_scale(rate * 22), 22 * 25)  # 40 ms each

    def delay(resample: Callable[[Samples], Samples]) -> float:
        given = np.cumsum([len(resample(piece)) for piece in pieces]) / 16_000
        return float((np.arange(len(pieces)) / 25 - given).max())

    plain = soxr.ResampleStream(rate, 16_000, 1, "float32", "HQ")
    assert delay(Resampler(rate).push) <= delay(plain.resample_chunk) + 0.001


def test_memory_stays_bounded_and_the_caller_keeps_its_array() -> None:
    samples, array = full_scale(48_000 * 31), np.zeros(960, np.float32)
    expected = resample(samples, 48_000, [])
    resampler, position = Resampler(48_000), 0
    tracemalloc.start()
    for piece in np.split(samples, 31 * 50):
        array[:] = piece
        given = resampler.push(array)
        np.testing.assert_array_equal(given, expected[position : position + len(given)])
        position += len(given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert position > 480_000
    assert peak < 1_000_000


def test_a_long_piece_is_worked_through_in_sections() -> None:
    samples = full_scale(48_000 * 120)
    tracemalloc.start()
    resampled = Resampler(48_000).push(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * resampled.nbytes


def test_an_odd_rate_keeps_time() -> None:
    rate = 47_999
    tone = np.sin(2 * np.pi * 3_000 * np.arange(rate * 120) / rate).astype(np.float32)
    middle = slice(16_000, -16_000)
    resampled = resample(tone, rate, [])[middle]
    np.testing.assert_allclose(resampled, np.sin(2 * np.pi * 3_000 * np.arange(1_920_000) / 16_000)[middle], atol=2e-5)


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
