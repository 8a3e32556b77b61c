"""Published layouts other than SpeechBrain's: recognised, loaded strictly, and equal to a second opinion."""

from __future__ import annotations

from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from diarize.models.checkpoints import CheckpointError, load_checkpoint
from diarize.models.encoder import SpeakerEncoder
from diarize.models.features import FilterBank
from diarize.models.kaldi import KaldiFilterBank
from diarize.models.known import BUNDLED
from diarize.models.mel_spectrogram import MelSpectrogram
from diarize.models.unispeech import UniSpeechEcapa
from tests import published
from tests.published import State


def case(channels: int = 512, embedding: int = 192) -> State:
    """What CASE's pytorch_model.bin holds, with random weights."""
    return published.random_state(published.unispeech_shapes(channels, embedding)) | published.mel_buffers()


def sound_groove(channels: int = 512, embedding: int = 256, blocks: int = 2) -> State:
    """What Sound-Groove's model.pt holds, with random weights."""
    return published.random_state(published.sound_groove_shapes(channels, embedding, blocks))


def kaldi(waveform: Tensor) -> Tensor:
    """Kaldi's own features with the mean taken off, shape (80, frames)."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(16_000, waveform.tolist())
    fbank.input_finished()
    frames = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    return torch.from_numpy(frames - frames.mean(axis=0)).double().T


def saved(state: State, path: Path) -> Path:
    torch.save(state, path)
    return path


def waveforms(rows: int = 2, samples: int = 20_000) -> Tensor:
    """A melody in noise for each row, at another level each, with an offset."""
    random = torch.Generator().manual_seed(3)
    hertz = torch.rand(rows, -(-samples // 2000), generator=random).square() * 4000 + 100
    phase = torch.cumsum(hertz.repeat_interleave(2000, dim=1)[:, :samples].double() / 16_000, dim=1)
    melody = torch.sin(2 * torch.pi * phase).float() + 0.05 * torch.randn(rows, samples, generator=random)
    return 0.5 ** torch.arange(1.0, rows + 1)[:, None] * melody + 0.01


def second_opinion(state: State, heard: Tensor) -> Tensor:
    """The embeddings of waveforms (batch, samples), of unit norm."""
    if "feature_extract.mel_scale.fb" in state:
        raw = published.unispeech(state, torch.stack([published.log_mel(state, row) for row in heard]))
    else:
        raw = published.sound_groove(state, torch.stack([kaldi(row) for row in heard]))
    return torch.nn.functional.normalize(raw, dim=1)


FAMILIES = {
    "case": case(64, 24),
    "case c512": case(),
    "sound-groove 192": sound_groove(64, 192),
    "sound-groove 256": sound_groove(),
    "sound-groove 3 blocks": sound_groove(32, 16, blocks=3),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_to_embedding_equals_the_published_layout(family: str, tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(saved(FAMILIES[family], tmp_path / "weights.pt"))
    heard = waveforms()
    expected = second_opinion(FAMILIES[family], heard).numpy()
    assert encoder.dimensions == expected.shape[1]
    assert np.abs(encoder.embed_batch(heard.numpy()) - expected).max() < 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # else too little was compared


def test_cases_network_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = UniSpeechEcapa(channels=512)
    assert sum(p.numel() for p in network.parameters()) == 6_190_720


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_folder_by_the_name_of_its_file(name: str, tmp_path: Path) -> None:
    state = case(16, 8) if name == "pytorch_model.bin" else sound_groove(16, 8)
    saved(state, tmp_path / name)
    loaded = load_checkpoint(tmp_path)
    assert loaded.dimensions == 8
    held = loaded.network.state_dict() | loaded.features.state_dict(prefix="feature_extract.")
    assert held.keys() == state.keys()
    assert all(torch.equal(held[key], state[key]) for key in state)


def test_each_has_the_front_end_it_was_trained_with(tmp_path: Path) -> None:
    assert isinstance(load_checkpoint(saved(case(16, 8), tmp_path / "case.pt")).features, MelSpectrogram)
    assert isinstance(load_checkpoint(saved(sound_groove(16, 8), tmp_path / "sg.pt")).features, KaldiFilterBank)
    assert isinstance(load_checkpoint(next(iter(BUNDLED.values()))).features, FilterBank)


def test_the_front_end_in_the_file_is_the_one_that_is_heard(tmp_path: Path) -> None:
    state = case(16, 8)
    other = state | {"feature_extract.spectrogram.window": torch.hamming_window(400)}
    heard = waveforms().numpy()
    theirs = SpeakerEncoder.from_pretrained(saved(other, tmp_path / "other.pt")).embed_batch(heard)
    ours = SpeakerEncoder.from_pretrained(saved(state, tmp_path / "case.pt")).embed_batch(heard)
    assert np.abs(theirs - ours).max() > 1e-3


def test_safetensors_and_a_training_state_hold_the_same(tmp_path: Path) -> None:
    state = sound_groove(16, 8)
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    saved({"model": state, "epoch": 3, "history": [0.5]}, tmp_path / "best.pt")  # type: ignore[dict-item]  # as written
    plain, training = (SpeakerEncoder.from_pretrained(tmp_path / name) for name in ("weights.safetensors", "best.pt"))
    heard = waveforms().numpy()
    assert np.array_equal(plain.embed_batch(heard), training.embed_batch(heard))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"feature_extract.mel_scale.fb": None}, r"missing 1 key \(feature_extract.mel_scale.fb\)"),
        ({"bn.running_var": None}, r"missing 1 key \(bn.running_var\)"),
        ({"linear.weight": None}, r"missing 1 key \(linear.weight\)"),
        ({"fc.weight": torch.zeros(2)}, r"unexpected 1 key \(fc.weight\)"),
        ({"pooling.linear1.weight": torch.zeros(128, 1536, 1)}, r"wrong shape for 1 key \(pooling.linear1.weight\)"),
        ({"layer1.conv.weight": torch.zeros(12, 80, 5)}, "channels must be a multiple of 8, not 12"),
        ({"linear.bias": torch.full((8,), torch.nan)}, r"not finite in 1 key \(linear.bias\)"),
    ],
)
def test_what_differs_is_named(damage: dict[str, Tensor | None], said: str, tmp_path: Path) -> None:
    state = {key: value for key, value in (case(16, 8) | damage).items() if value is not None}
    torch.save(state, tmp_path / "case.pt")
    with pytest.raises(CheckpointError, match=rf"case\.pt: not the weights of UniSpeech's .*: .*{said}"):
        load_checkpoint(tmp_path / "case.pt")


def test_a_third_block_that_is_missing_in_part_is_named(tmp_path: Path) -> None:
    state = sound_groove(16, 8, blocks=3)
    del state["layer4.1.convs.3.weight"]
    with pytest.raises(CheckpointError, match=r"missing 1 key \(layer4\.1\.convs\.3\.weight\)"):
        load_checkpoint(saved(state, tmp_path / "model.pt"))
    state["conv.weight"] = torch.zeros(1536, 16, 1)
    with pytest.raises(CheckpointError, match="blocks must be 2 or 3, not 1"):
        load_checkpoint(saved(state, tmp_path / "model.pt"))


@pytest.mark.parametrize("family", ["case", "sound-groove 192"])
@pytest.mark.parametrize("rows", [1, 5])
def test_each_utterance_is_alone_in_its_batch(family: str, rows: int, tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(saved(FAMILIES[family], tmp_path / "weights.pt"))
    heard = waveforms(rows).numpy()
    together = encoder.embed_batch(heard)
    other = np.roll(heard, 1, axis=0)
    other[0] = 0.0
    assert np.array_equal(encoder.embed_batch(other)[1:], together[:-1])
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(rows), abs=1e-5)


@pytest.mark.parametrize("family", ["case", "sound-groove 192"])
@pytest.mark.parametrize("samples", [1, 1600, 40_000])
def test_any_length_and_silence_give_a_unit_vector(family: str, samples: int, tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(saved(FAMILIES[family], tmp_path / "weights.pt"))
    for audio in (waveforms(1, samples)[0].numpy(), np.zeros(samples, np.float32)):
        assert np.linalg.norm(encoder.encode(audio)) == pytest.approx(1.0, abs=1e-5)


def test_kaldis_features_are_kaldis() -> None:
    heard = waveforms(3, 8_123)
    expected = torch.stack([kaldi(row) for row in heard]).transpose(1, 2)
    got = KaldiFilterBank()(heard)
    assert got.shape == expected.shape == (3, 1 + (8_123 - 400) // 160, 80)
    assert (got - expected).abs().max() < 1e-3


def test_the_mel_spectrogram_is_torchaudios() -> None:
    heard = waveforms(3, 8_123)
    buffers = published.mel_buffers()
    features = MelSpectrogram()
    for key, value in features.state_dict(prefix="feature_extract.").items():
        assert (value - buffers[key]).abs().max() < 1e-5
    expected = torch.stack([published.log_mel(buffers, row) for row in heard]).transpose(1, 2)
    assert (features(heard) - expected).abs().max() < 1e-3
