"""A picture of who spoke when."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diarize.formats import write_atomically
from diarize.metrics import ErrorKind, errors_in_time, pair_speakers
from diarize.rttm import Turn, talk_time
from diarize.types import position, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")

_OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_TOL_MUTED = ("#882255", "#999933", "#332288", "#44aa99", "#aa4499", "#8b5a2b")
_COLOURS = (*_OKABE_ITO, *_TOL_MUTED)
"""Told apart by the colour-blind too; beyond twelve speakers they come again."""
_UNPAIRED = "#b8b8b8"
_ERRORS: dict[ErrorKind, str] = {"miss": "#4d4d4d", "false alarm": "#f0b429", "confusion": "#c1121f"}
_WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI"),
)
"""The usual fonts of Linux, macOS and Windows for scripts that matplotlib's own font lacks."""
_LONGEST_NAME = 24
"""Characters; what is longer is cut, or it would push the timeline off the picture."""


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
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot draw {str(path)!r}: a picture's name must end in {' or '.join(SUFFIXES)}")
    answer, truth = sorted(hypothesis), None if reference is None else sorted(reference)
    end = max([duration or 0, *(turn.end for turn in answer), *(turn.end for turn in truth or ())])
    figure = _draw(answer, truth, end or position(1), title)
    picture = io.BytesIO()
    with _quiet_about_glyphs():
        figure.savefig(picture, format=suffix[1:], dpi=120)
    write_atomically(path, picture.getvalue())


def _draw(answer: Sequence[Turn], truth: Sequence[Turn] | None, end: int, title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    colours = {speaker: _COLOURS[row % len(_COLOURS)] for row, speaker in enumerate(talk_time(answer))}
    groups = [("", answer, colours)]
    if truth is not None:
        pairs = {own: found for found, own in pair_speakers(truth, answer).items()}
        partners = {speaker: colours.get(pairs.get(speaker, ""), _UNPAIRED) for speaker in talk_time(truth)}
        groups = [("reference", truth, partners), ("hypothesis", answer, colours)]
    heights = [max(1, len(group_colours)) for _, _, group_colours in groups] + [0.7] * (truth is not None)
    figure = Figure(figsize=(_width(end), 1.1 + 0.3 * sum(heights) + 0.15 * len(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, turns, group_colours) in zip(axes, groups, strict=False):
        _draw_turns(ax, name, turns, group_colours, end)
    if truth is not None:
        _draw_errors(axes[-1], errors_in_time(truth, answer), end)
    _draw_time(axes[-1], end)
    if title:
        figure.suptitle(_plain(title, 90), fontsize=11, fontfamily=_fonts(), parse_math=False)
    return figure


def _width(end: int) -> float:
    """Inches: a long recording gets a wider picture, or its turns would be thinner than a pixel."""
    return min(20.0, 11.0 + seconds(end) / 600)


def _draw_turns(ax: Axes, name: str, turns: Sequence[Turn], colours: Mapping[str, str], end: int) -> None:
    heard = talk_time(turns)
    everything = sum(heard.values())
    labels = [f"{_plain(speaker, _LONGEST_NAME)}  {heard[speaker] / everything:.0%}" for speaker in heard]
    for row, speaker in enumerate(heard):
        bars = [(seconds(turn.start), seconds(turn.end - turn.start)) for turn in turns if turn.speaker == speaker]
        # the thin edge keeps a short turn visible in a long recording
        ax.broken_barh(bars, (row - 0.4, 0.8), facecolor=colours[speaker], edgecolor=colours[speaker], linewidth=0.5)
    ax.set_yticks(range(len(heard)), labels, fontsize=9, fontfamily=_fonts(), parse_math=False)
    ax.set_ylim(max(1, len(heard)) - 0.5, -0.5)
    ax.set_title(name, loc="left", fontsize=9, color="#777777", pad=2)
    if not heard:
        ax.text(0.5, 0.5, "no speech", transform=ax.transAxes, ha="center", va="center", color="#777777")
    _frame(ax, end)


def _draw_errors(ax: Axes, errors: Sequence[tuple[int, int, ErrorKind]], end: int) -> None:
    for row, (kind, colour) in enumerate(_ERRORS.items()):
        bars = [(seconds(start), seconds(stop - start)) for start, stop, found in errors if found == kind]
        ax.broken_barh(bars, (row, 1), facecolor=colour, edgecolor=colour, linewidth=0.2, label=kind)
    ax.set_ylim(len(_ERRORS), 0)
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
    length = seconds(end)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    step = next((step for step in steps if length / step <= 13), length / 13)
    ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _clock(at, step)))


def _clock(at: float, step: float) -> str:
    """m:ss, in tenths where the ticks are closer than a second."""
    tenths = round(at * 10)
    clock = f"{tenths // 600}:{tenths // 10 % 60:02d}"
    return clock if step >= 1 else f"{clock}.{tenths % 10}"


def _plain(name: str, longest: int) -> str:
    """A name in one line, of characters that can be drawn."""
    shown = "".join(c if c.isprintable() else " " for c in name)
    shown = " ".join(shown.split()) or "(no name)"
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _fonts() -> list[str]:
    """Matplotlib's own font (Latin, Greek, Cyrillic, Arabic), then those installed for other scripts."""
    from matplotlib.font_manager import fontManager

    return ["DejaVu Sans", *sorted({font.name for font in fontManager.ttflist}.intersection(_WIDE_FONTS))]


@contextmanager
def _quiet_about_glyphs() -> Iterator[None]:
    """A name in a script the font lacks is drawn with boxes, which the picture says itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
