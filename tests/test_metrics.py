from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console
from scipy.optimize import linear_sum_assignment

from diarize.metrics import (
    Errors,
    Score,
    errors_in_time,
    format_scores,
    pair_speakers,
    score,
    score_recordings,
    total,
)
from diarize.rttm import Turn
from diarize.types import SAMPLE_RATE, Interval

FRAME = SAMPLE_RATE // 100
"""Turns in these tests begin and end on frames of 10 ms, so that counting frames is exact."""
COLLAR = 25
LENGTH = 400


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), speaker)


@st.composite
def turns(draw: st.DrawFn, names: str) -> list[Turn]:
    span = st.tuples(st.integers(0, LENGTH - 120), st.integers(5, 120), st.sampled_from(names))
    spans = draw(st.lists(span, max_size=8))
    return [Turn(start * FRAME, (start + length) * FRAME, speaker) for start, length, speaker in spans]


def frames(spoken: Sequence[Turn]) -> NDArray[np.bool_]:
    """Who talks in which frame: shape (speakers, frames)."""
    speakers = sorted({turn.speaker for turn in spoken})
    active = np.zeros((len(speakers), LENGTH), dtype=bool)
    for one in spoken:
        active[speakers.index(one.speaker), one.start // FRAME : one.end // FRAME] = True
    return active


def counted(reference: Sequence[Turn], hypothesis: Sequence[Turn], scored: NDArray[np.bool_]) -> Errors:
    """The errors by counting frames, with the best of all pairings of speakers."""
    truth, answer = frames(reference)[:, scored], frames(hypothesis)[:, scored]
    together = truth.astype(int) @ answer.T.astype(int)
    correct = together[linear_sum_assignment(together, maximize=True)].sum()
    expected, found = truth.sum(axis=0), answer.sum(axis=0)
    return Errors(
        expected.sum() / 100,
        np.maximum(0, expected - found).sum() / 100,
        np.maximum(0, found - expected).sum() / 100,
        (np.minimum(expected, found).sum() - correct) / 100,
    )


def lenient_frames(reference: Sequence[Turn]) -> NDArray[np.bool_]:
    """Where there is neither a boundary of the reference near nor an overlap, by the definition."""
    active = frames(reference)
    scored: NDArray[np.bool_] = active.sum(axis=0) <= 1
    for row in active:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
        for edge in edges:
            scored[max(0, edge - COLLAR) : edge + COLLAR] = False
    return scored


def untouching(spoken: Sequence[Turn]) -> list[Turn]:
    """The turns with those of one speaker joined where they overlap or touch."""
    joined = []
    for speaker, row in zip(sorted({one.speaker for one in spoken}), frames(spoken), strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
        joined += [Turn(start * FRAME, end * FRAME, speaker) for start, end in edges.reshape(-1, 2).tolist()]
    return joined


def assert_same(found: Errors, expected: Errors) -> None:
    for name in ("speech_s", "miss_s", "false_alarm_s", "confusion_s"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-6), name


@settings(deadline=None, max_examples=60)
@given(turns("ABC"), turns("xyzw"))
def test_both_conventions_agree_with_counting_frames(reference: list[Turn], hypothesis: list[Turn]) -> None:
    everything = np.ones(LENGTH, dtype=bool)
    found = score(untouching(reference), hypothesis)
    assert_same(found.strict, counted(reference, hypothesis, everything))
    assert_same(found.lenient, counted(reference, hypothesis, lenient_frames(reference)))
    assert_same(score(reference, hypothesis).strict, found.strict)  # a speaker who overlaps himself counts once


@settings(deadline=None, max_examples=40)
@given(turns("ABC"), turns("xyz"), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 100)), max_size=3))
def test_only_what_the_evaluation_map_names_is_scored(
    reference: list[Turn], hypothesis: list[Turn], stretches: list[tuple[int, int]]
) -> None:
    scored = np.zeros(LENGTH, dtype=bool)
    for start, length in stretches:
        scored[start : start + length] = True
    uem = [(start * FRAME, (start + length) * FRAME) for start, length in stretches]
    found = score(reference, hypothesis, uem)
    assert_same(found.strict, counted(reference, hypothesis, scored))
    assert found.reference_speakers == frames(reference)[:, scored].any(axis=1).sum()
    assert found.hypothesis_speakers == frames(hypothesis)[:, scored].any(axis=1).sum()


@settings(deadline=None, max_examples=40)
@given(turns("ABC"), turns("xyz"))
def test_the_jaccard_error_rate_agrees_with_counting_frames(reference: list[Turn], hypothesis: list[Turn]) -> None:
    truth, answer = frames(reference), frames(hypothesis)
    together = truth.astype(int) @ answer.T.astype(int)
    either = truth.sum(axis=1)[:, None] + answer.sum(axis=1) - together
    rows, columns = linear_sum_assignment(together, maximize=True)
    best = together[rows, columns].sum()
    found = score(reference, hypothesis)
    if not len(truth):
        assert found.jer is None
        return
    errors = np.ones(len(truth))
    errors[rows] = 1 - together[rows, columns] / either[rows, columns]
    if unique_best(together, best):  # otherwise several pairings are the best, each with its own rate
        assert found.jer == pytest.approx(errors.mean(), abs=1e-6)
    assert found.jer is not None
    assert 0 <= found.jer <= 1


def unique_best(together: NDArray[np.int_], best: int) -> bool:
    """Whether forbidding any pair of the best pairing makes it worse."""
    rows, columns = linear_sum_assignment(together, maximize=True)
    for row, column in zip(rows, columns, strict=True):
        if together[row, column]:
            without = together.copy()
            without[row, column] = 0
            if without[linear_sum_assignment(without, maximize=True)].sum() == best:
                return False
    return True


def test_by_hand_every_kind_of_error() -> None:
    # A talks 0-10 and B 8-14; heard: x 0-6 and 6-8 as z, y 8-12, x 13-16
    reference = [turn(0, 10, "A"), turn(8, 14, "B")]
    hypothesis = [turn(0, 6, "x"), turn(6, 8, "z"), turn(8, 12, "y"), turn(13, 16, "x")]
    found = score(reference, hypothesis)
    # confusion 6-8 (z) and 13-14 (x); miss: one voice of 8-10, and 12-13; false alarm 14-16
    assert_same(found.strict, Errors(speech_s=16, miss_s=3, false_alarm_s=2, confusion_s=3))
    assert found.strict.der == pytest.approx(8 / 16)
    assert (found.strict.miss, found.strict.false_alarm, found.strict.confusion) == pytest.approx(
        (3 / 16, 2 / 16, 3 / 16)
    )
    # left: 0.25-7.75, 10.25-13.75 and from 14.25; the overlap 8-10 is out, with 0.25 s around it
    assert_same(found.lenient, Errors(speech_s=11, miss_s=1, false_alarm_s=1.75, confusion_s=1.75 + 0.75))
    # A and x: 6 of 13 in common; B and y: 4 of 6
    assert found.jer == pytest.approx(((1 - 6 / 13) + (1 - 4 / 6)) / 2)
    assert (found.reference_speakers, found.hypothesis_speakers, found.count_error, found.right_counts) == (2, 3, 1, 0)


def test_by_hand_the_collar_is_a_quarter_of_a_second_on_each_side() -> None:
    reference = [turn(1, 3, "A")]
    inside = score(reference, [turn(0.75, 3.25, "x")])
    assert inside.lenient == Errors(speech_s=1.5)
    assert inside.strict.false_alarm_s == pytest.approx(0.5)
    outside = score(reference, [turn(0.65, 3.0, "x")])
    assert outside.lenient.false_alarm_s == pytest.approx(0.1)


def test_a_boundary_between_two_turns_of_one_speaker_has_its_collar() -> None:
    assert score([turn(0, 1, "A"), turn(1, 2, "A")], []).lenient.speech_s == pytest.approx(1)
    assert score([turn(0, 1.2, "A"), turn(1, 2, "A")], []).lenient.speech_s == pytest.approx(1.5)


@settings(deadline=None, max_examples=30)
@given(turns("ABC"))
def test_a_perfect_answer_has_no_error_under_any_names(reference: list[Turn]) -> None:
    renamed = [Turn(one.start, one.end, {"A": "B", "B": "speaker 7", "C": "A"}[one.speaker]) for one in reference]
    found = score(reference, renamed)
    for errors in (found.strict, found.lenient):
        assert errors.miss_s == errors.false_alarm_s == errors.confusion_s == 0
        assert errors.der == (0 if errors.speech_s else None)
    assert found.jer == (0 if reference else None)
    assert (found.count_error, found.right_counts) == (0, 1)


@settings(deadline=None, max_examples=30)
@given(turns("ABC"), turns("ABC"))
def test_names_and_order_mean_nothing(reference: list[Turn], hypothesis: list[Turn]) -> None:
    names = {"A": "C", "B": "A", "C": "x y"}
    renamed = [Turn(one.start, one.end, names[one.speaker]) for one in reversed(hypothesis)]
    first, second = score(reference, hypothesis), score(reference[::-1], renamed)
    assert_same(first.strict, second.strict)
    assert_same(first.lenient, second.lenient)


def test_nothing_said_is_all_missed() -> None:
    found = score([turn(0, 2, "A"), turn(1, 3, "B")], [])
    assert_same(found.strict, Errors(speech_s=4, miss_s=4))
    assert (found.strict.der, found.jer) == (1, 1)
    assert (found.reference_speakers, found.hypothesis_speakers) == (2, 0)


@pytest.mark.parametrize("hypothesis", [[], [turn(1, 3, "x")]])
def test_a_reference_without_speech_has_no_rates(hypothesis: list[Turn]) -> None:
    found = score([], hypothesis)
    for errors in (found.strict, found.lenient):
        assert errors == Errors(false_alarm_s=2.0 * len(hypothesis))
        assert errors.der is errors.miss is errors.false_alarm is errors.confusion is None
    assert found.jer is None
    assert found.right_counts == (not hypothesis)


def test_a_reference_shorter_than_its_collars_has_no_lenient_rate() -> None:
    found = score([turn(0, 0.4, "A")], [turn(0, 0.4, "x")])
    assert (found.strict.der, found.lenient.der) == (0, None)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(turns("ABC"), turns("xyz")), min_size=1, max_size=3))
def test_a_pooled_rate_is_the_mean_weighted_by_speech(recordings: list[tuple[list[Turn], list[Turn]]]) -> None:
    scores = [score(reference, hypothesis) for reference, hypothesis in recordings]
    pooled = total(scores)
    assert pooled.recordings == len(recordings)
    speech = sum(one.strict.speech_s for one in scores)
    if speech:
        weighted = sum((one.strict.der or 0) * one.strict.speech_s / speech for one in scores)
        unscored = sum(one.strict.false_alarm_s for one in scores if not one.strict.speech_s) / speech
        assert pooled.strict.der == pytest.approx(weighted + unscored)
    speakers = sum(one.reference_speakers for one in scores)
    if speakers:
        assert pooled.jer == pytest.approx(sum((one.jer or 0) * one.reference_speakers for one in scores) / speakers)
    assert pooled.count_error == sum(abs(one.reference_speakers - one.hypothesis_speakers) for one in scores)


def test_the_total_of_nothing_is_empty() -> None:
    assert total([]) == Score()
    assert (Score().strict.der, Score().jer) == (None, None)


A: list[Turn] = [turn(0, 1, "A")]
WHOLE: list[Interval] = [(0, SAMPLE_RATE)]


def test_recordings_are_scored_by_name() -> None:
    found = score_recordings({"one": A, "two": A}, {"two": A, "silence": []})
    assert {name: one.strict.der for name, one in found.items()} == {"one": 1, "two": 0}


def test_one_reference_and_one_hypothesis_belong_together() -> None:
    assert score_recordings({"EN2001b": A}, {"EN2001b.Mix-Headset": A})["EN2001b"].strict.der == 0


def test_the_evaluation_map_selects_recordings_and_stretches() -> None:
    uem = {"two": [(0, SAMPLE_RATE // 2)], "silence": WHOLE}
    found = score_recordings({"one": A, "two": A}, {"one": A, "silence": A}, uem)
    assert list(found) == ["two", "silence"]
    assert_same(found["two"].strict, Errors(speech_s=0.5, miss_s=0.5))
    assert_same(found["silence"].strict, Errors(false_alarm_s=1))


def test_a_hypothesis_without_reference_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"no reference for 'tow': .*references for 'one', 'two'"):
        score_recordings({"one": A, "two": A}, {"one": A, "tow": A})
    with pytest.raises(ValueError, match=r"no reference for '0', '1', '2', '3', '4' and 2 more: .* for none"):
        score_recordings({}, {str(number): A for number in range(7)})
    with pytest.raises(ValueError, match="no stretch of 'one', only of 'two'"):
        score_recordings({"one": A}, {"one": A}, {"two": WHOLE})


@settings(deadline=None, max_examples=40)
@given(turns("ABC"), turns("ABx"))
def test_the_errors_in_time_are_those_of_the_score(reference: list[Turn], hypothesis: list[Turn]) -> None:
    spans = errors_in_time(reference, hypothesis)
    truth, answer = frames(reference), frames(hypothesis)
    expected, found = truth.sum(axis=0), answer.sum(axis=0)
    marked = {kind: np.zeros(LENGTH, dtype=bool) for kind in ("miss", "false alarm", "confusion")}
    for start, end, kind in spans:
        assert not marked[kind][start // FRAME : end // FRAME].any()
        marked[kind][start // FRAME : end // FRAME] = True
    assert np.array_equal(marked["miss"], expected > found)
    assert np.array_equal(marked["false alarm"], found > expected)
    confused = score(reference, hypothesis).strict.confusion_s
    assert marked["confusion"].sum() / 100 <= confused + 1e-6
    assert marked["confusion"].any() == (confused > 1e-6)
    assert all(first[0] <= second[0] for first, second in pairwise(spans))


def test_speakers_are_paired_so_that_they_agree_longest() -> None:
    reference = [turn(0, 5, "A"), turn(5, 7, "B"), turn(7, 8, "C")]
    hypothesis = [turn(0, 4, "B"), turn(4, 7, "A"), turn(20, 21, "C")]
    assert pair_speakers(reference, hypothesis) == {"B": "A", "A": "B"}
    assert errors_in_time(reference, hypothesis) == [
        (4 * SAMPLE_RATE, 5 * SAMPLE_RATE, "confusion"),
        (7 * SAMPLE_RATE, 8 * SAMPLE_RATE, "miss"),
        (20 * SAMPLE_RATE, 21 * SAMPLE_RATE, "false alarm"),
    ]


def test_a_speaker_without_a_partner_is_nobody_even_under_the_same_name() -> None:
    confusion = [(8 * SAMPLE_RATE, 10 * SAMPLE_RATE, "confusion")]
    assert errors_in_time([turn(0, 10, "A")], [turn(0, 8, "x"), turn(8, 10, "A")]) == confusion


def printed(scores: dict[str, Score]) -> list[list[str]]:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(format_scores(scores))
    return [line.split() for line in capture.get().splitlines()]


def test_the_table_has_both_conventions_side_by_side() -> None:
    reference, hypothesis = [turn(0, 2, "A")], [turn(0, 1, "x"), turn(1, 2, "y")]
    lines = printed({"[b]meeting": score(reference, hypothesis), "silence": score([], [])})
    assert ["[b]meeting", "50.0", "0.0", "0.0", "50.0", "50.0", "0.0", "0.0", "50.0", "50.0", "1/2"] in lines
    assert ["silence", *"---------", "0/0"] in lines
    assert ["total", "50.0", "0.0", "0.0", "50.0", "50.0", "0.0", "0.0", "50.0", "50.0", "1/2"] in lines
    assert not any(line and line[0] == "total" for line in printed({"alone": score([], [])}))


def test_a_score_is_json() -> None:
    found = json.loads(json.dumps(score([turn(0, 2, "A")], []).as_dict(), allow_nan=False))
    assert found["strict"] == {
        "der": 1.0,
        "miss": 1.0,
        "false_alarm": 0.0,
        "confusion": 0.0,
        "speech_s": 2.0,
        "miss_s": 2.0,
        "false_alarm_s": 0.0,
        "confusion_s": 0.0,
    }
    assert math.isclose(found["lenient"]["speech_s"], 1.5)
    assert (found["jer"], found["reference_speakers"], found["hypothesis_speakers"]) == (1.0, 1, 0)
    assert json.loads(json.dumps(Score().as_dict(), allow_nan=False))["lenient"]["der"] is None
