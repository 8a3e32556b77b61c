"""What a step of training hears: a drawn batch, disturbed, drawn again alike whoever draws it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diarize.formats import write_atomically
from diarize.training.batches import draw_batch
from diarize.training.carriers import Sources, disturb
from diarize.training.corpus import Corpus, open_corpus
from diarize.training.manifest import Split
from diarize.training.recipe import TrainConfig

SPEECH = "speech.json"
"""What a run leaves in its folder to say which speech it is taught with."""

AllLessons = Dataset[tuple[Tensor, ...]]
"""What a step learns from, by the step's number; the first part are the waveforms, shape (n, samples)."""

_log = logging.getLogger(__name__)


def sources_of(speech: Path | None, split: Split) -> Sources:
    """The noises and rooms that lie in a folder of speech, in `noise/` and `rirs/`, and where both lack computed ones.

    Raises ValueError where only one of them is there, or what is there is damaged.
    """
    if speech is not None and ((speech / "noise").is_dir() or (speech / "rirs").is_dir()):
        return Sources.from_folder(speech, split)
    _log.info("no noise/ and rirs/ in %s: noises and rooms are computed", speech)
    return Sources.computed()


def check_speech(run: Path, corpus: Corpus, resumed: bool) -> None:
    """Note in a run's folder which speech it is taught with; ValueError where a resumed one was taught with other.

    The note is `speech.json`.  A run of before there were such notes is taken at its word, with a warning.
    """
    note, now = run / SPEECH, {"manifest": corpus.manifest, "left_out": corpus.left_out}
    if resumed and note.is_file():
        try:
            was = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{note} is damaged ({error}): start without --resume") from error
        if was != now:
            raise ValueError(f"{run} was taught with other speech than {corpus.folder}: give that, or another --output")
        return
    if resumed:
        _log.warning("%s does not say which speech it was taught with; it is taken to be %s", run, corpus.folder)
    write_atomically(note, json.dumps(now, indent=1))


class Lessons(AllLessons):
    """The lesson of every step, by its number.

    It is waveforms (n, samples) float32, their speakers (n,), -1 where unknown, and their utterances (n,).

    corpus: a prepared folder.  speech: as in `sources_of`.
    Corpus and sources are opened by whoever asks first, so that it travels to other processes as a few words.
    """

    def __init__(self, corpus: Path, speech: Path | None, config: TrainConfig) -> None:
        self._folder, self._speech, self._config = corpus, speech, config
        self._opened: tuple[Corpus, Sources] | None = None

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        if self._opened is None:
            self._opened = open_corpus(self._folder), sources_of(self._speech, "train")
        corpus, sources = self._opened
        rng = np.random.default_rng([self._config.seed, step])
        batch = draw_batch(corpus, self._config.batches, rng)
        waveforms = disturb(batch.heard, rng, self._config.carriers, sources)
        return torch.from_numpy(waveforms), torch.from_numpy(batch.speakers), torch.from_numpy(batch.utterances)


def draw_lessons(lessons: AllLessons, first: int, steps: int, workers: int) -> Iterator[tuple[Tensor, ...]]:
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
