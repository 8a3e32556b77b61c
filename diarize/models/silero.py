"""Silero VAD's network with its state in the open, in NumPy.

The architecture and the weights are silero-vad 6's (MIT; https://github.com/snakers4/silero-vad); the package is never
imported, because importing it sets torch's thread count for the whole process.  The weights are its safetensors file.
They are not those of its TorchScript file: on quiet and noisy speech they miss less.

One frame is computed at a time, always in the same shapes, so the result depends on nothing but the frames heard: it
is the same to the bit however the input was cut.  It takes about 0.07 ms a frame, 500 times real time; in torch it
would take three times as long, all of it the price of small calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from safetensors.numpy import load_file

from diarize.types import Samples

FRAME = 512
CONTEXT = 64
STFT, HOP, BINS = 256, 128, 129
HIDDEN = 128

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SileroState:
    """What the network remembers of one stream.

    context: the last samples of the frame before, shape (64,).
    hidden, cell: of the LSTM, shape (128,) each.
    """

    context: Array
    hidden: Array
    cell: Array


class SileroVad:
    """The probability of speech in each frame of 512 samples (32 ms).  Stateless: every stream shares one.

    weights: arrays by the names of silero-vad's safetensors file.
    """

    frame = FRAME

    def __init__(self, weights: dict[str, Array]) -> None:
        self.stft = np.ascontiguousarray(weights["stft_conv.weight"][:, 0].T)
        # Each convolution is a matrix (taps x channels in, channels out).  Of the last two's three taps only those
        # count that do not fall on padding, as one position is all that is left by then.
        self.conv1, self.conv2, conv3, conv4 = (
            np.ascontiguousarray(weights[f"conv{i}.weight"].transpose(2, 1, 0)) for i in (1, 2, 3, 4)
        )
        self.conv1, self.conv2 = self.conv1.reshape(-1, 128), self.conv2.reshape(-1, 64)
        self.conv3, self.conv4 = conv3[1:].reshape(-1, 64), conv4[1]
        self.bias1, self.bias2, self.bias3, self.bias4 = (weights[f"conv{i}.bias"] for i in (1, 2, 3, 4))
        self.lstm = np.concatenate((weights["lstm_cell.weight_ih"].T, weights["lstm_cell.weight_hh"].T))
        self.lstm_bias = weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]
        self.out = weights["final_conv.weight"][0, :, 0]
        self.out_bias = weights["final_conv.bias"][0]

    def start(self) -> SileroState:
        """The state before the first frame."""
        nothing = np.zeros(HIDDEN, np.float32)
        return SileroState(np.zeros(CONTEXT, np.float32), nothing, nothing)

    def __call__(self, frame: Samples, state: SileroState) -> tuple[float, SileroState]:
        """The probability that someone speaks in the frame, shape (512,), and the state after it."""
        hidden, cell = self._remember(self._encode(frame, state.context), state)
        speech = _sigmoid(np.maximum(hidden, 0) @ self.out + self.out_bias)
        return float(speech), SileroState(frame[-CONTEXT:].copy(), hidden, cell)

    def _encode(self, frame: Samples, context: Array) -> Array:
        """What a frame sounds like, shape (128,)."""
        reflected = frame[-2 : -CONTEXT - 2 : -1]
        audio = np.concatenate((context, frame, reflected))
        parts = _windows(audio, 4, STFT, HOP) @ self.stft
        parts *= parts
        spectrum = np.zeros((6, BINS), np.float32)  # 4 positions and a zero on either side
        np.sqrt(parts[:, :BINS] + parts[:, BINS:], out=spectrum[1:5])
        first = np.zeros((5, 128), np.float32)  # 4 positions and a zero before
        np.maximum(_windows(spectrum, 4, 3 * BINS, BINS) @ self.conv1 + self.bias1, 0, out=first[1:])
        second = np.maximum(_windows(first, 2, 3 * 128, 2 * 128) @ self.conv2 + self.bias2, 0)
        third = np.maximum(second.reshape(-1) @ self.conv3 + self.bias3, 0)
        features: Array = np.maximum(third @ self.conv4 + self.bias4, 0)
        return features

    def _remember(self, features: Array, state: SileroState) -> tuple[Array, Array]:
        """One step of the LSTM: the hidden and the cell state after it."""
        gates = np.concatenate((features, state.hidden)) @ self.lstm + self.lstm_bias
        enter, keep, new, show = gates.reshape(4, HIDDEN)
        cell = _sigmoid(keep) * state.cell + _sigmoid(enter) * np.tanh(new)
        return _sigmoid(show) * np.tanh(cell), cell


def _windows(array: Array, count: int, length: int, step: int) -> Array:
    """Overlapping runs of a contiguous array, taken as flat, shape (count, length)."""
    return as_strided(array, (count, length), (step * array.itemsize, array.itemsize)).copy()


def _sigmoid(x: Array) -> Array:
    half: Array = np.tanh(0.5 * x)  # 1 / (1 + exp(-x)) would overflow on the way
    return 0.5 * half + 0.5


def silero_weights() -> dict[str, Array]:
    """The arrays of the file of weights that the silero-vad package carries, by its names.

    Raises FileNotFoundError when that package, or the file in it, is absent.
    """
    spec = find_spec("silero_vad")
    folders = (spec.submodule_search_locations or []) if spec else []
    for path in (Path(folder) / "data" / "silero_vad_16k.safetensors" for folder in folders):
        if path.is_file():
            return load_file(path)
    raise FileNotFoundError("silero_vad_16k.safetensors not found: pip install 'silero-vad>=6.2', or use --vad webrtc")


@lru_cache(maxsize=1)
def load_silero() -> SileroVad:
    """The network with those weights.  Raises FileNotFoundError as `silero_weights`."""
    return SileroVad(silero_weights())
