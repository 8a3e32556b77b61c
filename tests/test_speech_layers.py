"""What is heard of a batch of pieces through silero's network, against that network going from frame to frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diarize.models.silero import FRAME, load_silero
from diarize.models.speech_layers import CHANNELS, SpeechLayers
from diarize.sources import read
from diarize.types import Samples

SAMPLE = Path(__file__).parent.parent / "examples" / "sample" / "conversation.flac"
PIECE = 160_000


@pytest.fixture(scope="module")
def layers() -> SpeechLayers:
    return SpeechLayers()


@pytest.fixture(scope="module")
def speech() -> Samples:
    return np.asarray(read(SAMPLE)[2 * PIECE : 3 * PIECE], np.float32)


def heard(layers: SpeechLayers, samples: Samples) -> NDArray[np.float32]:
    return np.asarray(layers(torch.from_numpy(samples)[None])[0].numpy())


def brought_to_its_level(samples: Samples) -> Samples:
    """-22 dBFS in the loudest 320 ms of whole frames, by the definition."""
    frames = np.pad(samples.astype(np.float64), (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    power = max(float(np.square(frames[i : i + 10]).mean()) for i in range(len(frames) - 9))
    return np.asarray(samples * 10 ** (-22 / 20) / np.sqrt(power), np.float32)


def test_it_hears_what_silero_does(layers: SpeechLayers, speech: Samples) -> None:
    network = load_silero()
    state, hidden, odds = network.start(), [], []
    levelled = np.pad(brought_to_its_level(speech), (0, -PIECE % FRAME))
    for start in range(0, PIECE, FRAME):
        (probability,), state = network(levelled[None, start : start + FRAME], state)
        hidden.append(state.hidden)
        odds.append(np.log(probability / (1 - probability)) / 4)
    every, middle = (np.arange(500) + 0.5) * 320, (np.arange(len(odds)) + 0.5) * FRAME
    expected = np.stack([np.interp(every, middle, one) for one in [*np.stack(hidden).T, odds]])
    found = heard(layers, speech)
    assert found.shape == (CHANNELS, 500)
    np.testing.assert_allclose(found[:-1], expected[:-1], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=0, atol=1e-2)


@pytest.mark.parametrize("decibels", [-50, -20, 6])
def test_how_loud_a_piece_is_does_not_matter(layers: SpeechLayers, speech: Samples, decibels: float) -> None:
    louder = speech * np.float32(10 ** (decibels / 20))
    np.testing.assert_allclose(heard(layers, louder), heard(layers, speech), rtol=0, atol=1e-3)


def test_pieces_do_not_hear_each_other(layers: SpeechLayers, speech: Samples) -> None:
    other = np.random.default_rng(1).normal(0, 0.1, PIECE).astype(np.float32)
    both = layers(torch.from_numpy(np.stack([speech, other]))).numpy()
    np.testing.assert_allclose(both[0], heard(layers, speech), rtol=0, atol=1e-4)
    np.testing.assert_allclose(both[1], heard(layers, other), rtol=0, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1e-7])
def test_silence_stays_silent(layers: SpeechLayers, level: float) -> None:
    samples = (level * np.random.default_rng(1).standard_normal(PIECE)).astype(np.float32)
    found = heard(layers, samples)
    assert np.isfinite(found).all()
    assert (found[-1] < 0).all(), "that somebody talks is less than an even chance"


@pytest.mark.parametrize("frames", [2, 32, 500])
def test_a_frame_for_every_20_ms(layers: SpeechLayers, speech: Samples, frames: int) -> None:
    assert heard(layers, speech[: frames * 320]).shape == (CHANNELS, frames)


def test_nothing_of_it_is_saved_or_learns(layers: SpeechLayers) -> None:
    assert not layers.state_dict()
    assert not list(layers.parameters())
