"""Kaldi's filter bank, as `torchaudio.compliance.kaldi.fbank` makes it from samples in -1..1, with the mean taken off.

Sound-Groove's networks hear it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diarize.models.features import MEL_BANDS
from diarize.types import SAMPLE_RATE

WINDOW = 400
"""Samples: 25 ms."""
FOURIER = 512
"""Samples in a Fourier transform; the window lies at their beginning."""
HOP = 160
"""Samples: 10 ms."""
LOWEST = 20.0
"""Hz, where the lowest band begins."""
PREEMPHASIS = 0.97


class KaldiFilterBank(nn.Module):
    """Waveforms to centred log mel energies.

    Input (batch, samples) at 16 kHz, at least 400 samples; output (batch, 1 + (samples - 400) // 160, 80), each band
    with mean 0 over time.  Frames lie wholly within the audio.  In each frame the offset is taken off, the samples
    are pre-emphasised (0.97) and weighed by Povey's window, a Hann window to the power of 0.85.
    It has nothing to learn and nothing to save.
    """

    window: Tensor
    triangles: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False).pow(0.85), persistent=False)
        self.register_buffer("triangles", mel_triangles(), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        frames = waveforms.unfold(1, WINDOW, HOP)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, n=FOURIER)
        power = spectrum.real.square() + spectrum.imag.square()
        logs = torch.log((power @ self.triangles).clamp(min=torch.finfo(torch.float32).eps))
        return logs - logs.mean(dim=1, keepdim=True)


def mel_triangles() -> Tensor:
    """The weights of the mel bands, shape (257 frequencies, 80 bands).

    Triangles of height 1 between 20 and 8000 Hz, straight and equally spaced on the mel scale 1127 ln(1 + f / 700).
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    ends = mel(torch.tensor([LOWEST, SAMPLE_RATE / 2], dtype=torch.float64))
    step = float(ends[1] - ends[0]) / (MEL_BANDS + 1)
    centres = float(ends[0]) + step * torch.arange(1, MEL_BANDS + 1, dtype=torch.float64)
    frequencies = mel(torch.arange(FOURIER // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / FOURIER))
    triangles = (1.0 - (frequencies[:, None] - centres).abs() / step).clamp(min=0.0)
    return triangles.float()
