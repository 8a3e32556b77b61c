"""What carries a voice to whoever is to know it again: a telephone codec, a noisy room, or nothing at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, oaconvolve, resample_poly, sosfilt

from diarize.training.recording import centred, rms, steady_noise, tilt
from diarize.training.rooms import draw_room, real_response
from diarize.training.speech import Split, read_audio, read_noises, read_rooms
from diarize.types import SAMPLE_RATE, Samples

CODECS: dict[str, tuple[int, str, str]] = {
    "gsm": (8_000, "WAV", "GSM610"),
    "mu-law": (8_000, "WAV", "ULAW"),
    "a-law": (8_000, "WAV", "ALAW"),
    "adpcm": (8_000, "WAV", "NMS_ADPCM_16"),
    "opus": (8_000, "OGG", "OPUS"),
    "mp3": (8_000, "MP3", "MPEG_LAYER_III"),
}
"""Codecs of telephones and of recorders of calls, narrow-band: sample rate in Hz, and libsndfile's names for them."""

CARRIERS = ("clean", "telephone", "noise", "room")
"""As it is; a line with a drawn codec; a noise at a drawn 5 to 20 dB; a drawn room, its noise at 15 to 30 dB."""

_LOWEST, _HIGHEST = 300, 3400  # Hz, of a telephone's voice band (ITU-T G.712)
_COMPRESSION = 0.9  # of the codecs that have a level, near the lowest bit rate; not every build takes 1


def carried(samples: Samples, carrier: str, speech: Path | None, split: Split, rng: np.random.Generator) -> Samples:
    """An utterance as it arrives, of the same length; the same generator state gives the same bits.

    speech, split: where the recorded noises and the measured rooms come from; None: noises and rooms are computed.
    Raises ValueError for a carrier that is not in `CARRIERS`.
    """
    if carrier == "clean":
        return samples
    if carrier == "telephone":
        return coded(centred(samples, tilt(rng)), str(rng.choice(list(CODECS))))
    if carrier == "noise":
        return _noisy(samples, speech, split, (5, 20), rng)
    if carrier == "room":
        return _noisy(_in_room(samples, speech, split, rng), speech, split, (15, 30), rng)
    raise ValueError(f"unknown carrier {carrier!r}: one of {', '.join(CARRIERS)}")


def coded(samples: Samples, codec: str) -> Samples:
    """Through the voice band of a telephone and one of `CODECS`, coded and decoded."""
    rate, container, subtype = CODECS[codec]
    band = butter(4, (_LOWEST, _HIGHEST), "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = np.asarray(resample_poly(sosfilt(band, samples), rate, SAMPLE_RATE), dtype=np.float32)
    scale = np.float32(0.5 / max(float(np.abs(narrow).max(initial=0)), 1e-9))
    compression = {} if container == "WAV" else {"compression_level": _COMPRESSION}
    file = io.BytesIO()
    soundfile.write(file, narrow * scale, rate, format=container, subtype=subtype, **compression)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    wide = np.asarray(resample_poly(decoded, SAMPLE_RATE, rate), dtype=np.float32)[: len(samples)]
    return np.pad(wide, (0, len(samples) - len(wide))) / scale


def _in_room(samples: Samples, speech: Path | None, split: Split, rng: np.random.Generator) -> Samples:
    """In a measured room as often as in a computed one, 0.3 to 2.5 m from its microphone."""
    if speech is not None and rng.random() < 0.5:
        rooms = read_rooms(speech, split)
        response = real_response(read_audio(rooms[int(rng.integers(len(rooms)))]), rng)
    else:
        response = draw_room(rng).impulse_response(float(np.exp(rng.uniform(np.log(0.3), np.log(2.5)))), rng)
    return np.asarray(oaconvolve(samples, response)[: len(samples)], dtype=np.float32)


def _noisy(
    samples: Samples, speech: Path | None, split: Split, snr: tuple[float, float], rng: np.random.Generator
) -> Samples:
    """With a steady noise, recorded or coloured, at an SNR drawn from this range of dB."""
    file = None
    if speech is not None and rng.random() < 0.7:
        steady, _ = read_noises(speech, split)
        file = steady[int(rng.integers(len(steady)))]
    level = rms(samples) * 10 ** (-rng.uniform(*snr) / 20)
    return samples + steady_noise(file, len(samples), rng) * np.float32(level)
