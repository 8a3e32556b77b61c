"""What a carrier costs: the table of the CASE benchmark, with probes that have come over each kind of carrier."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.signal import oaconvolve

from diarize.evaluation.bootstrap import Estimate, error_rates, mean
from diarize.evaluation.error_rates import Floats
from diarize.evaluation.listening import CLEAN, Carry, Condition, Embeddings
from diarize.evaluation.scoring import cosines
from diarize.evaluation.trials import Trials
from diarize.training.carriers import Sources, over
from diarize.training.lessons import sources_of
from diarize.training.manifest import Split
from diarize.training.recording import rms
from diarize.types import Samples

CATEGORIES = (CLEAN, "codec", "mic", "noise", "reverb", "playback")
"""Of the CASE benchmark: nothing, a codec, a microphone, a noise at `SNR`, a room, and a codec's output played by a
loudspeaker in a room and recorded there by a microphone."""

MEANS = ("absolute", "degradation")
"""The mean of all categories, and by how much it is above clean."""

SNR = (0.0, 20.0)
"""dB, from which a noise is drawn."""

SECONDS = 2.0
"""Of the crops that are compared."""

CONDITIONS = tuple(Condition(SECONDS, carrier=category) for category in CATEGORIES)

_MODES = {"codec": "codec", "mic": "microphone", "playback": "playback"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CarrierTable:
    """The equal error rates of one model.

    categories: of each of `CATEGORIES`, enrolment clean.
    """

    categories: Mapping[str, Estimate]

    @property
    def absolute(self) -> Estimate:
        """The mean of all."""
        return mean(list(self.categories.values()))

    @property
    def degradation(self) -> Estimate:
        """By how much the mean of all is above clean."""
        return self.absolute - self.categories[CLEAN]

    @property
    def columns(self) -> dict[str, Estimate]:
        """The whole table."""
        return {**self.categories, **dict(zip(MEANS, (self.absolute, self.degradation), strict=True))}


def carry_to(category: str, samples: Samples, rng: np.random.Generator, sources: Sources) -> Samples:
    """An utterance over a drawn carrier of one of `CATEGORIES`, as long and at the same time."""
    if category == CLEAN:
        return samples
    if category in _MODES:
        return over(samples, _MODES[category], rng, sources)
    if category == "noise":
        level = rms(samples) * 10 ** (-rng.uniform(*SNR) / 20)
        return samples + np.float32(level) * sources.noise(len(samples), rng)
    if category == "reverb":
        return np.asarray(oaconvolve(samples, sources.room(rng))[: len(samples)], dtype=np.float32)
    raise ValueError(f"unknown category {category!r}: one of {', '.join(CATEGORIES)}")


def carriers_of(folder: Path, split: Split) -> Carry:
    """Carriers with the noises and rooms of `sources_of`; of computed ones, the log warns.  ValueError as there."""
    sources = sources_of(folder, split)
    if sources is Sources.computed():
        _log.warning("noises and rooms are computed ones: no noise/ and rirs/ in %s", folder)
    return partial(_carry, sources)


def carrier_table(heard: Mapping[Condition, Embeddings], trials: Trials, drawn: Floats) -> CarrierTable:
    """The table of one model, by plain cosine: the first utterance of a trial is clean, the second has been carried.

    heard: embeddings under `CONDITIONS`.  Raises ValueError as `error_rates`.
    """
    first, second = trials.speakers[trials.first], trials.speakers[trials.second]
    enrolled = heard[CONDITIONS[0]]
    return CarrierTable(
        {
            condition.carrier: error_rates(cosines(enrolled, heard[condition], trials), first, second, drawn)[0]
            for condition in CONDITIONS
        }
    )


def _carry(sources: Sources, samples: Samples, category: str, rng: np.random.Generator) -> Samples:
    return carry_to(category, samples, rng, sources)
