"""The filter bank of UniSpeech's ECAPA-TDNN, and so of CASE: log mel energies, each band of mean 0 and variance 1.

It is torchaudio's `MelSpectrogram`, which a checkpoint carries as buffers: they are loaded, so the window and the
bands heard are those the network was trained with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diarize.models.features import MEL_BANDS
from diarize.types import SAMPLE_RATE

WINDOW = 400
"""Samples: 25 ms."""
FOURIER = 512
"""Samples in a Fourier transform; the window lies in their middle."""
HOP = 160
"""Samples: 10 ms."""
FLOOR = 1e-6
"""Added to every energy before its logarithm."""
EPSILON = 1e-5
"""Added to the variance of a band before it is divided by, as PyTorch's `InstanceNorm1d` does."""


class Buffer(nn.Module):
    """One tensor under a name, as torchaudio nests its own."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        super().__init__()
        self.register_buffer(name, tensor)


class MelSpectrogram(nn.Module):
    """Waveforms to normalised log mel energies.

    Input (batch, samples) at 16 kHz, at least 257 samples; output (batch, 1 + samples // 160, 80), each band with
    mean 0 and variance 1 over time.  Frames are centred on multiples of 10 ms; both ends are mirrored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = Buffer("window", torch.hann_window(WINDOW))
        self.mel_scale = Buffer("fb", mel_triangles())

    def forward(self, waveforms: Tensor) -> Tensor:
        spectrum = torch.stft(
            waveforms,
            n_fft=FOURIER,
            hop_length=HOP,
            win_length=WINDOW,
            window=self.spectrogram.get_buffer("window"),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        logs = torch.log(power.transpose(1, 2) @ self.mel_scale.get_buffer("fb") + FLOOR)
        centred = logs - logs.mean(dim=1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(dim=1, keepdim=True) + EPSILON)


def mel_triangles() -> Tensor:
    """The weights of the mel bands, shape (257 frequencies, 80 bands).

    Triangles of height 1 between 0 and 8000 Hz, straight in Hz, that end at their neighbours' centres; the centres
    are equally spaced on the mel scale 2595 log10(1 + f / 700).
    """
    nyquist = SAMPLE_RATE / 2
    highest = 2595.0 * torch.log10(torch.tensor(1.0 + nyquist / 700.0, dtype=torch.float64)).item()
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, highest, MEL_BANDS + 2) / 2595.0) - 1.0)
    frequencies = torch.linspace(0.0, nyquist, FOURIER // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rise, fall).clamp(min=0.0)
