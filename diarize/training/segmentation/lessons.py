"""What a step of training hears: pieces of the conversations held, drawn again alike whoever draws them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diarize.powerset import classes
from diarize.training.carriers import CarrierConfig, Sources, disturb
from diarize.training.lessons import AllLessons, sources_of
from diarize.training.segmentation.pieces import FRAMES, Talk, cut_piece, quiet_piece, simulate_talk
from diarize.training.segmentation.recipe import SegmentationRecipe
from diarize.types import Samples

_LEAST = 50  # frames of a piece that are heard, at least, where it begins early


class SegmentationLessons(AllLessons):
    """The lesson of every step, by its number: waveforms (n, 160000) and who talks, the class of each frame (n, 500).

    speech: the folder of real speech.
    At step s the conversations from number s // renewed on are held; a process simulates
    those it has not.
    """

    def __init__(self, speech: Path, config: SegmentationRecipe) -> None:
        self._speech, self._config = speech, config
        self._opened: tuple[Sources, Callable[[int], Talk]] | None = None

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        config = self._config
        if self._opened is None:
            sources = sources_of(self._speech, "train")
            self._opened = sources, lru_cache(config.talk.held)(partial(_simulated, self._speech, config, sources))
        sources, talk = self._opened
        rng = np.random.default_rng([config.seed, step, 2])
        pieces = [self._piece(talk, sources, step, rng) for _ in range(config.pieces.count)]
        carriers = CarrierConfig(scenes=config.pieces.scenes)
        waveforms = disturb(np.stack([samples for samples, _ in pieces]), rng, carriers, sources)
        said = classes(np.stack([talking for _, talking in pieces]))
        return torch.from_numpy(waveforms), torch.from_numpy(said)

    def _piece(
        self, talk: Callable[[int], Talk], sources: Sources, step: int, rng: np.random.Generator
    ) -> tuple[Samples, NDArray[np.bool_]]:
        if rng.random() < self._config.pieces.quiet:
            return quiet_piece(sources, rng)
        held = talk(step // self._config.talk.renewed + int(rng.integers(self._config.talk.held)))
        last = len(held.talking) - FRAMES
        early = rng.random() < self._config.pieces.early
        start = int(rng.integers(-FRAMES + _LEAST, 0) if early else rng.integers(last + 1))
        return cut_piece(held, start)


def _simulated(speech: Path, config: SegmentationRecipe, sources: Sources, number: int) -> Talk:
    return simulate_talk(speech, "train", config.seed, number, config.talk, sources)
