"""Batches for training: so many speakers, so many crops of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diarize.training.corpus import Corpus
from diarize.types import SAMPLE_RATE


@dataclass(frozen=True)
class BatchConfig:
    """What a batch is made of.

    speakers, crops: so many speakers, and of each so many crops, of different utterances where there are as many.
    seconds: of a crop.
    unlabelled: crops of nobody knows whom, besides.
    """

    speakers: int = 32
    crops: int = 2
    seconds: float = 1.6
    unlabelled: int = 0

    def __post_init__(self) -> None:
        if self.speakers < 1 or self.crops < 1 or self.unlabelled < 0:
            raise ValueError(
                "speakers and crops must be at least 1 and unlabelled at least 0, not "
                f"{self.speakers}, {self.crops} and {self.unlabelled}"
            )
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds must be in 0.1..60, not {self.seconds}")

    @property
    def samples(self) -> int:
        """Of a crop."""
        return round(self.seconds * SAMPLE_RATE)


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops, those of one speaker next to each other, the unlabelled ones at the end.

    clean, heard: the same stretches of the clean and of a carried take, shape (crops, samples), full scale -1..1.
    utterances: whose crops they are, shape (crops,).
    speakers: index into the corpus's speakers, -1 for an unlabelled one, shape (crops,).
    """

    clean: NDArray[np.float32]
    heard: NDArray[np.float32]
    utterances: NDArray[np.int64]
    speakers: NDArray[np.int64]


def check_batches(config: BatchConfig, speakers: int, unlabelled: int) -> None:
    """Raise ValueError where there are too few speakers for a batch, or no unlabelled utterances that it asks for."""
    if config.speakers > speakers:
        raise ValueError(f"{config.speakers} speakers a batch, and {speakers} to teach; lower batches.speakers")
    if config.unlabelled and not unlabelled:
        raise ValueError(f"{config.unlabelled} unlabelled crops a batch, and none there; set batches.unlabelled=0")


def draw_batch(corpus: Corpus, config: BatchConfig, rng: np.random.Generator) -> Batch:
    """Draw speakers, all alike, then their utterances, then a stretch and a take of each; the state gives the bits.

    What is heard is never take 0, the clean one, unless there is no other: how much of it is clean is said by the
    carriers that made the other takes.  Raises ValueError as `check_batches`.
    """
    check_batches(config, len(corpus.speakers), len(corpus.unlabelled))
    speakers = rng.choice(len(corpus.speakers), config.speakers, replace=False)
    groups = [_draw(corpus.by_speaker[speaker], config.crops, rng) for speaker in speakers]
    if config.unlabelled:
        groups.append(_draw(corpus.unlabelled, config.unlabelled, rng))
    utterances = np.concatenate(groups)
    length = config.samples
    lengths = corpus.lengths[utterances]
    # a shorter one goes round and round, from anywhere
    starts = rng.integers(np.where(lengths >= length, lengths - length + 1, lengths)).tolist()
    takes = (rng.integers(1, corpus.takes, len(utterances)) if corpus.takes > 1 else 0 * utterances).tolist()
    clean = np.empty((len(utterances), length), np.float32)
    heard = np.empty_like(clean)
    for row, utterance in enumerate(utterances.tolist()):
        clean[row] = corpus.crop(utterance, 0, starts[row], length)
        heard[row] = corpus.crop(utterance, takes[row], starts[row], length)
    scale = np.float32(1 / 32768)
    clean *= scale
    heard *= scale
    return Batch(clean, heard, utterances, corpus.owner[utterances])


def _draw(utterances: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Different ones as far as they go, then over again."""
    if len(utterances) >= count:
        return rng.choice(utterances, count, replace=False)
    return np.resize(rng.permutation(utterances), count)
