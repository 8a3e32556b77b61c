"""Teach a speaker encoder to tell the voices of one recording apart: `python -m diarize.training.adapt --help`.

Where every training speaker has a microphone of their own, a network learns microphones too.  Here it hears simulated
conversations, all of whose voices come through one room, one microphone and one line, and every voice is held against
the others of its own conversation: what they share tells nobody apart.  Pairs are judged as in Zhai et al., "Sigmoid
Loss for Language Image Pre-Training" (2023); an additive angular margin softmax over all training speakers (Deng et
al., "ArcFace", 2019) keeps the voices of different recordings apart.  A few hundred voices are soon known by heart, so
the result goes but part of the way to the last weights (Wortsman et al., "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.checkpoints import load_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import BUNDLED
from diarize.models.features import FilterBank
from diarize.training.excerpts import Batch, ExcerptConfig, Talk, draw_batch, make_talks
from diarize.training.losses import AngularMargin, contrastive_loss
from diarize.training.speech import read_voices

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptConfig:
    """The recipe.

    excerpts: what a batch is made of.
    steps: of the optimiser; every: how many lie between two checkpoints.
    pool: conversations to draw from at a time, `start` of them at first; one more joins every `renew` steps.
    scale, threshold: of the cosines in the contrastive loss.
    margin, margin_scale: of the softmax, in radians and of its cosines; weight: of its share in the loss.
    rate: the highest learning rate, reached after `warm_up` steps; half a cosine follows.
    head_rate: the same for the softmax, which is thrown away in the end.
    decay: of the weights, in AdamW.
    average: 0..1, how much of the moving average of the weights is left after a step.
    share: 0..1, how far from the first weights to that average the result lies. On other voices, all the way was no
        better than none of it, and 0.3 better than both.
    clip: the largest norm of the gradient.
    mask_frames, mask_bands: the widest stretch of time and of frequency hidden in a window, one of each.
    """

    excerpts: ExcerptConfig = field(default_factory=ExcerptConfig)
    seed: int = 1
    steps: int = 1400
    every: int = 50
    pool: int = 240
    start: int = 48
    renew: int = 3
    scale: float = 12.0
    threshold: float = 0.4
    margin: float = 0.2
    margin_scale: float = 30.0
    weight: float = 0.2
    rate: float = 2.5e-4
    warm_up: int = 100
    head_rate: float = 3e-3
    decay: float = 1e-4
    average: float = 0.995
    share: float = 0.3
    clip: float = 5.0
    mask_frames: int = 15
    mask_bands: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "every", "pool", "start", "renew"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("average", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")


class Adaptation:
    """A network on its way.

    network: what learns; step: how many steps were made.
    voices: the names of all who may be heard, as `excerpt` gives them.
    """

    def __init__(self, network: EcapaTdnn, voices: Sequence[str], config: AdaptConfig) -> None:
        self.config, self.step = config, 0
        self.network = network.requires_grad_().train()
        self._first = copy.deepcopy(network).eval()
        self._average = copy.deepcopy(network).eval()
        self._classes = {name: number for number, name in enumerate(voices)}
        self._head = AngularMargin(len(voices), network.config.embedding)
        self._features = FilterBank()
        groups = [
            {"params": [*network.parameters()], "lr": config.rate, "weight_decay": config.decay},
            {"params": [*self._head.parameters()], "lr": config.head_rate, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)

    def _rate(self, step: int) -> float:
        done = (step - self.config.warm_up) / max(1, self.config.steps - self.config.warm_up)
        return (step + 1) / (self.config.warm_up + 1) if done < 0 else 0.5 + 0.5 * math.cos(math.pi * min(1.0, done))

    def learn(self, batch: Batch, rng: np.random.Generator) -> tuple[float, float]:
        """Make one step; its contrastive loss and its softmax loss.  FloatingPointError where they are not finite."""
        config = self.config
        speakers = torch.tensor([self._classes[name] for name in batch.voices])
        with torch.no_grad():
            features = mask(self._features(torch.from_numpy(batch.waveforms)), config, rng)
        with torch.autocast("cpu", torch.bfloat16):  # twice as fast; the losses stay in float32
            raw = self.network(features)
        embeddings = functional.normalize(raw.float(), dim=1)
        contrast = contrastive_loss(embeddings, torch.from_numpy(batch.talks), speakers, config.scale, config.threshold)
        softmax = self._head(embeddings, speakers, config.margin, config.margin_scale)
        loss = contrast + config.weight * softmax
        if not loss.isfinite():
            raise FloatingPointError(f"step {self.step}: the loss is {loss.item()}; lower the rate ({config.rate})")
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self._optimizer.step()
        self._schedule.step()
        move(self._average, self.network, 1 - config.average)
        self.step += 1
        return contrast.item(), softmax.item()

    def result(self) -> EcapaTdnn:
        """The network as it is to be used."""
        network = copy.deepcopy(self._first)
        move(network, self._average, self.config.share)
        return network

    def save(self, file: Path) -> None:
        """Write all it takes to go on; a file that is there is replaced at once, never half."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        part = file.with_name(f"{file.name}.part")
        torch.save({"config": asdict(self.config), "step": self.step, **state}, part)
        part.replace(file)

    def resume(self, file: Path) -> None:
        """Go on where `save` was called.  ValueError for a file of another configuration, or of something else."""
        state = torch.load(file, weights_only=True)
        if not isinstance(state, dict) or "config" not in state:
            raise ValueError(f"{file}: not what an interrupted run leaves; start without --resume")
        was = state["config"]
        different = [f"{k} was {was.get(k)}, now {v}" for k, v in asdict(self.config).items() if was.get(k) != v]
        if different:
            raise ValueError(f"{file}: of another configuration ({'; '.join(different)}); start without --resume")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        networks = {"network": self.network, "first": self._first, "average": self._average, "head": self._head}
        return {**networks, "optimizer": self._optimizer, "schedule": self._schedule}


def move(network: nn.Module, other: nn.Module, share: float) -> None:
    """Move the weights and statistics of a network a share of the way to those of another, in place."""
    for mine, its in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        mine.copy_(mine.lerp(its, share) if mine.is_floating_point() else its)


def mask(features: Tensor, config: AdaptConfig, rng: np.random.Generator) -> Tensor:
    """Features, shape (n, frames, bands), with a stretch of time and one of bands set to their mean, 0, in each."""
    seen = np.ones(features.shape, np.float32)
    for window in seen:
        for axes, widest in ((window, config.mask_frames), (window.T, config.mask_bands)):
            width = int(rng.integers(widest + 1))
            start = int(rng.integers(len(axes) - width + 1))
            axes[start : start + width] = 0
    return features * torch.from_numpy(seen)


def adapt(
    work: Adaptation,
    talks: Callable[[int], Iterator[Talk]],
    until: float = math.inf,
    keep: Callable[[], None] = lambda: None,
) -> list[tuple[float, float]]:
    """Make the steps that are left, or those until `time.monotonic()` is past `until`; the losses of each.

    talks: the conversations from a number on.  keep: called now and then, and at the end.
    """
    config, losses = work.config, []
    newest = config.start + work.step // config.renew
    more = talks(max(0, newest - config.pool))
    pool = deque(islice(more, min(newest, config.pool)), maxlen=config.pool)
    while work.step < config.steps and time.monotonic() < until:
        rng = np.random.default_rng([config.seed, work.step])
        losses.append(work.learn(draw_batch(pool, config.excerpts, rng), rng))
        _log.info("step %d of %d: contrast %.3f, softmax %.3f", work.step, config.steps, *losses[-1])
        if work.step % config.renew == 0:
            pool.extend(islice(more, 1))
        if work.step % config.every == 0:
            keep()
    keep()
    return losses


def write_weights(network: EcapaTdnn, file: Path) -> None:
    """Write what `load_checkpoint` reads: fp16, but for the running statistics, whose variances may be too large."""
    state = {
        name: value.half() if value.is_floating_point() and "running" not in name else value
        for name, value in network.state_dict().items()
    }
    widths = {name: str(getattr(network.config, name)) for name in ("channels", "mfa_channels", "embedding")}
    safetensors.torch.save_file(state, file, {"layout": "speechbrain", **widths})


def main(arguments: Sequence[str] | None = None) -> None:
    """Adapt an encoder to conversations; write its weights, and beside them what it takes to go on."""
    parser = argparse.ArgumentParser(prog="python -m diarize.training.adapt", description=main.__doc__)
    parser.add_argument("--speech", type=Path, required=True, help="the folder of real speech")
    parser.add_argument("--out", type=Path, required=True, help="the weights, .safetensors; beside it goes .resume")
    parser.add_argument("--weights", type=Path, default=next(iter(BUNDLED.values())), help="the weights to start from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, to be resumed")
    parser.add_argument("--resume", type=Path, help="the .resume file to go on from")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    until = time.monotonic() + 60 * given.minutes
    config = AdaptConfig()
    speeds = config.excerpts.speeds
    voices = [f"{voice.name}@{speed}" for voice in read_voices(given.speech, "train") for speed in speeds]
    work = Adaptation(load_checkpoint(given.weights).network, voices, config)
    if given.resume:
        work.resume(given.resume)

    def keep() -> None:
        work.save(given.out.with_suffix(".resume"))
        write_weights(work.result(), given.out)

    adapt(work, lambda first: make_talks(given.speech, config.seed, config.excerpts, first), until, keep)


if __name__ == "__main__":
    main()
