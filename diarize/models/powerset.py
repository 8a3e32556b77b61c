"""The network that says who of three local voices talks, frame by frame, in ten seconds of audio.

A small Conformer (Gulati et al., 2020) over log mel energies, with the powerset classes of Plaquet and Bredin (2023).
Attention over the whole piece is what lets it tell that a voice is one heard eight seconds before.  Where frames are is
told by the convolutions, so there is no positional encoding.  Half of its work is at 40 ms, which is enough to know
who talks; the last layers say when, at 20 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.features import HOP, MEL_BANDS, FilterBank
from diarize.powerset import CLASSES

FRAME = 2 * HOP
"""Samples a frame: 20 ms."""


@dataclass(frozen=True)
class PowersetConfig:
    """The sizes of the network.

    channels: of every block, a multiple of `heads`.
    blocks: how many.
    heads: of the attention.
    expansion: how much wider the inner layer of a feed-forward part is.
    kernel: frames of 40 ms that a convolution sees, odd.
    """

    channels: int = 144
    blocks: int = 4
    heads: int = 3
    expansion: int = 3
    kernel: int = 15

    def __post_init__(self) -> None:
        for name in ("channels", "blocks", "heads", "expansion", "kernel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.channels % self.heads:
            raise ValueError(f"channels must be a multiple of heads ({self.heads}), not {self.channels}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")


class PowersetNetwork(nn.Module):
    """Waveforms (batch, samples) at 16 kHz, their length a multiple of 640, to logits (batch, samples // 320, classes).

    How loud the audio is does not matter: the mean over time is taken off the log energies.
    """

    def __init__(self, config: PowersetConfig | None = None) -> None:
        super().__init__()
        self.config = config or PowersetConfig()
        channels = self.config.channels
        self.features = FilterBank()
        self.fine = nn.Conv1d(MEL_BANDS, channels, 5, stride=2, padding=2)
        self.fine_norm = nn.BatchNorm1d(channels)
        self.coarse = nn.Conv1d(channels, channels, 3, stride=2, padding=1)
        self.coarse_norm = nn.BatchNorm1d(channels)
        self.blocks = nn.ModuleList(_Block(self.config) for _ in range(self.config.blocks))
        self.back = nn.ConvTranspose1d(channels, channels, 2, stride=2)
        self.joined = nn.Conv1d(2 * channels, channels, 3, padding=1)
        self.joined_norm = nn.BatchNorm1d(channels)
        self.classes = nn.Conv1d(channels, len(CLASSES), 1)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.said(self.heard(waveforms))

    def heard(self, waveforms: Tensor) -> Tensor:
        """What is heard of waveforms: scaled features (batch, 80, frames of 10 ms)."""
        features: Tensor = self.features(waveforms)
        return features[:, : waveforms.shape[1] // HOP].transpose(1, 2) / _SCALE

    def said(self, heard: Tensor) -> Tensor:
        """What is said of features: logits (batch, frames of 20 ms, classes)."""
        fine = functional.silu(self.fine_norm(self.fine(heard)))
        x = functional.silu(self.coarse_norm(self.coarse(fine))).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = torch.cat((self.back(x.transpose(1, 2)), fine), dim=1)
        logits: Tensor = self.classes(functional.silu(self.joined_norm(self.joined(x)))).transpose(1, 2)
        return logits


_SCALE = 20.0  # dB: log energies are then near -2..2


class _Block(nn.Module):
    """Half a feed-forward part, attention, convolution, and the other half; (batch, frames, channels) to the same."""

    def __init__(self, config: PowersetConfig) -> None:
        super().__init__()
        self.first, self.last = _FeedForward(config), _FeedForward(config)
        self.attention, self.convolution = _Attention(config), _Convolution(config)
        self.norm = nn.LayerNorm(config.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.first(x)
        x = x + self.attention(x)
        x = x + self.convolution(x)
        out: Tensor = self.norm(x + 0.5 * self.last(x))
        return out


class _FeedForward(nn.Module):
    def __init__(self, config: PowersetConfig) -> None:
        super().__init__()
        inner = config.expansion * config.channels
        self.norm = nn.LayerNorm(config.channels)
        self.widen, self.narrow = nn.Linear(config.channels, inner), nn.Linear(inner, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(functional.silu(self.widen(self.norm(x))))
        return out


class _Attention(nn.Module):
    def __init__(self, config: PowersetConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.channels)
        self.asked = nn.Linear(config.channels, 3 * config.channels)
        self.out = nn.Linear(config.channels, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, channels = x.shape
        asked = self.asked(self.norm(x)).view(batch, frames, 3, self.heads, channels // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        # written out: on a CPU torch's own fused attention takes twice as long to learn through
        found = (query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)).softmax(dim=3) @ value
        out: Tensor = self.out(found.transpose(1, 2).reshape(batch, frames, channels))
        return out


class _Convolution(nn.Module):
    def __init__(self, config: PowersetConfig) -> None:
        super().__init__()
        channels = config.channels
        self.norm = nn.LayerNorm(channels)
        self.gated = nn.Linear(channels, 2 * channels)
        self.along = nn.Conv1d(channels, channels, config.kernel, padding=config.kernel // 2, groups=channels)
        self.along_norm = nn.BatchNorm1d(channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.glu(self.gated(self.norm(x)), dim=2).transpose(1, 2)
        x = functional.silu(self.along_norm(self.along(x))).transpose(1, 2)
        out: Tensor = self.out(x)
        return out
