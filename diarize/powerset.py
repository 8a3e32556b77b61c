"""Who of a few local voices talks, as one of several classes: silence, each voice alone, each two of them at once.

Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization" (2023); the numbers and the
order are pyannote's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VOICES = 3
"""Local voices: within ten seconds more than three people seldom talk."""

CLASSES = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""The voices that talk in each class."""

MEMBERS = np.array([[voice in talking for voice in range(VOICES)] for talking in CLASSES], np.float32)
"""The same as numbers, shape (classes, voices)."""


def marginals(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely each voice talks, alone or with another: (..., classes) to (..., voices), 0..1."""
    return np.asarray(probabilities @ MEMBERS, np.float32)


def at_once(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely two voices talk at once, whichever: (..., classes) to (...), 0..1."""
    return np.asarray(probabilities @ (MEMBERS.sum(axis=1) > 1), np.float32)


def classes(talking: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The class of who talks: (..., voices) to (...,).  ValueError where all three talk, which is no class."""
    if talking.all(axis=-1).any():
        raise ValueError(f"more than two of {VOICES} voices at once have no class: leave the softest out")
    return np.asarray((talking[..., None, :] == (MEMBERS > 0)).all(axis=-1).argmax(axis=-1), np.int64)
