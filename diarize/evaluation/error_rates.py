"""How often two utterances are taken for one speaker's wrongly, or for two speakers', at every threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

P_TARGETS = (0.01, 0.05)
"""Shares of trials that are one speaker's at which `min_dcf` is given: VoxCeleb's usual ones."""


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """The errors at every threshold; a trial is accepted whose score is at least the threshold.

    thresholds: rising from minus to plus infinity, shape (n,).
    misses: the share of the same-speaker trials that are refused, 0 to 1, shape (n,) or, for several weightings of
        the trials, (n, weightings).
    false_alarms: the share of the different-speaker trials that are accepted, 1 to 0, of the same shape.
    """

    thresholds: Floats
    misses: Floats
    false_alarms: Floats


def error_curve(scores: NDArray[Any], same: NDArray[np.bool_]) -> ErrorCurve:
    """The errors at all thresholds that make a difference.

    scores, same: of each trial, shape (trials,); a higher score speaks for one speaker.
    Raises ValueError where there are no trials of one kind, or where a score is not finite.
    """
    check_trials(scores, same)
    thresholds = np.unique(scores)
    one = np.ones((1, 1))
    cell = np.zeros(len(scores), np.int64)
    curve = weighted_curve(scores, same, cell, one, thresholds)
    return ErrorCurve(curve.thresholds, curve.misses[:, 0], curve.false_alarms[:, 0])


def weighted_curve(
    scores: NDArray[Any], same: NDArray[np.bool_], cell: NDArray[np.int64], weights: Floats, thresholds: NDArray[Any]
) -> ErrorCurve:
    """The errors at given thresholds, and at both infinities, for several weightings at once.

    cell: what each trial has its weight by, shape (trials,), below `len(weights)`.
    weights: of the cells, shape (cells, weightings).
    thresholds: rising, shape (k,).
    A weighting that leaves no trials of one kind gives NaN.
    """
    steps = np.searchsorted(thresholds, scores, side="right")  # so many thresholds accept the trial
    below = [_share_below(steps[kind], cell[kind], weights, len(thresholds)) for kind in (same, ~same)]
    return ErrorCurve(np.concatenate([[-np.inf], thresholds, [np.inf]]), below[0], 1 - below[1])


def equal_error_rate(curve: ErrorCurve) -> Floats:
    """The rate at which misses and false alarms are equal, one for each weighting.

    Between the two thresholds where one becomes larger than the other, both are taken for straight lines.
    """
    after = _crossing(curve)[None]
    miss, last_miss = (np.take_along_axis(curve.misses, at, axis=0)[0] for at in (after, after - 1))
    alarm, last_alarm = (np.take_along_axis(curve.false_alarms, at, axis=0)[0] for at in (after, after - 1))
    before = last_alarm - last_miss  # above 0, and not below 0 after it
    return np.asarray(last_miss + before / (before + miss - alarm) * (miss - last_miss))


def equal_error_threshold(curve: ErrorCurve) -> float:
    """The first threshold at which there are at least as many misses as false alarms, in a curve of one weighting."""
    return float(curve.thresholds[min(int(_crossing(curve)), len(curve.thresholds) - 2)])


def min_dcf(curve: ErrorCurve, p_target: float) -> Floats:
    """The least detection cost over all thresholds, one for each weighting, by NIST's definition with costs of 1.

    (p_target x misses + (1 - p_target) x false alarms) / min(p_target, 1 - p_target): 1 is what a system costs that
    always says the same, 0 is perfect.
    p_target: the share of trials that are one speaker's, between 0 and 1; ValueError otherwise.
    """
    if not 0 < p_target < 1:
        raise ValueError(f"p_target is a share between 0 and 1, not {p_target}")
    costs = p_target * curve.misses + (1 - p_target) * curve.false_alarms
    return np.asarray(costs.min(axis=0) / min(p_target, 1 - p_target))


def check_trials(scores: NDArray[Any], same: NDArray[np.bool_]) -> None:
    """Raise ValueError where no error rates can be had of these trials."""
    if scores.ndim != 1 or scores.shape != same.shape:
        raise ValueError(f"scores and same must have one shape (trials,), not {scores.shape} and {same.shape}")
    if same.all() or not same.any():
        kind = "different speakers" if same.any() else "one speaker"
        raise ValueError(f"error rates need trials of both kinds, and none of these {len(same)} is of {kind}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite")


def _share_below(steps: NDArray[np.int64], cell: NDArray[np.int64], weights: Floats, thresholds: int) -> Floats:
    """The weighted share of trials that each threshold refuses, shape (thresholds + 2, weightings)."""
    from scipy.sparse import coo_array

    counts = coo_array((np.ones(len(steps)), (steps, cell)), shape=(thresholds + 1, len(weights))).tocsr()
    refused = np.cumsum(np.asarray(counts @ weights), axis=0)
    with np.errstate(invalid="ignore"):  # no trials left: 0 / 0
        shares = refused / refused[-1]
    return np.concatenate([np.zeros_like(shares[:1]), shares])


def _crossing(curve: ErrorCurve) -> NDArray[np.int64]:
    """The first place with at least as many misses as false alarms, for each weighting; never the first of all."""
    return np.asarray(np.argmax(curve.misses >= curve.false_alarms, axis=0)).clip(1)
