"""Sound-Groove's ECAPA-TDNN: summed inputs instead of shortcuts, attention without context, 192 or 256 dimensions.

The layout is that of the project's `models/ecapa.py` at the time of its model card.  Its author trained with two
blocks and left the third as an option; the weights say which it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.ecapa_tdnn import DILATIONS
from diarize.models.features import MEL_BANDS
from diarize.models.lawlict import (
    AGGREGATED,
    AttentiveStatistics,
    ConvReluNorm,
    Res2Net,
    SqueezeExcitation,
    check_channels,
)


class SoundGrooveEcapa(nn.Module):
    """Centred log mel energies to speaker embeddings.

    channels: of the blocks, a multiple of 8.  embedding: numbers in an embedding.  blocks: 2 or 3.
    Input (batch, frames, 80); output (batch, embedding), not of unit norm.
    """

    def __init__(self, channels: int = 512, embedding: int = 256, blocks: int = 2) -> None:
        super().__init__()
        check_channels(channels, embedding)
        if blocks not in (2, 3):
            raise ValueError(f"blocks must be 2 or 3, not {blocks}")
        self.layer1 = ConvReluNorm(MEL_BANDS, channels, kernel=5, bias=False)
        for number, dilation in enumerate(DILATIONS[:blocks], start=2):
            block = nn.Sequential(
                ConvReluNorm(channels, channels, bias=False),
                Res2Net(channels, dilation, bias=False),
                ConvReluNorm(channels, channels, bias=False),
                SqueezeExcitation(channels, channels // 2),
            )
            self.add_module(f"layer{number}", block)
        self.blocks = blocks
        self.conv = nn.Conv1d(blocks * channels, AGGREGATED, 1)
        self.pooling = AttentiveStatistics(AGGREGATED, context=False)
        self.bn1 = nn.BatchNorm1d(2 * AGGREGATED)
        self.linear = nn.Linear(2 * AGGREGATED, embedding)
        self.bn2 = nn.BatchNorm1d(embedding)

    def forward(self, features: Tensor) -> Tensor:
        heard = self.layer1(features.transpose(1, 2))
        outputs: list[Tensor] = []
        for number in range(2, 2 + self.blocks):
            outputs.append(self.get_submodule(f"layer{number}")(heard))
            heard = heard + outputs[-1]  # not in place: the first block's input is what layer1 gave
        x = functional.relu_(self.conv(torch.cat(outputs, dim=1)))
        embedding: Tensor = self.bn2(self.linear(self.bn1(self.pooling(x))))
        return embedding
