"""The benchmark of the embedders: its trials, its settings, its figures, and a tiny run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diarize.clustering.offline import ALGORITHMS, ClusteringConfig
from diarize.metrics import Errors, Score
from diarize.rttm import Turn, format_rttm, read_rttm
from diarize.types import SAMPLE_RATE, EmbeddingWindow
from examples.embedder_benchmark import Result, figures, heard, run, table, tried, voices_alone, within_error
from examples.embedder_settings import CLUSTERINGS, SCALES, Setting, clustered, tune
from tests.command import SAMPLE, write_clip
from tests.test_clustering import voices

SECOND = SAMPLE_RATE


def windows_of(sizes: list[int], noise: float) -> tuple[list[Turn], list[EmbeddingWindow]]:
    """Speakers one after the other, with a window of a second each second."""
    embeddings, who = voices(sizes, noise)
    order = np.argsort(who, kind="stable")
    windows = [
        EmbeddingWindow(i * SECOND, (i + 1) * SECOND, ((i * SECOND, (i + 1) * SECOND),), i, embedding, 1.0)
        for i, embedding in enumerate(embeddings[order])
    ]
    ends = np.cumsum(sizes).tolist()
    turns = [
        Turn(start * SECOND, end * SECOND, f"voice {i}")
        for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]
    return turns, windows


def test_voices_apart_make_no_errors_and_equal_ones_half() -> None:
    turns, windows = windows_of([20, 20], 0.1)
    assert within_error(turns, windows) == 0.0
    shuffled = np.random.default_rng(0).permutation(40)
    mixed = [replace(one, embedding=windows[i].embedding) for one, i in zip(windows, shuffled, strict=True)]
    error = within_error(turns, mixed)
    assert error is not None
    assert error == pytest.approx(0.5, abs=0.1)


def moved(window: EmbeddingWindow, by: int) -> EmbeddingWindow:
    start, end = window.start + by, window.end + by
    return replace(window, start=start, end=end, speech=((start, end),))


def test_windows_that_hold_the_same_sound_are_no_trial() -> None:
    turns, windows = windows_of([3, 3], 0.1)
    assert within_error(turns, windows) == 0.0
    pairs = [windows[0], moved(windows[1], -1), windows[3], moved(windows[4], -1)]
    assert within_error(turns, pairs) is None  # each voice has two windows, which overlap by a sample


def test_only_full_windows_of_one_voice_throughout_are_tried() -> None:
    turns, windows = windows_of([4, 4], 0.1)
    short = replace(windows[7], end=windows[7].end - 1, speech=((7 * SECOND, 8 * SECOND - 1),))
    paused = replace(windows[6], speech=((6 * SECOND, 7 * SECOND - 1),))
    overlapped = [*turns, Turn(SECOND - 1, SECOND, "voice 1")]
    found = voices_alone(overlapped, [*windows[:6], paused, short])
    assert {name: [one.group for one in own] for name, own in found.items()} == {
        "voice 0": [1, 2, 3],
        "voice 1": [4, 5],
    }


def test_one_voice_is_no_trial() -> None:
    turns, windows = windows_of([10, 1], 0.1)
    assert within_error(turns, windows) is None
    assert within_error([], []) is None


def test_what_ships_is_among_the_settings() -> None:
    assert 1.0 in SCALES
    assert set(CLUSTERINGS) <= set(ALGORITHMS)
    assert Setting("bayesian").config() == ClusteringConfig()


@pytest.mark.parametrize("name", ["bayesian", "agglomerative"])
def test_a_scale_makes_up_for_a_model_that_puts_voices_less_far_apart(name: str) -> None:
    turns, windows = windows_of([40, 40, 30], 0.3)
    nearer = [
        replace(one, embedding=np.append(one.embedding * 0.5**0.5, 0.5**0.5).astype(np.float32)) for one in windows
    ]  # with a common part, every distance is half of what it was
    assert clustered(turns, windows, Setting(name)).strict.der == 0
    assert clustered(turns, nearer, Setting(name, 0.5)).strict.der == 0
    assert clustered(turns, nearer, Setting(name, 2.5)).hypothesis_speakers == 1


def scored(confusion_s: float) -> Score:
    return Score(strict=Errors(speech_s=10.0, confusion_s=confusion_s))


def test_the_scale_among_good_ones_is_taken_not_the_lucky_one() -> None:
    def attempt(settings: Sequence[Setting]) -> list[list[Score]]:
        def wrong(setting: Setting) -> float:
            best = {"bayesian": 0.85, "agglomerative": 0.35}[setting.clustering]
            lucky = setting.scale == 1.4  # the last, whose neighbour is bad
            return 0.0 if lucky else 1 + 2 * abs(SCALES.index(setting.scale) - SCALES.index(best))

        return [[scored(share * wrong(setting)) for setting in settings] for share in (1, 2)]

    assert tune(attempt) == [Setting("bayesian", 0.85), Setting("agglomerative", 0.35)]


def test_figures_are_means_and_pools_with_an_interval() -> None:
    results = [
        Result(0.1, {"bayesian": scored(1)}),
        Result(None, {"bayesian": scored(3)}),
        Result(0.2, {"bayesian": scored(2)}),
    ]
    found = figures(results)
    assert found["EER"].value == pytest.approx(15)
    assert found["EER"].interval == pytest.approx((10, 20))
    assert found["confusion, bayesian"].value == pytest.approx(20)
    assert figures(results[:1])["confusion, bayesian"].interval == pytest.approx((10, 10))


def test_the_table_sets_every_model_beside_the_yardstick() -> None:
    ours, theirs = [Result(0.05, {"bayesian": scored(1)})], [Result(0.1, {"bayesian": scored(4)})]
    lines = table({("real", "ours"): ours, ("real", "resemblyzer"): theirs}).splitlines()
    assert lines[2] == (
        "| real | ours | 5.0 (5.0 to 5.0) | 0.50 (0.50 to 0.50) | 10.0 (10.0 to 10.0) | 0.25 (0.25 to 0.25) |"
    )
    assert "| resemblyzer | 10.0 (10.0 to 10.0) | - | 40.0 (40.0 to 40.0) | - |" in lines[3]
    assert "/ last" in table({("real", "first"): ours, ("real", "last"): theirs})


def test_a_tiny_run(tmp_path: Path) -> None:
    (turns,) = read_rttm(SAMPLE.with_suffix(".rttm")).values()
    said = [Turn(turn.start, turn.end, turn.speaker) for turn in turns if turn.end < 20 * SECOND]
    file = write_clip(tmp_path / "talk.wav", 20)
    file.with_suffix(".rttm").write_text(format_rttm(said, "talk"), encoding="utf-8")

    printed = run(["bundled"], {"dev": [file], "eval": [file]}, tmp_path / "kept", 1)
    dev, evaluated = printed.splitlines()[2:4]
    assert dev.replace("dev", "eval") == evaluated
    (kept,) = (tmp_path / "kept").rglob("*.voices")
    before = kept.stat().st_mtime_ns
    reference, windows = heard("bundled", file, tmp_path / "kept")
    assert kept.stat().st_mtime_ns == before
    assert reference == said
    error = within_error(reference, windows)
    assert error is not None
    assert f"| {100 * error:.1f} (" in dev
    wrong, right = tried("bundled", file, tmp_path / "kept", [Setting("bayesian", 3.0), Setting("bayesian")])
    assert wrong.hypothesis_speakers == 1
    assert right.strict.confusion_s < wrong.strict.confusion_s
