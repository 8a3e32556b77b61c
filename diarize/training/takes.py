"""The takes of an utterance: by its speaker's voice or another made of it, clean and as it arrives over carriers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr

from diarize.audio import Pcm, to_pcm
from diarize.training.formants import move_formants
from diarize.types import SAMPLE_RATE, Samples

Carry = Callable[[Samples, np.random.Generator], Samples]
"""Speech as it arrives over a drawn carrier: of the same length, sample for sample in its place.  With more than one
worker it travels to other processes: a module's function, or a `functools.partial` of one."""


@dataclass(frozen=True)
class Perturbation:
    """What makes another voice of a speaker's: a speed or a factor of the formants, not both.  Both 1: their own.

    speed: tempo and pitch changed together (Ko et al., "Audio Augmentation for Speech Recognition", 2015; as speakers:
        Yamamoto et al., 2019).
    formants: as in `move_formants`; the pitch is kept.
    """

    speed: float = 1.0
    formants: float = 1.0

    @property
    def mark(self) -> str:
        """What the name of the other speaker ends with: "@0.9", "~1.16", or nothing."""
        if self.speed != 1:
            return f"@{self.speed:g}"
        return f"~{self.formants:g}" if self.formants != 1 else ""

    def __call__(self, samples: Samples) -> Samples:
        """The same words by that voice."""
        if self.speed != 1:
            return np.asarray(soxr.resample(samples, self.speed * SAMPLE_RATE, SAMPLE_RATE), np.float32)
        return move_formants(samples, self.formants) if self.formants != 1 else samples


def make_takes(samples: Samples, count: int, carry: Carry, seed: int, name: str, mark: str) -> Pcm:
    """So many takes, shape (count, samples): the first is clean, the others are carried.

    What is drawn depends on the seed, the utterance's name, the mark of its `Perturbation` and the take only.
    Raises ValueError for a carrier that changes the length or makes what are no numbers.
    """
    takes = np.empty((count, len(samples)), np.int16)
    takes[0] = to_pcm(samples)
    drawn_for = (mark.removeprefix("@") or "1").encode()
    for take in range(1, count):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(drawn_for), take])
        carried = carry(samples.copy(), rng)
        if carried.shape != samples.shape or not np.isfinite(carried).all():
            raise ValueError(
                f"{name}: the carrier made shape {carried.shape} of {samples.shape}, or no numbers; "
                "it must keep the length"
            )
        takes[take] = to_pcm(carried)
    return takes
