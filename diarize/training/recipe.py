"""The recipe of a training run: every number in it, with its unit; `pipelines/train.toml` holds the one in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diarize.config import from_mapping, merge, parse_settings, read_recipe
from diarize.models.ecapa_tdnn import EcapaConfig
from diarize.training.batches import BatchConfig
from diarize.training.carriers import CarrierConfig
from diarize.training.corpus import CorpusConfig


@dataclass(frozen=True)
class Ramp:
    """A number that goes from `start` to `end`, in a straight line between two shares of the run, 0..1."""

    start: float
    end: float
    begins: float = 0.0
    ends: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.begins < self.ends <= 1:
            raise ValueError(f"begins and ends must be 0 <= begins < ends <= 1, not {self.begins} and {self.ends}")

    def at(self, share: float) -> float:
        """Its value when this share of the run is done."""
        done = min(1.0, max(0.0, (share - self.begins) / (self.ends - self.begins)))
        return self.start + done * (self.end - self.start)


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    margin: of the right speaker, radians; scale: of the cosines; centres: of each speaker, as in `AngularMargin`.
    distillation: the weight of the teacher's share; 0: no teacher is asked.
    teacher: the model that teaches, as `SpeakerEncoder.from_pretrained` knows it.
    """

    margin: Ramp = Ramp(0.0, 0.2, 0.1, 0.5)
    scale: Ramp = Ramp(30.0, 30.0)
    centres: int = 1
    distillation: float = 5.0
    teacher: str = "resemblyzer"

    def __post_init__(self) -> None:
        if self.distillation < 0:
            raise ValueError(f"distillation must be at least 0, not {self.distillation}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move.

    steps: in all.
    rate: the highest learning rate, reached after `warm_up` steps; half a cosine down to a thousandth follows.
    decay: of the weights, in AdamW (Loshchilov and Hutter, 2019).
    clip: the largest norm of the gradient.
    average: 0..1, how much of the moving average of the weights is left after a step; the average is the result.
    """

    steps: int = 7000
    rate: float = 1e-3
    warm_up: int = 500
    decay: float = 1e-4
    clip: float = 5.0
    average: float = 0.998

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warm_up < 0:
            raise ValueError(f"steps must be at least 1 and warm_up at least 0, not {self.steps} and {self.warm_up}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in 0..1, 1 left out, not {self.average}")
        if self.rate <= 0 or self.clip <= 0:
            raise ValueError(f"rate and clip must be above 0, not {self.rate} and {self.clip}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        if step < self.warm_up:
            return self.rate * (step + 1) / (self.warm_up + 1)
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (1e-3 + (1 - 1e-3) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class MaskConfig:
    """What of a crop's features is hidden, one stretch each (Park et al., "SpecAugment", 2019).

    frames: the longest stretch of time, 10 ms each; bands: the widest of frequency, of 80.
    """

    frames: int = 15
    bands: int = 10

    def __post_init__(self) -> None:
        if self.frames < 0 or self.bands < 0:
            raise ValueError(f"frames and bands must be at least 0, not {self.frames} and {self.bands}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    seed: of all that is drawn.
    channels, embedding: the network's width (its aggregation is three times as wide) and the numbers in an embedding.
    start: a model to go on from, as `SpeakerEncoder.from_pretrained` knows it, of the same widths; empty: from nothing.
    every: steps between two checkpoints, each judged on `dev` speakers.
    """

    seed: int = 1
    start: str = ""
    channels: int = 512
    embedding: int = 192
    every: int = 250
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    carriers: CarrierConfig = field(default_factory=CarrierConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, not {self.every}")
        if self.batches.speakers * self.batches.crops < 2:
            raise ValueError("batches.speakers and batches.crops are both 1: a batch must have two crops at least")
        self.network  # noqa: B018 - refuses impossible widths

    @property
    def network(self) -> EcapaConfig:
        """The network's widths."""
        return EcapaConfig(channels=self.channels, mfa_channels=3 * self.channels, embedding=self.embedding)


def load_recipe(recipe: str | Path = "train", settings: Sequence[str] = ()) -> TrainConfig:
    """The settings of a recipe (the name of a shipped one, or a path), changed by `settings` ("optimizer.steps=100").

    Raises ValueError for an unknown recipe, a file that is not TOML, an unknown key or a value that cannot be.
    """
    return from_mapping(TrainConfig, merge(read_recipe(recipe), parse_settings(settings)))
