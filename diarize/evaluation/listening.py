"""The embeddings of utterances, as models hear them under several conditions."""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diarize.audio import AudioError
from diarize.sources import Audio, read
from diarize.types import SAMPLE_RATE, Samples

Embeddings = NDArray[np.float32]
Carry = Callable[[Samples, str, np.random.Generator], Samples]
"""An utterance over a carrier, of the same length and aligned with it."""

CLEAN = "clean"
BATCH = 32
"""Crops that are embedded together."""

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What an evaluation needs of a model; `diarize.models.encoder.SpeakerEncoder` is one."""

    dimensions: int
    fingerprint: str

    def embed_batch(self, batch: Embeddings, /) -> Embeddings:
        """(batch, samples) to (batch, dimensions), unit norm."""

    def encode(self, audio: Audio, /) -> Embeddings:
        """A whole utterance to (dimensions,), unit norm."""


@dataclass(frozen=True)
class Condition:
    """What is heard of an utterance.

    seconds: of a crop; None: the whole utterance.  A shorter utterance is left out.
    crops: one from the middle, or several, evenly spaced, whose embeddings are averaged.
    carrier: what the whole utterance has come over, before it is cut.
    """

    seconds: float | None = None
    crops: int = 1
    carrier: str = CLEAN

    def __str__(self) -> str:
        length = "whole" if self.seconds is None else f"{self.seconds:g} s"
        return length if self.crops == 1 else f"{self.crops} x {length}"

    def cut(self, samples: Samples) -> list[Samples]:
        """The crops of an utterance, none where it is too short."""
        length = len(samples) if self.seconds is None else round(self.seconds * SAMPLE_RATE)
        rest = len(samples) - length
        if rest < 0:
            return []
        starts = [rest // 2] if self.crops == 1 else np.linspace(0, rest, self.crops).astype(int).tolist()
        return [samples[start : start + length] for start in starts]


def listen(
    files: Sequence[Path],
    encoders: Mapping[str, Encoder],
    conditions: Sequence[Condition],
    carry: Carry | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> dict[str, dict[Condition, Embeddings]]:
    """The embeddings of every utterance under every condition, by model; each file is read once.

    Those of each condition have shape (files, dimensions) and unit norm; the rows of utterances that are too short for
    it are NaN, as are those of files that cannot be read or are silent, which are counted in the log.
    carry: brings an utterance over a carrier; needed where a condition has one.  What it draws depends on the last
        three parts of the file's name and on the carrier only.
    track: what shows how far it is.
    Raises ValueError where no file can be read.
    """
    table = _Table(encoders, conditions, len(files))
    for row, samples in _readable(files, track):
        heard = {CLEAN: samples}
        for condition in conditions:
            carrier = condition.carrier
            if carrier not in heard and carry is not None:
                heard[carrier] = carry(samples, carrier, _chance(files[row], carrier))
            table.hear(heard[carrier], condition, row)
    return table.finished()


class _Table:
    """The sums of embeddings, by model and condition, and the crops that wait for others of their length."""

    def __init__(self, encoders: Mapping[str, Encoder], conditions: Sequence[Condition], rows: int) -> None:
        self._encoders = encoders
        self._sums = {
            name: {condition: np.zeros((rows, encoder.dimensions)) for condition in conditions}
            for name, encoder in encoders.items()
        }
        self._waiting: dict[int, list[tuple[Condition, int, Samples]]] = defaultdict(list)

    def hear(self, samples: Samples, condition: Condition, row: int) -> None:
        """An utterance, under one condition."""
        if condition.seconds is None:  # of any length, so that there is no batch to wait for
            for name, encoder in self._encoders.items():
                self._sums[name][condition][row] += encoder.encode(samples)
            return
        for crop in condition.cut(samples):
            waiting = self._waiting[len(crop)]
            waiting.append((condition, row, crop))
            if len(waiting) == BATCH:
                self._embed(waiting)

    def finished(self) -> dict[str, dict[Condition, Embeddings]]:
        """The embeddings, when everything was heard."""
        for waiting in self._waiting.values():
            if waiting:
                self._embed(waiting)
        return {name: {condition: _unit(total) for condition, total in own.items()} for name, own in self._sums.items()}

    def _embed(self, waiting: list[tuple[Condition, int, Samples]]) -> None:
        crops = np.stack([crop for _, _, crop in waiting])
        for name, encoder in self._encoders.items():
            for (condition, row, _), embedding in zip(waiting, encoder.embed_batch(crops), strict=True):
                self._sums[name][condition][row] += embedding
        waiting.clear()


def _readable(
    files: Sequence[Path], track: Callable[[Sequence[Path]], Iterable[Path]]
) -> Iterator[tuple[int, Samples]]:
    """The files that can be heard, by their places."""
    failed: list[str] = []
    for row, file in enumerate(track(files)):
        try:
            samples = read(file)
        except (AudioError, OSError) as error:
            failed.append(str(error))
            continue
        if samples.any():
            yield row, samples
        else:
            failed.append(f"{file}: silent or empty")
    if len(failed) == len(files):
        raise ValueError(f"none of {len(files)} utterances can be heard; the first: {failed[0] if failed else 'none'}")
    if failed:
        _log.warning(
            "%d of %d utterances left out, as they cannot be heard; the first: %s", len(failed), len(files), failed[0]
        )


def _chance(file: Path, carrier: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32("/".join(file.parts[-3:]).encode()), zlib.crc32(carrier.encode())])


def _unit(sums: NDArray[np.float64]) -> Embeddings:
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # nothing heard: 0 / 0
        return np.asarray(sums / norms, dtype=np.float32)
