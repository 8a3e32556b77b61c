"""Causal level control: what a speech detector hears is brought near one level; what is diarized stays as it was.

Meetings are recorded at -30 to -50 dBFS, and a detector trained on louder speech misses a quiet voice.  The level of
speech is followed from frame to frame (fast up, slowly down), so the gain at any moment depends on what has been
heard and on nothing to come: a live stream and a file are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log10

import numpy as np

from diarize.types import SAMPLE_RATE, Samples

SILENCE = -100.0
"""dBFS given to digital silence."""

ATTACK = 0.05
"""Seconds in which the level comes 63 % nearer to a louder frame: a click is over before, a syllable is not."""

RELEASE = 3.0
"""dB per second by which the level falls while speech may be quieter: a quiet voice may answer a loud one."""

NOISE_RISE = 1.0
"""dB per second by which the noise floor rises between two pauses."""


@dataclass(frozen=True)
class Levels:
    """What has been heard so far.

    speech, noise: the levels of speech and of the pauses between words, dBFS (root mean square of a frame).
    gain: the gain at the end of the last frame, dB.
    """

    speech: float
    noise: float
    gain: float


def start(target: float) -> Levels:
    """Before anything is heard: speech is taken to be at the target level, so the first gain is 0 dB."""
    return Levels(speech=target, noise=target, gain=0.0)


def control(frames: Samples, levels: Levels, target: float, max_gain: float, headroom: float) -> tuple[Samples, Levels]:
    """Frames that follow each other, shape (n, samples), as the detector is to hear them, and the levels after them.

    The gain runs linearly across a frame.
    target: the level that speech is brought to, dBFS.
    max_gain: the most a frame is amplified or turned down, dB.
    headroom: speech is taken to be this far above the noise floor, dB: what is not tells nothing of its level, so
      that in a long silence the noise does not grow to the level of speech.
    """
    samples = frames.shape[1]
    duration = samples / SAMPLE_RATE
    gains = [levels.gain]
    for power in np.square(frames).mean(axis=1).tolist():
        loudness = max(10 * log10(power), SILENCE) if power > 0 else SILENCE
        noise = min(loudness, levels.noise + NOISE_RISE * duration)
        if loudness > levels.speech:
            speech = levels.speech + (loudness - levels.speech) * (1 - exp(-duration / ATTACK))
        elif loudness > noise + headroom:
            speech = max(loudness, levels.speech - RELEASE * duration)
        else:
            speech = max(levels.speech, noise + headroom)
        levels = Levels(speech, noise, min(max(target - speech, -max_gain), max_gain))
        gains.append(levels.gain)
    factors = np.array([10 ** (gain / 20) for gain in gains])
    ramps = np.arange(1, samples + 1, dtype=np.float32) * (np.diff(factors)[:, None] / samples).astype(np.float32)
    ramps += factors[:-1, None].astype(np.float32)
    return frames * ramps, levels
