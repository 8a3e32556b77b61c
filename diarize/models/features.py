"""The filter bank that ECAPA-TDNN hears: log mel energies with their mean over time taken off.

Every published ECAPA-TDNN has its own front end and none may be swapped for another; this one is SpeechBrain's
(`Fbank` followed by `InputNormalization(norm_type="sentence", std_norm=False)`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diarize.types import SAMPLE_RATE

MEL_BANDS = 80
WINDOW = 400
"""Samples: 25 ms, and the length of the Fourier transform."""
HOP = 160
"""Samples: 10 ms."""
FLOOR = 1e-10
"""Energies below this count as this (-100 dB)."""
DYNAMIC_RANGE = 80.0
"""dB below an utterance's loudest band at which its energies are cut off."""


class FilterBank(nn.Module):
    """Waveforms to centred log mel energies.

    Input (batch, samples) at 16 kHz, at least one sample; output (batch, 1 + samples // 160, 80) in dB, each band
    with mean 0 over time.  Frames are centred on multiples of 10 ms, with zeros beyond both ends.
    It has nothing to learn and nothing to save.
    """

    window: Tensor
    triangles: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)
        self.register_buffer("triangles", mel_triangles(), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        spectrum = torch.stft(
            waveforms,
            n_fft=WINDOW,
            hop_length=HOP,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        decibels = 10.0 * torch.log10((power.transpose(1, 2) @ self.triangles).clamp(min=FLOOR))
        loudest = decibels.amax(dim=(1, 2), keepdim=True)
        decibels = torch.maximum(decibels, loudest - DYNAMIC_RANGE)
        return decibels - decibels.mean(dim=1, keepdim=True)


def mel_triangles() -> Tensor:
    """The weights of the mel bands, shape (201 frequencies, 80 bands).

    Triangles of height 1 between 0 and 8000 Hz, their centres equally spaced on the mel scale
    2595 log10(1 + f / 700).  Each is as wide on its right as on its left (the distance to the centre before), which
    is SpeechBrain's own construction: elsewhere a triangle ends at its neighbours' centres.
    """
    nyquist = SAMPLE_RATE / 2
    highest = 2595.0 * torch.log10(torch.tensor(1.0 + nyquist / 700.0, dtype=torch.float64)).item()
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, highest, MEL_BANDS + 2) / 2595.0) - 1.0)
    centres, widths = edges[1:-1], edges[1:-1] - edges[:-2]
    frequencies = torch.linspace(0.0, nyquist, WINDOW // 2 + 1)
    distance = (frequencies[:, None] - centres).abs() / widths
    return (1.0 - distance).clamp(min=0.0)
