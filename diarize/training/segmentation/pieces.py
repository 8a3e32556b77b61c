"""Pieces of simulated conversations, with who talks in every frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from diarize.models.powerset import FRAME
from diarize.powerset import VOICES
from diarize.training.carriers import CarrierConfig, Sources, chain
from diarize.training.manifest import Split
from diarize.training.segmentation.recipe import TalkConfig
from diarize.training.simulate import SimulationConfig, simulate
from diarize.types import SAMPLE_RATE, Samples

PIECE = 10 * SAMPLE_RATE
"""Samples in a piece."""

FRAMES = PIECE // FRAME

_SPEED = (0.7, 1.4)  # at which noises are played


@dataclass(frozen=True, eq=False)
class Talk:
    """A conversation.

    samples: float32 mono at 16 kHz.
    talking: who talks in the middle of each frame of 20 ms, shape (frames, speakers).
    """

    samples: Samples
    talking: NDArray[np.bool_]


def simulate_talk(speech: Path, split: Split, seed: int, number: int, config: TalkConfig, sources: Sources) -> Talk:
    """Conversation `number` of `seed`: the same arguments give the same bits.  Raises ValueError as `simulate`."""
    rng = np.random.default_rng([seed, number, 1])
    speed = float(np.exp(rng.uniform(*np.log(config.speed))))
    length = config.seconds * speed
    said = simulate(speech, split, seed, SimulationConfig(seconds=(length, length)), number)
    samples = np.asarray(soxr.resample(said.samples, speed * SAMPLE_RATE, SAMPLE_RATE), np.float32)
    if rng.random() < config.carried:
        samples = np.asarray(chain(samples, rng, CarrierConfig(modes=config.modes), sources), np.float32)
    frames = len(samples) // FRAME
    speakers = {name: i for i, name in enumerate(said.scene.voices)}
    talking = np.zeros((frames, len(speakers)), bool)
    for turn in said.turns:
        first, last = (round(at / speed / FRAME) for at in (turn.start, turn.end))
        talking[first:last, speakers[turn.speaker]] = True
    return Talk(samples[: frames * FRAME], talking)


def cut_piece(talk: Talk, start: int) -> tuple[Samples, NDArray[np.bool_]]:
    """Ten seconds from frame `start` on, and who talks in them, shape (FRAMES, VOICES).

    What lies before the conversation or after it is digital silence.  Of more voices than there is room for, those that
    say least are left out, and so is who says least where more than two talk at once.
    """
    samples = np.zeros(PIECE, np.float32)
    talking = np.zeros((FRAMES, talk.talking.shape[1]), bool)
    first, last = max(0, start), min(len(talk.talking), start + FRAMES)
    samples[(first - start) * FRAME : (last - start) * FRAME] = talk.samples[first * FRAME : last * FRAME]
    talking[first - start : last - start] = talk.talking[first:last]
    most = np.argsort(-talking.sum(axis=0), kind="stable")[:VOICES]
    found = np.zeros((FRAMES, VOICES), bool)
    found[:, : len(most)] = talking[:, most]
    found[found.all(axis=1), VOICES - 1] = False
    return samples, found


def quiet_piece(sources: Sources, rng: np.random.Generator) -> tuple[Samples, NDArray[np.bool_]]:
    """Ten seconds in which nobody talks, of two noises one after the other or at once, as `cut_piece` gives them.

    In meetings people are silent for long, and what is heard then (paper, keys, steps) must not be taken for voices.
    Each is played faster or slower, for there are few.
    """
    near, far = (_played(sources, float(np.exp(rng.uniform(*np.log(_SPEED)))), rng) for _ in range(2))
    fades = np.interp(np.arange(PIECE), np.sort(rng.uniform(0, PIECE, 2)), [0, rng.uniform(0.03, 1)])
    return np.asarray(near * (1 - fades) + far * fades, np.float32), np.zeros((FRAMES, VOICES), bool)


def _played(sources: Sources, speed: float, rng: np.random.Generator) -> Samples:
    """Ten seconds of a drawn noise at another speed."""
    noise = sources.noise(round(PIECE * speed) + 1, rng)  # one more, for it must not fall short
    return np.asarray(soxr.resample(noise, speed * SAMPLE_RATE, SAMPLE_RATE)[:PIECE])
