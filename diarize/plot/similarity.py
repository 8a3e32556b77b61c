"""How alike the voices are, as a picture: every window of speech against every other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from diarize.plot.style import (
    FAINT,
    GREY,
    add_legend,
    add_title,
    check_suffix,
    clock,
    colours,
    save,
    say_no_speech,
    time_step,
)
from diarize.plot.voices import NOBODY, embeddings_of, thinned, window_speakers
from diarize.rttm import Turn
from diarize.types import EmbeddingWindow, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_WINDOWS = 1500
"""Rows of the matrix; more would be thinner than a pixel."""
COLOUR_MAP = "viridis"
"""Even to the eye, to the colour-blind too."""
LEAST_COSINE, MOST_COSINE = 0.0, 1.0
"""What the colours span; strangers have cosines about 0."""


def plot_similarity(
    windows: Sequence[EmbeddingWindow],
    turns: Iterable[Turn],
    *,
    path: str | PathLike[str],
    by_speaker: bool = False,
    title: str = "",
) -> None:
    """Draw the cosines of all pairs of windows, the speakers along both axes.

    Bright squares on the diagonal are turns, and bright squares beside it the same voice again.  A speaker whose rows
    look like two kinds of rows may be two people; two speakers who are bright to each other may be one.

    windows: of speech; evenly thinned to `MOST_WINDOWS`.
    turns: the speaker of a window is the one whose turns cover most of it.
    path: where the picture goes; its suffix, .png or .svg, is its format.
    by_speaker: in order of speakers, and of time only within each; without it by time.

    Raises ValueError for another suffix, OSError when the picture cannot be written.
    """
    check_suffix(path)
    turns = sorted(turns)
    shown = thinned(windows, MOST_WINDOWS)
    speakers = window_speakers(shown, turns)
    if by_speaker:
        order = np.argsort(np.where(speakers == NOBODY, len(shown), speakers), kind="stable")
        shown, speakers = [shown[at] for at in order], speakers[order]
    save(_draw(shown, speakers, colours(turns), by_speaker, title), path)


def similarity(windows: Sequence[EmbeddingWindow]) -> NDArray[np.float32]:
    """The cosine of every pair, shape (windows, windows)."""
    embeddings = embeddings_of(windows)
    return embeddings @ embeddings.T


def _draw(
    windows: Sequence[EmbeddingWindow],
    speakers: NDArray[np.int64],
    shown: Mapping[str, str],
    by_speaker: bool,
    title: str,
) -> Figure:
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    size = len(windows)
    strip = np.array([to_rgb(colour) for colour in (*shown.values(), GREY)])[speakers]  # -1: the last, grey
    figure = Figure(figsize=(9.2, 8.8), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=[2, 100, 2.5], height_ratios=[2, 100], wspace=0.015, hspace=0.015)
    matrix = figure.add_subplot(grid[1, 1])
    top, left = figure.add_subplot(grid[0, 1], sharex=matrix), figure.add_subplot(grid[1, 0], sharey=matrix)
    if not size:
        say_no_speech(matrix)
    image = matrix.imshow(
        similarity(windows) if size else np.zeros((1, 1)),
        cmap=COLOUR_MAP,
        vmin=LEAST_COSINE,
        vmax=MOST_COSINE,
        aspect="auto",
        interpolation="antialiased",
        visible=bool(size),
    )
    if size:
        top.imshow(strip[None], aspect="auto", interpolation="nearest")
        left.imshow(strip[:, None], aspect="auto", interpolation="nearest")
    for ax in (matrix, top, left):
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=8, labelbottom=False, labelleft=False)
    if not by_speaker:
        _tell_time(matrix, left, windows)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[1, 2]), label="cosine")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)
    add_legend(
        figure, {name: Patch(color=colour) for row, (name, colour) in enumerate(shown.items()) if row in speakers}
    )
    add_title(figure, title)
    return figure


def _tell_time(matrix: Axes, left: Axes, windows: Sequence[EmbeddingWindow]) -> None:
    """Ticks where a window is the first after a round time: silence takes no room."""
    starts = np.array([seconds(window.start) for window in windows])
    if not len(starts):
        return
    step = time_step(float(starts[-1]))
    times = np.arange(0, starts[-1], step)
    places, first = np.unique(np.searchsorted(starts, times), return_index=True)
    labels = [clock(times[at], step) for at in first]
    matrix.set_xticks(places - 0.5, labels)
    matrix.set_yticks(places - 0.5, labels)
    matrix.tick_params(axis="x", length=3, labelbottom=True, color=FAINT)
    left.tick_params(axis="y", length=3, labelleft=True, color=FAINT)
