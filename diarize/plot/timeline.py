"""Who spoke when, as a picture: a row for each speaker, time from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from diarize.metrics import ErrorKind, errors_in_time, pair_speakers
from diarize.plot.style import (
    FAINT,
    add_title,
    check_suffix,
    clock,
    colours,
    fonts,
    partner_colours,
    plain,
    save,
    say_no_speech,
    shares,
    time_step,
)
from diarize.rttm import Turn
from diarize.types import position, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS: dict[ErrorKind, str] = {"miss": "#4d4d4d", "false alarm": "#f0b429", "confusion": "#c1121f"}
"""The kinds of errors and their colours."""


def plot_timeline(
    hypothesis: Iterable[Turn],
    *,
    path: str | PathLike[str],
    reference: Iterable[Turn] | None = None,
    duration: int | None = None,
    title: str = "",
) -> None:
    """Draw the turns: a row for each speaker, in order of first appearance, with the share of the talk time.

    path: where the picture goes; its suffix, .png or .svg, is its format.
    reference: drawn above in the colours of the speakers it is paired with, with the strict errors in a strip below.
    duration: of the recording, in samples; without it the picture ends with the last turn.

    Raises ValueError for another suffix, OSError when the picture cannot be written.
    """
    check_suffix(path)
    answer, truth = sorted(hypothesis), None if reference is None else sorted(reference)
    end = max([duration or 0, *(turn.end for turn in answer), *(turn.end for turn in truth or ())])
    save(_draw(answer, truth, end or position(1), title), path)


def _draw(answer: Sequence[Turn], truth: Sequence[Turn] | None, end: int, title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    own = colours(answer)
    groups = [("", answer, own)]
    if truth is not None:
        partners = partner_colours(truth, pair_speakers(truth, answer), own)
        groups = [("reference", truth, partners), ("hypothesis", answer, own)]
    heights = [max(1, len(its_colours)) for _, _, its_colours in groups] + [0.7] * (truth is not None)
    figure = Figure(figsize=(_width(end), 1.1 + 0.3 * sum(heights) + 0.15 * len(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, turns, its_colours) in zip(axes, groups, strict=False):
        _draw_turns(ax, name, turns, its_colours, end)
    if truth is not None:
        _draw_errors(axes[-1], errors_in_time(truth, answer), end)
    _draw_time(axes[-1], end)
    add_title(figure, title)
    return figure


def _width(end: int) -> float:
    """Inches: a long recording gets a wider picture, or its turns would be thinner than a pixel."""
    return min(20.0, 11.0 + seconds(end) / 600)


def _draw_turns(ax: Axes, name: str, turns: Sequence[Turn], shown: Mapping[str, str], end: int) -> None:
    heard = shares(turns)
    labels = [f"{plain(speaker)}  {share:.0%}" for speaker, share in heard.items()]
    for row, speaker in enumerate(heard):
        bars = [(seconds(turn.start), seconds(turn.end - turn.start)) for turn in turns if turn.speaker == speaker]
        # the thin edge keeps a short turn visible in a long recording
        ax.broken_barh(bars, (row - 0.4, 0.8), facecolor=shown[speaker], edgecolor=shown[speaker], linewidth=0.5)
    ax.set_yticks(range(len(heard)), labels, fontsize=9, fontfamily=fonts(), parse_math=False)
    ax.set_ylim(max(1, len(heard)) - 0.5, -0.5)
    ax.set_title(name, loc="left", fontsize=9, color=FAINT, pad=2)
    if not heard:
        say_no_speech(ax)
    _frame(ax, end)


def _draw_errors(ax: Axes, errors: Sequence[tuple[int, int, ErrorKind]], end: int) -> None:
    for row, (kind, colour) in enumerate(ERRORS.items()):
        bars = [(seconds(start), seconds(stop - start)) for start, stop, found in errors if found == kind]
        ax.broken_barh(bars, (row, 1), facecolor=colour, edgecolor=colour, linewidth=0.2, label=kind)
    ax.set_ylim(len(ERRORS), 0)
    ax.set_yticks([])
    _frame(ax, end)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.9), ncols=3, fontsize=8, frameon=False, borderpad=0)


def _frame(ax: Axes, end: int) -> None:
    ax.set_xlim(0, seconds(end))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    ax.set_axisbelow(True)


def _draw_time(ax: Axes, end: int) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    ax.spines["bottom"].set_visible(True)
    ax.tick_params(axis="x", length=3, labelsize=9)
    step = time_step(seconds(end))
    ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at, step)))
