"""A telephone call of two voices of the sample conversation, each with a channel of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diarize.rttm import Turn
from diarize.types import position
from tests.command import conversation

SAID = {
    "Clara": [(0.5, 0.5, 4.5), (20.0, 12.0, 4.0), (51.8, 21.0, 3.6)],
    "Robin": [(5.4, 5.4, 5.7), (24.6, 14.0, 4.5), (46.7, 25.0, 3.0)],
}
"""What each says: where it is in the sample, where in the call, and how long it is, in seconds.

From 14 to 16 s both talk.
"""
SECONDS = 29.0
DELAY = position(0.012)


def decibels(gain: float) -> np.float32:
    """A gain in dB as a factor."""
    return np.float32(10 ** (gain / 20))


def call(leak: float = -15.0, gains: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32]:
    """Shape (2, samples), 16 kHz: Clara, then Robin.

    leak: dB, by which the other's voice is softer on a channel than on its own, before the gains.
    gains: dB, of the channels.
    """
    sample = conversation(60)
    voices = np.zeros((2, position(SECONDS)), np.float32)
    for voice, pieces in zip(voices, SAID.values(), strict=True):
        for there, here, length in pieces:
            voice[position(here) :][: position(length)] = sample[position(there) :][: position(length)]
    noise = np.random.default_rng(0).normal(0, 3e-4, voices.shape).astype(np.float32)
    leaked = np.roll(voices[::-1], DELAY, axis=1) * decibels(leak)
    call: NDArray[np.float32] = (voices + leaked + noise) * np.array([[decibels(gain)] for gain in gains])
    return call


def reference() -> list[Turn]:
    """Who talks when."""
    return sorted(
        Turn(position(here), position(here + length), name)
        for name, pieces in SAID.items()
        for _, here, length in pieces
    )
