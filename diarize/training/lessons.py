"""What a step of training hears: a drawn batch, disturbed, drawn again alike whoever draws it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diarize.training.batches import draw_batch
from diarize.training.carriers import Sources, disturb
from diarize.training.corpus import Corpus, open_corpus
from diarize.training.manifest import Split
from diarize.training.recipe import TrainConfig

_log = logging.getLogger(__name__)

Lesson = tuple[Tensor, Tensor, Tensor]
"""Waveforms (n, samples) float32, their speakers (n,), -1 where unknown, and their utterances (n,)."""


def sources_of(speech: Path | None, split: Split) -> Sources:
    """The noises and rooms that lie in a folder of speech, in `noise/` and `rirs/`; else computed ones."""
    if speech is not None and (speech / "noise").is_dir():
        return Sources.from_folder(speech, split)
    _log.info("no noise/ in %s: noises and rooms are computed", speech)
    return Sources.computed()


class Lessons(Dataset[Lesson]):
    """The lesson of every step, by its number.

    corpus: a prepared folder.  speech: as in `sources_of`.
    Corpus and sources are opened by whoever asks first, so that it travels to other processes as a few words.
    """

    def __init__(self, corpus: Path, speech: Path | None, config: TrainConfig) -> None:
        self._folder, self._speech, self._config = corpus, speech, config
        self._opened: tuple[Corpus, Sources] | None = None

    def __getitem__(self, step: int) -> Lesson:
        if self._opened is None:
            self._opened = open_corpus(self._folder), sources_of(self._speech, "train")
        corpus, sources = self._opened
        rng = np.random.default_rng([self._config.seed, step])
        batch = draw_batch(corpus, self._config.batches, rng)
        waveforms = disturb(batch.heard, rng, self._config.carriers, sources)
        return torch.from_numpy(waveforms), torch.from_numpy(batch.speakers), torch.from_numpy(batch.utterances)


def draw_lessons(lessons: Lessons, first: int, steps: int, workers: int) -> Iterator[Lesson]:
    """The lessons from a step on, in order; drawn ahead by so many processes, 0: by this one.

    Raises OSError where such a process dies.
    """
    context = "spawn" if workers else None
    drawn = DataLoader(
        lessons, batch_size=None, sampler=range(first, steps), num_workers=workers, multiprocessing_context=context
    )
    try:
        yield from drawn
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise OSError("a process that prepares speech died (out of memory?); use fewer --workers") from error
