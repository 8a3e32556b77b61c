"""What may become a reference: enough speech, of one voice, which is the voice of the person's other references.

The limits were measured with the bundled model on the 21 `dev` speakers of speechocean762 (9 of them children), which
it has not met, each alone in 3 or 8 utterances, clean, through a telephone and in noise (105 recordings), and two of
them in one recording, half and half or one of them with two utterances of seven or eight (84 recordings):
`examples/thresholds_benchmark.py`, whose table is in docs/people.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diarize.clustering.agglomerative import (
    Embeddings,
    agglomerative,
    average_linkage,
    centroids,
    merge_nearest,
    unit,
)
from diarize.embedding import average_crops
from diarize.intervals import length, union
from diarize.profiles.person import ProfilesError
from diarize.types import EmbeddingWindow, seconds

MOST = 2000
"""Windows of a recording that are compared each with each, evenly spaced where there are more."""


class RefusedError(ProfilesError):
    """An enrolment did not pass the gate: one line that says which limit, and by how much."""


@dataclass(frozen=True)
class Gate:
    """The limits of an enrolment.

    speech: seconds of net speech in all its recordings together.
    each: seconds of net speech in each.
    cohesion: in 0..1, how well the windows of a recording agree (see `diarize.embedding.average_crops`).  One voice
        gave 0.56 to 0.88, two voices 0.51 to 0.75.  So it is there for what is neither.
    halves: cosine distance in 0..2 between the two most different halves of a recording.  At 0.55, 5 of 105 recordings
        of one voice were refused, and of 84 of two voices 8 were taken.
    agreement: cosine in -1..1 between voices of two recordings.  At 0.45, 4 in 100 pairs of one speaker, in different
        conditions, were refused, and 6 in 100 pairs of two were taken for one.
    """

    speech: float = 5.0
    each: float = 1.0
    cohesion: float = 0.60
    halves: float = 0.55
    agreement: float = 0.45

    def check_speech(self, names: Sequence[str], spoken: Sequence[float]) -> None:
        """Raise RefusedError for too little speech: `spoken` seconds in each of the recordings of these names."""
        total = sum(spoken)
        if total < self.speech:
            raise RefusedError(
                f"{', '.join(names)}: too little speech, {total:.1f} s, and {self.speech:g} s are needed: record more"
            )
        for name, one in zip(names, spoken, strict=True):
            if one < self.each:
                raise RefusedError(
                    f"{name}: too little speech, {one:.1f} s, and each recording needs {self.each:g} s: leave it out"
                )

    def check_voice(self, name: str, embeddings: Embeddings) -> None:
        """Raise RefusedError where the windows of a recording, shape (n, dimensions), are not one clear voice."""
        apart = halves(embeddings)
        if apart > self.halves:
            raise RefusedError(
                f"{name}: more than one voice: its halves are {apart:.2f} apart, and one voice's are at most "
                f"{self.halves:.2f}; diarize it, and enrol one speaker with --from RTTM --speaker LABEL"
            )
        agree = cohesion(embeddings)
        if agree < self.cohesion:
            raise RefusedError(
                f"{name}: no clear voice: its windows agree to {agree:.2f}, and {self.cohesion:.2f} are needed: "
                "record again with less noise"
            )

    def check_agreement(self, names: Sequence[str], new: Embeddings, known: Embeddings, who: str) -> None:
        """Raise RefusedError where new recordings are not of one voice, or not of the voice of `who`.

        new, known: references, shape (n, dimensions); `known` may be none.
        """
        voices = np.concatenate((known, new))
        # those that are known stay together, whatever they are: they were put together by somebody
        start = np.concatenate((np.zeros(len(known)), np.arange(len(new)) + bool(len(known)))).astype(np.int64)
        groups = merge_nearest(voices, start, 1 - self.agreement)
        for name, embedding, group in zip(names, new, groups[len(known) :], strict=True):
            if group != 0:  # groups are numbered by first appearance
                score = float(embedding @ unit(voices[groups == 0].sum(axis=0, keepdims=True))[0])
                raise RefusedError(
                    f"{name}: not the voice of {who if len(known) else names[0]}: the similarity is {score:.2f}, and "
                    f"{self.agreement:.2f} is needed; it may be another person, who needs a name of their own"
                )


def net_speech(windows: Sequence[EmbeddingWindow]) -> float:
    """Seconds in which somebody talks, each moment counted once."""
    return seconds(length(union(interval for window in windows for interval in window.speech)))


def cohesion(embeddings: Embeddings) -> float:
    """How well the windows of one recording agree, in 0..1 (see `diarize.embedding.average_crops`)."""
    try:
        return average_crops(embeddings)[1]
    except ValueError:  # they cancel out
        return 0.0


def halves(embeddings: Embeddings) -> float:
    """Cosine distance between the means of the two most different parts of a recording; 0 for a single window.

    A part is at least a tenth of it, so a second voice that says less than that is not noticed.
    """
    some = embeddings[:: -(-len(embeddings) // MOST) or 1]
    if len(some) < 2:
        return 0.0
    tree = average_linkage(some)
    parts = agglomerative(some, tree, 0.0, fragment=2.0, smallest=len(some), minimum=2, maximum=2)
    first, second = centroids(some, parts)
    return float(1 - first @ second)
