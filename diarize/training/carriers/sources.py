"""Noises and rooms, loaded or computed once and drawn from often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from diarize.training.recording import rms, steady_noise
from diarize.training.rooms import draw_room, real_response
from diarize.training.speech import Split, read_audio, read_noises, read_rooms
from diarize.types import SAMPLE_RATE, Samples

_LEVEL = 0.05  # RMS of each noise in the track: peaks 26 dB above it still fit 16 bits
_COLOURED = 60  # stretches of computed noise, of 5 s each
_COMPUTED = 192  # rooms
_PLACES = 8  # in each measured room
_LONGEST = SAMPLE_RATE  # samples of a room's response
_DISTANCES = (0.3, 3.0)  # metres between a mouth and a microphone


@dataclass(frozen=True, eq=False)
class Sources:
    """What is drawn from; `from_folder` and `computed` make one.

    noises: one after the other, int16, shape (samples,), of about the same level.
    rooms: impulse responses at `SAMPLE_RATE`, shape (rooms, samples), each with its direct sound first, amplitude 1.
    made: how another process makes the same, so that the arrays need not travel; None: they do.
    """

    noises: NDArray[np.int16]
    rooms: NDArray[np.float32]
    made: Callable[[], Sources] | None = None

    def __post_init__(self) -> None:
        if self.noises.ndim != 1 or not self.noises.size or self.noises.dtype != np.int16:
            raise ValueError(f"noises must be int16 of shape (samples,), not {self.noises.dtype} {self.noises.shape}")
        if self.rooms.ndim != 2 or not self.rooms.size or not np.allclose(self.rooms[:, 0], 1):
            raise ValueError(f"rooms must have the shape (rooms, samples) and begin with 1: {self.rooms.shape}")

    @staticmethod
    def computed(seed: int = 0) -> Sources:
        """Coloured noises and shoebox rooms: no recording is needed.  The same seed gives the same bits."""
        return _computed(seed)

    @staticmethod
    def from_folder(folder: Path, split: Split, seed: int = 0) -> Sources:
        """The split's recorded noises and measured rooms, several places in each, and computed ones besides.

        folder: of real speech, as `diarize.training.speech` reads it; read once in a process.
        Raises ValueError for an unknown split and a folder without noises or rooms.
        """
        return _from_folder(folder, split, seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.made, ()) if self.made else (Sources, (self.noises, self.rooms))

    def noise(self, length: int, rng: np.random.Generator) -> Samples:
        """A drawn stretch of the noises with RMS 1 (less where it is nearly silent), shape (length,)."""
        at = int(rng.integers(len(self.noises)))
        stretch = np.take(self.noises, np.arange(at, at + length), mode="wrap").astype(np.float32) / np.float32(32768)
        return stretch / np.float32(max(rms(stretch), 0.1 * _LEVEL))

    def room(self, rng: np.random.Generator) -> Samples:
        """The impulse response of a drawn room."""
        response: Samples = self.rooms[int(rng.integers(len(self.rooms)))]
        return response

    def noisy(self, samples: Samples, snr: tuple[float, float], rng: np.random.Generator) -> Samples:
        """A voice with a drawn noise, at an SNR drawn from this range of dB."""
        level = rms(samples) * 10 ** (-rng.uniform(*snr) / 20)
        return samples + np.float32(level) * self.noise(len(samples), rng)

    def in_room(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """A voice in a drawn room: as long, its direct sound at the same time."""
        return np.asarray(oaconvolve(samples, self.room(rng))[: len(samples)], dtype=np.float32)


@cache
def _computed(seed: int) -> Sources:
    rng = np.random.default_rng(seed)
    return Sources(_track(_coloured(rng)), _bank(_shoeboxes(rng)), partial(_computed, seed))


@cache
def _from_folder(folder: Path, split: Split, seed: int) -> Sources:
    rng = np.random.default_rng(seed)
    steady, events = read_noises(folder, split)
    sounds = [np.trim_zeros(read_audio(file)) for file in (*steady, *events)]
    measured = [read_audio(file) for file in read_rooms(folder, split)]
    places = [real_response(room, rng) for room in measured for _ in range(_PLACES)]
    made = partial(_from_folder, folder, split, seed)
    return Sources(_track(sounds + _coloured(rng)), _bank(places + _shoeboxes(rng)), made)


def _coloured(rng: np.random.Generator) -> list[Samples]:
    return [steady_noise(None, 5 * SAMPLE_RATE, rng) for _ in range(_COLOURED)]


def _shoeboxes(rng: np.random.Generator) -> list[Samples]:
    nearest, farthest = np.log(_DISTANCES)
    distances = np.exp(rng.uniform(nearest, farthest, _COMPUTED))
    return [draw_room(rng).impulse_response(float(distance), rng) for distance in distances]


def _track(sounds: list[Samples]) -> NDArray[np.int16]:
    levelled = [sound * (_LEVEL * 32768 / max(rms(sound), 1e-9)) for sound in sounds]
    track = np.concatenate([np.clip(np.round(sound), -32768, 32767).astype(np.int16) for sound in levelled])
    track.flags.writeable = False  # everybody shares it
    return track


def _bank(responses: list[Samples]) -> NDArray[np.float32]:
    bank = np.zeros((len(responses), _LONGEST), dtype=np.float32)
    for row, response in zip(bank, responses, strict=True):
        row[: len(response)] = response[:_LONGEST]
        row /= row[0]  # what is reflected at once falls on the direct sound
    bank.flags.writeable = False
    return bank
