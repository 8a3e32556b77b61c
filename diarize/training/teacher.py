"""What a teacher hears in every utterance of a corpus: asked once, kept beside it."""

from __future__ import annotations

import io
import logging

import numpy as np
import torch
from numpy.typing import NDArray

from diarize.formats import write_atomically
from diarize.models.encoder import SpeakerEncoder
from diarize.training.corpus import Corpus
from diarize.types import SAMPLE_RATE

_log = logging.getLogger(__name__)

PIECE = 8 * SAMPLE_RATE // 5
"""Samples the teacher hears at a time: 1.6 s, as Resemblyzer does."""

BATCH = 256


def teach(corpus: Corpus, teacher: str, device: torch.device) -> NDArray[np.float32]:
    """The teacher's embedding of each clean utterance, centred, shape (utterances, its dimensions), of unit norm.

    An utterance counts as the mean of the pieces of 1.6 s it is cut into, the last one overlapping; a shorter one is
    repeated.  The answers are kept in the corpus' folder, one file a teacher, and read from there the next time.
    Raises ValueError for a teacher that is not known, OSError where the answers cannot be kept.
    """
    encoder = SpeakerEncoder.from_pretrained(teacher, compute=device.type)
    file = corpus.folder / f"taught-{encoder.fingerprint.rpartition(':')[2][:16]}.npy"
    if file.is_file():
        return _centred(np.asarray(np.load(file), dtype=np.float32))
    _log.info("asking %s about %d utterances, once", teacher, len(corpus.lengths))
    starts = [(n, start) for n, length in enumerate(corpus.lengths) for start in _starts(int(length))]
    taught = np.zeros((len(corpus.lengths), encoder.dimensions), np.float32)
    for first in range(0, len(starts), BATCH):
        part = starts[first : first + BATCH]
        pieces = np.stack([corpus.crop(n, 0, start, PIECE) for n, start in part]).astype(np.float32)
        np.add.at(taught, [n for n, _ in part], encoder.embed_batch(pieces / np.float32(32768)))
    taught /= np.linalg.norm(taught, axis=1, keepdims=True).clip(1e-9)
    kept = io.BytesIO()
    np.save(kept, taught)
    write_atomically(file, kept.getvalue())
    return _centred(taught)


def _centred(taught: NDArray[np.float32]) -> NDArray[np.float32]:
    """What tells voices apart in what the teacher says: the mean over all utterances taken off, unit norm again.

    Resemblyzer's numbers are never negative, so that all its voices lie around one direction: a student who says
    nothing but that is right to a cosine of 0.8, and learns little more.
    """
    apart = taught - taught.mean(axis=0)
    return np.asarray(apart / np.linalg.norm(apart, axis=1, keepdims=True).clip(1e-9), np.float32)


def _starts(length: int) -> list[int]:
    last = max(0, length - PIECE)
    return sorted({*range(0, last, PIECE), last})
