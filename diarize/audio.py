"""What is done to audio on its way in: numbers and bytes to samples, channels mixed down, any rate to 16 kHz.

A block is float32, shape (frames, channels), full scale -1..1, at the rate of its source.  Nothing is clipped.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from diarize.types import SAMPLE_RATE, Samples

Block = NDArray[np.float32]

ENCODINGS = {"s16le": 2, "f32le": 4, "mulaw": 1}
"""Raw PCM: 16-bit little endian, 32-bit float little endian, G.711 mu-law; with the bytes of a sample."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Hz.  A rate outside is a broken header, not audio."""

MOST_CHANNELS = 1_024
"""What libsndfile reads at most.  More are an array lying on its side."""


class AudioError(ValueError):
    """Audio that cannot be read: one line that names it, and the remedy."""


def check_layout(sample_rate: float, channels: int, name: str) -> None:
    """Raise `AudioError` when no audio has this rate (Hz) or so many channels."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: {sample_rate:g} Hz is no audio rate; give audio at {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(
            f"{name}: {channels:,} channels are no audio; give 1 to {MOST_CHANNELS:,}, as (channels, samples)"
        )


def to_float(array: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of any number type as float32: integers are scaled so that full scale is -1..1, floats stay.

    Raises `AudioError` for what are neither.
    """
    if array.dtype.kind not in "iuf":
        raise AudioError(f"samples of type {array.dtype} are no audio; give integers or floats")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is met as such later
        samples = array.astype(np.float32)
    if array.dtype.kind == "f":
        return samples
    half = np.float32(2.0 ** (8 * array.dtype.itemsize - 1))
    return (samples - half if array.dtype.kind == "u" else samples) / half


def mixdown(block: Block) -> Samples:
    """The mean of the channels: (frames, channels) -> (frames,)."""
    mono: Samples = block[:, 0].copy()
    for channel in range(1, block.shape[1]):  # one by one: the order in which np.mean adds depends on memory layout
        mono += block[:, channel]
    return mono / np.float32(block.shape[1])


class Resampler:
    """One stream brought to 16 kHz by soxr at its HQ quality, piece by piece.

    However the stream is cut, the output is bit for bit that of `soxr.resample` on the whole of it (a test holds
    this); what is at 16 kHz already passes untouched.  sample_rate: Hz, of the stream.
    """

    def __init__(self, sample_rate: float) -> None:
        same = sample_rate == SAMPLE_RATE
        self._stream = None if same else soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, "float32", "HQ")

    def push(self, samples: Samples) -> Samples:
        """Take the next piece; return what is finished, which lags by half the filter's length."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> Samples:
        """The stream has ended: return the rest."""
        rest = np.zeros(0, np.float32)
        return rest if self._stream is None else self._stream.resample_chunk(rest, last=True)


def frame_bytes(encoding: str, channels: int) -> int:
    """The size of a frame, one sample of every channel.  Raises `AudioError` for an unknown encoding."""
    if encoding not in ENCODINGS:
        raise AudioError(f"unknown encoding {encoding!r}; the known ones are {', '.join(ENCODINGS)}")
    return ENCODINGS[encoding] * channels


def decode_pcm(data: bytes, encoding: str, channels: int) -> Block:
    """Raw PCM, channels interleaved, as a block.  Raises `AudioError` unless it is a whole number of frames."""
    if len(data) % frame_bytes(encoding, channels):
        raise AudioError(f"{len(data)} bytes are no whole number of {encoding} frames of {channels} channels")
    if encoding == "mulaw":
        samples = _mulaw()[np.frombuffer(data, np.uint8)]
    else:
        samples = to_float(np.frombuffer(data, "<i2" if encoding == "s16le" else "<f4"))
    return samples.reshape(-1, channels)


@cache
def _mulaw() -> NDArray[np.float32]:
    """The value of each byte (ITU-T G.711): all bits inverted, 1 of sign, 3 of exponent, 4 of mantissa."""
    code = 255 - np.arange(256)
    magnitude = (((code & 15) * 8 + 132) << (code >> 4 & 7)) - 132
    return to_float(np.where(code & 128, -magnitude, magnitude).astype(np.int16))
