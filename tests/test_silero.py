"""The network of silero in NumPy, against silero's own in torch."""

from __future__ import annotations

import warnings
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.models.silero import CONTEXT, FRAME, SileroState, SileroVad, load_silero
from diarize.types import Samples


@pytest.fixture(scope="module")
def original() -> Any:
    """Silero's own network, from its package; which sets torch's thread count when it is imported."""
    threads = torch.get_num_threads()
    import silero_vad

    with warnings.catch_warnings():  # torch.jit.load, which the package calls, is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        network = silero_vad.load_silero_vad()
    torch.set_num_threads(threads)
    return network


@pytest.fixture(scope="module")
def rebuilt(original: Any) -> SileroVad:
    """Our network with the weights of silero's TorchScript file, which differ from those of its safetensors file."""
    names = {"_model.stft.forward_basis_buffer": "stft_conv.weight"}
    for kind in ("weight", "bias"):
        names |= {f"_model.encoder.{i}.reparam_conv.{kind}": f"conv{i + 1}.{kind}" for i in range(4)}
        names |= {f"_model.decoder.rnn.{kind}_{part}": f"lstm_cell.{kind}_{part}" for part in ("ih", "hh")}
        names[f"_model.decoder.decoder.2.{kind}"] = f"final_conv.{kind}"
    weights = original.state_dict()
    return SileroVad({ours: weights[theirs].numpy() for theirs, ours in names.items()})


def probabilities(network: SileroVad, samples: Samples) -> NDArray[np.float64]:
    return network(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME), network.start())[0]


def of_original(network: Any, samples: Samples) -> tuple[NDArray[np.float64], list[SileroState]]:
    """The original's probabilities, and its state before each frame."""
    network.reset_states()
    frames = torch.from_numpy(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).copy())
    states, out = [load_silero().start()], []
    with torch.inference_mode():
        for frame in frames:
            out.append(network(frame, 16_000).item())
            hidden, cell = network._state.numpy()[:, 0]
            states.append(SileroState(frame[-CONTEXT:].numpy(), hidden.copy(), cell.copy()))
    return np.array(out), states[:-1]


def check_equal(original: Any, rebuilt: SileroVad, samples: Samples) -> None:
    theirs, states = of_original(original, samples)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    steps = [rebuilt(frame[None], state)[0][0] for frame, state in zip(frames, states, strict=True)]
    np.testing.assert_allclose(steps, theirs, rtol=0, atol=1e-5)
    # Left alone, rounding adds up in the state: either is up to 1e-5 from the same network in float64.
    np.testing.assert_allclose(probabilities(rebuilt, samples), theirs, rtol=0, atol=3e-5)


def synthetic() -> dict[str, Samples]:
    random = np.random.default_rng(3)
    time = np.arange(4 * 16_000) / 16_000
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 25)) * (np.sin(2 * np.pi * 3 * time) > 0)
    return {
        "noise": (0.1 * random.standard_normal(len(time))).astype(np.float32),
        "buzz": (0.2 * buzz).astype(np.float32),
        "clipped": np.sign(np.sin(2 * np.pi * 200 * time)).astype(np.float32),
        "zeros": np.zeros(len(time), np.float32),
    }


@pytest.mark.parametrize("name", ["noise", "buzz", "clipped", "zeros"])
def test_equals_the_original_on_synthetic_audio(original: Any, rebuilt: SileroVad, name: str) -> None:
    check_equal(original, rebuilt, synthetic()[name])


def test_equals_the_original_on_real_speech(original: Any, rebuilt: SileroVad, speech: Path) -> None:
    for path in sorted(speech.glob("conversations/*.flac"))[::3]:
        samples, _ = soundfile.read(path, dtype="float32")
        check_equal(original, rebuilt, samples)


def test_the_carried_weights_hear_speech_and_nothing_else(speech: Path) -> None:
    samples, _ = soundfile.read(speech / "conversations" / "pyannote_sample_telephone.flac", dtype="float32")
    heard = probabilities(load_silero(), samples)
    assert np.mean(heard > 0.5) > 0.6
    assert heard[: 5 * 31].max() < 0.5  # nobody talks in the first 6 seconds
    assert all(probabilities(load_silero(), s).max() < 0.5 for name, s in synthetic().items() if name != "buzz")


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_frames_together_and_one_by_one_give_the_same_bits(cuts: list[int]) -> None:
    network, frames = load_silero(), synthetic()["buzz"][: 60 * FRAME].reshape(-1, FRAME)
    expected, last = network(frames, network.start())
    assert np.ptp(expected) > 0.1
    state, out = network.start(), []
    for start, end in pairwise([0, *sorted(cuts), len(frames)]):
        said, state = network(frames[start:end], state)
        out.append(said)
    assert np.array_equal(np.concatenate(out), expected)
    assert all(np.array_equal(one, other) for one, other in zip(astuple(state), astuple(last), strict=True))


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diarize.models.silero.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'silero-vad>=6\.2', or use --vad webrtc"):
        load_silero.__wrapped__()
