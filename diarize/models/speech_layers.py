"""What Silero VAD's network hears of many pieces of audio at once, for another network to go on from.

The network and its weights are those of `diarize.models.silero`, which follows one stream frame by frame.  Here each
piece of a batch is heard from its start to its end, as if nothing came before it, and what the network remembers at
every moment comes out.  It has learnt from far more noises and languages than a simulator has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.models.silero import BINS, CONTEXT, FRAME, HIDDEN, HOP, STFT, silero_weights
from diarize.types import position

CHANNELS = HIDDEN + 1
"""What is remembered, and how sure the network is that someone talks (log odds)."""

_COLUMN = position(0.02)  # samples from one column of what is said to the next
_LOUD = -22.0  # dBFS: a level at which it knows speech well
_SYLLABLE = 10  # frames: a third of a second, which is longer than a click
_SILENT = 1e-10  # the power of -100 dBFS: what is softer is not made louder
_ODDS = 4.0  # log odds are divided by this, to be about as large as the rest


class SpeechLayers(nn.Module):
    """Waveforms (batch, samples) at 16 kHz to (batch, `CHANNELS`, 50 a second), a frame for every whole 20 ms.

    A piece is brought to one level first, that of its loudest third of a second.  Nothing learns here, and none of the
    weights are in `state_dict`: they come with the silero-vad package.  Raises FileNotFoundError where that is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, value in silero_weights().items():
            weight = torch.from_numpy(value)
            if weight.ndim == 3:  # a convolution as (taps x channels, outputs): over so few positions half the time
                weight = weight.permute(2, 1, 0).flatten(0, 1).contiguous()
            self.register_buffer(name.replace(".", "_"), weight, persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        batch, samples = waveforms.shape
        frames = functional.pad(waveforms, (0, -samples % FRAME)).view(batch, -1, FRAME)
        frames = frames * _gain(frames)[:, None, None]
        before = functional.pad(frames[:, :-1, -CONTEXT:], (0, 0, 1, 0))
        heard = self._encoded(torch.cat((before, frames), dim=2).flatten(0, 1)).view(batch, -1, HIDDEN)
        nothing = heard.new_zeros(1, batch, HIDDEN)
        lstm = [self.get_buffer(f"lstm_cell_{name}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        # torch.lstm is what nn.LSTM calls; that keeps its weights as parameters
        hidden = torch.lstm(heard, (nothing, nothing), lstm, True, 1, 0.0, False, False, True)[0]
        odds = functional.relu(hidden) @ self.get_buffer("final_conv_weight") + self.get_buffer("final_conv_bias")
        said = torch.cat((hidden, odds / _ODDS), dim=2).transpose(1, 2)
        return functional.interpolate(said, scale_factor=FRAME / _COLUMN, mode="linear")[:, :, : samples // _COLUMN]

    def _encoded(self, frames: Tensor) -> Tensor:
        """Frames with their context, (n, 576), to what each sounds like, (n, 128)."""
        x = functional.pad(frames[:, None], (0, CONTEXT), mode="reflect")[:, 0]
        parts = x.unfold(1, STFT, HOP).reshape(-1, STFT) @ self.get_buffer("stft_conv_weight")
        parts.square_()
        x = (parts[:, :BINS] + parts[:, BINS:]).sqrt_().view(len(frames), -1, BINS)
        for layer, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            x = functional.relu_(self._convolved(layer, x, stride))
        return x[:, 0]

    def _convolved(self, layer: str, x: Tensor, stride: int) -> Tensor:
        """A convolution over (n, positions, channels), with a zero before and after."""
        weight, bias = self.get_buffer(f"{layer}_weight"), self.get_buffer(f"{layer}_bias")
        heard = functional.pad(x, (0, 0, 1, 1)).flatten(1).unfold(1, len(weight), stride * x.shape[2])
        return torch.addmm(bias, heard.reshape(-1, len(weight)), weight).view(len(x), -1, len(bias))


def _gain(frames: Tensor) -> Tensor:
    """What brings the loudest third of a second of (batch, frames, samples) to one level, shape (batch,)."""
    width = min(_SYLLABLE, frames.shape[1])
    power = functional.avg_pool1d(frames.square().mean(dim=2), width, stride=1).amax(dim=1)
    return torch.where(power > _SILENT, 10 ** (_LOUD / 20) / power.clamp_min(_SILENT).sqrt(), 1.0)
