"""The ONNX graph: PyTorch's embeddings at every length, in onnxruntime; or no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from diarize.models.checkpoints import Checkpoint, build
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from diarize.models.features import FilterBank
from diarize.models.fourier import MatrixTransforms
from diarize.models.kaldi import KaldiFilterBank
from diarize.models.mel_spectrogram import MelSpectrogram
from diarize.models.onnx import LENGTHS, TOLERANCE, as_onnx, export_onnx, noise, pieces
from tests import published
from tests.command import conversation
from tests.test_ecapa_tdnn import randomise

TINY = EcapaConfig(channels=16, mfa_channels=24, attention=8, squeeze=8, scale=2, embedding=12)


def speechbrain() -> Checkpoint:
    torch.manual_seed(0)
    network = EcapaTdnn(TINY)
    randomise(network)
    return made(network, FilterBank())


def case() -> Checkpoint:
    state = published.random_state(published.unispeech_shapes(16, 12)) | published.mel_buffers()
    return made(*build(state)[1:])


def sound_groove() -> Checkpoint:
    return made(*build(published.random_state(published.sound_groove_shapes(16, 12)))[1:])


def made(network: nn.Module, features: nn.Module) -> Checkpoint:
    return Checkpoint(network.eval(), features.eval(), 12, "a family", None, "a fingerprint")


@pytest.mark.parametrize("front_end", [FilterBank, KaldiFilterBank, MelSpectrogram])
def test_matrix_products_are_as_exact_as_transforms(front_end: type[nn.Module]) -> None:
    heard = torch.from_numpy(pieces(conversation(8), 20_077, 3))
    plain, features = front_end()(heard), front_end().double()
    exact = features(heard.double())
    with MatrixTransforms():
        products = front_end()(heard)
    assert products.shape == plain.shape
    error = (plain - exact).abs().max()
    assert 0 < error < 1e-2  # of 80 dB; in the quietest bands
    assert (products - exact).abs().max() < 4 * error


def test_a_transform_of_another_kind_is_refused() -> None:
    with MatrixTransforms(), pytest.raises(TypeError, match="'center': False"):
        torch.stft(
            torch.zeros(1, 800),
            n_fft=400,
            hop_length=160,
            win_length=None,
            window=torch.ones(400),
            center=False,
            return_complex=True,
        )


@pytest.mark.parametrize("family", [speechbrain, case, sound_groove])
def test_onnxruntime_gives_the_same_embeddings(family: type, tmp_path: Path) -> None:
    checkpoint: Checkpoint = family()
    file = tmp_path / "encoder.onnx"
    difference = export_onnx(checkpoint, file, {"licence": "MIT", "threshold": "0.5"}, [conversation(5)])
    assert 0 < difference < TOLERANCE / 10
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"licence": "MIT", "threshold": "0.5"}
    assert [(one.name, one.shape, one.type) for one in session.get_inputs()] == [
        ("waveforms", ["batch", "samples"], "tensor(float)")
    ]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("embeddings", ["batch", 12])]
    heard = pieces(conversation(20), 31_777, 5)  # a length and a number that were not compared
    embeddings = session.run(None, {"waveforms": heard})[0]
    assert embeddings == pytest.approx(SpeakerEncoder(checkpoint).embed_batch(heard), abs=1e-5)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-5)
    content = file.read_bytes()
    assert not [part for part in (Path(__file__).parents[1], Path(torch.__file__).parent) if bytes(part) in content]


class Branching(nn.Module):
    """Its answer hangs on the length by Python's own arithmetic, as Resemblyzer's does."""

    def forward(self, waveforms: Tensor) -> Tensor:
        half = waveforms.shape[1] // 2 if waveforms.shape[1] > 10_000 else 5
        return waveforms[:, half : half + 12]


class Restless(nn.Module):
    """Never the same answer."""

    def forward(self, waveforms: Tensor) -> Tensor:
        return waveforms[:, :12] + torch.randn_like(waveforms[:, :12])


def test_what_depends_on_the_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a family cannot be exported: it is no single graph for utterances of every"):
        as_onnx(made(Branching(), nn.Identity()), {})


def test_a_graph_that_differs_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "encoder.onnx"
    file.write_text("what stood here before")
    with pytest.raises(ValueError, match=r"encoder.onnx: not written, as onnxruntime's embeddings differ by \d"):
        export_onnx(made(Restless(), nn.Identity()), file, {})
    assert file.read_text() == "what stood here before"
    assert list(tmp_path.iterdir()) == [file]


def test_pieces_are_evenly_spaced_and_repeat_what_is_short() -> None:
    ramp = np.arange(100, dtype=np.float32)
    assert pieces(ramp, 40, 3)[:, 0].tolist() == [0, 30, 60]
    assert pieces(ramp, 250, 2).tolist() == [[*range(100), *range(100), *range(50)]] * 2
    assert len(noise()) >= max(LENGTHS)
    assert np.array_equal(noise(), noise())
