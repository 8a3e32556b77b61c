from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from diarize.models.checkpoints import CheckpointError, load_checkpoint
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from diarize.models.known import BUNDLED
from tests.peers import speechbrain
from tests.test_ecapa_tdnn import randomise

WIDTHS = EcapaConfig(channels=32, mfa_channels=48, attention=8, squeeze=6, scale=4, embedding=12)


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return EcapaTdnn(WIDTHS).state_dict()


def refusal(path: Path) -> str:
    """The one line with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "embedding_model.ckpt"])
def test_what_was_saved_comes_back(name: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    file = tmp_path / name
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file)
    checkpoint = load_checkpoint(file)
    assert checkpoint.network.config == WIDTHS
    assert not checkpoint.network.training
    loaded = checkpoint.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert checkpoint.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()


def test_speechbrains_own_checkpoint_in_a_folder(tmp_path: Path) -> None:
    reference = speechbrain("lobes.models.ECAPA_TDNN").ECAPA_TDNN(
        80, lin_neurons=16, channels=[24, 24, 24, 24, 40], attention_channels=10, res2net_scale=3, se_channels=5
    )
    torch.save(reference.state_dict(), tmp_path / "embedding_model.ckpt")
    network = load_checkpoint(tmp_path).network
    assert network.config == EcapaConfig(24, 40, attention=10, squeeze=5, scale=3, embedding=16)
    x = torch.randn(2, 30, 80)
    with torch.inference_mode():
        assert network(x).numpy() == pytest.approx(reference.eval()(x)[:, 0].numpy(), abs=1e-5)


def test_samples_to_embedding_equals_speechbrain_in_its_published_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = speechbrain("lobes.models.ECAPA_TDNN").ECAPA_TDNN(
        80, lin_neurons=192, channels=[1024, 1024, 1024, 1024, 3072]
    )
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "embedding_model.ckpt")
    torch.save({"count": 3, "glob_mean": torch.zeros(192)}, tmp_path / "mean_var_norm_emb.ckpt")  # passed over
    (tmp_path / "hyperparams.yaml").write_text("embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN\n")
    fbank = speechbrain("lobes.features").Fbank(n_mels=80)
    centred = speechbrain("processing.features").InputNormalization(norm_type="sentence", std_norm=False)
    heard = 0.1 * torch.randn(2, 16_000)
    heard[1] *= torch.linspace(0.0, 1.0, 16_000).square()
    with torch.inference_mode():
        features = centred(fbank(heard), torch.ones(2))
        expected = torch.nn.functional.normalize(reference.eval()(features)[:, 0], dim=1).numpy()
    got = SpeakerEncoder.from_pretrained(tmp_path).embed_batch(heard.numpy())
    assert got == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0] - expected[1]).max() > 1e-2  # else too little was compared


def test_the_bundled_weights(tmp_path: Path) -> None:
    network = load_checkpoint(BUNDLED["ecapa-tdnn-c256"]).network
    assert network.config == EcapaConfig(channels=256, mfa_channels=768)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in network.parameters())  # to be trained on


def test_loading_spends_no_random_numbers(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "weights.pt")
    before = torch.random.get_rng_state()
    load_checkpoint(tmp_path / "weights.pt")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_missing_keys_are_counted_and_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    for key in [key for key in state if key.startswith("blocks.2.tdnn1")]:
        del state[key]
    torch.save(state, tmp_path / "weights.pt")
    message = refusal(tmp_path / "weights.pt")
    assert "missing 7 keys (blocks.2.tdnn1.conv.conv.bias, " in message
    assert message.count("blocks.2.tdnn1") == 3


@pytest.mark.parametrize("key", ["blocks.0.conv.conv.weight", "fc.conv.weight", "asp_bn.norm.running_mean"])
def test_one_missing_key_is_named(key: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state[key]
    torch.save(state, tmp_path / "weights.pt")
    assert f"missing 1 key ({key})" in refusal(tmp_path / "weights.pt")


def test_unexpected_keys_and_wrong_shapes_are_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["classifier.weight"] = torch.zeros(3)
    state["mfa.conv.conv.bias"] = torch.zeros(47)
    torch.save(state, tmp_path / "weights.pt")
    message = refusal(tmp_path / "weights.pt")
    assert "unexpected 1 key (classifier.weight)" in message
    assert "wrong shape for 1 key (mfa.conv.conv.bias)" in message


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["fc.conv.bias"][0] = torch.nan
    torch.save(state, tmp_path / "weights.pt")
    assert "not finite in 1 key (fc.conv.bias)" in refusal(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("key", "shape"), [("blocks.0.conv.conv.weight", (33, 80, 5)), ("fc.conv.weight", (96,)), ("fc.conv.weight", ())]
)
def test_impossible_shapes_are_refused(
    key: str, shape: tuple[int, ...], tmp_path: Path, state: dict[str, Tensor]
) -> None:
    state[key] = torch.zeros(shape)
    torch.save(state, tmp_path / "weights.pt")
    assert "not the weights of SpeechBrain's ECAPA-TDNN" in refusal(tmp_path / "weights.pt")


def test_another_familys_layout_is_not_recognised(tmp_path: Path) -> None:
    torch.save({"layer1.conv.weight": torch.zeros(512, 80, 5), "linear.bias": torch.zeros(192)}, tmp_path / "case.pt")
    message = refusal(tmp_path / "case.pt")
    assert "unrecognised layout (layer1.conv.weight, linear.bias" in message
    torch.save({}, tmp_path / "empty.pt")
    assert "unrecognised layout (empty" in refusal(tmp_path / "empty.pt")


def test_a_whole_training_state_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"weights": state, "epoch": 3}, tmp_path / "training.pt")
    assert "not a state_dict" in refusal(tmp_path / "training.pt")


class Malicious:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import pathlib; pathlib.Path('pwned').touch()",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"fc.conv.weight": Malicious()}, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    assert "could run code" in refusal(tmp_path / "weights.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert "state_dict()" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"RIFF and so on", b"\x80\x02garbage", b"PK\x03\x04", b"\xff" * 300])
def test_what_is_no_checkpoint_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert "not a checkpoint" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_truncated_file_is_refused(name: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    whole = tmp_path / f"whole-{name}"
    if whole.suffix == ".pt":
        torch.save(state, whole)
    else:
        safetensors.torch.save_file(state, whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:5000])
    assert "not a checkpoint" in refusal(tmp_path / name)


def test_no_file_is_said_to_be_no_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.safetensors")
    assert "a folder without a model; expected one of embedding_model.ckpt, " in refusal(tmp_path)
