"""The network that says who of three local voices talks, frame by frame, in ten seconds of audio.

The first layers of a speaker encoder hear how voices differ: a few hundred speakers are too few to learn that from
conversations alone.  What Silero VAD's network hears says whether it is speech at all: a simulator knows too few
noises to learn that from, and the rustle of real meetings was taken for voices.  A small Conformer (Gulati et al.,
2020) over them finds out who talks, at 40 ms; its attention over the whole piece tells that a voice is one heard eight
seconds before.  The last layers, which hear the log mel energies too, say when, at 20 ms.  The classes are the powerset
of Plaquet and Bredin (2023).  Where frames are is told by the convolutions, so there is no positional encoding; and
nothing is normalised over a batch, for pieces differ in level, noise and silence more than a running mean could tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.ecapa_tdnn import DILATIONS, EcapaConfig, SeRes2Net, Tdnn
from diarize.models.features import HOP, MEL_BANDS, FilterBank
from diarize.models.speech_layers import CHANNELS, SpeechLayers
from diarize.powerset import CLASSES

FRAME = 2 * HOP
"""Samples a frame: 20 ms."""

_SCALE = 20.0  # dB: log energies are then near -2..2


@dataclass(frozen=True)
class PowersetConfig:
    """The sizes of the network.

    voices: channels of the speaker encoder whose first layers it hears through, an ECAPA-TDNN's.
    channels: of every block, a multiple of `heads`.
    fine: channels of the layers at 20 ms.
    blocks: how many.
    heads: of the attention.
    expansion: how much wider the inner layer of a feed-forward part is.
    kernel: frames of 40 ms that a convolution sees, odd.
    """

    voices: int = 256
    channels: int = 144
    fine: int = 64
    blocks: int = 3
    heads: int = 3
    expansion: int = 2
    kernel: int = 15

    def __post_init__(self) -> None:
        for name in ("voices", "channels", "fine", "blocks", "heads", "expansion", "kernel"):
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
        self.config = config = config or PowersetConfig()
        self.features = FilterBank()
        self.voices = VoiceLayers(config.voices)
        self.known = nn.Conv1d(len(DILATIONS) * config.voices, config.channels, 1)
        self.fine = nn.Conv1d(MEL_BANDS, config.fine, 5, stride=2, padding=2)
        self.fine_norm = nn.GroupNorm(1, config.fine)
        self.speech = SpeechLayers()
        self.spoken = nn.Conv1d(CHANNELS, config.fine + config.channels + 1, 1)
        self.coarse = nn.Conv1d(config.fine, config.channels, 3, stride=2, padding=1)
        self.coarse_norm = nn.GroupNorm(1, config.channels)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.back = nn.ConvTranspose1d(config.channels, config.fine, 2, stride=2)
        self.joined = nn.Conv1d(2 * config.fine, config.fine, 3, padding=1)
        self.joined_norm = nn.GroupNorm(1, config.fine)
        self.classes = nn.Conv1d(config.fine, len(CLASSES), 1)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.said(*self.heard(waveforms))

    def heard(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """What is heard of waveforms: centred log mel energies in dB, (batch, 80, frames of 10 ms), and speech.

        The speech is what `SpeechLayers` hear, every 20 ms.
        """
        features: Tensor = self.features(waveforms)
        return features[:, : waveforms.shape[1] // HOP].transpose(1, 2), self.speech(waveforms)

    def said(self, heard: Tensor, speech: Tensor) -> Tensor:
        """What is said of them: logits (batch, frames of 20 ms, classes)."""
        config = self.config
        spoken, spoken_coarse, silent = self.spoken(speech).split((config.fine, config.channels, 1), dim=1)
        fine = functional.silu(self.fine_norm(self.fine(heard / _SCALE)) + spoken)
        x = self.coarse_norm(self.coarse(fine)) + self.known(self.voices(heard))
        x = functional.silu(x + functional.avg_pool1d(spoken_coarse, 2))
        x = x.transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = torch.cat((self.back(x.transpose(1, 2)), fine), dim=1)
        logits: Tensor = self.classes(functional.silu(self.joined_norm(self.joined(x))))
        return torch.cat((logits[:, :1] + silent, logits[:, 1:]), dim=1).transpose(1, 2)


class VoiceLayers(nn.Module):
    """What the layers of a speaker encoder before its pooling hear, every 40 ms: (batch, 3 x channels, frames / 4).

    They come from an encoder that is trained already and learn nothing here; the names are the encoder's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        config = EcapaConfig(channels=channels)
        first = Tdnn(MEL_BANDS, channels, kernel=5)
        self.blocks = nn.ModuleList([first, *(SeRes2Net(config, dilation) for dilation in DILATIONS)])
        self.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> VoiceLayers:  # noqa: ARG002 - torch's own signature
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, heard: Tensor) -> Tensor:
        x: Tensor = self.blocks[0](heard)
        outputs = []
        for block in self.blocks[1:]:
            x = block(x)
            fours = x.view(len(x), x.shape[1], -1, 4)
            outputs.append(fours @ fours.new_full((4,), 0.25))  # avg_pool1d takes five times as long
        return torch.cat(outputs, dim=1)


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
        self.along_norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.along(functional.glu(self.gated(self.norm(x)), dim=2).transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(functional.silu(self.along_norm(x)))
        return out
