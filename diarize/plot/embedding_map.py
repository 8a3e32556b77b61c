"""Where the voices lie, as a picture: every window of speech a point, alike ones beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from diarize.plot.style import COLOURS, FAINT, GREY, add_legend, add_title, check_suffix, colours, save, say_no_speech
from diarize.plot.voices import NOBODY, embeddings_of, thinned, window_speakers
from diarize.rttm import Turn
from diarize.types import EmbeddingWindow

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_WINDOWS = 1500
"""Points; placing more takes long, and they cover each other."""
_PERPLEXITY = 30
"""How many windows count as neighbours: t-SNE's usual."""
_FEWEST = 100
"""Of fewer windows t-SNE strings up those that share audio; their principal components show more."""
_LARGEST = 36
"""Square points: the area of a window of the best quality."""
_MARKS = ("o", "s", "^", "D")
"""Beyond twelve speakers the colours come again, with another mark."""


def plot_map(
    windows: Sequence[EmbeddingWindow],
    turns: Iterable[Turn],
    *,
    path: str | PathLike[str],
    title: str = "",
) -> None:
    """Draw every window as a point in its speaker's colour, larger where its quality is better.

    A cross is a speaker's mean voice.  See `places` for what distances mean.

    windows: of speech; evenly thinned to `MOST_WINDOWS`.
    turns: the speaker of a window is the one whose turns cover most of it.
    path: where the picture goes; its suffix, .png or .svg, is its format.

    Raises ValueError for another suffix, OSError when the picture cannot be written.
    """
    check_suffix(path)
    turns = sorted(turns)
    shown = thinned(windows, MOST_WINDOWS)
    save(_draw(shown, window_speakers(shown, turns), colours(turns), title), path)


def places(
    windows: Sequence[EmbeddingWindow], speakers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]:
    """Where the windows lie, shape (windows, 2), and the mean voice of each speaker among them, shape (2,).

    t-SNE on cosine distance (van der Maaten and Hinton, 2008), started from the principal components and seeded, so
    that the same windows always give the same map.  It keeps neighbours together; how far apart two groups lie, and
    how wide they are, says little.  Fewer than a hundred windows lie by their principal components.  The means are
    placed like windows; the mean of a single one is left out.
    """
    found = [
        speaker for speaker in np.unique(speakers).tolist() if speaker != NOBODY and np.sum(speakers == speaker) > 1
    ]
    embeddings = embeddings_of(windows)
    means = [embeddings[speakers == speaker].mean(axis=0) for speaker in found]
    laid = laid_out(
        np.concatenate([embeddings, *(mean[None] / max(float(np.linalg.norm(mean)), 1e-9) for mean in means)])
    )
    return laid[: len(windows)], dict(zip(found, laid[len(windows) :], strict=True))


def laid_out(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points in the plane, shape (vectors, 2), laid out as `places` says; vectors: shape (vectors, dimensions)."""
    start = _principal(vectors)
    if len(vectors) < _FEWEST:
        return start
    from sklearn.manifold import TSNE

    small = (1e-4 * start / max(float(start[:, 0].std()), 1e-9)).astype(np.float32)  # as t-SNE wants its start
    tsne = TSNE(perplexity=_PERPLEXITY, metric="cosine", init=small, random_state=0, n_jobs=1)
    placed: NDArray[np.float64] = tsne.fit_transform(vectors).astype(np.float64)
    return placed


def _principal(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The two first principal components, shape (vectors, 2); what has fewer gets zeros."""
    centred = vectors.astype(np.float64) - (vectors.mean(axis=0) if len(vectors) else 0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    principal = left[:, :2] * strengths[:2]
    return np.pad(principal, ((0, 0), (0, 2 - principal.shape[1])))


def _draw(
    windows: Sequence[EmbeddingWindow], speakers: NDArray[np.int64], shown: Mapping[str, str], title: str
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 8), layout="constrained")
    ax = figure.subplots()
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[:].set_color("#e4e4e4")
    if not windows:
        say_no_speech(ax)
    points, means = places(windows, speakers)
    sizes = _LARGEST * np.array([window.quality for window in windows])
    marks: dict[str, Artist] = {}
    for row, (name, colour) in enumerate(shown.items()):
        own, mark = speakers == row, _MARKS[row // len(COLOURS) % len(_MARKS)]
        if own.any():
            x, y = points[own].T
            marks[name] = ax.scatter(x, y, s=sizes[own], c=colour, marker=mark, alpha=0.75, linewidths=0)
    nobody = speakers == NOBODY
    ax.scatter(points[nobody, 0], points[nobody, 1], s=sizes[nobody], c=GREY, alpha=0.75, linewidths=0)
    for x, y in means.values():
        ax.plot(x, y, "P", markersize=11, color="#1a1a1a", markeredgecolor="white")
    ax.set_xlabel(
        "a point is a window of speech, near those that sound alike; a cross is a speaker's mean voice",
        color=FAINT,
        fontsize=8,
    )
    add_legend(figure, marks)
    add_title(figure, title)
    return figure
