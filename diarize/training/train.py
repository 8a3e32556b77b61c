"""A training run: one step, what it takes to go on, and the loop."""

from __future__ import annotations

import io
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diarize.formats import write_atomically
from diarize.models.checkpoints import write_checkpoint
from diarize.training.curves import append_row, draw_curves
from diarize.training.recipe import OptimizerConfig

_log = logging.getLogger(__name__)

CHECKPOINT, CURVES, WEIGHTS = "checkpoint.pt", "curves.csv", "model.safetensors"
"""What a run leaves in its folder, beside a picture of the curves."""

Lesson = tuple[Tensor, ...]
"""What one step hears and is to learn from it; the first is the waveforms, shape (n, samples)."""

Network = TypeVar("Network", bound=nn.Module)

Judge = Callable[[Network], Mapping[str, float]]
"""Says how good a network is, in named numbers for the curves."""


class Recipe(Protocol):
    """What every recipe says; see `TrainConfig`."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    @property
    def every(self) -> int:
        """Steps between two checkpoints."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """How the weights move."""


def mixed_precision(device: torch.device) -> torch.autocast:
    """The context in which a device computes in bfloat16, if it can; else in float32, as outside of it.

    A CPU without instructions for bfloat16 (x86 without AVX-512 BF16 or AMX) only emulates it, for which torch does not
    look: on one with AVX2 a step of the segmentation network took 24 s instead of 1.8.
    """
    able = device.type != "cpu" or any(
        has for name, has in getattr(torch.cpu, "get_capabilities", dict)().items() if name.endswith("bf16")
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


class Training(ABC, Generic[Network]):
    """A network on its way; what it learns, `losses`, is each kind's own.

    config: a recipe, which is a dataclass.  heads: what learns with the network and is thrown away in the end, by name.
    step: how many steps were made.
    """

    def __init__(self, config: Recipe, network: Network, heads: Mapping[str, nn.Module], device: torch.device) -> None:
        self.recipe, self.device, self.step = config, device, 0
        self.network = network.to(device).train()
        self.heads = {name: head.to(device) for name, head in heads.items()}
        keep = get_ema_multi_avg_fn(config.optimizer.average)  # type: ignore[no-untyped-call]  # torch's own gap
        self._average = AveragedModel(self.network, multi_avg_fn=keep, use_buffers=True)
        learning: list[nn.Module] = [self.network, *self.heads.values()]
        self._parameters = [p for part in learning for p in part.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._parameters, config.optimizer.rate, weight_decay=config.optimizer.decay, fused=True
        )

    @abstractmethod
    def losses(self, lesson: Lesson) -> dict[str, tuple[float, Tensor]]:
        """The losses of a lesson by name, each with its weight in the sum."""

    def scheduled(self) -> dict[str, float]:
        """What of the recipe changes from step to step, as it is now, by name: for the curves."""
        return {"rate": self.recipe.optimizer.rate_at(self.step)}

    def about(self) -> dict[str, str]:
        """What the file of weights is to say beside them."""
        return {"steps": str(self.step)}

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """Make one step; its losses, their weights not in them.  ValueError where they are not finite."""
        optimizer = self.recipe.optimizer
        losses = self.losses(lesson)
        total = torch.stack([weight * loss for weight, loss in losses.values()]).sum()
        if not total.isfinite():
            raise ValueError(f"step {self.step}: the loss is {total.item()}: lower optimizer.rate")
        for group in self._optimizer.param_groups:
            group["lr"] = optimizer.rate_at(self.step)
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        nn.utils.clip_grad_norm_(self._parameters, optimizer.clip)
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self.step += 1
        return {name: loss.item() for name, (_, loss) in losses.items()}

    def result(self) -> Network:
        """The network as it is to be used: the moving average of the weights."""
        network: Network = self._average.module.eval()  # type: ignore[assignment]  # a copy of the network
        return network

    def save(self, file: Path) -> None:
        """Write all it takes to go on, whole or not at all: then what was there stays.  OSError says so."""
        content = io.BytesIO()  # torch's own writing fails with errors of its own where a disk is full
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({"config": self._settings(), "step": self.step, **state}, content)
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
        if different := _differences(state["config"], self._settings()):
            raise ValueError(f"{file} is of another configuration ({'; '.join(different)}): start without --resume")
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{file} is of other speakers or another network: give the speech it was taught with, or no --resume"
            ) from error
        self.step = state["step"]

    def _settings(self) -> dict[str, object]:
        return asdict(self.recipe)  # type: ignore[call-overload, no-any-return]  # every recipe is a dataclass

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"network": self.network, **self.heads, "average": self._average, "optimizer": self._optimizer}


def train(
    work: Training[Network],
    lessons: Iterable[Lesson],
    judge: Judge[Network],
    folder: Path,
    until: float = math.inf,
    tell: Callable[[str], None] = _log.info,
) -> None:
    """Make the steps that are left, or those until `time.monotonic()` is past `until`.

    lessons: one for each step that is left, in order.
    folder: where checkpoints, curves and the weights go, every `recipe.every` steps and at the end.
    tell: is told, in a line, how it goes.
    Raises ValueError for a loss that is not finite, OSError where nothing can be written; the last checkpoint stays.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    began, steps = time.monotonic(), work.step
    for lesson in lessons:
        for name, loss in work.learn(lesson).items():
            sums[name] += loss
        last = work.step == work.recipe.optimizer.steps or time.monotonic() > until
        if work.step % work.recipe.every == 0 or last:
            made = work.step - steps
            speed = made * len(lesson[0]) / (time.monotonic() - began)
            _write(work, {name: total / made for name, total in sums.items()}, speed, judge, folder, tell)
            sums.clear()
            began, steps = time.monotonic(), work.step
        if last:
            break


def _write(
    work: Training[Network],
    losses: Mapping[str, float],
    speed: float,
    judge: Judge[Network],
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    row = {**losses, **judge(work.result()), **work.scheduled(), "crops_per_second": speed}
    tell(
        f"step {work.step} of {work.recipe.optimizer.steps}: {', '.join(f'{name} {v:.4g}' for name, v in row.items())}"
    )
    row = {"step": float(work.step), **row}
    append_row(folder / CURVES, row)
    draw_curves(folder / CURVES, folder / "curves.png")
    write_checkpoint(work.result(), folder / WEIGHTS, work.about())
    work.save(folder / CHECKPOINT)


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
