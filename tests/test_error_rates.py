"""Error rates of trials, what they are worth, and retrieval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_curve

from diarize.evaluation.bootstrap import DRAWS, Estimate, draw_speakers, error_rates, mean, share
from diarize.evaluation.error_rates import equal_error_rate, equal_error_threshold, error_curve, min_dcf
from diarize.evaluation.retrieval import found_within

SEEDS = st.integers(0, 2**32 - 1)
SAME, DIFFERENT = [4.0, 3.0, 1.0], [2.0, 0.5, 0.0, -1.0]
SCORES = np.array(SAME + DIFFERENT)
KINDS = np.array([True] * 3 + [False] * 4)


def drawn_trials(seed: int, ties: bool = False) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of both kinds of trials, which overlap."""
    rng = np.random.default_rng(seed)
    same = np.arange(int(rng.integers(3, 300))) < rng.integers(1, 3)
    same = np.concatenate([same, rng.random(len(same)) < 0.3])
    scores = rng.normal(size=len(same)) + same * rng.uniform(-0.5, 4)
    return np.asarray(np.round(scores, 1) if ties else scores, np.float64), same


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_the_equal_error_rate_is_that_of_scikit_learns_curve(seed: int) -> None:
    scores, same = drawn_trials(seed)
    alarms, hits, _ = roc_curve(same, scores, drop_intermediate=False)
    at = np.argmin(np.abs(1 - hits - alarms))
    expected = (1 - hits[at] + alarms[at]) / 2
    assert equal_error_rate(error_curve(scores, same)) == pytest.approx(
        expected, abs=1 / min(same.sum(), (~same).sum())
    )


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.booleans())
def test_the_curve_is_scikit_learns(seed: int, ties: bool) -> None:
    scores, same = drawn_trials(seed, ties)
    alarms, hits, thresholds = roc_curve(same, scores, drop_intermediate=False)
    curve = error_curve(scores, same)
    assert np.array_equal(curve.thresholds[1:-1][::-1], thresholds[1:])
    assert np.allclose(curve.false_alarms[1:][::-1], alarms)
    assert np.allclose(1 - curve.misses[1:][::-1], hits)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 5), SEEDS)
def test_gaussian_scores_have_a_known_rate(apart: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(apart, 1, 20_000), rng.normal(0, 1, 20_000)])
    curve = error_curve(scores, np.arange(40_000) < 20_000)
    assert equal_error_rate(curve) == pytest.approx(norm.cdf(-apart / 2), abs=0.012)
    if apart < 3:  # where errors are rare, the threshold is by chance
        assert equal_error_threshold(curve) == pytest.approx(apart / 2, abs=0.06)


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.booleans())
def test_only_the_order_of_scores_counts(seed: int, ties: bool) -> None:
    scores, same = drawn_trials(seed, ties)
    curve, stretched, mirrored = (
        error_curve(scores, same),
        error_curve(np.exp(scores), same),
        error_curve(-scores, ~same),
    )
    assert equal_error_rate(stretched) == pytest.approx(equal_error_rate(curve))
    assert equal_error_rate(mirrored) == pytest.approx(equal_error_rate(curve))
    assert min_dcf(stretched, 0.05) == pytest.approx(min_dcf(curve, 0.05))
    assert 0 <= min_dcf(curve, 0.01) <= 1


def test_the_detection_cost_by_hand() -> None:
    curve = error_curve(SCORES, KINDS)
    # refused below 3: one of three misses; refused below 1: one of four false alarms
    assert min_dcf(curve, 0.05) == pytest.approx(0.05 * (1 / 3) / 0.05)
    assert min_dcf(curve, 0.9) == pytest.approx(0.1 * (1 / 4) / 0.1)
    assert min_dcf(curve, 0.5) == pytest.approx(0.5 * (1 / 4) / 0.5)


def test_perfect_useless_and_wrong() -> None:
    same = np.array([True, True, False])
    for scores, rate in (([2.0, 2.0, 1.0], 0.0), ([1.0, 1.0, 1.0], 0.5), ([1.0, 1.0, 2.0], 1.0)):
        assert equal_error_rate(error_curve(np.array(scores), same)) == rate


@pytest.mark.parametrize(
    ("scores", "same", "complaint"),
    [
        ([1.0, 2.0], [True, True], "none of these 2 is of different speakers"),
        ([1.0, 2.0], [False, False], "none of these 2 is of one speaker"),
        ([], [], "none of these 0"),
        ([1.0, np.nan], [True, False], "1 of 2 scores are not finite"),
        ([1.0], [True, False], "one shape"),
    ],
)
def test_trials_that_have_no_error_rate(scores: list[float], same: list[bool], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        error_curve(np.array(scores), np.array(same, bool))


@pytest.mark.parametrize("p_target", [0.0, 1.0, -1.0])
def test_a_cost_needs_both_kinds(p_target: float) -> None:
    with pytest.raises(ValueError, match="p_target"):
        min_dcf(error_curve(SCORES, KINDS), p_target)


def speakers_trials(seed: int, count: int = 5, utterances: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and speakers, shape (2, trials), of all pairs of utterances."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), utterances)
    first, second = np.triu_indices(len(owner), 1)
    speakers = np.stack([owner[first], owner[second]])
    hard = rng.normal(size=count)
    return rng.normal(size=len(first)) + 1.5 * (speakers[0] == speakers[1]) + hard[speakers].sum(axis=0) / 2, speakers


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_a_draw_is_what_trials_repeated_give(seed: int) -> None:
    scores, speakers = speakers_trials(seed)
    drawn = draw_speakers(np.zeros(5, np.int64), seed, draws=10)
    eer, costs = error_rates(scores, speakers[0], speakers[1], drawn)
    same = speakers[0] == speakers[1]
    for column in range(10):
        often = drawn[:, column].astype(int)
        times = np.where(same, often[speakers[0]], often[speakers[0]] * often[speakers[1]])
        if not times[~same].any():  # one speaker five times
            assert np.isnan(eer.draws[column])
            continue
        repeated = error_curve(np.repeat(scores, times), np.repeat(same, times))
        assert eer.draws[column] == pytest.approx(equal_error_rate(repeated))
        assert costs[0.01].draws[column] == pytest.approx(min_dcf(repeated, 0.01))


def test_many_trials_are_judged_at_enough_thresholds() -> None:
    scores, speakers = speakers_trials(0, count=20, utterances=20)  # 80,000 trials
    eer, costs = error_rates(scores, speakers[0], speakers[1], np.ones((20, 2)))
    assert eer.draws == pytest.approx(eer.value, abs=1e-4)
    assert costs[0.01].draws == pytest.approx(costs[0.01].value, abs=2e-3)


def test_speakers_are_drawn_within_their_sets() -> None:
    strata = np.array([0, 0, 0, 1, 1, 2])
    drawn = draw_speakers(strata, seed=1)
    assert drawn.shape == (6, DRAWS)
    assert (drawn[:3].sum(axis=0) == 3).all()
    assert (drawn[3:5].sum(axis=0) == 2).all()
    assert (drawn[5] == 1).all()
    assert np.array_equal(drawn, draw_speakers(strata, seed=1))
    assert not np.array_equal(drawn, draw_speakers(strata, seed=2))


def test_intervals_are_paired() -> None:
    scores, speakers = speakers_trials(3)
    drawn = draw_speakers(np.zeros(5, np.int64), 0)
    eer, _ = error_rates(scores, speakers[0], speakers[1], drawn)
    low, high = eer.interval
    assert low < eer.value < high
    assert (eer / eer).interval == (1, 1)
    assert (eer - eer).interval == (0, 0)
    assert mean([eer, eer]).interval == eer.interval
    none = Estimate(0.5, np.array([np.nan]))
    assert np.isnan(none.interval).all()


def test_a_share_counts_the_probes_of_whom_was_drawn() -> None:
    hits, speakers = np.array([True, True, False, False]), np.array([0, 0, 0, 1])
    found = share(hits, speakers, np.array([[1.0, 2.0, 0.0, 1.0], [1.0, 0.0, 2.0, 2.0]]))
    assert found.value == 0.5
    assert np.allclose(found.draws, [0.5, 2 / 3, 0, 0.4])


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_recall_is_what_sorting_all_others_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    speakers = rng.integers(6, size=30)
    embeddings = rng.normal(size=(30, 5)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    asked, found = found_within(embeddings, speakers, (1, 3))
    assert asked.tolist() == [one for one in range(30) if (speakers == speakers[one]).sum() > 1]
    for one, (at_once, soon) in zip(asked, found, strict=True):
        others = [other for other in np.argsort(-(embeddings @ embeddings[one])) if other != one]
        assert at_once == (speakers[others[0]] == speakers[one])
        assert soon == (speakers[others[:3]] == speakers[one]).any()
