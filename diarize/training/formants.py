"""Another vocal tract for the same voice: its resonances moved, its pitch and its tempo kept."""

from __future__ import annotations

import numpy as np
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from diarize.types import SAMPLE_RATE, Samples

_WINDOW, _HOP = 512, 160  # 32 ms every 10 ms
_QUEFRENCY = SAMPLE_RATE * 2 // 1000
"""What changes over less than 1 / 2 ms = 500 Hz of frequency is pitch, up to a child's; the rest is the envelope."""

_MOST = 2.3  # nepers, 20 dB: no stretch of the spectrum is raised or lowered more


def move_formants(samples: Samples, factor: float) -> Samples:
    """Speech whose spectral envelope is stretched by `factor` along frequency: above 1 it sounds like a smaller person.

    samples: shape (n,), 16 kHz.  factor: 0.5..2.
    The envelope is the smooth part of the cepstrum, as in Praat's "Change gender"; speakers of other lengths of vocal
    tract are made so in speech recognition (Jaitly and Hinton, "Vocal Tract Length Perturbation", 2013).
    Raises ValueError for a factor outside its range.
    """
    if not 0.5 <= factor <= 2:
        raise ValueError(f"a factor of formants must be in 0.5..2, not {factor}")
    if len(samples) < _WINDOW:
        return samples.copy()
    stft = ShortTimeFFT(hann(_WINDOW, sym=False), _HOP, SAMPLE_RATE)
    spectrum = stft.stft(samples)  # (bins, frames)
    magnitude = np.log(np.abs(spectrum) + 1e-6)
    cepstrum = np.fft.irfft(magnitude, axis=0)
    cepstrum[_QUEFRENCY:-_QUEFRENCY] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    bins = len(envelope)
    source = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.minimum(source.astype(np.int64), bins - 2)
    share = (source - low)[:, None]
    moved = (1 - share) * envelope[low] + share * envelope[low + 1]
    gain = np.exp(np.clip(moved - envelope, -_MOST, _MOST))
    return np.asarray(stft.istft(spectrum * gain, k1=len(samples)), np.float32)
