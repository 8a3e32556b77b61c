"""The four conditions in which cohorts are made and naming is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diarize.training.carriers.codecs import coded
from diarize.training.carriers.sources import Sources
from diarize.training.recording import centred, tilt
from diarize.training.speech import Split
from diarize.types import Samples

CARRIERS = ("clean", "telephone", "noise", "room")
"""As it is; a line with a drawn codec; a noise at a drawn 5 to 20 dB; a drawn room, its noise at 15 to 30 dB."""

_LINES = ("gsm", "mu-law", "a-law", "adpcm", "opus-narrow", "mp3-narrow")


def carried(samples: Samples, carrier: str, speech: Path | None, split: Split, rng: np.random.Generator) -> Samples:
    """An utterance as it arrives, of the same length; the same generator state gives the same bits.

    speech, split: where the recorded noises and the measured rooms come from; None: noises and rooms are computed.
    Raises ValueError for a carrier that is not in `CARRIERS`.
    """
    if carrier not in CARRIERS:
        raise ValueError(f"unknown carrier {carrier!r}: one of {', '.join(CARRIERS)}")
    if carrier == "clean":
        return samples
    if carrier == "telephone":
        return coded(centred(samples, tilt(rng)), str(rng.choice(_LINES)))
    sources = Sources.computed() if speech is None else Sources.from_folder(speech, split)
    if carrier == "noise":
        return sources.noisy(samples, (5, 20), rng)
    return sources.noisy(sources.in_room(samples, rng), (15, 30), rng)
