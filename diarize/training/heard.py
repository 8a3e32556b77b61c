"""When a clean, close recording of one voice is heard: the reference of simulated conversations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

from diarize.types import SAMPLE_RATE, Interval, Samples

FRAME = SAMPLE_RATE // 100
"""Samples between two decisions: 10 ms."""

PAUSE = 30
"""Frames: a longer silence splits a turn (0.3 s); a shorter one is part of it."""

_SMOOTHING = 3  # frames in a level: 30 ms holds two periods of the lowest voices
_CLICK = 7  # frames: what is loud for less than half of these is a click of the mouth or the desk
_RANGE = 32.0  # dB below the voice's level at which its softest consonants lie
_ABOVE_FLOOR = 9.0  # dB above the recording's own noise that a voice must be
_PERIODS = 4 * FRAME  # samples: two periods of the lowest voice
_PITCH = (70, 500)  # Hz
_PERIODIC = 0.5  # of the windowed autocorrelation's origin
_VOICED = 3  # frames: a shorter vowel is none
_BESIDE = 20  # frames between a consonant and its vowel
_CERTAIN = 16.0  # dB below the voice's level at which it is heard, however the noise is estimated


def frame_levels(samples: Samples) -> NDArray[np.float64]:
    """The level of each 10 ms frame over the 30 ms around it, dBFS, shape (samples // FRAME,)."""
    frames = len(samples) // FRAME
    power = np.square(samples[: frames * FRAME].reshape(frames, FRAME), dtype=np.float64).mean(axis=1)
    return 10 * np.log10(uniform_filter1d(power, _SMOOTHING, mode="constant") + 1e-12)


def voice_activity(samples: Samples) -> NDArray[np.bool_]:
    """Whether the voice is heard in each 10 ms frame of its own clean recording, shape (samples // FRAME,).

    Energy against a threshold that follows the recording: a fixed range below the voice's level (its 95th percentile),
    but above the noise of the recording (its 5th percentile), since the sets differ by 20 dB in noise.  Breaths and
    knocks are loud too: what is not voiced, nor near what is, is left out.
    """
    levels = frame_levels(samples)
    if levels.size == 0 or levels.max() <= -100:
        return np.zeros(levels.size, dtype=bool)
    sounding = levels[levels > -100]
    voice, floor = np.percentile(sounding, 95), np.percentile(sounding, 5)
    threshold = max(voice - _RANGE, min(floor + _ABOVE_FLOOR, voice - _CERTAIN))
    loud: NDArray[np.bool_] = median_filter(levels > threshold, _CLICK, mode="constant")
    return _near_voiced(loud, _voiced(samples))


def _voiced(samples: Samples) -> NDArray[np.bool_]:
    """Whether each frame is periodic with the pitch of a voice: the peak of the normalised autocorrelation."""
    frames = len(samples) // FRAME
    around = np.pad(samples[: frames * FRAME], (_PERIODS - FRAME) // 2)
    windows = np.lib.stride_tricks.sliding_window_view(around, _PERIODS)[::FRAME] * np.hanning(_PERIODS)
    power = np.square(np.abs(np.fft.rfft(windows, 2 * _PERIODS, axis=1)))
    correlation = np.fft.irfft(power, axis=1)
    peaks = correlation[:, SAMPLE_RATE // _PITCH[1] : SAMPLE_RATE // _PITCH[0]].max(axis=1)
    return np.asarray(peaks > _PERIODIC * correlation[:, 0] + 1e-9)


def _near_voiced(loud: NDArray[np.bool_], voiced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The runs of loud frames with enough voiced ones in them, and the runs beside those: consonants."""
    runs = intervals(loud, pause=0)
    core = np.zeros_like(loud)
    for start, end in runs:
        core[start:end] = np.sum(voiced[start:end]) >= _VOICED
    near = maximum_filter1d(core, 2 * _BESIDE + 1, mode="constant")
    kept = np.zeros_like(loud)
    for start, end in runs:
        kept[start:end] = near[start:end].any()
    return kept


def intervals(active: NDArray[np.bool_], pause: int = PAUSE) -> list[Interval]:
    """The stretches of heard frames, split at silences of more than `pause` frames, in frames."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    long = starts[1:] - ends[:-1] > pause
    first, last = [*starts[:1], *starts[1:][long]], [*ends[:-1][long], *ends[-1:]]
    return [(int(start), int(end)) for start, end in zip(first, last, strict=True)]


def fill_pauses(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The frames inside `intervals`."""
    filled = np.zeros_like(active)
    for start, end in intervals(active):
        filled[start:end] = True
    return filled
