"""How well a model tells speakers apart, as pictures: ROC, DET, and how the scores are spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from diarize.plot.style import COLOURS, FAINT, GREY, add_legend, add_title, check_suffix, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_LEAST = 5e-4
"""The lowest share that is drawn; of fewer errors, few trials tell."""
_TICKS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_BINS = 80
_COLUMNS = 2


@dataclass(frozen=True, eq=False)
class Errors:
    """The scores of one model, and its errors at every threshold.

    scores, same: of each trial, and whether it is of one speaker, shape (trials,).
    misses, false_alarms: shares at rising thresholds, 0 to 1 and 1 to 0, shape (thresholds,).
    eer: where they are equal; threshold: the score there.
    """

    scores: NDArray[np.float64]
    same: NDArray[np.bool_]
    misses: NDArray[np.float64]
    false_alarms: NDArray[np.float64]
    eer: float
    threshold: float


def plot_roc(models: Mapping[str, Errors], *, path: str | PathLike[str], title: str = "") -> None:
    """Draw how many same-speaker trials are accepted for how many of different speakers, these on a log scale.

    A dot is where there are as many errors of both kinds.
    path: its suffix, .png or .svg, is the format of the picture.
    Raises ValueError for another suffix, OSError when the picture cannot be written.
    """
    check_suffix(path)
    figure, ax = _square()
    marks = {}
    for (name, errors), colour in zip(models.items(), _colours(models), strict=True):
        alarms = np.maximum(errors.false_alarms, _LEAST / 2)
        marks[_legend(name, errors)] = ax.plot(alarms, 1 - errors.misses, color=colour, drawstyle="steps-post")[0]
        ax.plot(max(errors.eer, _LEAST), 1 - errors.eer, "o", color=colour, markersize=6)
    ax.set_xscale("log")
    ax.set_xlim(_LEAST, 1)
    ax.set_ylim(0, 1.01)
    shown = (0.001, 0.01, 0.1, 1.0)
    ax.set_xticks(shown, [_percent(share) for share in shown])
    ax.set_yticks(np.linspace(0, 1, 6), [_percent(share) for share in np.linspace(0, 1, 6)])
    ax.set_xlabel("different speakers accepted (log scale)")
    ax.set_ylabel("same speaker accepted")
    add_legend(figure, marks)
    add_title(figure, title)
    save(figure, path)


def plot_det(models: Mapping[str, Errors], *, path: str | PathLike[str], title: str = "") -> None:
    """Draw the detection error trade-off: misses against false alarms, both as deviates of the normal distribution.

    Where scores are normally distributed, the line is straight (Martin et al., The DET curve in assessment of detection
    task performance, 1997).  Other arguments as in `plot_roc`.
    """
    from scipy.stats import norm

    check_suffix(path)
    figure, ax = _square()
    marks = {}
    for (name, errors), colour in zip(models.items(), _colours(models), strict=True):
        alarms, misses = (
            norm.ppf(np.clip(rates, _LEAST / 2, 1 - _LEAST / 2)) for rates in (errors.false_alarms, errors.misses)
        )
        marks[_legend(name, errors)] = ax.plot(alarms, misses, color=colour)[0]
        at = norm.ppf(max(errors.eer, _LEAST))
        ax.plot(at, at, "o", color=colour, markersize=6)
    low, high = float(norm.ppf(_LEAST)), float(norm.ppf(0.8))
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=0)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ticks, labels = norm.ppf(_TICKS), [_percent(share) for share in _TICKS]
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels)
    ax.set_xlabel("false alarms: different speakers accepted")
    ax.set_ylabel("misses: same speaker refused")
    add_legend(figure, marks)
    add_title(figure, title)
    save(figure, path)


def plot_scores(models: Mapping[str, Errors], *, path: str | PathLike[str], title: str = "") -> None:
    """Draw how the scores of both kinds of trials are spread, each kind in shares of its own, a field for each model.

    A dashed line is the threshold at which there are as many errors of both kinds.  Arguments as in `plot_roc`.
    """
    from matplotlib.figure import Figure

    check_suffix(path)
    columns = min(_COLUMNS, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(max(4.6 * columns, 5.6), 3.1 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    marks = {}
    for ax, (name, errors) in zip(axes, models.items(), strict=False):
        bins = np.linspace(errors.scores.min(), errors.scores.max(), _BINS + 1)
        for kind, of, colour in (
            ("different speakers", ~errors.same, COLOURS[1]),
            ("same speaker", errors.same, COLOURS[0]),
        ):
            shares = np.full(int(of.sum()), 1 / max(of.sum(), 1))
            *_, bars = ax.hist(errors.scores[of], bins, weights=shares, color=colour, alpha=0.6, histtype="stepfilled")
            marks[kind] = bars[0]
        ax.axvline(errors.threshold, color=FAINT, linestyle="--", linewidth=1)
        _tidy(ax)
        ax.set_yticks([])
        ax.set_title(_legend(name, errors), fontsize=9, parse_math=False)
        ax.set_xlabel("score", fontsize=8)
    for ax in axes[len(models) :]:
        ax.set_visible(False)
    add_legend(figure, marks)
    add_title(figure, title)
    save(figure, path)


def _square() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    ax = figure.subplots()
    ax.grid(color="#e8e8e8", linewidth=0.6)
    ax.set_axisbelow(True)
    _tidy(ax)
    return figure, ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, color=FAINT)


def _colours(models: Mapping[str, Errors]) -> list[str]:
    return [COLOURS[row % len(COLOURS)] for row in range(len(models))]


def _legend(name: str, errors: Errors) -> str:
    return f"{name if len(name) <= 16 else '…' + name[-15:]}: {100 * errors.eer:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
