"""Batches for training: so many speakers and crops of each, all alike, the same for the same state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.training.batches import Batch, BatchConfig, draw_batch
from diarize.training.corpus import Corpus, CorpusConfig, prepare
from diarize.training.manifest import read_manifest
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation

FILES = (1, 2, 5)
"""Of each of three speakers."""


def turned(samples: Samples, rng: np.random.Generator) -> Samples:
    """A carrier that tells which take it is of."""
    return samples * np.float32(rng.choice([-0.5, -0.25]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one to three seconds: shorter and longer than a crop."""
    root, talk, start = tmp_path_factory.mktemp("speech"), conversation(40), 0
    for speaker, files in enumerate(FILES):
        for file in range(files):
            seconds = 1 + (speaker + file) % 3
            place = root / "set" / str(speaker) / f"{file}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(place, talk[start * SAMPLE_RATE : (start + seconds) * SAMPLE_RATE], SAMPLE_RATE)
            start += seconds
    (root / "unlabelled").mkdir()
    soundfile.write(root / "unlabelled" / "a.wav", talk[20 * SAMPLE_RATE : 24 * SAMPLE_RATE], SAMPLE_RATE)
    return root


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(read_manifest(folder), tmp_path_factory.mktemp("prepared") / "c", CorpusConfig((1.0,), 4), turned)


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Batch.__dataclass_fields__)


@given(st.integers(1, 3), st.integers(1, 7), st.sampled_from([0.5, 1.6, 4.0]), st.integers(0, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_batch_is_what_was_asked_for(
    corpus: Corpus, speakers: int, crops: int, seconds: float, unlabelled: int, seed: int
) -> None:
    config = BatchConfig(speakers, crops, seconds, unlabelled)
    batch = draw_batch(corpus, config, np.random.default_rng(seed))
    count = speakers * crops + unlabelled
    assert batch.clean.shape == batch.heard.shape == (count, round(seconds * SAMPLE_RATE))
    assert batch.clean.dtype == batch.heard.dtype == np.float32
    assert np.array_equal(batch.speakers, corpus.owner[batch.utterances])
    assert (batch.speakers[speakers * crops :] == -1).all()
    groups = batch.speakers[: speakers * crops].reshape(speakers, crops)
    assert (groups == groups[:, :1]).all(), "those of a speaker are neighbours"
    assert len(set(groups[:, 0])) == speakers
    for speaker, said in zip(groups[:, 0], batch.utterances[: speakers * crops].reshape(speakers, crops), strict=True):
        files = FILES[speaker]
        times = np.unique(said, return_counts=True)[1]
        assert len(times) == min(files, crops), "different ones as far as they go"
        assert times.max() - times.min() <= 1


def test_what_is_heard_is_a_carried_take_of_the_same_stretch(corpus: Corpus) -> None:
    rng, factors = np.random.default_rng(0), set()
    for _ in range(10):
        batch = draw_batch(corpus, BatchConfig(3, 4, 1.6, 2), rng)
        for clean, heard in zip(batch.clean, batch.heard, strict=True):
            factor = round(float(heard @ clean / (clean @ clean)), 2)
            assert np.abs(heard - factor * clean).max() <= 1 / 32768
            factors.add(factor)
    assert factors == {-0.5, -0.25}


def test_a_crop_is_a_stretch_of_its_utterance(corpus: Corpus) -> None:
    batch = draw_batch(corpus, BatchConfig(3, 5, 0.5, 1), np.random.default_rng(1))
    for crop, utterance in zip(batch.clean, batch.utterances, strict=True):
        whole = corpus.crop(int(utterance), 0, 0, int(corpus.lengths[utterance])) / np.float32(32768)
        assert crop.tobytes() in whole.tobytes()


def test_the_state_of_the_generator_gives_the_bits(corpus: Corpus) -> None:
    config = BatchConfig(3, 2, 1.0, 1)
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    first, second = draw_batch(corpus, config, rng), draw_batch(corpus, config, rng)
    assert same(first, draw_batch(corpus, config, again))
    assert same(second, draw_batch(corpus, config, again))
    assert not same(first, second)


def test_every_speaker_comes_as_often_however_many_files_there_are(corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw_batch(corpus, BatchConfig(1, 1, 0.1), rng).speakers for _ in range(600)])
    counts = np.bincount(drawn, minlength=3)
    assert np.abs(counts - 200).max() < 60, "five standard deviations"


def test_every_sample_of_a_long_utterance_can_be_met(corpus: Corpus) -> None:
    rng, config = np.random.default_rng(0), BatchConfig(1, 1, 1.0, 40)
    (only,) = corpus.unlabelled.tolist()
    whole = corpus.crop(only, 0, 0, int(corpus.lengths[only])) / np.float32(32768)
    first, last = SAMPLE_RATE // 4, len(whole) - SAMPLE_RATE // 4
    crops = [crop for _ in range(5) for crop in draw_batch(corpus, config, rng).clean[1:]]
    windows = np.lib.stride_tricks.sliding_window_view(whole, SAMPLE_RATE)
    starts = [int(np.flatnonzero((windows[:, :50] == crop[:50]).all(axis=1))[0]) for crop in crops]
    assert min(starts) < first
    assert max(starts) + SAMPLE_RATE > last


def test_a_corpus_of_clean_speech_alone_is_heard_clean(folder: Path, tmp_path: Path) -> None:
    corpus = prepare(read_manifest(folder), tmp_path / "c", CorpusConfig((1.0,), 1), turned)
    batch = draw_batch(corpus, BatchConfig(2, 2), np.random.default_rng(0))
    assert np.array_equal(batch.heard, batch.clean)
    assert np.abs(batch.clean).max() > 0.01


def test_a_corpus_without_what_is_asked_for(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"4 speakers a batch, and 3 to teach; lower batches\.speakers"):
        draw_batch(corpus, BatchConfig(4, 1), rng)
    labelled = [utterance for utterance in read_manifest(folder) if utterance.speaker]
    without = prepare(labelled, tmp_path / "c", CorpusConfig((1.0,), 1), turned)
    with pytest.raises(ValueError, match=r"2 unlabelled crops a batch, and none there; set batches\.unlabelled=0"):
        draw_batch(without, BatchConfig(2, 1, unlabelled=2), rng)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"speakers": 0}, "not 0, 2 and 0"),
        ({"crops": 0}, "not 32, 0 and 0"),
        ({"unlabelled": -1}, "not 32, 2 and -1"),
        ({"seconds": 0.0}, r"seconds must be in 0\.1\.\.60, not 0\.0"),
        ({"seconds": float("nan")}, "not nan"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(BatchConfig(), **values)  # type: ignore[arg-type]  # what is wrong is the values
