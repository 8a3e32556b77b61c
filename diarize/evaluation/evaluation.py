"""Several models beside each other on the same trials: everything that is measured, and in which order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diarize.evaluation.bootstrap import Estimate, draw_speakers, error_rates, share
from diarize.evaluation.carrier_table import CONDITIONS as CARRIED
from diarize.evaluation.carrier_table import CarrierTable, carrier_table
from diarize.evaluation.error_rates import ErrorCurve, Floats, equal_error_threshold, error_curve
from diarize.evaluation.listening import Carry, Condition, Embeddings, Encoder, listen
from diarize.evaluation.retrieval import NEAREST, found_within
from diarize.evaluation.scoring import AS_NORM, COSINE, cosines, normalised
from diarize.evaluation.trials import Trials
from diarize.profiles.cohort import Cohort

_log = logging.getLogger(__name__)

CONDITIONS = (Condition(1.0), Condition(2.0), Condition(4.0), Condition(4.0, crops=10), Condition())
"""One crop from the middle, the average of ten, and the whole utterance."""

SHOWN = Condition(2.0)
"""What the pictures show; of shorter utterances, the whole."""


@dataclass(frozen=True)
class Verification:
    """The error rates of one model on trials of one kind.

    utterances, speakers: in these trials; same, different: how many trials are of one speaker, and of two.
    eer: the equal error rate; threshold: the score at which it is reached.
    costs: minDCF by p_target.
    """

    model: str
    kind: str
    condition: Condition
    scoring: str
    utterances: int
    speakers: int
    same: int
    different: int
    eer: Estimate
    threshold: float
    costs: Mapping[float, Estimate]


@dataclass(frozen=True)
class Retrieval:
    """Recall@K of one model, by K; probes: how many utterances were asked for."""

    model: str
    condition: Condition
    probes: int
    recall: Mapping[int, Estimate]


@dataclass(frozen=True, eq=False)
class Picture:
    """What the pictures show of one model, by plain cosine.

    scores, same: of the hardest kind of trials, shape (trials,).
    curve: their errors.
    embeddings, speakers: of the utterances, shape (n, dimensions) and (n,).
    """

    scores: Floats
    same: NDArray[np.bool_]
    curve: ErrorCurve
    embeddings: Embeddings
    speakers: NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured.

    against: the model with which the others are compared; None: there is one model only.
    lost: utterances that each condition left out, as they are too short or cannot be heard.
    carriers: by model and kind of trials; empty: not measured.
    shown: of what the pictures are.
    """

    models: Mapping[str, Encoder]
    against: str | None
    trials: Trials
    lost: Mapping[Condition, int]
    verification: Sequence[Verification]
    retrieval: Sequence[Retrieval]
    carriers: Mapping[tuple[str, str], CarrierTable]
    shown: str
    pictures: Mapping[str, Picture]


def evaluate(
    encoders: Mapping[str, Encoder],
    trials: Trials,
    *,
    against: str | None = None,
    cohorts: Mapping[str, Cohort] | None = None,
    carry: Carry | None = None,
    seed: int = 0,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Evaluation:
    """Measure models on the same trials, with the same crops, the same carriers and the same draws of speakers.

    encoders: by the name that is shown.
    against: the name of the one that the others are compared with; None: the last, where there are several.
    cohorts: of each, for AS-norm; none: by plain cosine only.
    carry: what brings an utterance over a carrier, as `carrier_table.carriers_of` makes it; None: no carrier table.
    seed: of the draws of speakers.
    Kinds of trials that lack one class under a condition are left out, which is logged.  Raises ValueError where there
    is no model, where `against` is none of them, where no utterance can be heard, and where nothing can be measured.
    """
    if not encoders or against not in (None, *encoders):
        raise ValueError(f"against must be one of the models, {', '.join(encoders) or 'of which there is none'}")
    if against is None and len(encoders) > 1:
        against = list(encoders)[-1]
    drawn = draw_speakers(trials.strata, seed)
    conditions = (*CONDITIONS, *(() if carry is None else CARRIED))
    heard = listen(trials.files, encoders, tuple(dict.fromkeys(conditions)), carry, track)
    kept = {condition: _heard_by_all(heard, condition) for condition in CONDITIONS}
    parts = {condition: _parts(trials, kept[condition]) for condition in CONDITIONS}
    for kind in trials.kinds():
        if lacking := [str(condition) for condition in CONDITIONS if kind not in parts[condition]]:
            _log.warning("trials %s: not measured at %s, as none or all are of one speaker", kind, ", ".join(lacking))
    verification: list[Verification] = []
    retrieval: list[Retrieval] = []
    for condition in CONDITIONS:
        for name in encoders:
            embeddings, cohort = heard[name][condition], (cohorts or {}).get(name)
            for kind, part in parts[condition].items():
                verification += _verify(name, kind, condition, embeddings, part, drawn, cohort)
            retrieval += _retrieve(name, condition, embeddings, trials.speakers, kept[condition], drawn)
    if not verification:
        raise ValueError("no trials of both kinds are left: error rates need some of one speaker and some of two")
    shown = SHOWN if parts[SHOWN] else verification[-1].condition
    kind, pictured = next(iter(parts[shown].items()))
    return Evaluation(
        encoders,
        against,
        trials,
        {condition: int((~kept[condition]).sum()) for condition in CONDITIONS},
        verification,
        retrieval,
        {
            (name, kind): carrier_table(heard[name], part, drawn)
            for kind, part in parts[CARRIED[0]].items()
            for name in encoders
            if carry is not None
        },
        f"{shown}, trials {kind}, by cosine",
        {name: _picture(heard[name][shown], pictured, kept[shown]) for name in encoders},
    )


def _heard_by_all(heard: Mapping[str, Mapping[Condition, Embeddings]], condition: Condition) -> NDArray[np.bool_]:
    """Which utterances every model has an embedding of, shape (files,)."""
    return np.asarray(np.all([np.isfinite(own[condition]).all(axis=1) for own in heard.values()], axis=0))


def _parts(trials: Trials, kept: NDArray[np.bool_]) -> dict[str, Trials]:
    """The trials of each kind between utterances that are kept; without the kinds that lack a class."""
    both = kept[trials.first] & kept[trials.second]
    parts = {
        kind: replace(trials, first=trials.first[both & own], second=trials.second[both & own])
        for kind, own in trials.kinds().items()
    }
    return {kind: part for kind, part in parts.items() if 0 < part.same.sum() < len(part.same)}


def _verify(
    name: str,
    kind: str,
    condition: Condition,
    embeddings: Embeddings,
    trials: Trials,
    drawn: Floats,
    cohort: Cohort | None,
) -> Iterator[Verification]:
    """By plain cosine and, with a cohort, by normalised scores."""
    scored = {COSINE: cosines(embeddings, embeddings, trials)}
    if cohort is not None:
        scored[AS_NORM] = normalised(embeddings, trials, cohort)
    first, second, same = trials.speakers[trials.first], trials.speakers[trials.second], trials.same
    used = np.unique([trials.first, trials.second])
    for scoring, scores in scored.items():
        eer, costs = error_rates(scores, first, second, drawn)
        yield Verification(
            name,
            kind,
            condition,
            scoring,
            len(used),
            len(np.unique(trials.speakers[used])),
            int(same.sum()),
            int((~same).sum()),
            eer,
            equal_error_threshold(error_curve(scores, same)),
            costs,
        )


def _retrieve(
    name: str,
    condition: Condition,
    embeddings: Embeddings,
    speakers: NDArray[np.int64],
    kept: NDArray[np.bool_],
    drawn: Floats,
) -> Iterator[Retrieval]:
    """Among the utterances that are kept; nothing where nobody has two."""
    speakers = speakers[kept]
    asked, found = found_within(embeddings[kept], speakers)
    if len(asked):
        recall = {k: share(hits, speakers[asked], drawn) for k, hits in zip(NEAREST, found.T, strict=True)}
        yield Retrieval(name, condition, len(asked), recall)


def _picture(embeddings: Embeddings, trials: Trials, kept: NDArray[np.bool_]) -> Picture:
    scores = cosines(embeddings, embeddings, trials)
    return Picture(scores, trials.same, error_curve(scores, trials.same), embeddings[kept], trials.speakers[kept])
