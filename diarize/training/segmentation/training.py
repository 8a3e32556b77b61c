"""The training of a segmentation network: what one step learns."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch
from torch import Tensor

from diarize.models.checkpoints import load_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import resolve
from diarize.models.powerset import PowersetNetwork
from diarize.training.segmentation.loss import permutation_free_cross_entropy
from diarize.training.segmentation.recipe import SegmentationRecipe
from diarize.training.train import Lesson, Training, mixed_precision


class SegmentationTraining(Training[PowersetNetwork]):
    """A segmentation network on its way."""

    def __init__(self, config: SegmentationRecipe, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        network = PowersetNetwork(config.network)
        network.voices.load_state_dict(_voice_layers(config))
        super().__init__(config, network, {}, device)

    def about(self) -> dict[str, str]:
        return {**super().about(), "network": json.dumps(asdict(self.network.config))}

    def losses(self, lesson: Lesson) -> dict[str, tuple[float, Tensor]]:
        waveforms, said = (part.to(self.device) for part in lesson)
        with torch.no_grad():
            heard = self.network.heard(waveforms)
        with mixed_precision(self.device):  # the loss stays in float32
            logits = self.network.said(*heard)
        return {"powerset": (1.0, permutation_free_cross_entropy(logits.float(), said))}


def _voice_layers(config: SegmentationRecipe) -> dict[str, Tensor]:
    """The weights of the encoder's first layers.  ValueError for an encoder that is another network."""
    encoder = load_checkpoint(resolve(config.encoder)).network
    if not isinstance(encoder, EcapaTdnn) or encoder.config.channels != config.network.voices:
        raise ValueError(
            f"encoder {config.encoder!r} is no ECAPA-TDNN of {config.network.voices} channels: name one, or set "
            "network.voices"
        )
    return {key: value for key, value in encoder.state_dict().items() if key.startswith("blocks.")}
