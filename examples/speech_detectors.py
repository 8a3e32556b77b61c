"""Speech detectors at their best: what a VAD's network says of a recording, once, and then speech by any hysteresis.

Trying hundreds of settings with the stage itself would listen hundreds of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import runs
from diarize.metrics import Errors
from diarize.types import AudioChunk, Interval, Samples, position
from diarize.vad import SpeechDetector, VadConfig, VoiceActivityDetection, load_detector

DETECTORS = ("silero", "webrtc")

ONSETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
OFFSETS = (0.5, 0.75, 1.0)
"""Of the onset."""
MIN_ONS = (0.0, 0.1, 0.25, 0.5)
MIN_OFFS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)

SMOOTHING = {"silero": 0.0, "webrtc": 0.24}
"""Seconds: what `VadConfig.smoothing` is unless told."""

Config = TypeVar("Config")


@dataclass(frozen=True, eq=False)
class Heard:
    """What a detector said of one recording.

    probabilities: of speech, shape (frames,).  frame, end: the length of a frame and of the recording, in samples.
    """

    probabilities: NDArray[np.float64]
    frame: int
    end: int


class Noted:
    """A detector whose answers are written down."""

    def __init__(self, detector: SpeechDetector) -> None:
        self.detector = detector
        self.frame = detector.frame
        self.said: list[float] = []

    def start(self) -> Any:
        """The state before the first frame."""
        return self.detector.start()

    def __call__(self, frames: Samples, state: Any) -> tuple[NDArray[np.float64], Any]:
        """What the detector says."""
        probabilities, state = self.detector(frames, state)
        self.said += probabilities.tolist()
        return probabilities, state


def hear(name: str, samples: Samples) -> Heard:
    """A recording heard by one of the detectors of `VadConfig`, with level control as by default."""
    noted = Noted(load_detector(VadConfig(name)))
    stage = VoiceActivityDetection(VadConfig(name), noted)
    stage.push(AudioChunk(0, samples))
    stage.flush()
    return Heard(np.array(noted.said), noted.frame, len(samples))


def speech(heard: Heard, config: VadConfig) -> list[Interval]:
    """The stretches that `VoiceActivityDetection` would find."""
    active = hysteresis(smoothed(heard, config), config.onset, config.offset)
    pad = position(config.pad)
    found: list[Interval] = []
    for start, end in runs(active, heard.frame):
        if found and start - found[-1][1] < position(config.min_off) + 2 * pad:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    inside = [(start, min(end, heard.end)) for start, end in found]
    return [
        (max(start - pad, 0), min(end + pad, heard.end))
        for start, end in inside
        if end - start >= position(config.min_on)
    ]


def smoothed(heard: Heard, config: VadConfig) -> NDArray[np.float64]:
    """The probabilities averaged over the frames around each."""
    seconds = SMOOTHING[config.name] if config.smoothing is None else config.smoothing
    width = max(1, round(position(seconds) / heard.frame))
    if width == 1:
        return heard.probabilities
    passed = np.concatenate([[0.0], np.cumsum(heard.probabilities)])
    at = np.arange(len(heard.probabilities))
    first, last = (at - (width - 1) // 2).clip(0), (at + width // 2 + 1).clip(max=len(at))
    return np.asarray((passed[last] - passed[first]) / (last - first))


def hysteresis(probabilities: NDArray[np.float64], onset: float, offset: float) -> NDArray[np.bool_]:
    """On from where the onset is reached until it is below the offset, shape (frames,)."""
    clear = (probabilities >= onset) | (probabilities < offset)
    latest = np.maximum.accumulate(np.where(clear, np.arange(len(clear)), -1))
    return np.asarray((latest >= 0) & (probabilities[latest] >= onset))


def grid(config: Config) -> list[Config]:
    """A detector's settings at every onset, offset, `min_on` and `min_off`."""
    return [
        replace(config, onset=onset, offset=round(onset * share, 4), min_on=min_on, min_off=min_off)  # type: ignore[type-var]  # a dataclass with these four
        for onset, share, min_on, min_off in product(ONSETS, OFFSETS, MIN_ONS, MIN_OFFS)
    ]


def wrong(errors: Errors) -> float:
    """Seconds missed and found too much."""
    return errors.miss_s + errors.false_alarm_s + errors.confusion_s


def least(settings: Sequence[Config], errors: Sequence[Sequence[Errors]]) -> Config:
    """The setting with the least pooled errors, the first of equals.

    errors: of each recording with each setting.
    """
    pooled = [sum(wrong(one) for one in ones) for ones in zip(*errors, strict=True)]
    return settings[pooled.index(min(pooled))]


def named(config: Any) -> str:
    """What was tuned, in words."""
    return ", ".join(f"{name} {getattr(config, name):g}" for name in ("onset", "offset", "min_on", "min_off"))
