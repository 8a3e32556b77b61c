"""The blocks of lawlict's ECAPA-TDNN, from which UniSpeech's and Sound-Groove's networks descend.

They differ from SpeechBrain's in that convolutions hear zeros beyond the ends, the last chunk of a Res2Net goes
through untouched, and there is no normalisation before the pooling.  Parameter names are those of the published
files.  Tensors are (batch, channels, frames).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE = 8
"""Chunks that a Res2Net convolution is split into."""
AGGREGATED = 1536
"""Channels of the multi-layer feature aggregation, however wide the blocks are."""
ATTENTION = 128
"""Hidden channels of the pooling's attention."""


class ConvReluNorm(nn.Module):
    """Convolution that keeps the number of frames, ReLU, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(functional.relu_(self.conv(x)))
        return out


class Res2Net(nn.Module):
    """One convolution as a cascade over chunks of the channels; the last chunk goes through untouched."""

    def __init__(self, channels: int, dilation: int, *, bias: bool) -> None:
        super().__init__()
        width = channels // SCALE
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=bias) for _ in range(SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        *chunks, untouched = x.chunk(SCALE, dim=1)
        outputs: list[Tensor] = []
        for conv, norm, chunk in zip(self.convs, self.bns, chunks, strict=True):
            outputs.append(norm(functional.relu_(conv(chunk + outputs[-1] if outputs else chunk))))
        return torch.cat([*outputs, untouched], dim=1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by a gate that looks at the mean over the utterance."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.linear2(functional.relu_(self.linear1(x.mean(dim=2)))))
        return x * gate[:, :, None]


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, each channel weighing the frames by its own attention.

    context: whether the attention looks at each frame together with the mean and deviation of the utterance, which
        needs at least two frames.
    Input (batch, channels, frames), output (batch, 2 x channels).
    """

    def __init__(self, channels: int, *, context: bool) -> None:
        super().__init__()
        self.context = context
        self.linear1 = nn.Conv1d(3 * channels if context else channels, ATTENTION, 1)
        self.linear2 = nn.Conv1d(ATTENTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        heard = x
        if self.context:
            deviation = torch.sqrt(x.var(dim=2, keepdim=True) + 1e-10)
            heard = torch.cat([x, x.mean(dim=2, keepdim=True).expand_as(x), deviation.expand_as(x)], dim=1)
        attention = self.linear2(torch.tanh(self.linear1(heard))).softmax(dim=2)
        mean = (attention * x).sum(dim=2)
        variance = (attention * x.square()).sum(dim=2) - mean.square()
        return torch.cat([mean, variance.clamp(min=1e-9).sqrt()], dim=1)


def check_channels(channels: int, embedding: int) -> None:
    """Raise ValueError for widths that no network has."""
    if channels < SCALE or channels % SCALE:
        raise ValueError(f"channels must be a multiple of {SCALE}, not {channels}")
    if embedding < 1:
        raise ValueError(f"embedding must be at least 1, not {embedding}")
