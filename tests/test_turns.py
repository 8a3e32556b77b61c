"""Cutting turns from labelled windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.turns import SpeakerTurn, Turns, TurnsConfig, absorb_slivers, cut_turns, join
from diarize.types import SAMPLE_RATE, Interval, SpeakerWindow

SECOND = SAMPLE_RATE


def window(start: int, end: int, speaker: int, group: int | None = None, confidence: float = 0.5) -> SpeakerWindow:
    return SpeakerWindow(start, end, ((start, end),), start if group is None else group, speaker, confidence)


def plain(turns: list[SpeakerTurn]) -> list[tuple[int, int, int]]:
    return [(turn.start, turn.end, turn.speaker) for turn in turns]


EXACT = TurnsConfig(gap=0, sliver=0)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[SpeakerWindow], list[Interval]]:
    """Windows as `SlidingWindows` makes them over some stretches of speech, with any labels; and the stretches."""
    stretches: list[Interval] = []
    windows: list[SpeakerWindow] = []
    at = 0
    for _ in range(draw(st.integers(0, 5))):
        at += draw(st.integers(1, 50))
        length = draw(st.integers(1, 120))
        stretches.append((at, at + length))
        starts = list(range(at, at + length - 32 + 1, 8)) or [at]
        if starts[-1] + 32 < at + length:
            starts.append(at + length - 32)
        windows += [
            window(s, min(s + 32, at + length), draw(st.integers(0, 2)), len(windows) + i) for i, s in enumerate(starts)
        ]
        at += length
    return windows, stretches


@given(labelled())
@settings(deadline=None, max_examples=200)
def test_turns_cover_exactly_the_speech_once(case: tuple[list[SpeakerWindow], list[Interval]]) -> None:
    windows, stretches = case
    heard = [0] * 2000
    for turn in cut_turns(windows, EXACT):
        for i in range(turn.start, turn.end):
            heard[i] += 1
    spoken = [0] * 2000
    for start, end in stretches:
        spoken[start:end] = [1] * (end - start)
    assert heard == spoken


@given(labelled(), st.integers(0, 40), st.integers(0, 20))
@settings(deadline=None, max_examples=200)
def test_turns_of_one_speaker_are_further_apart_than_the_gap(
    case: tuple[list[SpeakerWindow], list[Interval]], gap: int, sliver: int
) -> None:
    turns = cut_turns(case[0], TurnsConfig(gap=gap / SAMPLE_RATE, sliver=sliver / SAMPLE_RATE))
    assert turns == sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))
    for speaker in range(3):
        own = [turn for turn in turns if turn.speaker == speaker]
        assert all(b.start - a.end > gap for a, b in pairwise(own))


def test_overlapping_neighbours_are_cut_in_the_middle() -> None:
    assert plain(cut_turns([window(0, 32, 0), window(8, 40, 1)], EXACT)) == [(0, 20, 0), (20, 40, 1)]


def test_voices_of_one_group_talk_at_once_with_their_own_edges() -> None:
    both = [
        SpeakerWindow(0, 100, ((0, 60),), 1, 0, 0.5),
        SpeakerWindow(0, 100, ((40, 90),), 1, 1, 0.5),
    ]
    assert plain(cut_turns(both, EXACT)) == [(0, 60, 0), (40, 90, 1)]


@st.composite
def groups_of_voices(draw: st.DrawFn) -> list[SpeakerWindow]:
    """Windows as segmentation makes them: shares that follow each other, up to three voices in each, any labels."""
    windows: list[SpeakerWindow] = []
    for group in range(draw(st.integers(0, 10))):
        at = 10 * group
        for speaker in draw(st.lists(st.integers(0, 2), max_size=3)):
            edges = sorted(draw(st.sets(st.integers(at, at + 10), min_size=2, max_size=4)))
            speech = tuple(zip(edges[::2], edges[1::2], strict=False))
            windows.append(SpeakerWindow(at, at + 10, speech, group, speaker, 0.5))
    return windows


def moments(stretches: Iterable[Interval]) -> set[int]:
    return {moment for start, end in stretches for moment in range(start, end)}


@given(groups_of_voices(), st.integers(0, 12), st.integers(0, 6))
@settings(deadline=None, max_examples=200)
def test_one_speaker_at_a_time_loses_no_speech(windows: list[SpeakerWindow], gap: int, sliver: int) -> None:
    exact = cut_turns(windows, TurnsConfig(gap=0, sliver=0, exclusive=True))
    spoken = moments(stretch for window in windows for stretch in window.speech)
    assert moments((turn.start, turn.end) for turn in exact) == spoken
    first: dict[int, int] = {}
    for window in windows:
        for moment in sorted(moments(window.speech)):
            first.setdefault(moment, window.speaker)
    assert {moment: turn.speaker for turn in exact for moment in range(turn.start, turn.end)} == first

    turns = cut_turns(windows, TurnsConfig(gap / SAMPLE_RATE, sliver / SAMPLE_RATE, exclusive=True))
    assert all(a.end <= b.start for a, b in pairwise(turns))
    said = moments((turn.start, turn.end) for turn in turns)
    assert spoken <= said
    several = cut_turns(windows, TurnsConfig(gap / SAMPLE_RATE, sliver / SAMPLE_RATE))
    assert said - spoken <= moments((turn.start, turn.end) for turn in several)  # pauses, as far as they are bridged
    assert all(b.start - a.end > gap for a, b in pairwise(turns) if a.speaker == b.speaker)


@given(labelled())
@settings(deadline=None, max_examples=50)
def test_without_overlap_one_speaker_at_a_time_is_the_same(
    case: tuple[list[SpeakerWindow], list[Interval]],
) -> None:
    assert cut_turns(case[0], TurnsConfig(0, 0, exclusive=True)) == cut_turns(case[0], EXACT)


def test_one_speaker_at_a_time_does_not_run_on_over_another() -> None:
    windows = [window(0, 10, 0), window(12, 14, 1), window(15, 35, 0), window(37, 40, 0)]
    config = TurnsConfig(gap=5 / SAMPLE_RATE, sliver=0)
    assert plain(cut_turns(windows, config)) == [(0, 40, 0), (12, 14, 1)]
    assert plain(cut_turns(windows, replace(config, exclusive=True))) == [(0, 10, 0), (12, 14, 1), (15, 40, 0)]


def test_short_gaps_of_one_speaker_are_joined_and_another_speaker_may_talk_in_them() -> None:
    turns = [SpeakerTurn(0, 10, 0, 1.0), SpeakerTurn(12, 14, 1, 1.0), SpeakerTurn(15, 35, 0, 0.4)]
    joined = join(turns, 5)
    assert plain(joined) == [(0, 35, 0), (12, 14, 1)]
    assert joined[0].confidence == pytest.approx((10 * 1.0 + 20 * 0.4) / 30)


def test_a_sliver_inside_another_turn_is_absorbed_but_a_free_word_stays() -> None:
    inside = [SpeakerTurn(0, 100, 0, 1), SpeakerTurn(100, 103, 1, 1), SpeakerTurn(103, 200, 0, 1)]
    assert plain(join(absorb_slivers(inside, 5), 0)) == [(0, 200, 0)]
    free = [SpeakerTurn(0, 100, 0, 1), SpeakerTurn(110, 113, 1, 1), SpeakerTurn(120, 200, 0, 1)]
    assert absorb_slivers(free, 5) == free
    change = [SpeakerTurn(0, 100, 0, 1), SpeakerTurn(100, 103, 1, 1), SpeakerTurn(103, 200, 2, 1)]
    assert absorb_slivers(change, 5) == change


def test_the_stage_names_speakers_by_their_first_turn() -> None:
    stage = Turns(TurnsConfig())
    for item in (window(0, SECOND, 7), window(2 * SECOND, 3 * SECOND, 2), window(4 * SECOND, 5 * SECOND, 7)):
        assert stage.push(item) == []
    updates = stage.flush()
    assert [(u.id, u.speaker, u.start, u.final) for u in updates] == [
        (0, "SPEAKER_00", 0, True),
        (1, "SPEAKER_01", 2 * SECOND, True),
        (2, "SPEAKER_00", 4 * SECOND, True),
    ]


def test_no_windows_give_no_turns() -> None:
    assert Turns(TurnsConfig()).flush() == []


@pytest.mark.parametrize("name", ["gap", "sliver"])
def test_settings_that_cannot_be_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"turns\.{name} is -1"):
        TurnsConfig(**{name: -1})  # type: ignore[arg-type]  # the name is of a number


def test_a_turn_says_how_near_its_voice_is_and_who_comes_next() -> None:
    far, near = (0.5, 0.25, 0.75), (0.75, 0.5, 0.25)
    windows = [replace(window(0, 100, 1), distances=far), replace(window(100, 400, 1), distances=near)]
    other = replace(window(900, 1000, 0), distances=(0.125, 0.5, 0.25))
    stage = Turns(EXACT)
    for item in [*windows, other]:
        stage.push(item)
    first, last = stage.flush()
    # means over time; nobody is left of the third speaker, so nobody can be mixed up with them
    assert (first.speaker, first.distance, first.second) == ("SPEAKER_00", 0.4375, ("SPEAKER_01", 0.6875))
    assert (last.speaker, last.distance, last.second) == ("SPEAKER_01", 0.125, ("SPEAKER_00", 0.5))


def test_one_speaker_has_no_second() -> None:
    stage = Turns(EXACT)
    stage.push(replace(window(0, 100, 0), distances=(0.25,)))
    (turn,) = stage.flush()
    assert (turn.distance, turn.second) == (0.25, None)


def test_numbers_go_on_from_other_channels() -> None:
    stage = Turns(EXACT, speakers=2, turns=7)
    for item in (window(0, 100, 0), window(100, 200, 1)):
        stage.push(item)
    assert [(turn.id, turn.speaker) for turn in stage.flush()] == [(7, "SPEAKER_02"), (8, "SPEAKER_03")]
