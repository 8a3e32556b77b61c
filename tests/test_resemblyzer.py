"""Resemblyzer's encoder out of its package, held against the package itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.models.encoder import SpeakerEncoder
from diarize.models.installed import packaged
from diarize.models.known import Known, known
from diarize.models.resemblyzer import PARTIAL, STEP, MelEnergies, partials
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation, here, write_clip

WINDOW = round(1.6 * SAMPLE_RATE)


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """The package, which imports librosa and webrtcvad."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it imports from where scipy has left
            import resemblyzer
    except ImportError as error:
        pytest.skip(f"no Resemblyzer to compare with ({error}): pip install librosa; pip install --no-deps Resemblyzer")
    package: ModuleType = resemblyzer
    return package


@pytest.fixture(scope="module")
def encoder(theirs: ModuleType) -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained("resemblyzer")


def noise(samples: int, level: float = 0.1) -> Samples:
    return (level * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def heard(samples: int) -> dict[str, Samples]:
    """Speech and noise, loud and soft."""
    speech = conversation(samples / SAMPLE_RATE)
    return {"speech": speech, "soft speech": 0.002 * speech, "loud noise": noise(samples), "soft": noise(samples, 1e-4)}


@pytest.mark.parametrize("samples", [1_700, WINDOW, WINDOW + 1, 32_000, 47_999, 16 * SAMPLE_RATE])
def test_an_utterance_is_embedded_as_by_the_package(theirs: ModuleType, encoder: SpeakerEncoder, samples: int) -> None:
    voice = theirs.VoiceEncoder("cpu", verbose=False)
    for name, utterance in heard(samples).items():
        raised = theirs.normalize_volume(utterance, -30, increase_only=True).astype(np.float32)
        expected = voice.embed_utterance(raised)
        assert np.abs(encoder.embed_batch(utterance[None])[0] - expected).max() < 1e-5, name
        assert encoder.encode(utterance) == pytest.approx(expected, abs=1e-5)


@given(samples=st.integers(1, 60 * SAMPLE_RATE))
@settings(deadline=None)
def test_an_utterance_is_heard_in_as_many_partials(theirs: ModuleType, samples: int) -> None:
    slices, _ = theirs.VoiceEncoder.compute_partial_slices(samples, 1.3, 0.75)
    assert partials(samples) == len(slices)


def test_a_window_of_the_pipeline_is_one_partial() -> None:
    assert partials(WINDOW) == 1
    assert MelEnergies()(torch.from_numpy(noise(WINDOW)[None])).shape == (1, PARTIAL, 40)
    assert MelEnergies()(torch.from_numpy(noise(1)[None])).shape == (1, PARTIAL, 40)
    assert MelEnergies()(torch.from_numpy(noise(5 * SAMPLE_RATE)[None])).shape == (1, PARTIAL + 4 * STEP, 40)


def test_each_utterance_is_alone_in_its_batch(encoder: SpeakerEncoder) -> None:
    batch = np.stack([noise(WINDOW), conversation(1.6), np.zeros(WINDOW, np.float32)])
    embeddings = encoder.embed_batch(batch)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert np.array_equal(encoder.embed_batch(np.roll(batch, 1, axis=0)), np.roll(embeddings, 1, axis=0))


def test_the_commands_take_it(encoder: SpeakerEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "clip.wav", 8)
    same = here(capfd, "verify", clip, clip, "--model", "resemblyzer", "--threshold", "0.7")
    assert (same.code, same.out) == (0, "1.0000 same\n")
    without = here(capfd, "verify", clip, clip, "--model", "resemblyzer")
    assert without.code == 2
    assert "Resemblyzer's LSTM has no threshold of its own" in without.err
    assert here(capfd, "embed", clip, "--model", "resemblyzer", "-o", tmp_path / "voices.npz").code == 0
    with np.load(tmp_path / "voices.npz") as voices:
        assert voices["embeddings"].shape == (1, 256)
    assert here(capfd, "file", clip, "--model", "resemblyzer", "-o", tmp_path).code == 0
    assert (tmp_path / "clip.rttm").read_text().startswith("SPEAKER clip 1 ")
    shown = here(capfd, "models", "show", "resemblyzer")
    assert shown.code == 0
    assert encoder.fingerprint in shown.out


def test_a_package_that_is_absent_or_damaged_is_told_with_the_remedy() -> None:
    absent = Known("it", "mit", "8", "none", package="no-such-package-anywhere", weights="it.pt")
    with pytest.raises(
        ValueError, match=r"it is in a .* not installed: pip install --no-deps no-such-package-anywhere"
    ):
        packaged(absent)
    damaged = Known("it", "mit", "8", "none", package="numpy", weights="numpy/it.pt")
    with pytest.raises(ValueError, match=r"numpy/it\.pt: gone, .*pip install --no-deps numpy --force-reinstall"):
        packaged(damaged)


def test_it_is_known() -> None:
    model = known("resemblyzer")
    assert model is not None
    assert (model.package, model.licence) == ("Resemblyzer", "apache-2.0")
