"""What flows between the stages: frozen values, NumPy only.

Time inside the package is an integer sample position at 16 kHz, counted from the start of the stream.
Seconds are made once, by division, at the edge (RTTM, JSON, a screen): no rounding error can accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz.  Every position and every array of samples inside the package is at this rate."""

Samples = NDArray[np.float32]
"""Mono audio at `SAMPLE_RATE`, shape (samples,), full scale -1..1."""

Interval = tuple[int, int]
"""A half-open stretch of time [start, end) in sample positions."""


def seconds(position: int) -> float:
    """The time of a sample position, in seconds."""
    return position / SAMPLE_RATE


def position(seconds: float) -> int:
    """The sample position nearest to a time in seconds."""
    return round(seconds * SAMPLE_RATE)


@dataclass(frozen=True, eq=False)
class AudioChunk:
    """A piece of the audio, of any length; chunks follow each other without gap or overlap.

    position: of the first sample.
    samples: shape (samples,), float32.
    """

    position: int
    samples: Samples


@dataclass(frozen=True, eq=False)
class SpeechChunk:
    """A piece of one stretch of speech.

    A stretch comes in pieces, so that a monologue can be labelled before it ends: its pieces follow each other
    without gap, and the last one has `closes` set (and may be empty).
    """

    position: int
    samples: Samples
    closes: bool


@dataclass(frozen=True, eq=False)
class SpeechWindow:
    """What is embedded at once: audio [start, end) and the part of it in which one voice talks.

    speech: the intervals, inside [start, end), in which this voice talks.
    group: windows of the same group are different voices at the same time (cannot-link).
    samples: shape (end - start,), float32.
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    samples: Samples


@dataclass(frozen=True, eq=False)
class EmbeddingWindow:
    """A window after the network: its embedding in place of its samples.

    embedding: shape (dimensions,), float32, unit norm.
    quality: in (0, 1], how much of what the network heard was distinct speech of this voice.
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    embedding: NDArray[np.float32]
    quality: float


@dataclass(frozen=True)
class SpeakerWindow:
    """A window after clustering: who talks in it.

    speaker: the cluster's number, from 0 in order of first appearance.
    confidence: in 0..1, how much nearer this speaker is than the next one (see `clustering.offline`).
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    speaker: int
    confidence: float


@dataclass(frozen=True)
class Identity:
    """Which enrolled person a speaker was found to be, and why.

    score: similarity to `name`; runner_up: the next person's name and score, or None.
    """

    name: str
    score: float
    runner_up: tuple[str, float] | None
    reason: str


@dataclass(frozen=True)
class TurnUpdate:
    """The newest word on one turn.

    A consumer that keeps the newest update of each `id` always holds the best current answer; after `flush()` it
    holds the final one.

    speaker: the label, or None when the turn is withdrawn.
    identity: the enrolled person, or None when unknown.
    confidence: in 0..1.
    final: no further update of this id will come.
    """

    id: int
    start: int
    end: int
    speaker: str | None
    identity: Identity | None
    confidence: float
    final: bool
