"""The pictures of an evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from diarize.evaluation.error_rates import equal_error_rate, equal_error_threshold, error_curve
from diarize.plot.speakers import MOST_UTTERANCES, plot_speakers
from diarize.plot.verification import Errors, plot_det, plot_roc, plot_scores
from tests.test_plot import BLUE, ORANGE, pixels, texts, where


def errors(apart: float, seed: int = 0) -> Errors:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(apart, 1, 2000), rng.normal(0, 1, 4000)])
    same = np.arange(6000) < 2000
    curve = error_curve(scores, same)
    return Errors(
        scores, same, curve.misses, curve.false_alarms, float(equal_error_rate(curve)), equal_error_threshold(curve)
    )


def points(path: Path) -> int:
    """How many points a scatter plot has as an SVG."""
    return len(re.findall("<use [^>]*fill-opacity", path.read_text(encoding="utf-8")))


MODELS = {"good": errors(3), "a model whose name is rather long": errors(1)}
DRAW = {"roc": plot_roc, "det": plot_det, "scores": plot_scores}


@pytest.mark.parametrize("kind", DRAW)
def test_every_model_is_named_with_its_rate(tmp_path: Path, kind: str) -> None:
    DRAW[kind](MODELS, path=tmp_path / "x.svg", title="trials of $today$")
    said = texts(tmp_path / "x.svg")
    assert f"good: {100 * MODELS['good'].eer:.1f} %" in said
    assert any(text.startswith("…") and " is rather long: 3" in text for text in said)
    assert "trials of $today$" in said


def test_the_better_line_lies_above_in_one_and_below_in_the_other(tmp_path: Path) -> None:
    heights = {}
    for kind in ("roc", "det"):
        DRAW[kind](MODELS, path=tmp_path / "x.png")
        picture = pixels(tmp_path / "x.png")[:700]  # above the legend
        # the dot, where the patches of 3 x 3 are: the line is thinner
        heights[kind] = [np.median(np.argwhere(where(picture, colour))[:, 0]) for colour in (BLUE, ORANGE)]
    assert heights["roc"][0] < heights["roc"][1]
    assert heights["det"][0] > heights["det"][1]


def test_extremes_are_drawn(tmp_path: Path) -> None:
    perfect, one = errors(100), errors(0.01)
    for kind, draw in DRAW.items():
        draw({"perfect": perfect, "useless": one, "third": one}, path=tmp_path / f"{kind}.svg")
        assert "perfect: 0.0 %" in texts(tmp_path / f"{kind}.svg")


def test_the_map_has_a_field_for_each_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(14), 10)
    voices = rng.normal(size=(14, 32))[speakers] + 0.1 * rng.normal(size=(140, 32))
    voices = (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32)
    plot_speakers({"one": (voices, speakers), "two": (voices, speakers)}, path=tmp_path / "x.svg", title="speakers")
    said = texts(tmp_path / "x.svg")
    assert {"one", "two", "speakers"} <= set(said)
    assert points(tmp_path / "x.svg") == 2 * 140


def test_few_points_are_drawn_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diarize.plot.speakers.MOST_UTTERANCES", 50)
    voices = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    plot_speakers({"one": (voices, np.zeros(2000, np.int64))}, path=tmp_path / "x.svg")
    assert points(tmp_path / "x.svg") == 50
    assert MOST_UTTERANCES < 2000


def test_a_picture_is_png_or_svg(tmp_path: Path) -> None:
    for draw in DRAW.values():
        with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
            draw(MODELS, path=tmp_path / "x.pdf")
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        plot_speakers({"one": (np.eye(3, dtype=np.float32), np.arange(3))}, path=tmp_path / "x.jpg")
