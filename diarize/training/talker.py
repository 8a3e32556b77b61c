"""One voice that can talk for any length of time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from diarize.training.heard import FRAME, frame_levels, intervals, voice_activity
from diarize.training.recording import rms
from diarize.training.speech import Voice, read_audio
from diarize.types import SAMPLE_RATE, Samples

LEVEL = 0.05
"""RMS of a talker while heard: -26 dBFS, the nominal speech level of ITU-T P.56."""

_PAD = 5  # frames kept on each side of what is heard: the onset of a plosive, the end of a breath
_SEARCH = 30  # frames around a turn's end in which the best place to stop is looked for
_SHORTEST = 15  # frames: less is not a word
_RUMBLE = 80  # Hz: below every voice
_GAP = 10.0  # frames: the mean silence put between two pieces; with the pads, one in eight becomes a pause of the turn
_LONGEST_GAP = 100


class Talker:
    """A voice's utterances, one after the other in drawn order, without the long silences: an endless stream.

    Every utterance is brought to `LEVEL`.  Its noise goes with its silences, so that only the voice is left to tell
    talkers apart.  When all is said, the utterances are drawn again in another order.
    """

    def __init__(self, voice: Voice, rng: np.random.Generator) -> None:
        self.voice = voice
        self._rng = rng
        self._pieces = self._endless()
        self._samples: Samples = np.zeros(0, dtype=np.float32)
        self._active = np.zeros(0, dtype=bool)

    def say(self, frames: int, at_most: int) -> tuple[Samples, NDArray[np.bool_]]:
        """The next stretch of about `frames` frames and no more than `at_most`, ended at the softest place nearby.

        Returns the samples, shape (n * FRAME,), and which frames are heard, shape (n,).
        """
        begin = self._listen(frames + _SEARCH)
        reach = min(_SEARCH, frames // 3)
        first, last = frames - reach, min(frames + reach, at_most)
        levels = frame_levels(self._samples[begin * FRAME : (begin + last) * FRAME])
        stop = begin + (first + int(np.argmin(levels[first:])) if first < last else last)
        samples, active = self._samples[begin * FRAME : stop * FRAME].copy(), self._active[begin:stop].copy()
        self._samples, self._active = self._samples[stop * FRAME :], self._active[stop:]
        _fade(samples, FRAME)
        return samples, active

    def _listen(self, frames: int) -> int:
        """Hold at least `frames` frames from the next heard one on; return where that is."""
        while True:
            heard = np.flatnonzero(self._active)
            if heard.size and len(self._active) - heard[0] >= frames:
                return max(0, int(heard[0]) - 1)
            samples, active = next(self._pieces)
            self._samples = np.concatenate([self._samples, samples])
            self._active = np.concatenate([self._active, active])

    def _endless(self) -> Iterator[tuple[Samples, NDArray[np.bool_]]]:
        while True:
            said = False
            for index in self._rng.permutation(len(self.voice.files)):
                for samples, active in _pieces_of(self.voice.files[index]):
                    gap = min(_LONGEST_GAP, int(self._rng.exponential(_GAP)))
                    yield np.pad(samples, (0, gap * FRAME)), np.pad(active, (0, gap))
                    said = True
            if not said:
                raise ValueError(f"{self.voice.name}: nothing is heard in any of its {len(self.voice.files)} files")


@lru_cache(maxsize=4096)  # of some seconds each: a gigabyte at most, for whoever simulates hour after hour
def _pieces_of(file: Path) -> list[tuple[Samples, NDArray[np.bool_]]]:
    return utterance_pieces(read_audio(file))


def utterance_pieces(samples: Samples) -> list[tuple[Samples, NDArray[np.bool_]]]:
    """The pieces of an utterance between its long pauses, at `LEVEL`: samples and which frames are heard.

    Wind and steps are taken out first: in some recordings they are as loud as the voice.
    """
    if len(samples) < _SHORTEST * FRAME:
        return []
    highpass = butter(2, _RUMBLE, "highpass", fs=SAMPLE_RATE, output="sos")
    samples = np.asarray(sosfiltfilt(highpass, samples), dtype=np.float32)
    active = voice_activity(samples)
    samples = samples[: len(active) * FRAME]
    heard = np.repeat(active, FRAME)
    if not heard.any():
        return []
    samples = samples * np.float32(LEVEL / rms(samples[heard]))
    pieces = []
    for start, end in intervals(active):
        if end - start < _SHORTEST:
            continue
        start, end = max(0, start - _PAD), min(len(active), end + _PAD)
        piece = samples[start * FRAME : end * FRAME].copy()
        _fade(piece, _PAD * FRAME)
        pieces.append((piece, active[start:end]))
    return pieces


def _fade(samples: Samples, length: int) -> None:
    """Fade in and out, in place."""
    length = min(length, len(samples) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, length, dtype=np.float32)) ** 2
    samples[:length] *= ramp
    samples[len(samples) - length :] *= ramp[::-1]
