"""How well speech, overlap and local voices are found, whoever they are: what a segmentation network is measured by.

Voices are given as intervals in samples, those of each by time.  A detector that finds speech and no voices is one
voice.  Figures of recordings add, and their rates are then weighted by speech.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diarize.intervals import union
from diarize.metrics import Errors
from diarize.types import SAMPLE_RATE, Interval, position

PAUSE = 0.5
"""Seconds: a pause of the answer that is shorter is one that references often run over."""

Voices = Collection[Sequence[Interval]]


@dataclass(frozen=True)
class Detection:
    """What was found of one recording, or of several pooled, in seconds.

    speech: of the time in which anybody talks, what was missed and what was found too much (pyannote's detection
        error).
    talk: the same with every voice counted, so that a second voice that is not found is missed: the miss and false
        alarm of the strict DER, whoever the voices are given to.
    second_s, pause_s, single_s: what is missed of talk, apart.  Where several talk, all that is missed but for the
        first voice is the second.  The first voice, missed where nothing at all is found, is in a bridged pause where
        what was found before and what was found after are less than `PAUSE` apart: there the reference runs over a
        pause, or a pause was heard in speech, which turns alone do not tell apart.  The rest is speech that is lost.
    overlap_s, found_overlap_s, right_overlap_s: where several talk, where several were found, and where both.
    """

    speech: Errors = field(default_factory=Errors)
    talk: Errors = field(default_factory=Errors)
    second_s: float = 0.0
    pause_s: float = 0.0
    single_s: float = 0.0
    overlap_s: float = 0.0
    found_overlap_s: float = 0.0
    right_overlap_s: float = 0.0

    @property
    def precision(self) -> float | None:
        """The share of the overlap found that is overlap; None where none was found."""
        return self.right_overlap_s / self.found_overlap_s if self.found_overlap_s else None

    @property
    def recall(self) -> float | None:
        """The share of the overlap that was found; None where there is none."""
        return self.right_overlap_s / self.overlap_s if self.overlap_s else None

    def __add__(self, other: Detection) -> Detection:
        return Detection(
            self.speech + other.speech,
            self.talk + other.talk,
            self.second_s + other.second_s,
            self.pause_s + other.pause_s,
            self.single_s + other.single_s,
            self.overlap_s + other.overlap_s,
            self.found_overlap_s + other.found_overlap_s,
            self.right_overlap_s + other.right_overlap_s,
        )


def detection(reference: Voices, found: Voices) -> Detection:
    """What was found of a recording.

    Raises ValueError for an interval that ends before it starts.
    """
    truth, answer, lengths = _between_edges(reference, found)
    talk, said = truth.sum(axis=0), answer.sum(axis=0)
    heard = union(stretch for voice in found for stretch in voice)
    pauses = [(a[1], b[0]) for a, b in pairwise(heard) if b[0] - a[1] < position(PAUSE)]
    paused = _between_edges([pauses], [*reference, *found])[0][0]
    lost = (talk > 0) & (said == 0)

    def seconds(many: NDArray[np.bool_] | NDArray[np.int64]) -> float:
        return float(lengths @ many)

    return Detection(
        speech=Errors(seconds(talk > 0), seconds(lost), seconds((talk == 0) & (said > 0))),
        talk=Errors(seconds(talk), seconds((talk - said).clip(0)), seconds((said - talk).clip(0))),
        second_s=seconds((talk - said.clip(1)).clip(0)),
        pause_s=seconds(lost & paused),
        single_s=seconds(lost & ~paused),
        overlap_s=seconds(talk > 1),
        found_overlap_s=seconds(said > 1),
        right_overlap_s=seconds((talk > 1) & (said > 1)),
    )


def local_errors(reference: Voices, found: Voices, piece: Interval) -> Errors:
    """The errors inside a piece, its voices paired one to one with the speakers who talk in it so that they are least.

    Over pieces of the length that a segmentation network hears, pooled, this is its local diarization error rate
    (Bredin and Laurent, "End-to-end speaker segmentation for overlap-aware resegmentation", 2021), which knows nothing
    of who the voices are outside of a piece.
    Raises ValueError for a piece without length, and as `detection`.
    """
    if piece[0] >= piece[1]:
        raise ValueError(f"piece {piece} has no length: give its start and its end, in samples")
    truth, answer, lengths = _between_edges(reference, found, piece)
    talk, said = truth.sum(axis=0), answer.sum(axis=0)
    together = (truth * lengths) @ answer.T
    right = float(together[linear_sum_assignment(together, maximize=True)].sum())
    return Errors(
        float(lengths @ talk),
        float(lengths @ (talk - said).clip(0)),
        float(lengths @ (said - talk).clip(0)),
        max(0.0, float(lengths @ np.minimum(talk, said)) - right),  # below by rounding only
    )


def _between_edges(
    some: Voices, others: Voices, piece: Interval | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Time cut wherever anybody begins or ends: who talks in each part, shape (voices, parts), and its seconds."""
    bounds = [np.array(voice, np.int64).reshape(-1, 2) for voice in (*some, *others)]
    for voice in bounds:
        if (backward := voice[:, 1] < voice[:, 0]).any():
            raise ValueError(f"interval {tuple(voice[backward][0].tolist())} ends before it starts")
    if piece is not None:
        bounds = [voice.clip(*piece) for voice in bounds]
    edges = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *bounds]))
    steps = np.zeros((len(bounds), len(edges)), np.int64)
    for row, voice in zip(steps, bounds, strict=True):
        np.add.at(row, np.searchsorted(edges, voice[:, 0]), 1)
        np.add.at(row, np.searchsorted(edges, voice[:, 1]), -1)
    active = np.cumsum(steps, axis=1)[:, :-1] > 0
    return active[: len(some)], active[len(some) :], np.diff(edges) / SAMPLE_RATE
