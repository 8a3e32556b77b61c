"""Which enrolled person a speaker is, or nobody: clusters are matched, not windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from diarize.profiles.cohort import Cohort, cohort_for
from diarize.profiles.people import People
from diarize.types import Identity

Scores = NDArray[np.float64]

THRESHOLD = 3.0
"""For normalised scores.  0.8 % of the strangers reach it among the 26 `dev` speakers, 2.1 % among the 31 `eval`
speakers, where a dozen people are enrolled (`examples/identification_benchmark.py`)."""

MARGIN, COSINE_MARGIN = 0.5, 0.05
"""For normalised scores and for plain cosines.  Without the first, four times as many people got a wrong name."""

NEAREST = 50
"""Voices of the cohort that are compared with.  On `dev` speakers, of 20 to 400, 40 to 75 were the best."""

SHORTLIST = 200
"""People for each speaker that are looked at closely, the nearest by the mean of their references."""


@dataclass(frozen=True)
class IdentificationConfig:
    """When a speaker gets the name of an enrolled person.

    normalise: whether scores are normalised by a cohort, in standard deviations; otherwise they are plain cosines.
    threshold: the least score; None: `THRESHOLD`, while plain cosines need one of their own, -1..1.
    margin: by how much the score must be above that of the next person; None: `MARGIN` or `COSINE_MARGIN`.
    speech: seconds that a speaker must have talked.
    cohort: the file of a cohort; None: the shipped one, which is of the bundled model.
    """

    normalise: bool = True
    threshold: float | None = None
    margin: float | None = None
    speech: float = 3.0
    cohort: str | None = None

    def __post_init__(self) -> None:
        if self.threshold is None and not self.normalise:
            raise ValueError(
                "identification threshold is not set: plain cosines need one, and diarize calibrate finds it"
            )
        most = 100 if self.normalise else 1
        if not -most <= self.least <= most:
            raise ValueError(f"identification threshold is {self.threshold}: give {-most} to {most}")
        if not 0 <= self.apart <= 2 * most:
            raise ValueError(f"identification margin is {self.margin}: give 0 to {2 * most}")
        if not 0 <= self.speech < np.inf:
            raise ValueError(f"identification speech is {self.speech} s: give 0 or more")

    @property
    def least(self) -> float:
        """The threshold that counts."""
        return THRESHOLD if self.threshold is None else self.threshold

    @property
    def apart(self) -> float:
        """The margin that counts."""
        if self.margin is not None:
            return self.margin
        return MARGIN if self.normalise else COSINE_MARGIN


def identify(
    voices: NDArray[np.float32], seconds: ArrayLike, people: People, config: IdentificationConfig
) -> list[Identity]:
    """Who each speaker of a recording is; one to one, since nobody is two speakers.

    voices: the mean voice of each speaker, shape (k, dimensions), unit norm.
    seconds: net speech of each, shape (k,).
    Who is below the threshold, hardly nearer to one person than to the next, or was heard too shortly stays unknown.
    Raises ValueError for voices of another shape, and for a model that has no cohort.
    """
    heard = np.asarray(seconds, dtype=np.float64)
    if voices.ndim != 2 or voices.shape[1] != people.references.shape[1] or heard.shape != voices.shape[:1]:
        raise ValueError(
            f"voices must have shape (k, {people.references.shape[1]}) and seconds (k,), "
            f"not {voices.shape} and {heard.shape}"
        )
    if not people.names:
        return [Identity(None, 0.0, None, "nobody is enrolled")] * len(voices)
    if not len(voices):
        return []
    cohort = cohort_for(people.fingerprint, config.cohort) if config.normalise else None
    candidates, scores = score(voices, people, cohort)
    names = [people.names[candidate] for candidate in candidates]
    chosen = assign(np.where((heard >= config.speech)[:, None], scores, -np.inf), config.least, config.apart)
    return [_explained(speaker, scores, names, chosen, float(heard[speaker]), config) for speaker in range(len(voices))]


def score(voices: NDArray[np.float32], people: People, cohort: Cohort | None) -> tuple[NDArray[np.int64], Scores]:
    """The people who come into question, shape (c,), ascending, and how near each speaker is to them, shape (k, c).

    The score is the cosine of the speaker's voice with the mean of the person's references.  With a cohort, both are
    projected first, and the score is the mean of the two standard scores which the cosine has among those of the voice
    and its nearest of the cohort, and among those of the person and theirs: adaptive s-norm (Matejka et al., Analysis
    of Score Normalization in Multilingual Speaker Recognition, 2017).
    """
    probes = voices if cohort is None else cohort.project(voices)
    candidates = _shortlist(probes if cohort is None else probes @ cohort.whitening.T, people)
    rows = np.flatnonzero(np.isin(people.owner, candidates))
    references = people.references[rows] if cohort is None else cohort.project(people.references[rows])
    means = np.add.reduceat(references, np.searchsorted(people.owner[rows], candidates), axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    scores = (probes @ means.T).astype(np.float64)
    if cohort is not None:
        scores = (_standard(scores, probes, cohort) + _standard(scores.T, means, cohort).T) / 2
    return candidates, scores


def _shortlist(directions: NDArray[np.float32], people: People) -> NDArray[np.int64]:
    """The people nearest to any of the speakers; everybody, where that many are enrolled only.

    The references are multiplied as they are, so that nothing has to be prepared, or kept, for many of them; what
    that leaves out, their norms after the projection, differs by 7 %.
    """
    if len(people.names) <= SHORTLIST:
        return np.arange(len(people.names))
    starts = people.starts
    sums = np.add.reduceat(directions @ people.references.T, starts, axis=1)
    near = sums / np.diff(starts, append=len(people.owner))
    return np.unique(np.argpartition(near, -SHORTLIST, axis=1)[:, -SHORTLIST:])


def against_cohort(voices: NDArray[np.float32], cohort: Cohort) -> tuple[Scores, Scores]:
    """Mean and deviation of each voice's cosines with its nearest of the cohort, each of shape (k,).

    voices: shape (k, dimensions), projected as those of the cohort are.
    """
    cosines = (voices @ cohort.projected.T).astype(np.float64)
    cosines[cosines > 0.999] = -1  # whoever is in the cohort is not compared with themselves
    nearest = np.sort(cosines, axis=1)[:, -NEAREST:]
    return nearest.mean(axis=1), nearest.std(axis=1)


def _standard(scores: Scores, voices: NDArray[np.float32], cohort: Cohort) -> Scores:
    """Each row of scores, shape (voices, ...), in deviations from the mean of that voice's with its nearest."""
    means, deviations = against_cohort(voices, cohort)
    return np.asarray((scores - means[:, None]) / deviations[:, None])


def assign(scores: Scores, threshold: float, margin: float) -> list[int | None]:
    """The person of each speaker, one to one; None where nobody comes into question.

    scores: shape (k, c).
    Of all ways to give names to who scores the threshold, the one is taken in which what is above it adds up to the
    most.  A name that is not clear by the margin is not given then, and the others are given anew without it.  A
    speaker's rivals for the margin are the other people, but not those who are clearly another speaker.
    """
    offered = scores >= threshold
    while True:
        above = np.where(offered, scores - threshold + 1e-9, 0.0)
        pairs = [pair for pair in zip(*linear_sum_assignment(above, maximize=True), strict=True) if above[pair] > 0]
        best = np.full(scores.shape[1], -np.inf)
        for pair in pairs:
            best[pair[1]] = scores[pair]
        unclear = []
        for speaker, person in pairs:
            rivals = best - scores[speaker] < margin
            rivals[person] = False
            if scores[speaker, person] - scores[speaker, rivals].max(initial=-np.inf) < margin:
                unclear.append((speaker, person))
        if not unclear:
            chosen = {int(speaker): int(person) for speaker, person in pairs}
            return [chosen.get(speaker) for speaker in range(len(scores))]
        for pair in unclear:
            offered[pair] = False


def _explained(
    speaker: int,
    scores: Scores,
    names: Sequence[str],
    chosen: Sequence[int | None],
    heard: float,
    config: IdentificationConfig,
) -> Identity:
    """What is said of one speaker after the assignment: the person or, of an unknown one, the nearest, and why."""
    own, person = scores[speaker], chosen[speaker]
    near = int(np.argmax(own)) if person is None else person
    if person is not None:
        why = ""
    elif heard < config.speech:
        why = f": {heard:.1f} s of speech are too few, {config.speech:g} s are needed"
    elif own[near] < config.least:
        why = f": below the threshold {config.least:g}"
    elif near in chosen:
        why = f": who is another speaker, with {scores[chosen.index(near), near]:.2f}"
    else:
        why = f": margin too small, below {config.apart:g}"
    runner_up, next_ = None, ""
    if len(names) > 1:
        second = int(np.argmax(np.where(np.arange(len(names)) == near, -np.inf, own)))
        runner_up, next_ = (names[second], float(own[second])), f", next {own[second]:.2f} {names[second]}"
    name = None if person is None else names[person]
    return Identity(name, float(own[near]), runner_up, f"{own[near]:.2f} to {names[near]}{next_}{why}")
