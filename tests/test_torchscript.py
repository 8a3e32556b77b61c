"""Models that are programs: run only on trust, in both published forms."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diarize.models.checkpoints import CheckpointError, load_checkpoint
from diarize.models.encoder import SpeakerEncoder
from tests.programs import Heard, Newer, Odd, Older, save


def noise(rows: int, samples: int = 16_000) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0.0, 0.1, (rows, samples)).astype(np.float32)


def pooled(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the programs pool, without TorchScript."""
    with torch.inference_mode():
        out: NDArray[np.float32] = Heard()(torch.from_numpy(batch)).mean(dim=1).numpy()
    return out


@pytest.mark.parametrize("form", ["older", "newer", "newer, frozen"])
def test_samples_become_embeddings_in_every_form(form: str, tmp_path: Path) -> None:
    program = Older() if form == "older" else Newer()
    save(program, tmp_path / ("model.pt" if form == "older" else "ecapa2.pt"), freeze="frozen" in form)
    encoder = SpeakerEncoder.from_pretrained(tmp_path, trust=True)
    batch = noise(3)
    expected = pooled(batch) / np.linalg.norm(pooled(batch), axis=1, keepdims=True)
    assert encoder.dimensions == 12
    assert encoder.threshold is None
    assert encoder.embed_batch(batch) == pytest.approx(expected, abs=1e-5)
    assert encoder.encode(batch[0]) == pytest.approx(expected[0], abs=1e-5)


def test_each_utterance_is_alone_in_its_batch(tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(save(Newer(), tmp_path / "ecapa2.pt"), trust=True)
    batch = noise(5)
    together = encoder.embed_batch(batch)
    other = np.roll(batch, 1, axis=0)
    other[0] = 0.0
    assert np.array_equal(encoder.embed_batch(other)[1:], together[:-1])


@pytest.mark.parametrize("name", ["ecapa2.pt", "model.pt", "anything.bin"])
def test_without_trust_a_program_is_refused(name: str, tmp_path: Path) -> None:
    save(Newer(), tmp_path / name)
    refusal = rf"{name}: TorchScript, which is code .* --trust, --set embedding.trust=true, or trust=True"
    with pytest.raises(CheckpointError, match=refusal):
        SpeakerEncoder.from_pretrained(tmp_path / name)


def test_trust_does_not_extend_to_pickles(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_checkpoint(tmp_path, trust=True)


def test_features_of_the_older_form(tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(save(Older(), tmp_path / "model.pt"), trust=True)
    batch = noise(1)
    feature = encoder.extract_feature(batch, label="gfe1", type="mean")
    assert feature == pytest.approx(pooled(batch)[:, :4], abs=1e-5)
    with pytest.raises(ValueError, match=r"gives no feature 'lfe2': .*no such feature lfe2"):
        encoder.extract_feature(batch, label="lfe2")


def test_features_of_the_newer_form(tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(save(Newer(), tmp_path / "ecapa2.pt"), trust=True)
    batch = noise(1)
    assert encoder.extract_feature(batch, "gfe1|pool") == pytest.approx(pooled(batch)[:, :7], abs=1e-5)
    assert encoder.extract_feature(batch, "embedding") == pytest.approx(pooled(batch), abs=1e-5)
    with pytest.raises(ValueError, match="gives no feature 'pool'"):
        encoder.extract_feature(batch, "pool")


@pytest.mark.parametrize(
    ("label", "kind", "said"),
    [
        ("gfe9", "mean", "unknown feature 'gfe9'"),
        ("gfe1|", "mean", "unknown feature ''"),
        ("gfe1", "max", "type 'max'"),
    ],
)
def test_unknown_features_are_refused(label: str, kind: str, said: str, tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained(save(Older(), tmp_path / "model.pt"), trust=True)
    with pytest.raises(ValueError, match=said):
        encoder.extract_feature(noise(1), label, kind)


def test_other_models_have_no_features() -> None:
    with pytest.raises(ValueError, match="SpeechBrain's ECAPA-TDNN has no hierarchical features"):
        SpeakerEncoder.from_pretrained().extract_feature(noise(1), "gfe1")


def test_a_program_that_gives_no_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"odd\.pt: TorchScript that gives no embedding of samples"):
        load_checkpoint(save(Odd(), tmp_path / "odd.pt"), trust=True)


def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    content = save(Newer(), tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "cut.pt", trust=True)
    with ZipFile(tmp_path / "whole.pt") as whole, ZipFile(tmp_path / "damaged.pt", "w") as damaged:
        for name in whole.namelist():
            if "/code/" not in name:
                damaged.writestr(name, whole.read(name))
    with pytest.raises(CheckpointError, match=r"damaged\.pt: damaged TorchScript"):
        load_checkpoint(tmp_path / "damaged.pt", trust=True)
