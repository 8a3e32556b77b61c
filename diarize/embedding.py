"""From windows of speech to embeddings: the one heavy step, in canonical shapes.

The network sees every window in the same shape (window length, batch size), whatever arrived together and whoever
it came from: floating-point results differ between shapes, but within one shape they do not depend on a window's
place in the batch or on its neighbours.  This is what lets a live session and a file agree to the bit.  Live, where few
windows come at a time, smaller batches are used as well, those of which it was measured that they give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diarize.types import EmbeddingWindow, SpeechWindow


@dataclass(frozen=True)
class EmbeddingConfig:
    """What makes the embeddings.

    model: a bundled model's name, or the path of a checkpoint; None: the default bundled model.
    compute: where the network runs, cpu, cuda or mps.
    trust: whether a model that is a program (TorchScript, as ECAPA2 is) may run; a recipe's file cannot say so.
    batch: windows in the canonical shape, the most in one pass of the network. Files are done in full ones, and live
        windows in the smallest that give the same bits (see `alike`). 16 is the fastest size on one core and near it
        on two.
    """

    model: str | None = None
    compute: str = "cpu"
    trust: bool = False
    batch: int = 16

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1 window, not {self.batch}")


class Encoder(Protocol):
    """What `embed` needs of a network; `diarize.models.encoder.SpeakerEncoder` is one."""

    def embed_batch(self, batch: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dimensions), unit norm."""


def embed(
    encoder: Encoder,
    windows: Sequence[SpeechWindow],
    length: int,
    sizes: Sequence[int] = (EmbeddingConfig.batch,),
) -> list[EmbeddingWindow]:
    """Embed windows of any streams, in order.

    length: of the canonical window, in samples; shorter windows are repeated up to it.
    sizes: windows in one pass of the network, ascending: as many as can go in the largest, and the rest in the
        smallest that holds them.  A pass that is not full costs the same.
    The quality of an embedding is the share of the canonical length that was distinct speech of its voice.
    Raises ValueError for an empty window or one longer than `length`.
    """
    for window in windows:
        if not 0 < len(window.samples) <= length:
            raise ValueError(f"a window must hold 1 to {length} samples, not {len(window.samples)}")
    embedded: list[EmbeddingWindow] = []
    for first in range(0, len(windows), sizes[-1]):
        together = windows[first : first + sizes[-1]]
        shape = np.zeros((next(size for size in sizes if size >= len(together)), length), np.float32)
        for row, window in enumerate(together):
            # repeated, as zeros would take part in the mean normalisation and the pooling
            shape[row] = np.resize(window.samples, length)
        embeddings = encoder.embed_batch(shape)
        for window, embedding in zip(together, embeddings, strict=False):  # the batch may not be full
            embedded.append(
                EmbeddingWindow(
                    window.start,
                    window.end,
                    window.speech,
                    window.group,
                    embedding.copy(),
                    quality(window, length),
                    window.provisional,
                )
            )
    return embedded


def alike(encoder: Encoder, length: int, batch: int) -> tuple[int, ...]:
    """The sizes of a pass whose embeddings are those of a full one to the bit, ascending, `batch` the last.

    Which they are is up to the network, the processor and the number of threads, so it is tried, on noise: with halves
    of `batch`, halves of those and so on, and what is half-way between two of them.
    """
    noise = np.random.default_rng(0).normal(0, 0.1, (batch, length)).astype(np.float32)
    full = encoder.embed_batch(noise)
    tried = {parts * batch >> times for times in range(1, batch.bit_length() + 1) for parts in (1, 3)}
    fewer = sorted(size for size in tried if 0 < size < batch)
    return (*(size for size in fewer if np.array_equal(encoder.embed_batch(noise[:size]), full[:size])), batch)


def quality(window: SpeechWindow, length: int) -> float:
    """The share of the canonical length that is distinct speech of this voice, in (0, 1]."""
    return min(len(window.samples) / length, 1.0)


def average_crops(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """One embedding out of those of several crops of one voice, and how well they agree.

    embeddings: shape (crops, dimensions), unit norm, at least one.
    Returns the mean, of unit norm again, and the norm it had before: 1 where all crops agree, near 0 where they are
    unrelated.  Its square is the mean cosine over all pairs of crops (themselves included), which TaoRuijie's
    ECAPA-TDNN takes as a score.  Raises ValueError where there is no crop, or where the crops cancel out.
    """
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(
            f"embeddings must have shape (crops, dimensions) with at least one crop, not {embeddings.shape}"
        )
    mean = embeddings.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm < 1e-6:
        raise ValueError("the crops cancel out: they have no common direction, so they are not one voice")
    return (mean / norm).astype(np.float32), min(norm, 1.0)
