"""The pictures of voices: who talks in a window, the similarity matrix, the map."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from numpy.typing import NDArray

from diarize.plot import plot_map, plot_similarity
from diarize.plot.embedding_map import places
from diarize.plot.similarity import similarity
from diarize.plot.voices import NOBODY, thinned, window_speakers
from diarize.rttm import Turn, talk_time
from diarize.types import EmbeddingWindow

SECOND = 16_000
BLUE, ORANGE, GREEN, GREY = (0, 114, 178), (230, 159, 0), (0, 158, 115), (184, 184, 184)


def window(start: float, end: float, embedding: NDArray[np.float32], group: int = 0) -> EmbeddingWindow:
    interval = round(start * SECOND), round(end * SECOND)
    return EmbeddingWindow(*interval, (interval,), group, embedding, quality=1.0)


def talk(voices: int, each: int, seed: int = 0, spread: float = 0.4) -> tuple[list[EmbeddingWindow], list[Turn]]:
    """Voices in turn, a window every second; each turn is as long as its windows."""
    chance = np.random.default_rng(seed)
    means = chance.standard_normal((voices, 32))
    windows, turns = [], []
    for number in range(voices * each):
        voice = number // 5 % voices
        embedding = means[voice] + spread * chance.standard_normal(32)
        windows.append(window(number, number + 1, (embedding / np.linalg.norm(embedding)).astype(np.float32), number))
        turns.append(Turn(number * SECOND, (number + 1) * SECOND, f"voice {voice}"))
    return windows, turns


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.round(imread(path)[:, :, :3] * 255).astype(np.uint8)


def coloured(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (picture == colour).all(axis=2)
    return found


def texts(path: Path) -> list[str]:
    svg = path.read_text(encoding="utf-8")
    ET.fromstring(svg)  # noqa: S314 - our own file
    return [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", svg)]


starts = st.integers(0, 200)
turn_lists = st.lists(
    st.builds(
        lambda start, length, who: Turn(start, start + length, who), starts, st.integers(1, 60), st.sampled_from("ABC")
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(turn_lists, st.lists(st.tuples(starts, st.integers(1, 40)), min_size=1, max_size=6))
def test_a_window_is_whose_turns_cover_most_of_it(turns: list[Turn], spans: list[tuple[int, int]]) -> None:
    voice = np.ones(1, np.float32)
    windows = [EmbeddingWindow(at, at + size, ((at, at + size),), 0, voice, 1.0) for at, size in spans]
    speakers = list(talk_time(turns))
    said = np.zeros((len(speakers), 400), bool)  # sample by sample
    for turn in turns:
        said[speakers.index(turn.speaker), turn.start : turn.end] = True
    for one, found in zip(windows, window_speakers(windows, turns).tolist(), strict=True):
        covered = said[:, one.start : one.end].sum(axis=1)
        best = covered.max(initial=0)
        assert (found == NOBODY) == (best == 0 or (covered == best).sum() > 1)
        assert found == NOBODY or covered[found] == best


def test_only_the_speech_of_a_window_counts() -> None:
    both = EmbeddingWindow(0, 100, ((0, 10), (90, 100)), 0, np.ones(1, np.float32), 1.0)
    turns = [Turn(0, 9, "A"), Turn(10, 90, "B"), Turn(92, 100, "C"), Turn(0, 3, "C")]
    assert list(talk_time(turns)) == ["C", "A", "B"]
    assert window_speakers([both], turns).tolist() == [0]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 1000])
def test_thinning_keeps_the_order_the_ends_and_the_bound(count: int) -> None:
    windows = [window(at, at + 1, np.ones(1, np.float32)) for at in range(count)][::-1]
    kept = thinned(windows, 10)
    assert [one.start for one in kept] == sorted({one.start for one in kept})
    assert len(kept) == min(count, 10)
    if count:
        assert (kept[0].start, kept[-1].start) == (0, (count - 1) * SECOND)


def test_similarity_is_the_cosine() -> None:
    windows, _ = talk(3, 5)
    found = similarity(windows)
    assert np.allclose(np.diag(found), 1, atol=1e-6)
    assert found[2, 7] == pytest.approx(float(windows[2].embedding @ windows[7].embedding), abs=1e-6)


def test_a_matrix_shows_the_voices_as_squares_and_the_speakers_along_it(tmp_path: Path) -> None:
    windows, turns = talk(2, 10, spread=0.05)
    plot_similarity(windows, turns, path=tmp_path / "time.png", title="two voices")
    plot_similarity(windows, turns, path=tmp_path / "speaker.png", by_speaker=True)
    for name, switches in (("time", 3), ("speaker", 1)):
        picture = pixels(tmp_path / f"{name}.png")
        strip = coloured(picture, BLUE) | coloured(picture, ORANGE)
        row = picture[np.flatnonzero(strip.sum(axis=1) > 300)[0]]  # through the strip above
        blue = (row == BLUE).all(axis=1)[(row == BLUE).all(axis=1) | (row == ORANGE).all(axis=1)]
        assert np.diff(blue.astype(int)).any()
        assert np.abs(np.diff(blue.astype(int))).sum() == switches
        yellow = (picture[:, :, 0] > 200) & (picture[:, :, 1] > 200) & (picture[:, :, 2] < 120)
        high, wide = np.flatnonzero(strip.any(axis=1)), np.flatnonzero(strip.any(axis=0))
        inside = yellow[high[0] : high[-1], wide[0] : wide[-1]]
        assert 0.4 < inside.mean() < 0.6  # half of all pairs are the same voice
    labels = texts_of(plot_similarity, windows, turns, tmp_path)
    assert {"0:00", "0:14", "voice 0", "voice 1", "cosine"} <= set(labels)


def texts_of(draw: object, windows: list[EmbeddingWindow], turns: list[Turn], folder: Path) -> list[str]:
    assert callable(draw)
    draw(windows, turns, path=folder / "x.svg")
    return texts(folder / "x.svg")


def test_a_map_puts_each_voice_together_and_marks_its_mean(tmp_path: Path) -> None:
    windows, turns = talk(3, 40, spread=0.5)
    speakers = window_speakers(windows, turns)
    points, means = places(windows, speakers)
    assert sorted(means) == [0, 1, 2]
    centres = np.stack([points[speakers == speaker].mean(axis=0) for speaker in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == speakers).all()
    assert (
        np.linalg.norm(np.stack([means[at] for at in range(3)])[:, None] - centres, axis=2).argmin(axis=1) == [0, 1, 2]
    ).all()
    assert np.array_equal(places(windows, speakers)[0], points)  # the same every time
    plot_map(windows, turns, path=tmp_path / "map.svg")
    svg = (tmp_path / "map.svg").read_text()
    clouds = [part.count("<path ") for part in svg.split('<g id="') if part.startswith("PathCollection")]
    assert clouds[:3] == [40, 40, 40]
    assert svg.count("fill: #1a1a1a") == 3
    assert {"voice 0", "voice 1", "voice 2"} <= set(texts(tmp_path / "map.svg"))


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_any_number_of_windows_can_be_drawn(tmp_path: Path, count: int) -> None:
    windows, turns = talk(1, count)
    for draw in (plot_similarity, plot_map):
        draw(windows, turns, path=tmp_path / "x.svg")
        assert ("no speech" in texts(tmp_path / "x.svg")) == (count == 0)
    points, means = places(windows, window_speakers(windows, turns))
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert len(means) == (count > 1)


def test_the_same_embedding_everywhere_can_be_drawn(tmp_path: Path) -> None:
    windows = [window(at, at + 1, np.array([1, 0, 0], np.float32)) for at in range(120)]
    plot_map(windows, [Turn(0, SECOND, "A")], path=tmp_path / "x.png")
    picture = pixels(tmp_path / "x.png")
    assert picture.shape[0] > 500


def test_fourteen_speakers_and_nobody(tmp_path: Path) -> None:
    windows, turns = talk(14, 5)
    labels = texts_of(plot_map, windows, turns, tmp_path)
    assert [text for text in labels if text.startswith("voice")] == [f"voice {at}" for at in range(14)]
    plot_similarity(windows, [], path=tmp_path / "x.png")
    assert coloured(pixels(tmp_path / "x.png"), GREY).sum() > 10_000
    labels = texts_of(plot_similarity, windows, [], tmp_path)
    assert not [text for text in labels if "voice" in text]


def test_a_long_recording_is_thinned(tmp_path: Path) -> None:
    windows, turns = talk(4, 400)
    plot_similarity(windows, turns, path=tmp_path / "x.png")
    height, width, _ = pixels(tmp_path / "x.png").shape
    assert max(height, width) < 1300


@pytest.mark.parametrize("draw", [plot_similarity, plot_map])
@pytest.mark.parametrize("name", ["x.jpg", "x"])
def test_another_suffix_is_an_error(tmp_path: Path, draw: object, name: str) -> None:
    windows, turns = talk(1, 3)
    assert callable(draw)
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        draw(windows, turns, path=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("draw", [plot_similarity, plot_map])
def test_names_are_drawn_as_they_are(tmp_path: Path, draw: object) -> None:
    windows, _ = talk(1, 3)
    turns = [Turn(0, SECOND, "$\\no$ 李"), Turn(SECOND, 3 * SECOND, "")]
    assert {"$\\no$ 李", "(no name)"} <= set(texts_of(draw, windows, turns, tmp_path))
