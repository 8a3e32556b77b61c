"""Audio in which it is written who talks, and a segmentation network that reads it: one that makes no mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diarize.powerset import CLASSES, VOICES
from diarize.rttm import Turn, read_rttm
from diarize.stage import Stage
from diarize.types import AudioChunk, Samples, SpeechChunk
from tests.command import SAMPLE, conversation

FRAME = 320
_WHOLE, _PARTS = 2**15, 32
"""What is written lies below the steps of 16-bit audio: nobody hears it."""


def written(samples: Samples, people: Sequence[int] | NDArray[np.int64]) -> Samples:
    """The audio with who talks written into the first sample of each frame.

    people: of each frame, their numbers as bits, up to five.
    """
    out = samples.copy()
    out[::FRAME] = np.floor(out[::FRAME] * _WHOLE) / _WHOLE + np.array(people) / (_WHOLE * _PARTS)
    return out


def conversation_of_several(seconds: float) -> Samples:
    """The beginning of the sample conversation, with who talks written into it; now and then two talk at once."""
    samples = conversation(seconds)
    turns: list[Turn] = read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"]
    people = np.zeros(-(-len(samples) // FRAME), np.int64)
    for number, speaker in enumerate(dict.fromkeys(turn.speaker for turn in turns)):
        for turn in turns:
            if turn.speaker == speaker:
                people[turn.start // FRAME : turn.end // FRAME] |= 1 << number
    return written(samples, people)


class Deaf(Stage[AudioChunk, SpeechChunk]):
    """A detector that finds no speech: whoever talks, the network has found."""

    state: None = None

    def push(self, item: AudioChunk, /) -> list[SpeechChunk]:  # noqa: ARG002 - a stage's own signature
        return []

    def flush(self) -> list[SpeechChunk]:
        return []


@dataclass(frozen=True)
class Reader:
    """Reads who talks; its voices are the last three that it meets, so their numbers change from look to look.

    fingerprint: as of a network's weights.
    hasty: frames; so many at the end of what it hears it takes for one of the voices', until it hears what follows.
    """

    length: int = 160_000
    frame: int = FRAME
    fingerprint: str = "reader"
    hasty: int = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        parts = samples[:: self.frame].astype(np.float64) * _WHOLE
        people = np.rint((parts - np.floor(parts)) * _PARTS).astype(np.int64)
        bits = people[:, None] >> np.arange(5) & 1
        here = np.flatnonzero(bits.any(axis=0))
        voices = here[np.argsort(bits[::-1].argmax(axis=0)[here], kind="stable")][:VOICES]
        talks = np.zeros((len(people), VOICES), np.bool_)
        talks[:, : len(voices)] = bits[:, voices]
        if self.hasty:
            talks[-self.hasty :, 0] = True
        classes = [CLASSES.index(tuple(np.flatnonzero(row)[:2].tolist())) for row in talks]
        return np.eye(len(CLASSES), dtype=np.float32)[classes]
