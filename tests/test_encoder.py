from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from diarize.audio import AudioError
from diarize.models.checkpoints import CheckpointError, load_checkpoint
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from diarize.models.known import BUNDLED


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained()


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.0, 0.1, samples).astype(np.float32)


def test_the_default_is_the_bundled_model(encoder: SpeakerEncoder) -> None:
    by_name = SpeakerEncoder.from_pretrained("ecapa-tdnn-c256")
    by_path = SpeakerEncoder.from_pretrained(BUNDLED["ecapa-tdnn-c256"])
    assert encoder.dimensions == 192
    assert encoder.fingerprint == by_name.fingerprint == by_path.fingerprint
    assert np.array_equal(encoder.encode(noise(20_000)), by_path.encode(noise(20_000)))


def test_a_checkpoint_in_a_folder(tmp_path: Path, encoder: SpeakerEncoder) -> None:
    network = EcapaTdnn(EcapaConfig(channels=32, mfa_channels=48, attention=8, squeeze=8, embedding=12))
    torch.save(network.state_dict(), tmp_path / "embedding_model.ckpt")
    other = SpeakerEncoder.from_pretrained(str(tmp_path))
    assert other.encode(noise(16_000)).shape == (other.dimensions,) == (12,)
    assert other.fingerprint != encoder.fingerprint


@settings(deadline=None, max_examples=15)
@given(samples=st.integers(1, 40_000), gain=st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
def test_any_length_and_level_gives_a_unit_vector(encoder: SpeakerEncoder, samples: int, gain: float) -> None:
    embedding = encoder.encode(noise(samples) * np.float32(gain))
    assert embedding.shape == (192,)
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)


def test_silence_gives_a_unit_vector(encoder: SpeakerEncoder) -> None:
    assert np.linalg.norm(encoder.encode(np.zeros(16_000, np.float32))) == pytest.approx(1.0, abs=1e-5)


def test_more_than_a_minute_is_the_average_of_equal_pieces(encoder: SpeakerEncoder) -> None:
    audio = noise(70 * 16_000)
    halves = encoder.encode(audio[: 35 * 16_000]) + encoder.encode(audio[35 * 16_000 :])
    assert encoder.encode(audio) == pytest.approx(halves / np.linalg.norm(halves), abs=1e-6)


def test_a_path_an_array_and_a_waveform_with_its_rate_agree(encoder: SpeakerEncoder, tmp_path: Path) -> None:
    import soundfile

    audio = noise(24_000)
    soundfile.write(tmp_path / "audio.wav", audio, 16_000, subtype="FLOAT")
    expected = encoder.encode(audio)
    assert encoder.encode(tmp_path / "audio.wav") == pytest.approx(expected, abs=1e-6)
    assert encoder.encode((torch.from_numpy(audio)[None], 16_000)) == pytest.approx(expected, abs=1e-6)


def test_a_batch_of_utterances_is_each_of_them(encoder: SpeakerEncoder) -> None:
    audios = [noise(9_000, 1), noise(30_000, 2), noise(12_345, 3)]
    assert np.array_equal(encoder.encode_batch(audios), np.stack([encoder.encode(audio) for audio in audios]))
    assert encoder.encode_batch([]).shape == (0, 192)


def test_the_canonical_batch_agrees_with_whole_utterances(encoder: SpeakerEncoder) -> None:
    batch = np.stack([noise(25_600, seed) for seed in range(4)])
    assert encoder.embed_batch(batch) == pytest.approx(encoder.encode_batch(list(batch)), abs=1e-5)


def test_no_samples_are_refused(encoder: SpeakerEncoder) -> None:
    with pytest.raises(ValueError, match="no samples"):
        encoder.encode(np.zeros(0, np.float32))


def test_a_missing_file_is_refused(encoder: SpeakerEncoder, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"absent\.wav"):
        encoder.encode(tmp_path / "absent.wav")


def test_samples_that_are_not_finite_are_refused(encoder: SpeakerEncoder) -> None:
    batch = np.zeros((2, 8000), np.float32)
    batch[1, 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        encoder.embed_batch(batch)


@pytest.mark.parametrize("name", ["ecapa-tdnn-c9", "absent/weights.safetensors"])
def test_an_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*ecapa-tdnn-c256"):
        SpeakerEncoder.from_pretrained(name)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not weights")
    with pytest.raises(CheckpointError, match=r"notes\.txt: not a checkpoint"):
        SpeakerEncoder.from_pretrained(tmp_path / "notes.txt")


@pytest.mark.parametrize(("compute", "message"), [("cuda", "not available"), ("mps", "not available"), ("tpu", "cpu")])
def test_absent_devices_are_refused(compute: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"{compute}.*{message}"):
        SpeakerEncoder.from_pretrained(compute=compute)


def test_loading_changes_no_global_setting() -> None:
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    SpeakerEncoder(load_checkpoint(BUNDLED["ecapa-tdnn-c256"])).encode(noise(8000))
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, gradients)


def test_real_speakers_are_told_apart(encoder: SpeakerEncoder, speech: Path) -> None:
    """Eight utterances each of ten speakers the network has never heard."""
    with (speech / "speakers.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if (row["set"], row["split"]) == ("speechocean762", "eval")]
    by_speaker = {name: list(group) for name, group in groupby(rows, key=lambda row: row["speaker"])}
    chosen = [row for group in list(by_speaker.values())[:10] for row in group[:8]]
    embeddings = encoder.encode_batch([speech / row["file"] for row in chosen])
    speakers = np.array([row["speaker"] for row in chosen])
    first, second = np.triu_indices(len(chosen), k=1)
    scores = np.sum(embeddings[first] * embeddings[second], axis=1)
    false_alarm, hit, _ = roc_curve(speakers[first] == speakers[second], scores)
    equal_error_rate = false_alarm[np.argmin(np.abs(1 - hit - false_alarm))]
    assert equal_error_rate < 0.10
