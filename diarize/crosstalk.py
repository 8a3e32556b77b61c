"""Cross-talk: a voice that leaks from one channel of a call into another is counted on its own channel alone.

On a channel with its own microphone a person is loud, and what leaks in from the others is soft.  Channels are recorded
at different gains, so the level of each is taken relative to its own loudest speech: where another channel talks and
this one, in its own measure, is much softer, it is the other's voice that is heard.  Where both talk at once, each is
loud in its own measure, and both stay.

How loud a channel can get is known only when the person there has spoken, and a listener may be silent for minutes; so,
like clustering, this is decided at the end.  Until then 50 numbers a second are kept of each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, AudioChunk, EmbeddingWindow, Held, Interval, position

Powers = NDArray[np.float32]
"""The mean square of each frame, shape (frames,), or (channels, frames)."""

Mask = NDArray[np.bool_]
"""A yes or no for each frame of each channel, shape (channels, frames)."""

FRAME = position(0.02)
"""The length of a frame in samples."""

_SECOND = SAMPLE_RATE // FRAME

_AROUND = round(0.4 * _SECOND)
"""Frames over which levels are averaged, so that pauses between syllables, and an echo's delay, do not count."""

_LOUDEST = 0.01
"""The share of a channel's speech, but at least a second, that is louder than what is called its loud speech."""

_ALONE = 0.9
"""Of the softer of two channels that hold one voice, so much of the speech has the other's level, and at its time."""

_LEAST = 0.5
"""The share of a window's speech that must be left: in less, too much of the other voice was heard to tell by it."""


@dataclass(frozen=True)
class CrosstalkConfig:
    """How a voice is known that leaks from one channel into another.

    threshold: dB, 0..60; speech that is softer than another channel's by more than this, each relative to the loud
        speech of its own channel, is the other's.  0 switches it off: what leaks is counted on both.

    The default has the least strict DER on simulated calls that leak at -10 to -40 dB; 7 and 9 do nearly as well.
    """

    threshold: float = 8.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 60:
            raise ValueError(f"crosstalk.threshold is {self.threshold} dB: give 0 to 60")


@dataclass
class LoudnessState:
    """The samples of the frame that is not full yet."""

    audio: Held = field(default_factory=Held)


class Loudness(Stage[AudioChunk, Powers]):
    """From the audio of a channel to the power of its frames, as many as are full."""

    state: LoudnessState

    def __init__(self) -> None:
        self.state = LoudnessState()

    def push(self, item: AudioChunk, /) -> list[Powers]:
        audio = self.state.audio
        audio.append(item.samples)
        full = len(audio.samples) // FRAME
        frames = audio.samples[: full * FRAME].reshape(full, FRAME)
        audio.forget(audio.start + full * FRAME)
        return [np.square(frames).mean(axis=1)] if full else []

    def flush(self) -> list[Powers]:
        rest = self.state.audio.samples
        return [np.square(rest).mean(keepdims=True)] if len(rest) else []


def own_voices(
    channels: Sequence[Sequence[EmbeddingWindow]], powers: Powers, config: CrosstalkConfig
) -> tuple[tuple[EmbeddingWindow, ...], ...]:
    """The windows of each channel without what leaks in from the others.

    channels: the windows of each channel.
    powers: of their frames from the start on, shape (channels, frames).
    What leaks in is cut out of `speech`; a window that has less than half left is dropped.
    """
    if len(channels) < 2 or config.threshold == 0:
        return tuple(map(tuple, channels))
    talking = np.stack([_frames(windows, powers.shape[1]) for windows in channels])
    leaks = leaking(powers, talking, config.threshold)
    return tuple(tuple(_without(windows, leak)) for windows, leak in zip(channels, leaks, strict=True))


def leaking(powers: Powers, talking: Mask, threshold: float) -> Mask:
    """Where the speech of a channel is another's.

    powers: shape (channels, frames).
    talking: where speech is heard on each channel.
    threshold: dB; see `CrosstalkConfig`.
    Returns a mask within `talking`.  Where two channels hold one voice, all of it is on the louder, or the first.
    """
    levels = np.stack([_level(power) for power in powers])
    loud = np.array([_loud(level, heard) for level, heard in zip(levels, talking, strict=True)])
    levels -= loud[:, None]
    leaks = np.zeros_like(talking)
    order = np.argsort(-loud, kind="stable")  # of one voice on two channels, the louder is where it is
    for louder, softer in combinations(order, 2):
        both = talking[softer] & talking[louder]
        behind = levels[louder] - levels[softer]
        if _one_voice(behind[both], talking[softer], threshold):
            leaks[softer] |= both & (behind > -threshold)
        else:
            leaks[softer] |= both & (behind > threshold)
            leaks[louder] |= both & (behind < -threshold)
    return leaks


def _one_voice(behind: NDArray[np.float64], heard: NDArray[np.bool_], threshold: float) -> bool:
    """Whether a channel only ever has another's voice: its speech lies in the other's and rises and falls with it."""
    close = int(np.count_nonzero(np.abs(behind) <= threshold))
    return close >= _ALONE * max(1, int(np.count_nonzero(heard)))


def _level(power: Powers) -> NDArray[np.float64]:
    """In dB, averaged around each frame."""
    smooth = np.convolve(power, np.ones(_AROUND) / _AROUND)[_AROUND // 2 :][: len(power)]
    return 10 * np.log10(smooth + 1e-10)


def _loud(levels: NDArray[np.float64], heard: NDArray[np.bool_]) -> float:
    """The level that the loudest speech of a channel exceeds, dB; any, where there is no speech."""
    speech = np.sort(levels[heard])
    return float(speech[-min(len(speech), max(_SECOND, round(_LOUDEST * len(speech))))]) if len(speech) else 0.0


def _frames(windows: Sequence[EmbeddingWindow], length: int) -> NDArray[np.bool_]:
    talking = np.zeros(length, bool)
    for window in windows:
        for start, end in window.speech:
            talking[start // FRAME : -(-end // FRAME)] = True
    return talking


def _without(windows: Sequence[EmbeddingWindow], leak: NDArray[np.bool_]) -> list[EmbeddingWindow]:
    kept = []
    for window in windows:
        speech = tuple(own for interval in window.speech for own in _parts(interval, leak))
        spoken, left = (sum(end - start for start, end in parts) for parts in (window.speech, speech))
        if left >= _LEAST * spoken:
            kept.append(replace(window, speech=speech, quality=window.quality * left / spoken))
    return kept


def _parts(interval: Interval, leak: NDArray[np.bool_]) -> list[Interval]:
    """What of an interval does not leak in."""
    first, last = interval[0] // FRAME, -(-interval[1] // FRAME)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], leak[first:last], [True]]))) + first
    return [
        (max(interval[0], int(start) * FRAME), min(interval[1], int(end) * FRAME))
        for start, end in edges.reshape(-1, 2)
    ]
