"""`diarize export`, and what can be done with its file without this package."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import soundfile
import torch

from diarize.models.checkpoints import load_checkpoint, write_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from tests.command import here, process, write_clip
from tests.programs import Newer, save
from tests.test_ecapa_tdnn import randomise
from tests.test_onnx import TINY

EXAMPLE = Path(__file__).parents[1] / "examples" / "export_onnx.py"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = EcapaTdnn(TINY)
    randomise(network)
    write_checkpoint(network, tmp_path / "model.safetensors", {"licence": "MIT", "steps": "7"})
    return tmp_path / "model.safetensors"


def test_a_model_is_exported_and_used_without_pytorch(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip, graph = write_clip(tmp_path / "a.wav", 4), tmp_path / "made" / "encoder.onnx"
    done = here(capfd, "export", weights, "--onnx", graph, "--audio", clip)
    assert (done.code, done.out) == (0, "")
    said = rf"{graph}: \d\.\d MB; onnxruntime's embeddings differ from PyTorch's by at most (\d\.\de-\d\d)\n"
    told = re.fullmatch(said, done.err)
    assert told, done.err
    assert float(told[1]) < 1e-4
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {
        "licence": "MIT",
        "steps": "7",
        "family": "SpeechBrain's ECAPA-TDNN",
        "fingerprint": load_checkpoint(weights).fingerprint,
        "dimensions": "12",
        "sample_rate": "16000",
        "least_samples": "1600",
        "threshold": "0.25",
    }
    samples, _ = soundfile.read(clip)
    other, short = tmp_path / "b.wav", tmp_path / "c.wav"
    soundfile.write(other, samples[20_000:45_000], 16_000)
    soundfile.write(short, samples[20_000:20_800], 16_000)  # repeated up to 0.1 s, as by the encoder
    without = (
        "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    command = [sys.executable, "-c", without, *map(str, (EXAMPLE, graph, clip, other, short))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    encoder = SpeakerEncoder.from_pretrained(weights)
    for line, file in zip(lines, (other, short), strict=True):
        score, same = encoder.verify_files(clip, file)
        assert line == f"{file}: {'same' if same else 'different'} ({score:.2f})"


@pytest.fixture
def refuse(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    def refused(reason: str, *args: str | Path) -> None:
        before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
        done = here(capfd, "export", *args)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: ")
        assert reason in done.err
        assert done.err.count("\n") == 1
        assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before

    return refused


def test_what_cannot_be_exported_is_refused_at_once(refuse: Callable[..., None], weights: Path, tmp_path: Path) -> None:
    to = ("--onnx", tmp_path / "encoder.onnx")
    refuse("unknown model 'nobody'", "nobody", *to)
    (tmp_path / "bad.safetensors").write_text("no weights")
    refuse("bad.safetensors: not a checkpoint", tmp_path / "bad.safetensors", *to)
    program = save(Newer(), tmp_path / "ecapa2.pt")
    refuse("ecapa2.pt: TorchScript, a program that only PyTorch can run: it cannot be exported", program, *to)
    refuse("model.safetensors is read and would be overwritten", weights, "--onnx", weights)
    refuse("Is a directory", weights, "--onnx", tmp_path)
    refuse("none.wav", weights, *to, "--audio", tmp_path / "none.wav")
    refuse("Missing option '--onnx'", weights)


def test_without_the_packages_the_extra_is_named(weights: Path) -> None:
    absent = (
        "import sys; sys.modules['onnxscript'] = None; sys.argv[0] = 'diarize'; from diarize.cli import main; main()"
    )
    done = process("export", weights, "--onnx", weights.with_suffix(".onnx"), program=[sys.executable, "-c", absent])
    assert (done.code, done.out) == (2, "")
    assert done.err == 'error: onnxscript not installed: pip install "diarize-live[onnx]"\n'
    assert not weights.with_suffix(".onnx").exists()
