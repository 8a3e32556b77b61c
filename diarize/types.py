"""What flows between the stages: frozen values, NumPy only.

Time inside the package is an integer sample position at 16 kHz, counted from the start of the stream.
Seconds are made once, by division, at the edge (RTTM, JSON, a screen): no rounding error can accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(eq=False)
class Held:
    """Audio that a stage keeps because it will need it again: samples from position `start` on.

    The state of a stage holds audio in this type and no other, so that a state can be kept on disk without any voice
    in it, and be given its audio back.
    """

    start: int = 0
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self.start + len(self.samples)

    def append(self, samples: Samples) -> None:
        """More audio has come."""
        self.samples = np.concatenate((self.samples, samples))

    def cut(self, start: int, end: int) -> Samples:
        """A copy of the audio in [start, end)."""
        return self.samples[start - self.start : end - self.start].copy()

    def forget(self, before: int) -> None:
        """Let go of what lies before this position."""
        if before > self.start:
            self.samples = self.samples[before - self.start :].copy()
            self.start = before


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
    """What is embedded at once: the time [start, end), when in it one voice talks, and how that voice sounds.

    speech: the intervals, inside [start, end), in which this voice talks.
    group: windows of the same group are different voices at the same time (cannot-link).
    samples: what the voice is embedded from, float32: the audio [start, end), or that of nearby where it is alone.
    provisional: the window is still growing, and is embedded now so that what is shown live keeps its latency; the next
        windows of its group take its place.
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    samples: Samples
    provisional: bool = False


@dataclass(frozen=True, eq=False)
class EmbeddingWindow:
    """A window after the network: its embedding in place of its samples.

    embedding: shape (dimensions,), float32, unit norm.
    quality: in (0, 1], how much of what the network heard was distinct speech of this voice.
    person: who talks in it for certain, said by hand; None where nobody has said.
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    embedding: NDArray[np.float32]
    quality: float
    provisional: bool = False
    person: str | None = None


@dataclass(frozen=True)
class SpeakerWindow:
    """A window after clustering: who talks in it.

    speaker: the cluster's number, from 0 in order of first appearance.
    confidence: in 0..1, how much nearer this speaker is than the next one (see `clustering.offline`).
    distances: cosine distance to the mean voice of every speaker, by number; infinite to a number that nobody has, and
        empty while the stream is live.
    provisional: the window was still growing; it counts until another of its group, or the end, comes.
    person: who talks in it for certain, said by hand; nobody else's windows have this speaker's number.
    voice: while the stream is live, its place among the windows of its group, under which it is said again.
    """

    start: int
    end: int
    speech: tuple[Interval, ...]
    group: int
    speaker: int
    confidence: float
    provisional: bool = False
    distances: tuple[float, ...] = ()
    person: str | None = None
    voice: int = 0


@dataclass(frozen=True)
class Clock:
    """So much of the stream has been heard: what the front stages say of it has come before this.

    settled: before it they have said everything for good; what is provisional there does not hold any more.
    """

    position: int
    settled: int = 0


@dataclass(frozen=True)
class Merge:
    """The user says that two speakers, by their numbers, are one person."""

    speaker: int
    into: int


@dataclass(frozen=True)
class Identity:
    """Which enrolled person a speaker was found to be, and why.

    name: None where nobody enrolled is sure enough: the speaker is unknown.
    score: similarity to `name`, of an unknown speaker to the nearest person; runner_up: the next person's name and
        score, or None.
    """

    name: str | None
    score: float
    runner_up: tuple[str, float] | None
    reason: str


@dataclass(frozen=True)
class Named:
    """The newest word on who a speaker, given by number, is; it holds for all that they have said and will say."""

    speaker: int
    identity: Identity


@dataclass(frozen=True)
class TurnUpdate:
    """The newest word on one turn.

    A consumer that keeps the newest update of each `id` always holds the best current answer; after `flush()` it
    holds the final one.

    speaker: the label, or None when the turn is withdrawn.
    identity: who that is among the enrolled people, who may be nobody; None where nobody has been asked, or not yet.
    confidence: in 0..1.
    final: no further update of this id will come.
    distance: cosine distance to the mean voice of the speaker, or None while the stream is live.
    second: the label of the nearest other speaker and the distance to them, or None where there is none.
    """

    id: int
    start: int
    end: int
    speaker: str | None
    identity: Identity | None
    confidence: float
    final: bool
    distance: float | None = None
    second: tuple[str, float] | None = None

    @property
    def name(self) -> str | None:
        """What the speaker is called: by the name where there is one, else by the label; None when withdrawn."""
        return self.identity.name if self.identity is not None and self.identity.name is not None else self.speaker
