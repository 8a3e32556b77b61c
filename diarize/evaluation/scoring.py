"""How alike two utterances are: the plain cosine, or one that is normalised by the voices of strangers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.evaluation.listening import Condition, Embeddings, Encoder, listen
from diarize.evaluation.trials import Trials
from diarize.profiles.cohort import FEWEST, Cohort
from diarize.profiles.matching import against_cohort
from diarize.training.manifest import Utterance

_log = logging.getLogger(__name__)

COSINE, AS_NORM = "cosine", "AS-norm"

PEOPLE, UTTERANCES = 200, 4
"""Speakers in a cohort at most, and utterances of each."""

_HEARD = Condition(2.0)

_BLOCK = 65_536  # trials whose embeddings are held at a time


def cosines(enrolled: Embeddings, probes: Embeddings, trials: Trials) -> NDArray[np.float64]:
    """The cosine of each trial, its first utterance enrolled and its second the probe, shape (trials,).

    enrolled, probes: of all utterances, shape (files, dimensions), unit norm.
    """
    blocks = range(0, len(trials.first), _BLOCK)
    pairs = ((trials.first[at : at + _BLOCK], trials.second[at : at + _BLOCK]) for at in blocks)
    products = [np.einsum("td,td->t", enrolled[first], probes[second]) for first, second in pairs]
    return np.concatenate([*products, np.zeros(0)]).astype(np.float64)


def normalised(embeddings: Embeddings, trials: Trials, cohort: Cohort) -> NDArray[np.float64]:
    """The score of each trial by which `diarize` names people: projected by the cohort, then adaptive s-norm.

    The mean of two standard scores: of the trial's cosine among those of either utterance and its nearest of the
    cohort (Matejka et al., Analysis of Score Normalization in Multilingual Speaker Recognition, 2017).
    """
    projected = cohort.project(embeddings)
    means, deviations = against_cohort(projected, cohort)
    raw = cosines(projected, projected, trials)
    standard = [(raw - means[side]) / deviations[side] for side in (trials.first, trials.second)]
    return np.asarray((standard[0] + standard[1]) / 2)


def make_cohorts(utterances: Sequence[Utterance], encoders: Mapping[str, Encoder], seed: int = 0) -> dict[str, Cohort]:
    """A cohort for each model out of the same utterances, those of `PEOPLE` speakers drawn by seed.

    None for any, which is logged, where these are too few.
    """
    own: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.speaker is not None and utterance.seconds >= (_HEARD.seconds or 0):
            own.setdefault(utterance.speaker, []).append(utterance)
    names = sorted(own)
    drawn = sorted(np.random.default_rng(seed).permutation(len(names))[:PEOPLE].tolist())
    chosen = [utterance for person in drawn for utterance in own[names[person]][:UTTERANCES]]
    if len(drawn) < FEWEST:
        _log.warning("no AS-norm: a cohort needs %d other speakers, and here are %d", FEWEST, len(drawn))
        return {}
    owner = np.unique([str(one.speaker) for one in chosen], return_inverse=True)[1]
    heard = listen([one.file for one in chosen], encoders, [_HEARD])
    return {name: _cohort(heard[name][_HEARD], owner, encoder.fingerprint) for name, encoder in encoders.items()}


def _cohort(embeddings: Embeddings, owner: NDArray[np.int64], fingerprint: str) -> Cohort:
    """The mean voice of each person, and how one person's utterances differ."""
    voices, scatter = [], np.zeros(2 * embeddings.shape[1:])
    heard = np.isfinite(embeddings[:, 0])
    for person in np.unique(owner[heard]):
        said = embeddings[heard & (owner == person)].astype(np.float64)
        middle = said.mean(axis=0)
        voices.append(middle / np.linalg.norm(middle))
        scatter += (said - middle).T @ (said - middle)
    return Cohort(np.array(voices, np.float32), scatter.astype(np.float32), fingerprint)
