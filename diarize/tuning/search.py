"""The search: settings with fewer errors on some recordings, measured on others that it has not seen."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from diarize.embedded import EmbeddedRecording
from diarize.metrics import Errors, Score, score, total
from diarize.pipeline import PipelineConfig, SpeakerDiarization, recluster
from diarize.rttm import turns_from
from diarize.tuning.annotated import Annotated
from diarize.tuning.space import Range, changed, present

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

METRICS = ("strict", "lenient")
"""The conventions, of whose DERs one is made least; see `diarize.metrics`."""

FEW = 10
"""Recordings.  What is tuned on fewer fits those, and a part of them tells little."""


Embed = Callable[[Annotated, PipelineConfig], EmbeddedRecording]
"""What makes the embeddings of a recording; of the settings, those before clustering tell how."""


@dataclass(frozen=True)
class Search:
    """How to search.

    trials: so many settings are tried, the present ones first.
    timeout: seconds after which no other trial begins, or None; with it, the result depends on the machine.
    hold_out: the share of the recordings, above 0 and below 1, that tuning does not see.
    seed: of the split and of the search: the same seed gives the same result.
    """

    trials: int = 100
    timeout: float | None = None
    hold_out: float = 0.3
    seed: int = 0
    metric: str = "strict"

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"{self.trials} trials find nothing: give 1 or more")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"a timeout of {self.timeout} s leaves no time: give more than 0")
        if not 0 < self.hold_out < 1:
            raise ValueError(f"the share held out is {self.hold_out}: it must be above 0 and below 1")
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}: choose one of {', '.join(METRICS)}")


@dataclass(frozen=True)
class Part:
    """The recordings of one part, and its pooled scores before and after."""

    recordings: tuple[Annotated, ...]
    before: Score
    after: Score


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    config: the best settings; those it began with where nothing was better.
    values: of the settings that were searched, in `config`.
    trials: so many were done.
    """

    config: PipelineConfig
    values: Mapping[str, float]
    trials: int
    search: Search
    tuned: Part
    held_out: Part

    @property
    def worse(self) -> bool:
        """Whether the part that was held out got worse."""
        return rate(self.held_out.after, self.search.metric) > rate(self.held_out.before, self.search.metric)


def split(recordings: Sequence[Annotated], hold_out: float, seed: int) -> tuple[list[Annotated], list[Annotated]]:
    """The recordings to tune on and those held out, at least one each, by a seed; each part in the order given.

    Raises ValueError for fewer than two.
    """
    if len(recordings) < 2:
        raise ValueError("tuning needs 2 annotated recordings or more, one of them held out: annotate another")
    count = min(max(1, round(hold_out * len(recordings))), len(recordings) - 1)
    held = set(random.Random(seed).sample(range(len(recordings)), count))
    parts = ([one for i, one in enumerate(recordings) if (i in held) == out] for out in (False, True))
    return next(parts), next(parts)


def tune(
    recordings: Sequence[Annotated],
    embed: Embed,
    config: PipelineConfig,
    space: Mapping[str, Range],
    search: Search,
    progress: Callable[[int], object] | None = None,
) -> Tuned:
    """Search the settings with the least DER, pooled over the recordings that are not held out (TPE, by optuna).

    embed: is called once for each recording, and again whenever a setting of `DEAR` changes.
    config: where the search begins; what is not in `space` stays.
    progress: is told how many trials are done.

    Raises ValueError for fewer than two recordings, where there is no speech to be tuned on, and without optuna; what
    `embed` raises.
    """
    check_optuna()
    import optuna  # slow to import, and an extra

    on, rest = split(recordings, search.hold_out, search.seed)
    if len(recordings) < FEW:
        log.warning("%d recordings: what fits them may fit no other; %d or more tell", len(recordings), FEW)
    measured = _Measured(embed)
    before, held_before = measured.score(on, config), measured.score(rest, config)
    if not before.strict.speech_s:
        raise ValueError("the recordings to be tuned on have no annotated speech: check their RTTM files")

    tried: list[tuple[float, dict[str, float]]] = []

    def objective(trial: optuna.Trial) -> float:
        values = {name: _suggested(trial, name, range_) for name, range_ in space.items()}
        try:
            settings = changed(config, values)
        except ValueError as error:  # two settings that contradict each other, such as an offset above the onset
            raise optuna.TrialPruned(str(error)) from error
        tried.append((rate(measured.score(on, settings), search.metric), values))
        return tried[-1][0]

    def told(study: optuna.Study, _: object) -> None:
        if progress is not None:
            progress(len(study.trials))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=search.seed))
    now = present(config, space)
    if all(space[name].low <= value <= space[name].high for name, value in now.items()):
        study.enqueue_trial(now)
    study.optimize(objective, n_trials=search.trials, timeout=search.timeout, callbacks=[told])

    best, values = config, now
    least = min(tried, key=lambda trial: trial[0], default=None)
    if least is not None and least[0] < rate(before, search.metric):
        best, values = changed(config, least[1]), least[1]
    parts = (
        Part(tuple(part), earlier, earlier if best == config else measured.score(part, best))
        for part, earlier in ((on, before), (rest, held_before))
    )
    return Tuned(best, values, len(study.trials), search, *parts)


def check_optuna() -> None:
    """Raise ValueError where optuna is not installed."""
    if find_spec("optuna") is None:
        raise ValueError('optuna is not installed: pip install "diarize-live[tune]"')


def listener() -> Embed:
    """What makes embeddings with the network, which is loaded when it is first needed."""
    made = lru_cache(maxsize=1)(SpeakerDiarization)
    return lambda recording, config: made(config).embedded(recording.audio)


class _Measured:
    """Scores of settings, with the embeddings kept that they are made from."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._kept: dict[PipelineConfig, dict[Annotated, EmbeddedRecording]] = {}

    def score(self, recordings: Iterable[Annotated], config: PipelineConfig) -> Score:
        plain = PipelineConfig(vad=config.vad, windows=config.windows, embedding=config.embedding)
        kept = self._of(plain)
        scores = []
        for one in recordings:
            if one not in kept:
                kept[one] = self._embed(one, plain)
            turns = turns_from(recluster(kept[one], config).updates)
            scores.append(score(one.reference, turns, one.uem))
        return total(scores)

    def _of(self, config: PipelineConfig) -> dict[Annotated, EmbeddedRecording]:
        """The embeddings with these settings; beside the newest, only those of the first are kept."""
        while config not in self._kept and len(self._kept) > 1:
            self._kept.popitem()
        return self._kept.setdefault(config, {})


def _suggested(trial: optuna.Trial, name: str, range_: Range) -> float:
    if range_.whole:
        return trial.suggest_int(name, int(range_.low), int(range_.high))
    value = round(trial.suggest_float(name, range_.low, range_.high), 3)  # more decimals would say more than is known
    return min(max(value, range_.low), range_.high)


def rate(score: Score, metric: str) -> float:
    """The DER in this convention; 0 where there is no speech."""
    errors: Errors = getattr(score, metric)
    return errors.der or 0.0
