"""How late one sound is against another."""

from __future__ import annotations

import numpy as np

from diarize.types import SAMPLE_RATE, Samples

_BAND = (300, 3400)  # Hz: what every carrier carries


def lag(heard: Samples, said: Samples) -> float:
    """Seconds by which a sound is late, by the generalised cross-correlation with phase transform.

    Knapp and Carter (1976): all frequencies count alike, so that neither the period of the voice nor the colour of the
    carrier is taken for a delay.
    """
    size = 2 * max(len(heard), len(said))
    cross = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    cross[(hertz < _BAND[0]) | (hertz > _BAND[1])] = 0
    at = int(np.argmax(np.fft.irfft(cross / np.maximum(np.abs(cross), 1e-12), size)))
    return (at if at < size // 2 else at - size) / SAMPLE_RATE
