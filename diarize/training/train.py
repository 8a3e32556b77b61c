"""The training of a speaker encoder: one step, what it takes to go on, and the loop."""

from __future__ import annotations

import io
import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diarize.formats import write_atomically
from diarize.models.checkpoints import load_checkpoint, write_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import resolve
from diarize.models.features import FilterBank
from diarize.training.curves import append_row, draw_curves
from diarize.training.lessons import Lesson
from diarize.training.losses import AngularMargin, Distillation
from diarize.training.recipe import MaskConfig, TrainConfig

_log = logging.getLogger(__name__)

CHECKPOINT, CURVES, WEIGHTS = "checkpoint.pt", "curves.csv", "model.safetensors"
"""What a run leaves in its folder, beside a picture of the curves."""

Judge = Callable[[EcapaTdnn], Mapping[str, float]]
"""Says how good a network is, in named numbers for the curves."""


class Training:
    """A network on its way.

    speakers: how many teach.  taught: the teacher's embedding of each utterance, shape (utterances, dimensions);
    None where no teacher is asked.  step: how many steps were made.
    """

    def __init__(
        self, config: TrainConfig, speakers: int, taught: NDArray[np.float32] | None, device: torch.device
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.step = config, device, 0
        self.network = (_started(config) if config.start else EcapaTdnn(config.network)).to(device).train()
        self._compiled = _compiled(self.network)
        self._features = FilterBank().to(device)
        self._margin = AngularMargin(speakers, config.embedding, config.loss.centres).to(device)
        self._taught = None if taught is None else torch.from_numpy(taught).to(device)
        self._teacher = None if taught is None else Distillation(config.embedding, taught.shape[1]).to(device)
        keep = get_ema_multi_avg_fn(config.optimizer.average)  # type: ignore[no-untyped-call]  # torch's own gap
        self._average = AveragedModel(self.network, multi_avg_fn=keep, use_buffers=True)
        parameters = [p for part in self._learning() for p in part.parameters()]
        self._optimizer = torch.optim.AdamW(
            parameters, config.optimizer.rate, weight_decay=config.optimizer.decay, fused=True
        )

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """Make one step; its losses, their weights not in them.  ValueError where they are not finite."""
        config, share = self.config, self.step / self.config.optimizer.steps
        waveforms, speakers, utterances = (part.to(self.device) for part in lesson)
        with torch.no_grad():
            hidden = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
            features = mask(self._features(waveforms), config.mask, hidden)
        with torch.autocast(self.device.type, torch.bfloat16):  # the losses stay in float32
            embeddings = self._compiled(features)
        embeddings = embeddings.float()
        known = speakers >= 0
        margin, scale = config.loss.margin.at(share), config.loss.scale.at(share)
        losses = {"softmax": self._margin(embeddings[known], speakers[known], margin, scale)}
        total = losses["softmax"]
        if self._teacher is not None and self._taught is not None:
            losses["distillation"] = self._teacher(embeddings, self._taught[utterances])
            total = total + config.loss.distillation * losses["distillation"]
        if not total.isfinite():
            raise ValueError(f"step {self.step}: the loss is {total.item()}: lower optimizer.rate")
        for group in self._optimizer.param_groups:
            group["lr"] = config.optimizer.rate_at(self.step)
        self._optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_([p for g in self._optimizer.param_groups for p in g["params"]], config.optimizer.clip)
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def result(self) -> EcapaTdnn:
        """The network as it is to be used: the moving average of the weights."""
        return cast(EcapaTdnn, self._average.module).eval()

    def save(self, file: Path) -> None:
        """Write all it takes to go on, whole or not at all: then what was there stays.  OSError says so."""
        content = io.BytesIO()  # torch's own writing fails with errors of its own where a disk is full
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({"config": asdict(self.config), "step": self.step, **state}, content)
        write_atomically(file, content.getvalue())

    def resume(self, file: Path) -> None:
        """Go on where `save` was called.

        Raises ValueError for a file of another configuration, naming what differs, of other speakers, or of something
        else.
        """
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
        except Exception:  # torch raises whatever its unpickler stumbles over, with advice to programmers
            state = None
        if not isinstance(state, dict) or "config" not in state:
            raise ValueError(f"{file} is no checkpoint of a training run, or damaged: start without --resume")
        if different := _differences(state["config"], asdict(self.config)):
            raise ValueError(f"{file} is of another configuration ({'; '.join(different)}): start without --resume")
        if state["margin"]["directions"].shape != self._margin.directions.shape:
            raise ValueError(f"{file} is of other speakers: give the speech it was taught with, or no --resume")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]

    def _learning(self) -> list[nn.Module]:
        return [self.network, self._margin, *([self._teacher] if self._teacher else [])]

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {"network": self.network, "margin": self._margin}
        if self._teacher:
            parts["teacher"] = self._teacher
        return {**parts, "average": self._average, "optimizer": self._optimizer}


def mask(features: Tensor, config: MaskConfig, generator: torch.Generator) -> Tensor:
    """Features, shape (n, frames, bands), with a stretch of time and one of bands set to their mean, 0, in each."""
    kept = torch.ones((*features.shape[:1], 1, 1))
    for axis, widest in ((1, config.frames), (2, config.bands)):
        size = features.shape[axis]
        width = torch.randint(0, min(widest, size) + 1, (len(features), 1), generator=generator)
        start = (torch.rand(len(features), 1, generator=generator) * (size - width + 1)).long()
        place = torch.arange(size)
        kept = kept * ((place < start) | (place >= start + width)).float().unsqueeze(3 - axis)
    return features * kept.to(features.device)


def train(
    work: Training,
    lessons: Iterable[Lesson],
    judge: Judge,
    folder: Path,
    until: float = math.inf,
    tell: Callable[[str], None] = _log.info,
) -> None:
    """Make the steps that are left, or those until `time.monotonic()` is past `until`.

    lessons: one for each step that is left, in order.
    folder: where checkpoints, curves and the weights go, every `config.every` steps and at the end.
    tell: is told, in a line, how it goes.
    Raises ValueError for a loss that is not finite, OSError where nothing can be written; the last checkpoint stays.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    began, steps = time.monotonic(), work.step
    for lesson in lessons:
        for name, loss in work.learn(lesson).items():
            sums[name] += loss
        last = work.step == work.config.optimizer.steps or time.monotonic() > until
        if work.step % work.config.every == 0 or last:
            made = work.step - steps
            speed = made * len(lesson[0]) / (time.monotonic() - began)
            _write(work, {name: total / made for name, total in sums.items()}, speed, judge, folder, tell)
            sums.clear()
            began, steps = time.monotonic(), work.step
        if last:
            break


def _write(
    work: Training,
    losses: Mapping[str, float],
    speed: float,
    judge: Judge,
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    config, share = work.config, work.step / work.config.optimizer.steps
    settings = {"rate": config.optimizer.rate_at(work.step), "margin": config.loss.margin.at(share)}
    row = {**losses, **judge(work.result()), **settings, "crops_per_second": speed}
    tell(f"step {work.step} of {config.optimizer.steps}: {', '.join(f'{name} {v:.4g}' for name, v in row.items())}")
    row = {"step": float(work.step), **row}
    append_row(folder / CURVES, row)
    draw_curves(folder / CURVES, folder / "curves.png")
    write_checkpoint(work.result(), folder / WEIGHTS, {"steps": str(work.step)})
    work.save(folder / CHECKPOINT)


def _started(config: TrainConfig) -> EcapaTdnn:
    """The network of the model that a run starts from.  ValueError where it is another one."""
    network = load_checkpoint(resolve(config.start)).network
    if not isinstance(network, EcapaTdnn) or network.config != config.network:
        widths = network.config if isinstance(network, EcapaTdnn) else type(network).__name__
        raise ValueError(f"start {config.start!r} is {widths}; the recipe wants {config.network}: set its widths")
    return network.requires_grad_()


def _compiled(network: EcapaTdnn) -> Callable[[Tensor], Tensor]:
    """The network compiled where there is a compiler, which makes a step on a CPU half as fast again."""
    if not any(map(shutil.which, ("g++", "clang++"))):
        _log.warning("no C++ compiler here: training goes on without, slower")
        return network
    compiled: Callable[[Tensor], Tensor] = torch.compile(network)
    return compiled


def _differences(was: Mapping[str, object], now: Mapping[str, object], prefix: str = "") -> list[str]:
    """What two (nested) configurations do not share, as `name was x, now y`."""
    found = []
    for name in {**was, **now}:
        before, after = was.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before}, now {after}")
    return found
