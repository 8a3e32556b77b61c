"""The training of a speaker encoder: what one step learns."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diarize.models.checkpoints import load_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import resolve
from diarize.models.features import FilterBank
from diarize.training.losses import AngularMargin, Distillation
from diarize.training.recipe import MaskConfig, TrainConfig
from diarize.training.train import Lesson, Training, mixed_precision

_log = logging.getLogger(__name__)


class EmbedderTraining(Training[EcapaTdnn]):
    """A speaker encoder on its way.

    speakers: how many teach.  taught: the teacher's embedding of each utterance, shape (utterances, dimensions);
    None where no teacher is asked.
    """

    def __init__(
        self, config: TrainConfig, speakers: int, taught: NDArray[np.float32] | None, device: torch.device
    ) -> None:
        torch.manual_seed(config.seed)
        network = _started(config) if config.start else EcapaTdnn(config.network)
        self.config = config
        self._features = FilterBank().to(device)
        self._margin = AngularMargin(speakers, config.embedding, config.loss.centres)
        self._taught = None if taught is None else torch.from_numpy(taught).to(device)
        self._teacher = None if taught is None else Distillation(config.embedding, taught.shape[1])
        heads = {"margin": self._margin} | ({"teacher": self._teacher} if self._teacher else {})
        super().__init__(config, network, heads, device)
        self._compiled = _compiled(self.network)

    def scheduled(self) -> dict[str, float]:
        share = self.step / self.config.optimizer.steps
        return {**super().scheduled(), "margin": self.config.loss.margin.at(share)}

    def losses(self, lesson: Lesson) -> dict[str, tuple[float, Tensor]]:
        config, share = self.config, self.step / self.config.optimizer.steps
        waveforms, speakers, utterances = (part.to(self.device) for part in lesson)
        with torch.no_grad():
            hidden = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
            features = mask(self._features(waveforms), config.mask, hidden)
        with mixed_precision(self.device):  # the losses stay in float32
            embeddings = self._compiled(features)
        embeddings = embeddings.float()
        known = speakers >= 0
        margin, scale = config.loss.margin.at(share), config.loss.scale.at(share)
        losses = {"softmax": (1.0, self._margin(embeddings[known], speakers[known], margin, scale))}
        if self._teacher is not None and self._taught is not None:
            distance = self._teacher(embeddings, self._taught[utterances])
            losses["distillation"] = (config.loss.distillation, distance)
        return losses


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
