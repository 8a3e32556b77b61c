"""What the pictures have in common: colours, names, fonts, clocks, and how they are saved."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diarize.formats import write_atomically
from diarize.rttm import Turn, talk_time

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
"""Of pictures."""

_OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_TOL_MUTED = ("#882255", "#999933", "#332288", "#44aa99", "#aa4499", "#8b5a2b")
COLOURS = (*_OKABE_ITO, *_TOL_MUTED)
"""Told apart by the colour-blind too; beyond twelve speakers they come again."""
GREY = "#b8b8b8"
"""The colour of a reference speaker without a partner, and of a window without a turn."""
FAINT = "#777777"
"""The colour of what is said beside the data."""

_WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI"),
)
"""The usual fonts of Linux, macOS and Windows for scripts that matplotlib's own font lacks."""
_LONGEST_NAME, _LONGEST_TITLE = 24, 90
"""Characters; what is longer is cut, or it would push the data off the picture."""
_LONGEST_LEGEND = 24
"""Names."""


def colours(turns: Iterable[Turn]) -> dict[str, str]:
    """A colour for each speaker, by first appearance."""
    return {speaker: COLOURS[row % len(COLOURS)] for row, speaker in enumerate(talk_time(turns))}


def partner_colours(truth: Iterable[Turn], pairs: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The reference speakers in the colours of those that stand for them.

    pairs: as `metrics.pair_speakers` gives them. own: the colours of the hypothesis' speakers.
    """
    found = {speaker: answer for answer, speaker in pairs.items()}
    return {speaker: own.get(found.get(speaker, ""), GREY) for speaker in talk_time(truth)}


def shares(turns: Iterable[Turn]) -> dict[str, float]:
    """Each speaker's share of the talk time, by first appearance."""
    heard = talk_time(turns)
    everything = sum(heard.values())
    return {speaker: time / everything for speaker, time in heard.items()}


def check_suffix(path: str | PathLike[str]) -> None:
    """Raise ValueError unless the name is one of a picture."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot draw {str(path)!r}: a picture's name must end in {' or '.join(SUFFIXES)}")


def time_step(length: float) -> float:
    """Seconds between ticks, a dozen or fewer over this length."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    return next((step for step in steps if length / step <= 13), length / 13)


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write the picture, in the format that its suffix says; raises OSError when it cannot be written."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # a name in a script the font lacks is drawn with boxes, which the picture says itself
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(picture, format=Path(path).suffix.lower()[1:], dpi=120)
    write_atomically(path, picture.getvalue())


def add_title(figure: Figure, title: str) -> None:
    """Above everything; no title takes no room."""
    if title:
        figure.suptitle(plain(title, _LONGEST_TITLE), fontsize=11, fontfamily=fonts(), parse_math=False)


def add_legend(figure: Figure, names: Mapping[str, Artist]) -> None:
    """Which mark is whose, below everything; at most two dozen speakers, in their order."""
    few = list(names.items())[:_LONGEST_LEGEND]
    if not few:
        return
    legend = figure.legend(
        [mark for _, mark in few],
        [plain(name) for name, _ in few],
        loc="outside lower center",
        ncols=min(len(few), 6),
        prop={"size": 8, "family": fonts()},
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def say_no_speech(ax: Axes) -> None:
    """What stands where there is nothing to draw."""
    ax.text(0.5, 0.5, "no speech", transform=ax.transAxes, ha="center", va="center", color=FAINT)


def clock(at: float, step: float) -> str:
    """A time in seconds as m:ss, in tenths where the ticks are closer than a second."""
    tenths = round(at * 10)
    shown = f"{tenths // 600}:{tenths // 10 % 60:02d}"
    return shown if step >= 1 else f"{shown}.{tenths % 10}"


def plain(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name in one line, of characters that can be drawn."""
    shown = "".join(c if c.isprintable() else " " for c in name)
    shown = " ".join(shown.split()) or "(no name)"
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def fonts() -> list[str]:
    """Matplotlib's own font (Latin, Greek, Cyrillic, Arabic), then those installed for other scripts."""
    from matplotlib.font_manager import fontManager

    return ["DejaVu Sans", *sorted({font.name for font in fontManager.ttflist}.intersection(_WIDE_FONTS))]
