"""Resemblyzer's speaker encoder (Resemble AI): three LSTM layers on the energies of 40 mel bands.

It is the network of Wan, Wang, Papir and Lopez Moreno, Generalized End-to-End Loss for Speaker Verification (2018).
An utterance is heard in *partials* of 1.6 s, 0.77 s apart, as by the package's `preprocess_wav`, but for its cutting
out of silence, and `embed_utterance`.  What lasts 1.6 s, as a window of the pipeline does, is one partial.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diarize.types import SAMPLE_RATE

MEL_BANDS = 40
WINDOW = 400
"""Samples: 25 ms, and the length of the Fourier transform."""
HOP = 160
"""Samples: 10 ms."""
LEAST_LEVEL = 10 ** (-30 / 20)
"""RMS (-30 dBFS) up to which what is quieter is raised."""
PARTIAL = 160
"""Frames in a partial."""
STEP = 77
"""Frames from one partial to the next: 1.3 partials a second."""
COVERED = 0.75
"""Share of a last partial that must be sound: of what holds less, zeros would be the greater part."""


class MelEnergies(nn.Module):
    """Waveforms to the energies of mel bands, by librosa's `melspectrogram`: no logarithm, nothing taken off.

    Input (batch, samples) at 16 kHz, at least one sample; output (batch, frames, 40), in all as many frames as the
    partials reach, with zeros where the sound is over.  Frames are centred on multiples of 10 ms.
    """

    window: Tensor
    triangles: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("triangles", mel_triangles(), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        rms = waveforms.square().mean(dim=1, keepdim=True).sqrt()
        loud = waveforms * (LEAST_LEVEL / rms.clamp(min=1e-10)).clamp(min=1.0)
        frames = PARTIAL + STEP * (partials(waveforms.shape[1]) - 1)
        spectrum = torch.stft(
            functional.pad(loud, (0, max(0, frames * HOP - waveforms.shape[1]))),
            n_fft=WINDOW,
            hop_length=HOP,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return power[:, :, :frames].transpose(1, 2) @ self.triangles


class ResemblyzerLstm(nn.Module):
    """Mel energies to speaker embeddings: the mean over the partials.

    hidden: numbers in a layer.  embedding: numbers in an embedding.
    Input (batch, frames, 40), 160 + 77 k frames; output (batch, embedding), never negative; where k > 0, of no unit
    norm.
    """

    def __init__(self, hidden: int = 256, embedding: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL_BANDS, hidden, num_layers=3, batch_first=True)
        self.linear = nn.Linear(hidden, embedding)
        # of the loss it was trained with: in the file, and of no use here
        self.similarity_weight = nn.Parameter(torch.empty(1))
        self.similarity_bias = nn.Parameter(torch.empty(1))

    def forward(self, features: Tensor) -> Tensor:
        parts = features.unfold(1, PARTIAL, STEP).transpose(2, 3)  # (batch, partials, 160, 40)
        _, (last, _) = self.lstm(parts.flatten(0, 1))
        embeddings = functional.normalize(functional.relu(self.linear(last[-1])), dim=1)
        mean: Tensor = embeddings.reshape(*parts.shape[:2], -1).mean(dim=1)
        return mean


def partials(samples: int) -> int:
    """How many partials an utterance of so many samples is heard in, at least 1."""
    frames = samples // HOP + 1
    count = 1 + max(0, frames - PARTIAL + STEP) // STEP
    uncovered = samples - (count - 1) * STEP * HOP < COVERED * PARTIAL * HOP
    return count - 1 if uncovered and count > 1 else count


def mel_triangles() -> Tensor:
    """The weights of the mel bands, shape (201 frequencies, 40 bands), as librosa's `filters.mel` makes them.

    Triangles of area 1 Hz between 0 and 8000 Hz, straight in Hz, that end at their neighbours' centres; the centres are
    equally spaced on Slaney's scale (Auditory Toolbox, 1998), linear up to 1000 Hz and logarithmic above.
    """
    step = 200.0 / 3.0  # Hz in a mel
    bend = 1000.0 / step  # mels up to which it is linear
    growth = torch.tensor(6.4, dtype=torch.float64).log() / 27.0
    nyquist = SAMPLE_RATE / 2
    highest = bend + torch.tensor(nyquist / 1000.0, dtype=torch.float64).log() / growth
    mels = torch.linspace(0.0, highest.item(), MEL_BANDS + 2, dtype=torch.float64)
    edges = torch.where(mels < bend, mels * step, 1000.0 * torch.exp((mels - bend) * growth))
    frequencies = torch.linspace(0.0, nyquist, WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return (torch.minimum(rise, fall).clamp(min=0.0) * 2.0 / (right - left)).float()
