"""Trained weights in a file: small, whole, the same bytes for the same weights, and loaded strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import torch

from diarize.models.checkpoints import load_checkpoint, write_checkpoint
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from tests.test_checkpoints import WIDTHS
from tests.test_ecapa_tdnn import randomise

FACTS = {"licence": "apache-2.0", "steps": "100", "by": "Ana Müller", "seed": "1", "recipe": "train"}


@pytest.fixture
def network() -> EcapaTdnn:
    torch.manual_seed(0)
    made = EcapaTdnn(WIDTHS).eval()
    randomise(made)
    return made


def test_what_was_written_is_loaded_in_half_precision(tmp_path: Path, network: EcapaTdnn) -> None:
    write_checkpoint(network, tmp_path / "model.safetensors", FACTS)
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.metadata == FACTS
    found, expected = checkpoint.network.state_dict(), network.state_dict()
    for name, value in expected.items():
        assert torch.equal(found[name], value if "running_" in name else value.to(torch.float16).to(value.dtype)), name
    features = torch.randn(3, 60, 80)
    with torch.inference_mode():
        assert torch.allclose(checkpoint.network(features), network(features), atol=0.05)
    assert all(p.dtype == torch.float32 for p in network.parameters()), "the network itself is left as it was"


def test_variances_beyond_half_precision_survive(tmp_path: Path, network: EcapaTdnn) -> None:
    network.get_buffer("mfa.norm.norm.running_var")[0] = 1e6
    write_checkpoint(network, tmp_path / "model.safetensors", {})
    found = load_checkpoint(tmp_path / "model.safetensors").network.state_dict()
    assert found["mfa.norm.norm.running_var"][0] == 1e6


def test_the_same_weights_give_the_same_bytes(tmp_path: Path, network: EcapaTdnn) -> None:
    for name, facts in (("a", FACTS), ("b", dict(reversed(FACTS.items()))), ("c", FACTS)):
        write_checkpoint(network, tmp_path / f"{name}.safetensors", facts)
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == FACTS


def test_a_wide_network_fits_into_15_mb(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = EcapaTdnn(EcapaConfig(channels=512, mfa_channels=1536))
    network = network.to_empty(device="cpu")
    for value in network.state_dict().values():
        value.zero_()
    write_checkpoint(network, tmp_path / "model.safetensors", FACTS)
    assert 12e6 < (tmp_path / "model.safetensors").stat().st_size < 15e6


@pytest.mark.parametrize("value", [1e5, float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(value: float, tmp_path: Path, network: EcapaTdnn) -> None:
    file = tmp_path / "model.safetensors"
    file.write_text("the last one")
    with torch.no_grad():
        network.get_parameter("fc.conv.bias")[0] = value
    with pytest.raises(ValueError, match=r"not finite in half precision: 1 key \(fc.conv.bias\)"):
        write_checkpoint(network, file, FACTS)
    assert file.read_text() == "the last one"


def test_another_suffix_is_refused(tmp_path: Path, network: EcapaTdnn) -> None:
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        write_checkpoint(network, tmp_path / "model.pt", {})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, network: EcapaTdnn) -> None:
    with pytest.raises(FileNotFoundError) as failed:
        write_checkpoint(network, tmp_path / "absent" / "model.safetensors", {})
    assert failed.value.filename == str(tmp_path / "absent" / "model.safetensors")
