"""The training of a segmentation network: what one step learns."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch
from torch import Tensor

from diarize.models.powerset import PowersetNetwork
from diarize.training.segmentation.loss import permutation_free_cross_entropy
from diarize.training.segmentation.recipe import SegmentationRecipe
from diarize.training.train import Lesson, Training


class SegmentationTraining(Training[PowersetNetwork]):
    """A segmentation network on its way."""

    def __init__(self, config: SegmentationRecipe, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        super().__init__(config, PowersetNetwork(config.network), {}, device)

    def about(self) -> dict[str, str]:
        return {**super().about(), "network": json.dumps(asdict(self.network.config))}

    def losses(self, lesson: Lesson) -> dict[str, tuple[float, Tensor]]:
        waveforms, said = (part.to(self.device) for part in lesson)
        with torch.no_grad():
            heard = self.network.heard(waveforms)
        with torch.autocast(self.device.type, torch.bfloat16):  # the loss stays in float32
            logits = self.network.said(heard)
        return {"powerset": (1.0, permutation_free_cross_entropy(logits.float(), said))}
