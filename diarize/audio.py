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
Pcm = NDArray[np.int16]

ENCODINGS = {"s16le": 2, "f32le": 4, "mulaw": 1}
"""Raw PCM: 16-bit little endian, 32-bit float little endian, G.711 mu-law; with the bytes of a sample."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Hz.  A rate outside is a broken header, not audio."""

MOST_CHANNELS = 1_024
"""What libsndfile reads at most.  More are an array lying on its side."""

SECTION, LEAD_IN = 10, 1
"""What one soxr stream of a `Resampler` serves, and how much sooner it begins, in seconds.  Whole ones: both rates have
a sample there.  soxr's filter reaches less far than the lead-in: 0.46 s at 1,000 Hz, 0.08 s from 8,000 Hz on."""

_ENDLESS = 10**9

_LOUDEST = 1e10
"""Beyond it, samples are no numbers: float files at the scale of 32-bit integers stay below."""


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


def to_pcm(samples: NDArray[np.float32]) -> Pcm:
    """Samples rounded to 16 bits, which `to_float` takes back; what is beyond full scale is clipped."""
    pcm: Pcm = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    return pcm


def mixdown(block: Block) -> Samples:
    """The mean of the channels: (frames, channels) -> (frames,)."""
    mono: Samples = block[:, 0].copy()
    for channel in range(1, block.shape[1]):  # one by one: the order in which np.mean adds depends on memory layout
        mono += block[:, channel]
    return mono / np.float32(block.shape[1])


def mended(block: Block) -> tuple[Block, bool]:
    """The block with silence in place of what is no number, and whether there was any: NaN, infinite, beyond 1e10."""
    sound = np.abs(block) < _LOUDEST  # false for NaN
    return np.where(sound, block, np.float32(0)), not sound.all()


def first_frame(sample_rate: float, position: int) -> int:
    """The frame from which on the source is needed for a `Resampler(sample_rate, position)`.

    It is 1 to 11 s before the position or the start of the source; at 16 kHz the position itself; and always the start
    at a rate that is no whole number of Hz.  Frames that are not needed now are never needed for a later position.

    sample_rate: Hz, of the source.
    position: at 16 kHz.  Raises `ValueError` below 0.
    """
    if position < 0:
        raise ValueError(f"position {position} lies before the audio; give 0 or later")
    return position if sample_rate == SAMPLE_RATE else round(_section(sample_rate, position)[0] * sample_rate)


def _section(sample_rate: float, position: int) -> tuple[int, int]:
    """When the stream begins that gives this output, and when the section ends that it serves, in seconds."""
    length = SECTION if float(sample_rate).is_integer() else _ENDLESS
    start = position // (length * SAMPLE_RATE) * length
    return max(0, start - LEAD_IN), start + length


class Resampler:
    """One stream brought to 16 kHz by soxr at its HQ quality, piece by piece, however it is cut.

    The state of a soxr stream cannot be saved, and a stream begun elsewhere rounds otherwise.  So each section of 10 s
    has a stream of its own, begun 1 s early: a sample depends on its position and the source alone, and a resampler
    begun in the middle goes on, bit for bit, as one that has heard everything.  As many samples come as from
    `soxr.resample` on the whole, equal in the first section and within rounding (1e-6 of full scale) after it.  Only
    at rates that have hardly a divisor in common with 16 kHz do they part, as soxr's clock drifts there: 4e-4 for a
    tone of 3 kHz after ten minutes at 47,999 Hz, of which sections leave 7e-6.  What is at 16 kHz passes untouched.

    sample_rate: Hz, of the source.
    position: of the first output, at 16 kHz; what is pushed must begin at `first_frame` of it.  Raises `ValueError`
        below 0.
    """

    def __init__(self, sample_rate: float, position: int = 0) -> None:
        first_frame(sample_rate, position)  # refuses a position before the audio
        self._rate = sample_rate
        self._position = position
        if sample_rate != SAMPLE_RATE:
            self._begin()

    @property
    def restartable(self) -> bool:
        """Whether one may begin in the middle: where the rate is a whole number of Hz.

        At another the samples of both rates do not meet at whole seconds; one stream serves it from the start.
        """
        return float(self._rate).is_integer()

    def push(self, samples: Samples) -> Samples:
        """Take the next piece; return what is finished, which lags by at most 0.12 s from 8,000 Hz on (measured)."""
        if self._rate == SAMPLE_RATE:
            return samples
        found = [np.zeros(0, np.float32)]
        while len(samples):
            # beyond its section a stream needs little, and what it gives there is dropped: small steps
            size = max(self._end_frame - self._frame, round(self._rate / 20))
            found.append(self._feed(samples[:size]))
            samples = samples[size:]
        return np.concatenate(found)

    def flush(self) -> Samples:
        """The stream has ended: return the rest."""
        rest = np.zeros(0, np.float32)
        return rest if self._rate == SAMPLE_RATE else self._feed(rest, last=True)

    def _begin(self) -> None:
        """Begin the stream of the section that the next output lies in."""
        begin, end = _section(self._rate, self._position)
        self._stream = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, "float32", "HQ")
        self._frame = first_frame(self._rate, self._position)  # the next that it hears
        self._given = begin * SAMPLE_RATE  # the position of the next that it gives
        self._end, self._end_frame = end * SAMPLE_RATE, round(end * self._rate)
        self._next_frame = first_frame(self._rate, self._end)  # the first that the next section's stream must hear
        self._heard = bytearray()  # from there on: copied, as a caller may fill its array anew

    def _feed(self, piece: Samples, last: bool = False) -> Samples:
        given: Samples = self._stream.resample_chunk(piece, last)
        wanted = given[max(0, self._position - self._given) : max(0, self._end - self._given)]
        if self._frame + len(piece) > self._next_frame:
            self._heard += piece[max(0, self._next_frame - self._frame) :].tobytes()
        self._frame += len(piece)
        self._given += len(given)
        self._position += len(wanted)
        if self._position < self._end:
            return wanted
        heard = np.frombuffer(self._heard, np.float32)
        self._begin()
        return np.concatenate([wanted, self._feed(heard, last)])


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
