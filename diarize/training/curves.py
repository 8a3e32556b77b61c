"""How a training run goes: its curves as a table and as a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diarize.formats import write_atomically
from diarize.plot.style import COLOURS, FAINT, add_title, check_suffix, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP = "step"
"""The column of steps made; all others are curves."""

_PANELS = {
    "loss": ("softmax", "distillation"),
    "learning rate": ("rate",),
    "margin (radians)": ("margin",),
    "crops a second": ("crops_per_second",),
}
"""The columns of each panel; what is in none of them is an equal error rate, and has the panel on top."""
_JUDGED = "EER on dev (%)"


def append_row(path: str | PathLike[str], row: Mapping[str, float]) -> None:
    """Add a row to a table of curves, which is begun where there is none.

    The rows of this step and of later ones are dropped: they are of a run that was resumed before them.  A column that
    is new, or that the row lacks, is empty elsewhere.  The file is written whole or not at all.
    path: CSV.  row: numbers by name, "step" among them.
    Raises ValueError for a row without step and for a file that is no such table, OSError where it cannot be written.
    """
    if STEP not in row:
        raise ValueError(f"a row of curves must have a {STEP}; this has {', '.join(row) or 'nothing'}")
    rows = [old for old in read_curves(path) if old[STEP] < row[STEP]] if Path(path).exists() else []
    rows.append(dict(row))
    names = dict.fromkeys(name for each in rows for name in each)
    text = io.StringIO()
    table = csv.DictWriter(text, list(names), lineterminator="\n")
    table.writeheader()
    table.writerows({name: f"{value:.9g}" for name, value in each.items()} for each in rows)
    write_atomically(path, text.getvalue())


def read_curves(path: str | PathLike[str]) -> list[dict[str, float]]:
    """The rows of a table of curves, in order; a row has no empty columns.

    Raises ValueError for a file that is no such table, OSError where it cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows = [{name: float(text) for name, text in row.items() if text} for row in table]
    except (ValueError, TypeError, csv.Error):  # TypeError: a row with more cells than there are names
        rows = [{}]
    if not all(STEP in row for row in rows):
        raise ValueError(f"{path}: no table of curves: every row must be numbers, a {STEP} among them; move it away")
    return rows


def draw_curves(table: str | PathLike[str], picture: str | PathLike[str], title: str = "") -> None:
    """Draw a table of curves over the steps: how good the network was, the losses, and what it was taught with.

    picture: its suffix, .png or .svg, is its format.
    Raises ValueError for another suffix, and as `read_curves`; OSError when the picture cannot be written.
    """
    check_suffix(picture)
    save(_draw(read_curves(table), title), picture)


def _draw(rows: Sequence[Mapping[str, float]], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = _panels(rows)
    figure = Figure(figsize=(9, 1 + 1.9 * len(panels)), layout="constrained")
    add_title(figure, title)
    axes = figure.subplots(max(1, len(panels)), sharex=True, squeeze=False)[:, 0]
    for ax, (label, names) in zip(axes, panels.items(), strict=False):
        _draw_panel(ax, label, names, rows)
    axes[-1].set_xlabel(STEP)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _panels(rows: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """Which curves are in which panel, from above; a panel without any is left out."""
    names = dict.fromkeys(name for row in rows for name in row if name != STEP)
    taken = {name for panel in _PANELS.values() for name in panel}
    panels = {_JUDGED: [name for name in names if name not in taken]}
    panels |= {label: [name for name in panel if name in names] for label, panel in _PANELS.items()}
    return {label: panel for label, panel in panels.items() if panel}


def _draw_panel(ax: Axes, label: str, names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """Curves that share a scale, each with its last value."""
    highest = 0.0
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        steps, values = zip(*((row[STEP], row[name]) for row in rows if name in row), strict=True)
        said = f"{values[-1]:.3g}" if len(names) == 1 else f"{name.replace('_', ' ')} {values[-1]:.3g}"
        ax.plot(steps, values, color=colour, linewidth=1.3, marker="." if len(steps) < 60 else "", label=said)
        highest = max(highest, *filter(math.isfinite, values), 0.0)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), prop={"size": 8}, frameon=False)
    ax.set_ylabel(label, fontsize=9)
    ax.margins(x=0.01)
    ax.set_ylim(0, 1.08 * highest or 1)
    ax.grid(color=FAINT, alpha=0.2)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
