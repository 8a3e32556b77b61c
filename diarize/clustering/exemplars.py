"""What is known of a long stream's past: a few means of neighbouring windows for each speaker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import unit


@dataclass
class Exemplar:
    """Neighbouring windows of one speaker: the sum of their embeddings, how many they are, and samples of speech."""

    sum: NDArray[np.float32]
    windows: int
    talk: int
    speaker: int

    def add(self, other: Exemplar) -> None:
        """Put another of the same speaker to it."""
        self.sum, self.windows, self.talk = self.sum + other.sum, self.windows + other.windows, self.talk + other.talk


def gather(exemplars: list[Exemplar], windows: Iterable[Exemplar], most: int) -> None:
    """Put windows, each an exemplar of its own, behind the others: up to `most` neighbours of a speaker become one."""
    for window in windows:
        last = exemplars[-1] if exemplars else None
        if last is not None and last.speaker == window.speaker and last.windows < most:
            last.add(window)
        else:
            exemplars.append(window)


def thin_out(exemplars: list[Exemplar], most: int) -> None:
    """Put the nearest two of the speaker that has most together until there are `most`."""
    while len(exemplars) > most:
        numbers, counts = np.unique([one.speaker for one in exemplars], return_counts=True)
        own = [i for i, one in enumerate(exemplars) if one.speaker == numbers[np.argmax(counts)]]
        voices = unit(np.stack([exemplars[i].sum for i in own]))
        alike = np.triu(voices @ voices.T + 2, 1)
        a, b = (own[i] for i in np.unravel_index(np.argmax(alike), alike.shape))
        exemplars[a].add(exemplars.pop(b))
