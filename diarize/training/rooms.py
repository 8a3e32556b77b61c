"""Rooms: how a voice at a place sounds at the microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from diarize.types import SAMPLE_RATE, Samples

_SOUND = 343.0  # m/s
_MIXING = 0.05  # s: reflections after this are so dense that noise stands for them
_DIRECT = SAMPLE_RATE // 400  # samples that are the direct sound and the microphone's own ringing
_DECAYS = {(50, 250): 1.15, (250, 3000): 1.0, (3000, 7900): 0.6}  # Hz: share of the room's RT60 there
_ORDER = 4  # reflections per axis within that time, in all but the smallest rooms


@dataclass(frozen=True)
class Room:
    """A shoebox with a microphone in it.

    size, microphone: (x, y, z) in metres.
    rt60: seconds in which sound falls by 60 dB, at middle frequencies.
    """

    size: tuple[float, float, float]
    microphone: tuple[float, float, float]
    rt60: float

    def impulse_response(self, distance: float, rng: np.random.Generator) -> Samples:
        """From a drawn place at `distance` metres (less where the walls are nearer) to the microphone.

        The first 50 ms by the image method (Allen and Berkley, 1979), the rest as exponentially decaying noise
        (Polack, 1988).  The direct sound comes first, with amplitude 1: nothing is delayed and near is not louder;
        the level is the caller's.
        """
        size, microphone = np.array(self.size), np.array(self.microphone)
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.2, 0.2)])
        direction /= np.linalg.norm(direction)
        walls = np.where(direction > 0, size - 0.2 - microphone, 0.2 - microphone) / direction
        distance = min(distance, float(walls.min()))
        source = microphone + distance * direction

        response = np.zeros(round((_MIXING + 0.9 * self.rt60) * SAMPLE_RATE), dtype=np.float64)
        times, amplitudes = self._images(source, rng)
        times, amplitudes = times - distance / _SOUND, amplitudes * distance
        early = times < _MIXING
        np.add.at(response, np.round(times[early] * SAMPLE_RATE).astype(int), amplitudes[early])
        return np.asarray(response + self._tail(len(response), distance, rng), dtype=np.float32)

    def _images(
        self, source: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """When each image of the source is heard, seconds, and how strongly (1 / metres); the source itself first."""
        size = np.array(self.size)
        index = np.arange(-_ORDER, _ORDER + 1)
        axes = [
            index * length + np.where(index % 2 == 0, place, length - place)
            for length, place in zip(size, source, strict=True)
        ]
        images = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        orders = np.abs(np.stack(np.meshgrid(index, index, index, indexing="ij"), axis=-1)).sum(axis=-1).ravel()
        # a real room is no perfect box: without this the images of one wall ring like a comb (De Sena et al., 2015)
        images = images + np.where(orders > 0, 1, 0)[:, None] * rng.uniform(-0.05, 0.05, images.shape)
        distances = np.linalg.norm(images - np.array(self.microphone), axis=1)
        return distances / _SOUND, self._reflection() ** orders / distances

    def _reflection(self) -> float:
        """The walls' reflection coefficient for amplitudes that gives `rt60` (Eyring's formula)."""
        x, y, z = self.size
        volume, surface = x * y * z, 2 * (x * y + y * z + z * x)
        return float(np.exp(-0.161 * volume / (2 * surface * self.rt60)))

    def _tail(self, length: int, distance: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Decaying noise, faster at high frequencies, of the power that the diffuse field has (Kuttruff)."""
        time = np.arange(length) / SAMPLE_RATE
        tail = np.zeros(length)
        for (lowest, highest), decay in _DECAYS.items():
            sos = butter(2, (lowest, highest), "bandpass", fs=SAMPLE_RATE, output="sos")
            noise = sosfilt(sos, rng.standard_normal(length))
            tail += noise * np.exp(-np.log(1000) * time / (self.rt60 * decay))
        tail[: round(_MIXING * SAMPLE_RATE)] = 0
        x, y, z = self.size
        critical = 0.057 * np.sqrt(x * y * z / self.rt60)  # metres: where direct and reverberant sound are equal
        power = (distance / critical) ** 2 * 10 ** (-6 * _MIXING / self.rt60)
        return np.asarray(tail * np.sqrt(power / np.sum(tail**2)))


def draw_room(rng: np.random.Generator) -> Room:
    """A room between a booth and a small hall, its microphone somewhere around the middle, on a table."""
    x = rng.uniform(2.5, 9)
    size = (x, rng.uniform(0.6, 1) * x, rng.uniform(2.3, 3.6))
    microphone = (size[0] * rng.uniform(0.3, 0.7), size[1] * rng.uniform(0.3, 0.7), rng.uniform(0.7, 1.3))
    return Room(size, microphone, float(rng.uniform(0.15, 0.7)))


def real_response(response: Samples, rng: np.random.Generator) -> Samples:
    """Another place in the room of a measured impulse response.

    The direct sound is brought to the start and to amplitude 1; what follows it is made stronger or weaker, and
    stretched by a little, as it is farther away or nearer.  The clarity C50 (ISO 3382) is then no less than a drawn
    0 to 20 dB: nobody records a conversation from the far end of a church.
    """
    response = response[int(np.argmax(np.abs(response))) :][:SAMPLE_RATE]
    response = response / response[0]
    stretch = rng.uniform(0.9, 1.1)
    places = np.arange(int((len(response) - 1) * stretch)) / stretch
    response = np.interp(places, np.arange(len(response)), response).astype(np.float32)
    response[_DIRECT:] *= np.float32(10 ** (rng.uniform(-10, 3) / 20))
    early, late = np.split(response, [round(_MIXING * SAMPLE_RATE)])
    loudest = np.sqrt(np.sum(early**2) / 10 ** (rng.uniform(0, 20) / 10))
    late *= min(1, loudest / max(float(np.sqrt(np.sum(late**2))), 1e-9))
    return response
