"""ECAPA-TDNN, the network that turns speech into a speaker embedding.

Desplanques et al., "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in TDNN Based Speaker
Verification" (2020), with the parameter names of SpeechBrain's implementation, so that its checkpoints and ours are
one format.  Tensors are (batch, channels, frames) throughout; a batch holds utterances of equal length, which is
why nothing here masks padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.features import MEL_BANDS

DILATIONS = (2, 3, 4)
"""Of the three SE-Res2Net blocks, in frames."""


@dataclass(frozen=True)
class EcapaConfig:
    """The widths of the network; the defaults are those of the paper's large model.

    channels: of the convolutional blocks.
    mfa_channels: of the multi-layer feature aggregation, and of the pooling.
    attention: hidden channels of the pooling's attention.
    squeeze: hidden channels of the squeeze-and-excitation.
    scale: chunks a Res2Net convolution is split into; divides `channels`.
    embedding: numbers in an embedding.
    """

    channels: int = 1024
    mfa_channels: int = 3072
    attention: int = 128
    squeeze: int = 128
    scale: int = 8
    embedding: int = 192

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.scale < 2 or self.channels % self.scale:
            raise ValueError(f"scale must be at least 2 and divide channels ({self.channels}), not {self.scale}")


class Conv(nn.Module):
    """A convolution over time that keeps the number of frames: the ends are mirrored, not padded with zeros."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.padding = dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.padding:
            x = functional.pad(x, (self.padding, self.padding), mode="reflect")
        out: Tensor = self.conv(x)
        return out


class Norm(nn.Module):
    """Batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class Tdnn(nn.Module):
    """Convolution, ReLU, batch normalisation, in this order."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, kernel, dilation)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(functional.relu_(self.conv(x)))
        return out


class Res2Net(nn.Module):
    """One convolution as a cascade over chunks of the channels: each chunk hears the result of the one before.

    The first chunk goes through untouched (others leave out the last one).
    """

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.scale = scale
        self.blocks = nn.ModuleList(Tdnn(width, width, kernel=3, dilation=dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        untouched, *chunks = x.chunk(self.scale, dim=1)
        outputs = [untouched]
        for number, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            outputs.append(block(chunk + outputs[-1] if number else chunk))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by a gate that looks at the mean over the utterance."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, hidden)
        self.conv2 = Conv(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=2, keepdim=True)
        return x * torch.sigmoid(self.conv2(functional.relu_(self.conv1(mean))))


class SeRes2Net(nn.Module):
    """The block of the paper: 1x1, dilated Res2Net, 1x1, squeeze-and-excitation, around a shortcut."""

    def __init__(self, config: EcapaConfig, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = Tdnn(config.channels, config.channels)
        self.res2net_block = Res2Net(config.channels, config.scale, dilation)
        self.tdnn2 = Tdnn(config.channels, config.channels)
        self.se_block = SqueezeExcitation(config.channels, config.squeeze)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))
        return out


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, each channel weighing the frames by its own attention.

    The attention looks at each frame together with the plain mean and deviation of the utterance (global context).
    These are the same for all frames, so their share of the first convolution is computed once and broadcast.
    Input (batch, channels, frames), output (batch, 2 x channels, 1).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.tdnn = Tdnn(3 * channels, hidden)
        self.conv = Conv(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        uniform = x.new_full((), 1.0 / x.shape[2])
        context = statistics(x, uniform)
        first = self.tdnn.conv.conv
        of_frames, of_context = torch.tensor_split(first.weight, [self.channels], dim=1)
        hidden = functional.conv1d(x, of_frames, dilation=first.dilation)
        hidden = hidden + functional.conv1d(context, of_context, first.bias, dilation=first.dilation)
        attention = self.conv(torch.tanh(self.tdnn.norm(functional.relu_(hidden))))
        return statistics(x, attention.softmax(dim=2))


def statistics(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and standard deviation over the last axis, one after the other on the channel axis.

    weights: sum to 1 over the frames.
    """
    mean = (weights * x).sum(dim=2, keepdim=True)
    variance = (weights * (x - mean).square()).sum(dim=2, keepdim=True)
    # the floor keeps the gradient of the root finite where a channel is constant
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)


class EcapaTdnn(nn.Module):
    """Centred log mel energies to speaker embeddings.

    Input (batch, frames, 80), at least 5 frames; output (batch, embedding), not of unit norm.
    """

    def __init__(self, config: EcapaConfig) -> None:
        super().__init__()
        self.config = config
        first = Tdnn(MEL_BANDS, config.channels, kernel=5)
        self.blocks = nn.ModuleList([first, *(SeRes2Net(config, dilation) for dilation in DILATIONS)])
        self.mfa = Tdnn(len(DILATIONS) * config.channels, config.mfa_channels)
        self.asp = AttentiveStatistics(config.mfa_channels, config.attention)
        self.asp_bn = Norm(2 * config.mfa_channels)
        self.fc = Conv(2 * config.mfa_channels, config.embedding)

    def forward(self, features: Tensor) -> Tensor:
        x = features.transpose(1, 2)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        pooled = self.asp(self.mfa(torch.cat(outputs[1:], dim=1)))
        embedding: Tensor = self.fc(self.asp_bn(pooled))
        return embedding.squeeze(2)
