"""`diarize calibrate`: thresholds from the people who are enrolled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diarize import load_config
from diarize.models.encoder import SpeakerEncoder
from diarize.profiles.calibration import Trials, try_references
from diarize.profiles.people import People
from diarize.profiles.person import Reference
from diarize.profiles.store import ProfileStore
from tests.command import here

Capture = pytest.CaptureFixture[str]
scores = arrays(np.float64, st.integers(1, 60), elements=st.floats(-5, 5))


def references(voice: int, count: int, fingerprint: str) -> list[Reference]:
    """Several recordings of one made-up voice of the bundled model's size."""
    rng = np.random.default_rng(voice)
    own = rng.normal(size=192)
    vectors = own + 0.3 * rng.normal(size=(count, 192))
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [Reference(one, fingerprint, 6.0, 0.8, "2026-01-01T10:00:00+00:00") for one in units]


@pytest.fixture(scope="module")
def fingerprint() -> str:
    return SpeakerEncoder.from_pretrained().fingerprint


@pytest.fixture
def store(tmp_path: Path, fingerprint: str) -> Path:
    with ProfileStore(tmp_path / "people.db") as kept:
        for voice, name in enumerate(("Ana", "Ben", "Cleo", "Dan")):
            kept.enroll(name, references(voice, 1 if name == "Dan" else 3, fingerprint))
    return tmp_path / "people.db"


@settings(deadline=None)
@given(scores, scores, st.floats(0, 0.5))
def test_no_more_strangers_reach_the_threshold_than_may(own: np.ndarray, cohort: np.ndarray, share: float) -> None:
    trials = Trials(np.zeros(1), own, cohort)
    least = trials.threshold(share)
    assert trials.false_accepts(least) <= share
    # and it is the least: at one that is lower by more than its rounding, too many do, or as many as may
    assert trials.false_accepts(least - 0.0021) >= min(share, trials.false_accepts(-6)) - 1 / min(len(own), len(cohort))
    assert Trials(np.zeros(1), own, np.zeros(0)).threshold(share) <= least


def test_each_reference_is_tried_against_the_others() -> None:
    axes = np.eye(6, dtype=np.float32)
    near = (axes[0] + axes[1]) / np.sqrt(2, dtype=np.float32)
    people = People(("A", "B", "C"), np.stack([axes[0], near, axes[1], axes[5]]), np.array([0, 0, 1, 2]), "model")
    trials = try_references(people, None)
    half = 1 / np.sqrt(2)
    assert trials.genuine == pytest.approx([half, half], abs=1e-6)
    # strangers: each reference with the nearest person who is not its own; B with A's mean
    mean = (axes[0] + near) / np.linalg.norm(axes[0] + near)
    assert trials.strangers == pytest.approx([0, half, float(mean @ axes[1]), 0], abs=1e-6)
    assert len(trials.cohort) == 0


def test_the_table_counts_its_trials(store: Path, capfd: Capture) -> None:
    done = here(capfd, "calibrate", "--profiles", store)
    assert done.code == 0
    rows = [line for line in done.out.splitlines() if re.match(r"\s*-?\d+\.\d{3}", line)]
    assert len(rows) >= 3
    assert all(re.search(r"\d+ of 10 \(\d+\.\d %\)\s+\d+ of 485 \(\d+\.\d %\)\s+\d+ of 9 \(", row) for row in rows)
    (chosen,) = [row for row in rows if "*" in row]
    found = re.search(r"([\d.]+) \*\s+0 of 10 \(0\.0 %\)\s+([0-4]) of 485", chosen)
    assert found
    assert f"threshold {found[1]} for at most 1 % false accepts, from 4 people with 10 references" in done.err


def test_the_recipe_is_one(store: Path, tmp_path: Path, capfd: Capture) -> None:
    recipe = tmp_path / "mine.toml"
    done = here(capfd, "calibrate", "--profiles", store, "-o", recipe, "--false-accepts", "5", "--set", "turns.gap=1")
    assert done.code == 0
    assert f"{recipe}: use it with --pipeline {recipe}" in done.err
    config = load_config(recipe)
    assert config.turns.gap == 1
    assert config.identification.normalise
    assert f"threshold {config.identification.threshold:.3f} for at most 5 %" in done.err
    assert "#   people not named: 0 of 9 (0.0 %)" in recipe.read_text()


def test_plain_cosines(store: Path, tmp_path: Path, capfd: Capture) -> None:
    recipe = tmp_path / "mine.toml"
    done = here(capfd, "calibrate", "--profiles", store, "-o", recipe, "--set", "identification.normalise=false")
    assert done.code == 0
    assert "warning" not in done.err
    config = load_config(recipe).identification
    assert not config.normalise
    assert config.threshold is not None
    assert 0 < config.threshold < 0.9
    assert "0 of the cohort" not in recipe.read_text()


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ([], "a threshold needs two people or more, and nobody is enrolled: see diarize enroll"),
        ([("Ana", 2)], "a threshold needs two people or more, and only Ana is enrolled: see diarize enroll"),
        (
            [("Ana", 1), ("Ben", 1)],
            "nobody has two references to compare: enrol somebody from a second recording",
        ),
    ],
)
def test_too_few(tmp_path: Path, capfd: Capture, fingerprint: str, people: list[tuple[str, int]], words: str) -> None:
    store, recipe = tmp_path / "people.db", tmp_path / "mine.toml"
    with ProfileStore(store) as kept:
        for voice, (name, count) in enumerate(people):
            kept.enroll(name, references(voice, count, fingerprint))
    done = here(capfd, "calibrate", "--profiles", store, "-o", recipe)
    assert (done.code, done.out, done.err) == (2, "", f"error: {words}\n")
    assert not recipe.exists()


def test_a_store_of_another_model(tmp_path: Path, capfd: Capture) -> None:
    with ProfileStore(tmp_path / "people.db") as kept:
        kept.enroll("Ana", references(0, 2, "b" * 64))
    done = here(capfd, "calibrate", "--profiles", tmp_path / "people.db")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "voices are of the model bbbbbbbbbbbb" in done.err


def test_a_cohort_that_is_none(store: Path, tmp_path: Path, capfd: Capture) -> None:
    done = here(capfd, "calibrate", "--profiles", store, "--set", f"identification.cohort={tmp_path / 'absent'}")
    assert done.code == 2
    assert "absent holds no cohort" in done.err


def test_the_store_is_not_overwritten(store: Path, capfd: Capture) -> None:
    before = store.read_bytes()
    done = here(capfd, "calibrate", "--profiles", store, "-o", store)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is a store of people and would be overwritten" in done.err
    assert store.read_bytes() == before
