"""Sliding windows: the laws of streaming, and that all speech is covered as the settings say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.types import SpeechChunk, SpeechWindow
from diarize.windows import SlidingWindows, WindowsConfig
from tests import laws

CONFIG = WindowsConfig(length=0.2, step=0.05)
LENGTH, STEP = 3200, 800

# Gaps and lengths of stretches: shorter than a window, exactly one, one and some steps, anything.
layouts = st.lists(
    st.tuples(
        st.integers(0, 5000), st.sampled_from([1, 799, LENGTH, LENGTH + 1, LENGTH + STEP]) | st.integers(1, 15000)
    ),
    max_size=4,
)


def speech_at(layout: list[tuple[int, int]]) -> list[SpeechChunk]:
    stretches, position = [], 0
    random = np.random.default_rng(7)
    for gap, length in layout:
        position += gap
        stretches.append(SpeechChunk(position, random.standard_normal(length).astype(np.float32), True))
        position += length
    return stretches


def windows_of(stretches: list[SpeechChunk]) -> list[SpeechWindow]:
    return laws.run(SlidingWindows(CONFIG), stretches)


@given(layouts, laws.cuts(60_000, most=30), st.data())
@settings(deadline=None, max_examples=60)
def test_the_laws_of_streaming(layout: list[tuple[int, int]], cuts: list[int], data: st.DataObject) -> None:
    def make() -> SlidingWindows:
        return SlidingWindows(CONFIG)

    stretches = speech_at(layout)
    pieces = laws.recut(stretches, cuts)
    laws.any_cut(make, stretches, pieces)
    at = data.draw(st.integers(0, len(pieces)))
    laws.prefix(make, stretches, pieces[:at])
    laws.save_restore(make, pieces, at)


@given(layouts)
@settings(deadline=None, max_examples=100)
def test_windows_are_where_the_settings_say(layout: list[tuple[int, int]]) -> None:
    expected = []
    for stretch in speech_at(layout):
        first, size = stretch.position, len(stretch.samples)
        starts = list(range(first, first + size - LENGTH + 1, STEP)) or [first]
        if size > LENGTH and starts[-1] != first + size - LENGTH:
            starts.append(first + size - LENGTH)
        expected += [(start, min(start + LENGTH, first + size)) for start in starts]
    windows = windows_of(speech_at(layout))
    assert [(w.start, w.end) for w in windows] == expected
    assert [w.group for w in windows] == list(range(len(windows)))
    assert all(w.speech == ((w.start, w.end),) for w in windows)


@given(layouts)
@settings(deadline=None, max_examples=40)
def test_every_sample_of_speech_is_in_a_window_and_is_itself(layout: list[tuple[int, int]]) -> None:
    stretches = speech_at(layout)
    audio = np.full(60_000, np.nan, np.float32)
    for stretch in stretches:
        audio[stretch.position : stretch.position + len(stretch.samples)] = stretch.samples
    covered = np.zeros(60_000, bool)
    for window in windows_of(stretches):
        np.testing.assert_array_equal(window.samples, audio[window.start : window.end])
        covered[window.start : window.end] = True
    np.testing.assert_array_equal(covered, ~np.isnan(audio))


def test_a_window_comes_as_soon_as_its_audio_is_there() -> None:
    stage = SlidingWindows(CONFIG)
    audio = np.zeros(10_000, np.float32)
    assert stage.push(SpeechChunk(500, audio[: LENGTH - 1], False)) == []
    (window,) = stage.push(SpeechChunk(500 + LENGTH - 1, audio[:1], False))
    assert (window.start, window.end) == (500, 500 + LENGTH)


def test_a_stretch_that_never_closes_holds_one_window_of_audio() -> None:
    stage = SlidingWindows(CONFIG)
    for position in range(0, 160_000, 512):
        stage.push(SpeechChunk(position, np.zeros(512, np.float32), False))
        assert stage.state.audio is not None
        assert len(stage.state.audio.samples) <= LENGTH


def test_a_stretch_without_samples_gives_nothing() -> None:
    assert windows_of([SpeechChunk(100, np.zeros(0, np.float32), True)]) == []


def test_a_gap_inside_a_stretch_is_refused() -> None:
    stage = SlidingWindows(CONFIG)
    stage.push(SpeechChunk(0, np.zeros(100, np.float32), False))
    with pytest.raises(ValueError, match="speech at 101 does not follow its stretch, which goes up to 100"):
        stage.push(SpeechChunk(101, np.zeros(100, np.float32), False))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length": 0.01}, r"length is 0.01 s: give 0.1 to 10"),
        ({"length": 11.0}, r"length is 11.0 s"),
        ({"length": float("nan")}, r"length is nan s"),
        ({"step": 0.0}, r"step is 0.0 s: give more than 0"),
        ({"step": 1e-6}, r"step is 1e-06 s"),
        ({"step": 1.7}, r"at most the length, 1.6"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowsConfig(**values)
