"""The pictures of an evaluation, in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diarize.evaluation.error_rates import equal_error_rate, equal_error_threshold
from diarize.evaluation.evaluation import Evaluation, Picture
from diarize.plot.speakers import plot_speakers
from diarize.plot.verification import Errors, plot_det, plot_roc, plot_scores


def pictures(evaluation: Evaluation) -> dict[str, Callable[[Path], None]]:
    """What draws each picture, by the name of its file: roc.png, det.png, scores.png and tsne.png."""
    errors = {name: _errors(shown) for name, shown in evaluation.pictures.items()}
    voices = {name: (shown.embeddings, shown.speakers) for name, shown in evaluation.pictures.items()}
    title, heard = f"{evaluation.shown}; with EER", evaluation.shown.partition(",")[0]
    return {
        "roc.png": lambda path: plot_roc(errors, path=path, title=title),
        "det.png": lambda path: plot_det(errors, path=path, title=title),
        "scores.png": lambda path: plot_scores(errors, path=path, title=title),
        "tsne.png": lambda path: plot_speakers(voices, path=path, title=f"utterances, {heard}"),
    }


def _errors(shown: Picture) -> Errors:
    curve = shown.curve
    eer = float(equal_error_rate(curve))
    return Errors(shown.scores, shown.same, curve.misses, curve.false_alarms, eer, equal_error_threshold(curve))
