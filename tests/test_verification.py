"""Two utterances, one speaker or two: the encoder as the published models' users call theirs."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.models.encoder import BUNDLED_THRESHOLD, SpeakerEncoder
from tests import published
from tests.command import conversation
from tests.programs import Newer, save

Audio = NDArray[np.float32]


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained()


@pytest.fixture(scope="module")
def voices() -> tuple[Audio, Audio, Audio]:
    """Twice one voice of the sample conversation, and another."""
    talk = conversation(11)
    return talk[16_000:40_000], talk[44_000:76_000], talk[96_000:160_000]


def test_the_score_is_the_cosine_and_the_answer_compares_it(
    encoder: SpeakerEncoder, voices: tuple[Audio, Audio, Audio]
) -> None:
    ours, again, other = voices
    score, same = encoder.verify_files(ours, again)
    assert score == pytest.approx(float(encoder.encode(ours) @ encoder.encode(again)), abs=1e-6)
    assert same is True
    assert encoder.verify(ours, again) is True
    assert encoder.verify_files(ours, other)[1] is False
    assert encoder.verify(ours, other) is False
    assert encoder.verify(ours, again, threshold=score)
    assert not encoder.verify(ours, again, threshold=np.nextafter(score, 1))
    assert encoder.verify(ours, other, threshold=-1)


def test_files_of_any_rate_and_number_of_channels(
    encoder: SpeakerEncoder, voices: tuple[Audio, Audio, Audio], tmp_path: Path
) -> None:
    ours, again, _ = voices
    soundfile.write(tmp_path / "mono.wav", ours, 16_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([again, again], axis=1), 16_000)
    whole = (again * 32767).astype(np.int16)
    expected = encoder.verify_files(ours, again)[0]
    assert encoder.verify_files(tmp_path / "mono.wav", tmp_path / "stereo.flac")[0] == pytest.approx(expected, abs=1e-3)
    assert encoder.verify_files(ours, (torch.from_numpy(whole)[None], 16_000))[0] == pytest.approx(expected, abs=1e-3)
    as_heard_at_48_khz = np.repeat(again, 3)  # what it does to the highest band is small
    assert encoder.verify_files(ours, (as_heard_at_48_khz, 48_000))[0] == pytest.approx(expected, abs=0.15)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 100))
def test_similarity_is_symmetric_within_one_and_one_of_a_voice_with_itself(encoder: SpeakerEncoder, seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 192)).astype(np.float32)
    assert encoder.similarity(first, second) == encoder.similarity(second, first)
    assert -1 <= encoder.similarity(first, second) <= 1
    assert encoder.similarity(first, 3 * first) == pytest.approx(1.0, abs=1e-6)
    assert encoder.similarity(first, -first) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("shape", [(191,), (1, 192), ()])
def test_what_is_no_embedding_of_this_model_is_refused(encoder: SpeakerEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(192,\), not \("):
        encoder.similarity(np.ones(192, np.float32), np.ones(shape, np.float32))


def test_crops_are_averaged(encoder: SpeakerEncoder) -> None:
    talk = conversation(10)
    starts = [0, 48_000, 96_000]
    crops = np.concatenate([encoder.embed_batch(talk[None, start : start + 64_000]) for start in starts])
    mean = crops.mean(axis=0)
    assert encoder.encode(talk, crops=3) == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert encoder.encode(talk, crops=1) == pytest.approx(crops[0], abs=1e-6)
    assert np.abs(encoder.encode(talk, crops=3) - encoder.encode(talk)).max() > 1e-3
    assert np.array_equal(encoder.encode_batch([talk], crops=3)[0], encoder.encode(talk, crops=3))


def test_what_is_no_longer_than_a_crop_is_taken_whole(encoder: SpeakerEncoder) -> None:
    talk = conversation(4)
    assert len(talk) == 64_000
    assert np.array_equal(encoder.encode(talk, crops=10), encoder.encode(talk))


def test_fewer_crops_than_none_are_refused(encoder: SpeakerEncoder) -> None:
    with pytest.raises(ValueError, match="crops must be at least 0, not -1"):
        encoder.encode(conversation(1), crops=-1)


@pytest.mark.parametrize("threshold", [1.5, -2, float("nan")])
def test_a_threshold_that_no_cosine_reaches_is_refused(encoder: SpeakerEncoder, threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold must be in -1\.\.1"):
        encoder.verify(conversation(1), conversation(1), threshold)


def test_every_family_has_the_threshold_its_publisher_gave_or_none(tmp_path: Path, encoder: SpeakerEncoder) -> None:
    case = published.random_state(published.unispeech_shapes(16, 8)) | published.mel_buffers()
    torch.save(case, tmp_path / "case.bin")
    torch.save(published.random_state(published.sound_groove_shapes(16, 8)), tmp_path / "groove.pt")
    torch.save(encoder._network.state_dict(), tmp_path / "embedding_model.ckpt")
    save(Newer(), tmp_path / "ecapa2.pt")
    thresholds = {
        name: SpeakerEncoder.from_pretrained(tmp_path / name, trust=name == "ecapa2.pt").threshold
        for name in ("case.bin", "groove.pt", "embedding_model.ckpt", "ecapa2.pt")
    }
    assert thresholds == {"case.bin": 0.5, "groove.pt": None, "embedding_model.ckpt": 0.25, "ecapa2.pt": None}
    assert encoder.threshold == BUNDLED_THRESHOLD
    with pytest.raises(ValueError, match="Sound-Groove's ECAPA-TDNN has no threshold of its own"):
        SpeakerEncoder.from_pretrained(tmp_path / "groove.pt").verify(conversation(1), conversation(1))


def test_the_bundled_threshold_holds_for_speakers_it_was_not_chosen_on(encoder: SpeakerEncoder, speech: Path) -> None:
    """Six utterances each of eight `eval` speakers; it was chosen on `dev` ones."""
    with (speech / "speakers.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if (row["set"], row["split"]) == ("speechocean762", "eval")]
    speakers = sorted({row["speaker"] for row in rows})[:8]
    chosen = [row for speaker in speakers for row in [row for row in rows if row["speaker"] == speaker][:6]]
    embeddings = encoder.encode_batch([speech / row["file"] for row in chosen])
    answers: dict[bool, list[bool]] = {True: [], False: []}
    for first, second in combinations(range(len(chosen)), 2):
        same = chosen[first]["speaker"] == chosen[second]["speaker"]
        answers[same].append(encoder.similarity(embeddings[first], embeddings[second]) >= BUNDLED_THRESHOLD)
    assert np.mean(answers[True]) > 0.9
    assert np.mean(answers[False]) < 0.05
