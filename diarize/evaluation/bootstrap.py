"""What a figure is worth that was measured with a few speakers: the same figure with speakers drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diarize.evaluation.error_rates import P_TARGETS, Floats, equal_error_rate, error_curve, min_dcf, weighted_curve

DRAWS = 1000
"""Of as many speakers as there are, with replacement."""

_POINTS = 1024
"""Thresholds by the scores of each kind of trials, at which the draws are judged: what is lost is a hundredth of the
intervals."""
_MOST_WEIGHTS = 20_000_000
"""Held at a time, in numbers."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, and what it was in every draw of speakers.

    Draws are paired: the same speakers are drawn for every figure of an evaluation, so that what is computed of two
    figures has an interval of its own.

    value: measured with all speakers.
    draws: shape (draws,); NaN where a draw had too few speakers for it.
    """

    value: float
    draws: Floats

    def __truediv__(self, other: Estimate) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.divide([self.value, *self.draws], [other.value, *other.draws])
        return Estimate(float(ratios[0]), ratios[1:])

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.draws - other.draws)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """What holds the middle 95 % of the draws; NaN where there is none."""
        counting = self.draws[~np.isnan(self.draws)]
        if not len(counting):
            return float("nan"), float("nan")
        low, high = np.percentile(counting, [2.5, 97.5], method="nearest")  # which takes infinities too
        return float(low), float(high)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several figures."""
    return Estimate(float(np.mean([one.value for one in estimates])), np.mean([one.draws for one in estimates], axis=0))


def draw_speakers(strata: NDArray[np.int64], seed: int, draws: int = DRAWS) -> Floats:
    """How often each speaker is drawn, shape (speakers, draws).

    strata: the set each speaker is of, shape (speakers,): as many of each set are drawn as it has.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((len(strata), draws))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        drawn[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws).T
    return drawn


def error_rates(
    scores: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64], drawn: Floats
) -> tuple[Estimate, dict[float, Estimate]]:
    """The equal error rate of some trials and, for each of `P_TARGETS`, the least detection cost.

    first, second: the speakers of each trial, shape (trials,).
    drawn: how often each speaker is drawn, shape (speakers, draws).  A trial within a speaker counts as often as they
        are drawn, one between two speakers as often as both together.
    Raises ValueError as `error_curve`.
    """
    same = first == second
    exact = error_curve(scores, same)
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, cell = np.unique(low * len(drawn) + high, return_inverse=True)
    one, other = np.divmod(pairs, len(drawn))
    thresholds = _thresholds(scores, same)
    rates = []
    for columns in np.array_split(drawn, -(-len(pairs) * drawn.shape[1] // _MOST_WEIGHTS), axis=1):
        weights = np.where((one == other)[:, None], columns[one], columns[one] * columns[other])
        curve = weighted_curve(scores, same, cell, weights, thresholds)
        rates.append([equal_error_rate(curve), *(min_dcf(curve, p_target) for p_target in P_TARGETS)])
    values = [equal_error_rate(exact), *(min_dcf(exact, p_target) for p_target in P_TARGETS)]
    eer, *costs = (
        Estimate(float(value), rate) for value, rate in zip(values, np.concatenate(rates, axis=1), strict=True)
    )
    return eer, dict(zip(P_TARGETS, costs, strict=True))


def share(hits: NDArray[np.bool_], speakers: NDArray[np.int64], drawn: Floats) -> Estimate:
    """The share of some probes that are hits.

    hits, speakers: of each probe, shape (probes,), at least one.
    """
    counted, asked = (np.bincount(speakers, weights, len(drawn)) for weights in (hits, np.ones(len(hits))))
    with np.errstate(invalid="ignore"):
        return Estimate(float(hits.mean()), (counted @ drawn) / (asked @ drawn))


def _thresholds(scores: NDArray[Any], same: NDArray[np.bool_]) -> NDArray[Any]:
    """Where misses change in even steps and false alarms in even proportions: low ones count for the cost."""
    own, others = np.sort(scores[same]), np.sort(scores[~same])
    even = np.linspace(0, len(own) - 1, _POINTS).astype(int)
    tail = len(others) - np.geomspace(1, len(others), _POINTS).astype(int)
    return np.unique(np.concatenate([own[even], others[tail]]))
