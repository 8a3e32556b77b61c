"""A voice that leaks from one channel into another is found by its level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.channels import Channels
from diarize.crosstalk import FRAME, CrosstalkConfig, Loudness, leaking, own_voices
from diarize.types import AudioChunk, EmbeddingWindow, Interval, Samples, SpeechWindow
from diarize.vad import VadConfig, VoiceActivityDetection
from diarize.windows import SlidingWindows
from tests import laws
from tests.command import conversation

SECOND = 50
"""Frames."""
LENGTH = 60 * SECOND
FIRST, SECOND_VOICE, BOTH = slice(0, 20 * SECOND), slice(20 * SECOND, 40 * SECOND), slice(40 * SECOND, 50 * SECOND)
DEFAULT = CrosstalkConfig()
THRESHOLD = DEFAULT.threshold
EDGE = 15
"""Frames around a change within which levels, which are averages, tell little."""


def syllables(seed: int) -> NDArray[np.float64]:
    """The power of somebody who talks without a pause: it rises and falls some times a second."""
    random = np.random.default_rng(seed)
    slow = np.repeat(random.normal(0, 4, LENGTH // 10), 10)
    return np.asarray(10 ** ((slow - 30) / 10))


def call(leak: float = -15.0, gains: tuple[float, float] = (0.0, 0.0)) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The powers of two channels, and where speech is heard there: one talks, then the other, then both."""
    voices = np.zeros((2, LENGTH))
    for voice, seed, alone in zip(voices, (1, 2), (FIRST, SECOND_VOICE), strict=True):
        voice[alone], voice[BOTH] = syllables(seed)[alone], syllables(seed)[BOTH]
    powers = voices + voices[::-1] * 10 ** (leak / 10) + 1e-8
    powers *= 10 ** (np.array(gains)[:, None] / 10)
    talking = np.zeros((2, LENGTH), bool)
    talking[:, : BOTH.stop] = True
    return powers.astype(np.float32), talking


def inside(part: slice) -> slice:
    return slice(part.start + EDGE, part.stop - EDGE)


@pytest.mark.parametrize("leak", [-12, -20, -40])
def test_what_leaks_is_found_and_two_who_talk_at_once_stay(leak: float) -> None:
    leaks = leaking(*call(leak), THRESHOLD)
    assert leaks[0, inside(SECOND_VOICE)].mean() > 0.95
    assert leaks[1, inside(FIRST)].mean() > 0.95
    assert not leaks[0, inside(FIRST)].any()
    assert not leaks[1, inside(SECOND_VOICE)].any()
    assert leaks[:, inside(BOTH)].mean() < 0.1
    assert not leaks[:, BOTH.stop :].any()


@given(st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
@settings(deadline=None, max_examples=20)
def test_the_gain_of_a_channel_changes_nothing(gains: tuple[float, float]) -> None:
    same = leaking(*call(), THRESHOLD) == leaking(*call(gains=gains), THRESHOLD)
    assert same.mean() > 0.999  # but for rounding


def test_channels_in_another_order_are_the_same_in_that_order() -> None:
    powers, talking = call(gains=(3, -4))
    expected = leaking(powers, talking, THRESHOLD)
    np.testing.assert_array_equal(leaking(powers[::-1], talking[::-1], THRESHOLD), expected[::-1])


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_all_speech_stays_on_some_channel(seed: int, channels: int) -> None:
    random = np.random.default_rng(seed)
    powers = random.lognormal(-5, 2, (channels, 500)).astype(np.float32)
    talking = np.repeat(random.random((channels, 50)) < 0.6, 10, axis=1)
    leaks = leaking(powers, talking, THRESHOLD)
    assert not (leaks & ~talking).any()
    np.testing.assert_array_equal((talking & ~leaks).any(axis=0), talking.any(axis=0))


@pytest.mark.parametrize(("gain", "stays"), [(0.0, 0), (-10.0, 0), (10.0, 1)])
def test_one_voice_on_both_channels_is_on_the_louder_or_the_first(gain: float, stays: int) -> None:
    powers, talking = call(leak=-60)
    powers = np.stack([powers[0], powers[0] * np.float32(10 ** (gain / 10))])
    talking = np.stack([talking[0], talking[0]])
    leaks = leaking(powers, talking, THRESHOLD)
    assert not leaks[stays].any()
    np.testing.assert_array_equal(leaks[1 - stays], talking[0])


def test_somebody_who_only_listens_has_no_voice() -> None:
    powers, _ = call(leak=-60)
    heard = np.zeros(LENGTH, bool)
    heard[FIRST] = heard[BOTH] = True
    leak = np.convolve(powers[0], [0, 0, 0, 0.005, 0.005])[:LENGTH] + 1e-7  # later, smeared, and with noise
    leaks = leaking(np.stack([powers[0], leak.astype(np.float32)]), np.stack([heard, heard]), THRESHOLD)
    assert not leaks[0].any()
    assert leaks[1, inside(FIRST)].all()
    assert leaks[1, inside(BOTH)].all()


def test_a_third_channel_hears_both() -> None:
    powers, talking = call()
    third = (powers[0] + powers[1]) * np.float32(0.01)
    third[50 * SECOND :] = syllables(3)[50 * SECOND :]
    heard = np.ones(LENGTH, bool)
    leaks = leaking(np.stack([*powers, third]), np.stack([*talking, heard]), THRESHOLD)
    assert leaks[2, inside(FIRST)].all()
    assert leaks[2, inside(SECOND_VOICE)].all()
    assert leaks[2, inside(BOTH)].all()
    assert not leaks[2, 50 * SECOND + EDGE :].any()


def window(*speech: Interval) -> EmbeddingWindow:
    return EmbeddingWindow(speech[0][0], speech[-1][1], speech, speech[0][0], np.ones(3, np.float32), 0.8)


def test_windows_keep_what_is_their_own_voice() -> None:
    """Frames 0 to 999 are the first channel's, 1000 to 1999 the second's."""
    powers, _ = call()
    edge = SECOND_VOICE.start * FRAME
    mine, mixed, little, other = (
        window((edge - 40_001, edge - 10_000)),
        window((edge - 20_000, edge + 8_000)),
        window((edge - 9_000, edge + 20_000)),
        window((edge + 20_000, edge + 40_000)),
    )
    theirs = window((edge + EDGE * FRAME, BOTH.start * FRAME))
    first, second = own_voices([[mine, mixed, little, other], [window((edge - 9_000, edge)), theirs]], powers, DEFAULT)
    assert laws.plain(second) == laws.plain((theirs,))
    assert laws.plain(first[0]) == laws.plain(mine)
    (kept,) = first[1:]
    ((start, end),) = kept.speech
    assert (start, kept.start, kept.end) == (mixed.start, mixed.start, mixed.end)
    assert end == pytest.approx(edge, abs=EDGE * FRAME)
    assert kept.quality == pytest.approx(0.8 * (end - start) / 28_000)
    assert kept.embedding is mixed.embedding


def test_it_can_be_switched_off_and_one_channel_has_no_other() -> None:
    powers, _ = call()
    windows = [[window((0, 50_000))], [window((0, 50_000))]]
    assert laws.plain(own_voices(windows, powers, CrosstalkConfig(threshold=0))) == laws.plain(windows)
    assert laws.plain(own_voices(windows[:1], powers[:1], DEFAULT)) == laws.plain(windows[:1])
    assert own_voices([[], []], powers, DEFAULT) == ((), ())


@pytest.mark.parametrize("threshold", [-1, 61, float("nan")])
def test_a_threshold_that_cannot_be_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"crosstalk.threshold is .* dB: give 0 to 60"):
        CrosstalkConfig(threshold)


@given(laws.cuts(5000))
@settings(deadline=None, max_examples=30)
def test_loudness_obeys_the_laws_of_streaming(cuts: list[int]) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
    said = laws.run(Loudness(), laws.chunks(samples, cuts))
    assert [len(one) for one in said if not len(one)] == []
    frames = np.concatenate(said)
    expected = [np.square(samples[at : at + FRAME], dtype=np.float64).mean() for at in range(0, 5000, FRAME)]
    np.testing.assert_allclose(frames, expected, rtol=1e-5)
    assert laws.plain(frames) == laws.plain(np.concatenate(laws.run(Loudness(), laws.chunks(samples, []))))
    laws.save_restore(Loudness, laws.chunks(samples, cuts), at=len(cuts) // 2)


def test_channels_obey_the_laws_of_streaming() -> None:
    left, right = conversation(6), conversation(12)[-6 * 16_000 :]

    def front() -> Channels:
        return Channels(lambda: VoiceActivityDetection(VadConfig(name="webrtc")) | SlidingWindows())

    def side_by_side(cuts: list[int]) -> list[tuple[AudioChunk, ...]]:
        return list(zip(laws.chunks(left, cuts), laws.chunks(right, cuts), strict=True))

    whole, cut = side_by_side([]), side_by_side([100, 20_000, 20_001, 70_000])
    laws.prefix(front, whole, cut[:3])
    laws.save_restore(front, cut, at=2)

    def alone(samples: Samples) -> list[SpeechWindow]:
        return laws.run(VoiceActivityDetection(VadConfig(name="webrtc")) | SlidingWindows(), laws.chunks(samples, []))

    for chunks in (whole, cut):
        stage = front()
        said = laws.run(stage, chunks)
        for channel, samples in enumerate((left, right)):
            windows = [window for number, window in said if number == channel]
            assert laws.plain(windows) == laws.plain(alone(samples))
            expected = np.concatenate(laws.run(Loudness(), laws.chunks(samples, [])))
            np.testing.assert_array_equal(stage.powers[channel], expected)
