"""Silero VAD's network with its state in the open, in NumPy.

The architecture and the weights are silero-vad 6's (MIT; https://github.com/snakers4/silero-vad); the package is never
imported, because importing it sets torch's thread count for the whole process.  The weights are its safetensors file.
They are not those of its TorchScript file: on quiet and noisy speech they miss less.

Frames that come together go through each layer together, but every frame is a product of matrices by itself, always in
the same shapes; so the result depends on nothing but the frames heard: it is the same to the bit however the input was
cut.  Multiplied as one matrix, 16 frames would take half as long, but a row's bits would depend on its place.
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
TOGETHER = 16
"""Frames at most that go through a layer together: what is between two layers then stays in the processor's cache."""

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
        self.enter, self.keep = (np.ascontiguousarray(weights[f"lstm_cell.weight_{of}"].T) for of in ("ih", "hh"))
        self.lstm_bias = weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]
        self.out = weights["final_conv.weight"][0, :, 0]
        self.out_bias = weights["final_conv.bias"][0]

    def start(self) -> SileroState:
        """The state before the first frame."""
        nothing = np.zeros(HIDDEN, np.float32)
        return SileroState(np.zeros(CONTEXT, np.float32), nothing, nothing)

    def __call__(self, frames: Samples, state: SileroState) -> tuple[NDArray[np.float64], SileroState]:
        """The probability that someone speaks in each frame, (n, 512) to (n,), and the state after the last."""
        context, hidden, cell = state.context, state.hidden, state.cell
        remembered = np.zeros((len(frames), HIDDEN), np.float32)
        for first in range(0, len(frames), TOGETHER):
            together = frames[first : first + TOGETHER]
            for number, entering in enumerate(self._encode(together, context), start=first):
                hidden, cell = self._remember(entering, hidden, cell)
                remembered[number] = hidden
            context = together[-1, -CONTEXT:].copy()
        # summed row by row: as a product of matrices, a row's bits would depend on the others
        odds = (np.maximum(remembered, 0) * self.out).sum(axis=1) + self.out_bias
        return _sigmoid(odds).astype(np.float64), SileroState(context, hidden, cell)

    def _encode(self, frames: Samples, context: Array) -> Array:
        """What each frame sounds like, as the LSTM takes it in, shape (n, 512)."""
        before = np.concatenate((context[None], frames[:-1, -CONTEXT:]))
        reflected = frames[:, -2 : -CONTEXT - 2 : -1]
        audio = np.concatenate((before, frames, reflected), axis=1)
        parts = _windows(audio, 4, STFT, HOP) @ self.stft
        parts *= parts
        spectrum = np.zeros((len(frames), 6, BINS), np.float32)  # 4 positions and a zero on either side
        np.sqrt(parts[:, :, :BINS] + parts[:, :, BINS:], out=spectrum[:, 1:5])
        first = np.zeros((len(frames), 5, 128), np.float32)  # 4 positions and a zero before
        np.maximum(_windows(spectrum, 4, 3 * BINS, BINS) @ self.conv1 + self.bias1, 0, out=first[:, 1:])
        second = np.maximum(_windows(first, 2, 3 * 128, 2 * 128) @ self.conv2 + self.bias2, 0)
        third = np.maximum(second.reshape(-1, 1, 128) @ self.conv3 + self.bias3, 0)
        fourth = np.maximum(third @ self.conv4 + self.bias4, 0)
        entering: Array = fourth @ self.enter + self.lstm_bias
        return entering[:, 0]

    def _remember(self, entering: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
        """One step of the LSTM: the hidden and the cell state after it."""
        enter, keep, new, show = (entering + hidden @ self.keep).reshape(4, HIDDEN)
        cell = _sigmoid(keep) * cell + _sigmoid(enter) * np.tanh(new)
        return _sigmoid(show) * np.tanh(cell), cell


def _windows(arrays: Array, count: int, length: int, step: int) -> Array:
    """Overlapping runs of each of some arrays, taken as flat, shape (n, count, length)."""
    flat = arrays.reshape(len(arrays), -1)
    strides = flat.strides[0], step * flat.itemsize, flat.itemsize
    return as_strided(flat, (len(flat), count, length), strides).copy()


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
