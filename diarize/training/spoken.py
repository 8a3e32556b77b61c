"""What is said in a file, without its long silences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from diarize.sources import open_source
from diarize.training.heard import FRAME, PAUSE, intervals, voice_activity
from diarize.training.recording import rms
from diarize.types import SAMPLE_RATE, Samples

SILENT = 1e-4
"""RMS.  What is softer, at -80 dBFS some three steps of 16 bits, is no voice, whatever its shape."""

RUMBLE = 80
"""Hz: below every voice."""


def read_spoken(file: Path, longest: float) -> Samples:
    """The first `longest` seconds of a file, its silences as `shorten_silences` leaves them.

    Raises AudioError for what cannot be decoded.
    """
    pieces, wanted = [np.zeros(0, np.float32)], round(longest * SAMPLE_RATE)
    for chunk in open_source(file).chunks():
        pieces.append(chunk.samples)
        if chunk.position + len(chunk.samples) >= wanted:
            break
    return shorten_silences(np.concatenate(pieces)[:wanted])


def shorten_silences(samples: Samples) -> Samples:
    """Speech with 0.15 s left of a silence on each side of a voice; of one within 0.3 s, all.  Nothing is left of a
    recording in which no voice is heard.

    Without this one crop in three drawn from recordings of spoken commands holds no voice, and teaches whose silence
    is whose.
    """
    if rms(samples) < SILENT:
        return samples[:0]
    around = PAUSE // 2
    # wind and an offset seem periodic, as voices are; they are not listened to, but stay
    highpass = butter(2, RUMBLE, "highpass", fs=SAMPLE_RATE, output="sos")
    heard = intervals(voice_activity(np.asarray(sosfilt(highpass, samples), np.float32)))
    kept = [samples[max(0, start - around) * FRAME : (end + around) * FRAME] for start, end in heard]
    return np.concatenate([samples[:0], *kept])
