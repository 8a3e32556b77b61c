"""UniSpeech's ECAPA-TDNN with global context attention: the network of CASE Speaker Embedding v2.

The layout is that of UniSpeech's `ECAPA_TDNN(channels=512, global_context_att=True)`, which CASE's model card names.
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

SQUEEZE = 128
"""Hidden channels of the squeeze-and-excitation."""


class SeRes2Net(nn.Module):
    """The block of the paper, around a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.Conv1dReluBn1 = ConvReluNorm(channels, channels, bias=True)
        self.Res2Conv1dReluBn = Res2Net(channels, dilation, bias=True)
        self.Conv1dReluBn2 = ConvReluNorm(channels, channels, bias=True)
        self.SE_Connect = SqueezeExcitation(channels, SQUEEZE)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.SE_Connect(self.Conv1dReluBn2(self.Res2Conv1dReluBn(self.Conv1dReluBn1(x))))
        return out


class UniSpeechEcapa(nn.Module):
    """Normalised log mel energies to speaker embeddings.

    channels: of the blocks, a multiple of 8.  embedding: numbers in an embedding.
    Input (batch, frames, 80), at least 2 frames; output (batch, embedding), not of unit norm.
    """

    def __init__(self, channels: int = 512, embedding: int = 192) -> None:
        super().__init__()
        check_channels(channels, embedding)
        self.layer1 = ConvReluNorm(MEL_BANDS, channels, kernel=5, bias=True)
        self.layer2, self.layer3, self.layer4 = (SeRes2Net(channels, dilation) for dilation in DILATIONS)
        self.conv = nn.Conv1d(len(DILATIONS) * channels, AGGREGATED, 1)
        self.pooling = AttentiveStatistics(AGGREGATED, context=True)
        self.bn = nn.BatchNorm1d(2 * AGGREGATED)
        self.linear = nn.Linear(2 * AGGREGATED, embedding)

    def forward(self, features: Tensor) -> Tensor:
        second = self.layer2(self.layer1(features.transpose(1, 2)))
        third = self.layer3(second)
        fourth = self.layer4(third)
        x = functional.relu_(self.conv(torch.cat([second, third, fourth], dim=1)))
        embedding: Tensor = self.linear(self.bn(self.pooling(x)))
        return embedding
