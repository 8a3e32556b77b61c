"""Where the utterances of known speakers lie, as a picture: a map for each model."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from diarize.plot.embedding_map import laid_out
from diarize.plot.style import COLOURS, FAINT, add_title, check_suffix, plain, save

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_UTTERANCES = 1500
"""Points; placing more takes long, and they cover each other."""
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Beyond twelve speakers the colours come again, with another mark."""
_COLUMNS = 2


def plot_speakers(
    models: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]],
    *,
    path: str | PathLike[str],
    title: str = "",
) -> None:
    """Draw every utterance as a point, each speaker in a colour and a mark of their own, a field for each model.

    The maps are t-SNE's: see `embedding_map.places` for what distances mean.
    models: by name the embeddings, shape (utterances, dimensions), unit norm, and their speakers' numbers from 0,
        shape (utterances,); evenly thinned to `MOST_UTTERANCES`.
    path: its suffix, .png or .svg, is the format of the picture.
    Raises ValueError for another suffix, OSError when the picture cannot be written.
    """
    from matplotlib.figure import Figure

    check_suffix(path)
    columns = min(_COLUMNS, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(max(5.2 * columns, 6.4), 5.2 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, (embeddings, speakers)) in zip(axes, models.items(), strict=False):
        shown = np.unique(np.linspace(0, len(speakers) - 1, MOST_UTTERANCES).round().astype(int))
        points = laid_out(embeddings[shown])
        for speaker in np.unique(speakers[shown]):
            x, y = points[speakers[shown] == speaker].T
            mark = _MARKS[speaker // len(COLOURS) % len(_MARKS)]
            ax.scatter(x, y, s=20, c=COLOURS[speaker % len(COLOURS)], marker=mark, alpha=0.75, linewidths=0)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal", adjustable="datalim")
        ax.spines[:].set_color("#e4e4e4")
        ax.set_title(plain(name), fontsize=9, parse_math=False)
    for ax in axes[len(models) :]:
        ax.set_visible(False)
    figure.supxlabel("a point is an utterance, near those that sound alike", color=FAINT, fontsize=8)
    add_title(figure, title)
    save(figure, path)
