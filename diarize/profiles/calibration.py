"""Which threshold suits the people who are enrolled: their own references, tried as if they were heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diarize.profiles.cohort import Cohort
from diarize.profiles.matching import Scores, score
from diarize.profiles.people import People

MOST = 1000
"""References that are tried, evenly chosen where there are more."""


@dataclass(frozen=True, eq=False)
class Trials:
    """Scores of voices whose owner is known, each array of shape (trials,).

    genuine: of a reference with the person's other references.
    strangers: of a reference with the nearest of the other people, as if its owner were not enrolled.
    cohort: of a voice of the cohort with the nearest person.
    """

    genuine: Scores
    strangers: Scores
    cohort: Scores

    def false_accepts(self, threshold: float) -> float:
        """The share of strangers who reach a threshold, of the enrolled or of the cohort, where it is greater."""
        return max(float(np.mean(of >= threshold)) for of in (self.strangers, self.cohort) if len(of))

    def threshold(self, share: float) -> float:
        """The least threshold, in thousandths, that no greater share of strangers reaches."""
        return max(_least(of, share) for of in (self.strangers, self.cohort) if len(of))


def _least(scores: Scores, share: float) -> float:
    highest = np.sort(scores)[len(scores) - 1 - min(int(share * len(scores)), len(scores) - 1)]
    return float(np.floor(highest * 1000) + 1) / 1000


def try_references(people: People, cohort: Cohort | None) -> Trials:
    """Every reference, left out of the enrolled ones, as if it were a speaker of a recording.

    cohort: None for plain cosines.
    Raises ValueError for fewer than two people, and where nobody has two references.
    """
    counts = np.bincount(people.owner, minlength=len(people.names))
    if len(people.names) < 2:
        enrolled = "nobody is" if not people.names else f"only {people.names[0]} is"
        raise ValueError(f"a threshold needs two people or more, and {enrolled} enrolled: see diarize enroll")
    if counts.max() < 2:
        raise ValueError("nobody has two references to compare: enrol somebody from a second recording")
    tried = np.unique(np.linspace(0, len(people.owner) - 1, MOST).astype(int))
    genuine, strangers = [], []
    for row in tried:
        owner = int(people.owner[row])
        left = _without(people, int(row))
        candidates, (scores,) = score(people.references[row][None], left, cohort)
        own = np.array([left.names[candidate] == people.names[owner] for candidate in candidates])
        if counts[owner] > 1:
            genuine.append(scores[own].max(initial=-np.inf))  # who is not even of the shortlist is not found
        strangers.append(scores[~own].max())
    others = np.zeros(0) if cohort is None else score(cohort.voices, people, cohort)[1].max(axis=1)
    return Trials(np.array(genuine), np.array(strangers), others)


def _without(people: People, row: int) -> People:
    """The people but for one reference, and for its owner where it is their only one."""
    owner = people.owner[row]
    rest: NDArray[np.int64] = np.delete(people.owner, row)
    references = np.delete(people.references, row, axis=0)
    if owner in rest:
        return replace(people, references=references, owner=rest)
    names = people.names[:owner] + people.names[owner + 1 :]
    return replace(people, names=names, references=references, owner=rest - (rest > owner))


def thresholds(trials: Trials, shares: Sequence[float]) -> list[float]:
    """The thresholds of these shares of false accepts, ascending, each once."""
    return sorted({trials.threshold(share) for share in shares})
