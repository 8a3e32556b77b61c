"""Cohorts: their files, how they are made, and the shipped one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from diarize.models.encoder import SpeakerEncoder
from diarize.profiles.cohort import FEWEST, SHIPPED, Cohort, cohort_for, read_cohort, write_cohort
from diarize.profiles.person import Reference
from diarize.profiles.store import ProfileStore
from diarize.sources import read
from diarize.training.cohort import LONGEST, embed_utterance, make_cohort
from diarize.training.speech import CONNECTED, WORDS, read_voices
from diarize.types import SAMPLE_RATE
from tests.command import SAMPLE, conversation, here

COHORT = Cohort(
    np.eye(32, dtype=np.float32)[: FEWEST + 5], np.diag(np.linspace(1e-6, 1e-3, 32)).astype(np.float32), "model"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for each of some people, who are pieces of a conversation."""
    talk = conversation(40)
    for person in range(FEWEST):
        (tmp_path / "people" / f"p{person:02d}").mkdir(parents=True)
        piece = talk[SAMPLE_RATE * person : SAMPLE_RATE * (person + 1)]
        soundfile.write(tmp_path / "people" / f"p{person:02d}" / "a.wav", piece, SAMPLE_RATE)
    return tmp_path / "people"


def test_a_file_gives_back_the_cohort_in_half_precision(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c", COHORT)
    back = read_cohort(tmp_path / "c")
    assert back.fingerprint == "model"
    assert np.allclose(back.voices, COHORT.voices, atol=1e-3)
    probes = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    assert np.allclose(back.project(probes), COHORT.project(probes), atol=2e-3)


def test_projection_takes_away_what_one_voice_varies_in() -> None:
    rng = np.random.default_rng(0)
    voices = rng.normal(size=(50, 8))
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    channel = np.zeros((8, 8), np.float32)
    channel[0, 0] = 1.0
    cohort = Cohort(voices.astype(np.float32), channel, "model")
    here_, there = np.array([[0.5, 1, 0, 0, 0, 0, 0, 0], [-0.5, 1, 0, 0, 0, 0, 0, 0]], np.float32)
    before = here_ @ there / np.linalg.norm(here_) ** 2
    after = float(cohort.project(here_) @ cohort.project(there))
    assert after > before + 0.2
    assert np.linalg.norm(cohort.projected, axis=1) == pytest.approx(np.ones(50), abs=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"voices": COHORT.voices[: FEWEST - 1]}, "at least 20 voices"),
        ({"voices": 2 * COHORT.voices}, "must have norm 1"),
        ({"voices": np.full_like(COHORT.voices, np.nan)}, "must have norm 1"),
        ({"within": COHORT.within[:5]}, r"must have the voices' dimensions, not \(5, 32\)"),
        ({"within": np.full_like(COHORT.within, np.inf)}, "dimensions"),
    ],
)
def test_what_can_be_no_cohort(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(COHORT, **values)  # type: ignore[arg-type]  # what is wrong is the values


def test_files_that_hold_no_cohort(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    save_file({"voices": COHORT.voices}, tmp_path / "other", {"fingerprint": "model"})
    save_file({"voices": COHORT.voices, "within": COHORT.within}, tmp_path / "unsigned")
    for name in ("absent", "text", "other", "unsigned"):
        with pytest.raises(ValueError, match=f"{name} holds no cohort .*: make one with diarize cohort"):
            cohort_for("model", str(tmp_path / name))


def test_the_shipped_cohort_is_of_the_bundled_model_and_small() -> None:
    cohort = cohort_for(SpeakerEncoder.from_pretrained().fingerprint)
    assert len(cohort.voices) == 485
    assert SHIPPED.stat().st_size < 300_000
    spread = np.linalg.eigvalsh(cohort.within.astype(float))
    assert spread.min() > -0.01 * spread.max()


def test_the_shipped_voices_are_those_of_the_speech(speech: Path) -> None:
    voices = read_voices(speech, "train", CONNECTED + WORDS)
    number = next(i for i, one in enumerate(voices) if one.name.startswith("librispeech"))
    total, _ = embed_utterance(SpeakerEncoder.from_pretrained(), read(voices[number].files[0])[:LONGEST])
    shipped = cohort_for(SpeakerEncoder.from_pretrained().fingerprint).voices[number]
    assert total / np.linalg.norm(total) @ shipped == pytest.approx(1, abs=1e-4)


def test_a_cohort_of_ones_own(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "cohort.safetensors"
    done = here(capfd, "cohort", folder, "-o", output)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{output}: 20 voices; use it with --set identification.cohort={output}\n"
    made, encoder = read_cohort(output), SpeakerEncoder.from_pretrained()
    assert made.fingerprint == encoder.fingerprint
    again = make_cohort(encoder, [[folder / f"p{person:02d}" / "a.wav"] for person in range(FEWEST)], folder)
    assert np.allclose(again.voices, made.voices, atol=1e-3)
    assert np.allclose(again.projected, made.projected, atol=1e-2)


def test_a_cohort_is_added_to(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for person in range(3, FEWEST):
        (folder / f"p{person:02d}" / "a.wav").unlink()
        (folder / f"p{person:02d}").rmdir()
    output = tmp_path / "cohort.safetensors"
    done = here(capfd, "cohort", folder, "-o", output, "--extend")
    assert (done.code, done.err) == (0, f"{output}: 488 voices; use it with --set identification.cohort={output}\n")
    shipped, made = read_cohort(SHIPPED), read_cohort(output)
    assert np.allclose(made.voices[:485], shipped.voices, atol=1e-3)
    total, _ = embed_utterance(SpeakerEncoder.from_pretrained(), read(folder / "p01" / "a.wav"))
    assert total / np.linalg.norm(total) @ made.voices[486] == pytest.approx(1, abs=1e-4)
    # three of 488 change little of what voices vary in, though they are not nothing
    apart = made.within / np.trace(made.within) - shipped.within / np.trace(shipped.within)
    assert 0 < np.linalg.norm(apart) < 0.02 * np.linalg.norm(shipped.within) / np.trace(shipped.within)
    again = here(capfd, "cohort", folder, "-o", tmp_path / "c", "--extend", "--set", f"identification.cohort={output}")
    assert again.err.startswith(f"{tmp_path}/c: 491 voices")
    other = here(capfd, "cohort", folder, "-o", tmp_path / "d", "--extend", "--set", "identification.cohort=absent")
    assert (other.code, other.err[:33]) == (2, "error: absent holds no cohort (No")


def test_cohorts_that_cannot_be_made(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    none = here(capfd, "cohort", SAMPLE, "-o", tmp_path / "c")
    assert (none.code, none.err) == (2, f"error: {SAMPLE} is no folder: give one that holds a folder for each person\n")
    (folder / "p03" / "a.wav").unlink()
    empty = here(capfd, "cohort", folder, "-o", tmp_path / "c")
    assert empty.code == 2
    assert "p03" in empty.err
    (folder / "p03").rmdir()
    few = here(capfd, "cohort", folder, "-o", tmp_path / "c")
    assert few.err == f"error: {folder}: a cohort needs at least 20 people, and here are folders of 19\n"
    (tmp_path / "empty").mkdir()
    nobody = here(capfd, "cohort", tmp_path / "empty", "-o", tmp_path / "c", "--extend")
    assert nobody.err == f"error: {tmp_path}/empty: a cohort needs somebody, and here are folders of 0\n"
    for kept in (folder / "p01" / "a.wav", enrolled(tmp_path / "people.db")):
        before = kept.read_bytes()
        over = here(capfd, "cohort", folder, "-o", kept, "--extend")
        assert (over.code, over.err.count("\n")) == (2, 1)
        assert "would be overwritten: choose another output" in over.err
        assert kept.read_bytes() == before
    assert not (tmp_path / "c").exists()


def enrolled(store: Path) -> Path:
    """A store with somebody in it."""
    with ProfileStore(store) as kept:
        one = np.eye(1, 4, dtype=np.float32)[0]
        kept.enroll("Ana", [Reference(one, "model", 6.0, 0.8, "2026-01-01T10:00:00+00:00")])
    return store
