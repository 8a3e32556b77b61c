"""What measures a segmentation, held against pyannote.metrics and against counting frames."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.detection import DetectionErrorRate, DetectionPrecision, DetectionRecall
from pyannote.metrics.diarization import DiarizationErrorRate

from diarize.evaluation.detection import Detection, detection, local_errors
from diarize.intervals import runs, union
from diarize.metrics import Errors, score
from diarize.rttm import Turn
from diarize.types import SAMPLE_RATE, Interval

FRAME = SAMPLE_RATE // 100
LENGTH = 300
Voices = list[list[Interval]]


@st.composite
def voices(draw: st.DrawFn, most: int = 4) -> Voices:
    """Voices on frames of 10 ms, so that counting frames is exact."""
    span = st.tuples(st.integers(0, LENGTH - 80), st.integers(1, 80))
    drawn = draw(st.lists(st.lists(span, max_size=4), max_size=most))
    return [union((start * FRAME, (start + length) * FRAME) for start, length in voice) for voice in drawn]


def frames(found: Voices) -> NDArray[np.bool_]:
    """Who talks in which frame, shape (voices, frames)."""
    active = np.zeros((len(found), LENGTH), bool)
    for row, voice in zip(active, found, strict=True):
        for start, end in voice:
            row[start // FRAME : end // FRAME] = True
    return active


def annotation(found: Voices) -> Annotation:
    said = Annotation()
    for name, voice in enumerate(found):
        for start, end in voice:
            said[Segment(start / SAMPLE_RATE, end / SAMPLE_RATE), name] = f"voice {name}"
    return said


def at(*spans: tuple[float, float]) -> list[Interval]:
    """Intervals from seconds."""
    return [(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in spans]


WHOLE = Timeline([Segment(0, LENGTH / 100)])


@given(voices(), voices())
@settings(deadline=None, max_examples=50)
def test_speech_is_found_as_pyannote_counts_it(reference: Voices, found: Voices) -> None:
    said = detection(reference, found).speech
    theirs = DetectionErrorRate().compute_components(
        annotation(reference).get_timeline().support().to_annotation(),
        annotation(found).get_timeline().support().to_annotation(),
        uem=WHOLE,
    )
    assert (said.speech_s, said.miss_s, said.false_alarm_s, said.confusion_s) == pytest.approx(
        (theirs["total"], theirs["miss"], theirs["false alarm"], 0)
    )


@given(voices(), voices())
@settings(deadline=None, max_examples=50)
def test_overlap_is_found_as_pyannote_counts_it(reference: Voices, found: Voices) -> None:
    said = detection(reference, found)
    truth, answer = (annotation(one).get_overlap().to_annotation() for one in (reference, found))
    for rate, theirs, all_s in (
        (said.precision, DetectionPrecision(), said.found_overlap_s),
        (said.recall, DetectionRecall(), said.overlap_s),
    ):
        parts = theirs.compute_components(truth, answer, uem=WHOLE)
        assert all_s == pytest.approx(parts[theirs.metric_components()[0]])
        assert said.right_overlap_s == pytest.approx(parts[theirs.metric_components()[1]])
        assert (rate is None) == (all_s == 0)
        assert rate is None or rate == pytest.approx(theirs.compute_metric(parts))


@given(voices(), voices())
@settings(deadline=None, max_examples=50)
def test_talk_is_missed_as_in_the_strict_rate_and_apart_it_adds_up(reference: Voices, found: Voices) -> None:
    said = detection(reference, found)
    truth, answer = (
        [Turn(*span, str(n)) for n, voice in enumerate(one) for span in voice] for one in (reference, found)
    )
    strict = score(truth, answer).strict
    assert (said.talk.speech_s, said.talk.miss_s, said.talk.false_alarm_s) == pytest.approx(
        (strict.speech_s, strict.miss_s, strict.false_alarm_s)
    )
    assert said.second_s + said.pause_s + said.single_s == pytest.approx(said.talk.miss_s)
    assert said.pause_s + said.single_s == pytest.approx(said.speech.miss_s)


@given(voices(), voices(3), st.integers(0, LENGTH - 1), st.integers(1, LENGTH))
@settings(deadline=None, max_examples=50)
def test_local_errors_are_pyannotes_inside_the_piece(
    reference: Voices, found: Voices, start: int, frames_long: int
) -> None:
    piece = (start * FRAME, (start + frames_long) * FRAME)
    theirs = DiarizationErrorRate().compute_components(
        annotation(reference),
        annotation(found).rename_labels(generator=iter("xyz")),
        uem=Timeline([Segment(piece[0] / SAMPLE_RATE, piece[1] / SAMPLE_RATE)]),
    )
    expected = (theirs["total"], theirs["missed detection"], theirs["false alarm"], theirs["confusion"])
    said = local_errors(reference, found, piece)
    assert (said.speech_s, said.miss_s, said.false_alarm_s, said.confusion_s) == pytest.approx(expected)


@given(voices(3), voices(3))
@settings(deadline=None, max_examples=30)
def test_the_pairing_is_the_best_of_all(reference: Voices, found: Voices) -> None:
    truth, answer = (np.vstack([frames(one), np.zeros((3 - len(one), LENGTH), bool)]) for one in (reference, found))
    least = min(
        np.maximum(truth.sum(0), answer.sum(0)).sum() - (truth & answer[list(order)]).sum()
        for order in permutations(range(3))
    )
    said = local_errors(reference, found, (0, LENGTH * FRAME))
    assert said.miss_s + said.false_alarm_s + said.confusion_s == pytest.approx(least / 100)


@given(voices(), voices(), voices(), voices())
@settings(deadline=None, max_examples=20)
def test_recordings_pool_as_if_they_were_one(first: Voices, found: Voices, second: Voices, other: Voices) -> None:
    after = LENGTH * FRAME + SAMPLE_RATE  # a second later: no pause across is bridged
    later = [[(start + after, end + after) for start, end in voice] for voice in second]
    also = [[(start + after, end + after) for start, end in voice] for voice in other]
    pooled = detection(first, found) + detection(second, other)
    whole = detection([*first, *later], [*found, *also])
    for field in ("second_s", "pause_s", "single_s", "overlap_s", "found_overlap_s", "right_overlap_s"):
        assert getattr(pooled, field) == pytest.approx(getattr(whole, field))
    assert (pooled.talk.miss_s, pooled.speech.false_alarm_s) == pytest.approx(
        (whole.talk.miss_s, whole.speech.false_alarm_s)
    )


def test_what_is_missed_is_told_apart() -> None:
    reference = [at((0, 10)), at((4, 6), (12, 13))]
    found = [at((0, 2), (2.4, 5.5), (6.5, 10))]
    said = detection(reference, found)
    assert said.pause_s == pytest.approx(0.4)  # from 2 to 2.4
    assert said.single_s == pytest.approx(1 + 1)  # from 5.5 to 6.5, and from 12 to 13
    assert said.second_s == pytest.approx(2)  # from 4 to 6, in the last half second of which the first is lost too
    assert said.speech.miss == pytest.approx(2.4 / 11)
    assert said.talk.miss == pytest.approx(4.4 / 13)
    assert (said.precision, said.recall) == (None, 0)


def test_a_pause_of_half_a_second_is_not_short() -> None:
    short, long = (detection([at((0, 9))], [at((0, 2), (2 + gap, 9))]) for gap in (0.499, 0.5))
    assert (short.pause_s, short.single_s) == pytest.approx((0.499, 0))
    assert (long.pause_s, long.single_s) == pytest.approx((0, 0.5))


def test_a_third_voice_at_once_is_missed_by_two() -> None:
    said = detection([at((0, 2))] * 3, [at((0, 2))] * 2)
    assert said.second_s == said.talk.miss_s == pytest.approx(2)
    assert said.recall == said.precision == 1


def test_voices_too_many_are_a_false_alarm_of_talk_and_not_of_speech() -> None:
    said = detection([at((0, 2))], [at((0, 2)), at((1, 2))])
    assert (said.speech.false_alarm_s, said.talk.false_alarm_s) == pytest.approx((0, 1))
    assert (said.precision, said.recall) == (0, None)


def test_nothing_at_all_has_no_rates() -> None:
    nothing = detection([], [])
    assert nothing == Detection()
    assert (nothing.speech.miss, nothing.precision, nothing.recall) == (None, None, None)
    assert local_errors([], [], (0, 1)) == Errors()


def test_who_is_found_in_another_piece_does_not_count() -> None:
    reference, found = [at((0, 12)), at((12, 20))], [at((0, 8), (12, 20)), at((8, 10), (10, 12))]
    pieces = [(10 * SAMPLE_RATE * n, 10 * SAMPLE_RATE * (n + 1)) for n in range(2)]
    first, second = (local_errors(reference, found, piece) for piece in pieces)
    assert first.confusion_s == pytest.approx(2)
    assert second.confusion_s == 0  # voices are paired anew: who was the first voice is the other speaker now


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 400), st.integers(-400, 400))
def test_stretches_are_where_frames_are_set(active: list[bool], frame: int, start: int) -> None:
    found = runs(np.array(active, bool), frame, start)
    assert found == union((start + n * frame, start + (n + 1) * frame) for n, one in enumerate(active) if one)


@pytest.mark.parametrize("piece", [(5, 5), (6, 5)])
def test_a_piece_without_length_is_refused(piece: Interval) -> None:
    with pytest.raises(ValueError, match=rf"piece \({piece[0]}, 5\) has no length"):
        local_errors([], [], piece)


def test_an_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"interval \(7, 3\) ends before it starts"):
        detection([[(0, 4), (7, 3)]], [])
    with pytest.raises(ValueError, match=r"interval \(7, 3\) ends before it starts"):
        local_errors([], [[(7, 3)]], (0, 9))
