from __future__ import annotations

import html
import random
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray
from scipy import ndimage

from diarize.plot import plot_timeline
from diarize.rttm import Turn
from diarize.types import SAMPLE_RATE

BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
GREY = "#b8b8b8"
MISS, FALSE_ALARM, CONFUSION = "#4d4d4d", "#f0b429", "#c1121f"


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), speaker)


def conversation(speakers: int, length: float, seed: int = 0) -> list[Turn]:
    chance, at, spoken = random.Random(seed), 0.0, []
    while at < length - 1:
        end = min(length, at + 0.3 + chance.expovariate(0.3))
        spoken.append(turn(at, end, f"speaker {chance.randrange(speakers)}"))
        at = max(0.0, end + chance.uniform(-0.4, 0.8))
    return spoken


def pixels(path: Path) -> NDArray[np.uint8]:
    """Shape (height, width, 3)."""
    return np.round(imread(path)[:, :, :3] * 255).astype(np.uint8)


def where(picture: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    """Which pixels have the colour, in patches of 3 x 3 and more: the edges of letters can have any."""
    rgb = np.frombuffer(bytes.fromhex(colour[1:]), dtype=np.uint8)
    patches: NDArray[np.bool_] = ndimage.binary_opening(np.all(picture == rgb, axis=2), np.ones((3, 3), dtype=bool))
    return patches


def texts(path: Path) -> list[str]:
    """What is written in an SVG: matplotlib draws letters as outlines, and says the text in a comment."""
    svg = path.read_text(encoding="utf-8")
    ET.fromstring(svg)  # noqa: S314  # well-formed, whatever the names; our own file
    return [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", svg)]


def drawn(tmp_path: Path, hypothesis: list[Turn], reference: list[Turn] | None = None) -> list[str]:
    plot_timeline(hypothesis, reference=reference, path=tmp_path / "x.svg")
    return texts(tmp_path / "x.svg")


def test_bars_lie_where_the_turns_are(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    plot_timeline([turn(0, 25, "A"), turn(50, 100, "B")], duration=100 * SAMPLE_RATE, path=path)
    picture = pixels(path)
    first, second = (np.flatnonzero(where(picture, colour).any(axis=0)) for colour in (BLUE, ORANGE))
    full = second[-1] - first[0]
    assert (first[-1] - first[0]) / full == pytest.approx(0.25, abs=0.01)
    assert (second[0] - first[0]) / full == pytest.approx(0.5, abs=0.01)
    upper, lower = (np.flatnonzero(where(picture, colour).any(axis=1)) for colour in (BLUE, ORANGE))
    assert upper[-1] < lower[0]


def test_labels_give_the_share_of_talk_time_by_first_appearance(tmp_path: Path) -> None:
    labels = drawn(tmp_path, [turn(5, 6, "B"), turn(0, 2, "Zoë Ålström"), turn(1, 3, "Zoë Ålström")])
    assert [label for label in labels if "%" in label] == ["Zoë Ålström  75%", "B  25%"]


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, ["0:00.0", "0:00.1", "0:01.0"]), (60, ["0:00", "0:05", "1:00"]), (7200, ["0:00", "10:00", "120:00"])],
)
def test_time_is_in_minutes_and_seconds(tmp_path: Path, length: int, expected: list[str]) -> None:
    plot_timeline([turn(0, length, "A")], path=tmp_path / "x.svg")
    ticks = [text for text in texts(tmp_path / "x.svg") if ":" in text]
    assert [ticks[0], ticks[1], ticks[-1]] == expected
    assert len(ticks) <= 14


def test_a_reference_has_its_partner_s_colours_and_errors_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    reference = [turn(0, 10, "Ana"), turn(10, 20, "Bob"), turn(30, 35, "Eve")]
    plot_timeline([turn(0, 12, "x"), turn(12, 25, "y")], reference=reference, duration=40 * SAMPLE_RATE, path=path)
    picture = pixels(path)
    start = np.flatnonzero(where(picture, BLUE).any(axis=0))[0]
    scale = (np.flatnonzero(where(picture, GREY).any(axis=0))[0] - start) / 30  # pixels a second
    assert [ndimage.label(where(picture, colour))[1] for colour in (BLUE, ORANGE, GREY)] == [2, 2, 1]
    legend = np.flatnonzero(where(picture, MISS).any(axis=1))[-1] - 15
    for colour, first, last in ((MISS, 30, 35), (FALSE_ALARM, 20, 25), (CONFUSION, 10, 12)):
        columns = (np.flatnonzero(where(picture, colour)[:legend].any(axis=0)) - start) / scale
        assert (columns[0], columns[-1]) == pytest.approx((first, last), abs=0.15)


def test_a_perfect_answer_has_no_marks(tmp_path: Path) -> None:
    spoken = conversation(3, 60)
    plot_timeline(spoken, reference=spoken, path=tmp_path / "perfect.png")
    plot_timeline([], reference=spoken, path=tmp_path / "missed.png")
    perfect, missed = pixels(tmp_path / "perfect.png"), pixels(tmp_path / "missed.png")
    assert not where(perfect, GREY).any()
    assert where(missed, GREY).any()
    assert where(missed, MISS).sum() > 10 * where(perfect, MISS).sum()  # the legend's patch stays
    assert where(perfect, CONFUSION).sum() == where(missed, CONFUSION).sum()


@pytest.mark.parametrize(("speakers", "length"), [(1, 0.01), (4, 60), (12, 7200), (15, 300)])
def test_any_length_and_number_of_speakers_fits(tmp_path: Path, speakers: int, length: float) -> None:
    path = tmp_path / "x.png"
    spoken = conversation(speakers, length) or [turn(0, length, "speaker 0")]
    plot_timeline(spoken, title="a meeting", path=path)
    picture = pixels(path)
    height, width, _ = picture.shape
    assert width <= 2400
    assert height <= 120 * (1.5 + 0.3 * speakers)
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border == 255).all()  # nothing is cut off


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PNG"])
@pytest.mark.parametrize("reference", [None, []])
def test_no_speech_is_a_picture_that_says_so(tmp_path: Path, suffix: str, reference: list[Turn] | None) -> None:
    path = tmp_path / f"x{suffix}"
    plot_timeline([], reference=reference, duration=60 * SAMPLE_RATE, title="silence", path=path)
    if suffix == ".svg":
        assert texts(path).count("no speech") == (1 if reference is None else 2)
    else:
        assert (pixels(path) < 255).any()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("李小龙", "李小龙"),
        ("$\\no$ math_", "$\\no$ math_"),
        ("a\nb\tc\x00", "a b c"),
        ("\udcff", "(no name)"),
        ("", "(no name)"),
        ("n" * 100, "n" * 23 + "…"),
        ("<&>", "<&>"),
    ],
)
def test_any_name_can_be_drawn(tmp_path: Path, name: str, shown: str) -> None:
    plot_timeline([turn(0, 1, name)], title=name, path=tmp_path / "x.svg")
    assert f"{shown}  100%" in texts(tmp_path / "x.svg")
    plot_timeline([turn(0, 1, name)], title=name, path=tmp_path / "x.png")
    assert where(pixels(tmp_path / "x.png"), BLUE).any()


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.png.txt"])
def test_another_suffix_is_an_error_that_names_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg") as error:
        plot_timeline([turn(0, 1, "A")], path=tmp_path / name)
    assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent/x\.png"):
        plot_timeline([turn(0, 1, "A")], path=tmp_path / "absent" / "x.png")
    plot_timeline([turn(0, 1, "A")], path=tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.png"]


def test_importing_is_light_and_drawing_leaves_no_global_state(tmp_path: Path) -> None:
    program = """
import sys
import diarize.plot
from diarize.rttm import Turn
heavy = {"matplotlib", "pyannote.core", "pyannote.metrics", "torch"} & set(sys.modules)
assert not heavy, heavy
diarize.plot.plot_timeline([Turn(0, 16000, "A")], path=sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "x.png"], check=True, cwd=Path(__file__).parents[1])
    assert (tmp_path / "x.png").is_file()
