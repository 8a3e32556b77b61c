"""Real codecs: what a telephone, a call over the network or a file does to a voice."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, correlate, lfilter, sosfilt

from diarize.types import SAMPLE_RATE, Samples

_LOWEST, _HIGHEST = 300, 3400  # Hz, of a telephone's voice band (ITU-T G.712)
_SHORTEST = SAMPLE_RATE // 10  # samples: less is filled up, for some encoders take no part of a frame
_PEAK = 0.5  # of full scale, at which a voice is coded


@dataclass(frozen=True)
class Codec:
    """An encoder and its decoder.

    rate: Hz, at which it codes; at 8 kHz the voice goes through a telephone's band first.
    encoder: FFmpeg's name, or container and subtype of libsndfile with a slash between.
    decoder: FFmpeg's name, where it is another one.
    bit_rates: bits a second to draw from, lowest first; none: it has only one.
    """

    rate: int
    encoder: str
    decoder: str = ""
    bit_rates: tuple[int, ...] = ()

    @property
    def narrow(self) -> bool:
        """Whether it codes the band of a telephone only."""
        return self.rate == 8_000


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "gsm": Codec(8_000, "WAV/GSM610"),
        "mu-law": Codec(8_000, "WAV/ULAW"),
        "a-law": Codec(8_000, "WAV/ALAW"),
        "adpcm": Codec(8_000, "WAV/NMS_ADPCM_16"),
        "amr": Codec(8_000, "libopencore_amrnb", "amrnb", (4_750, 5_900, 7_400, 12_200)),
        "g723": Codec(8_000, "g723_1", bit_rates=(6_300,)),
        "opus-narrow": Codec(8_000, "libopus", bit_rates=(6_000, 8_000, 12_000)),
        "mp3-narrow": Codec(8_000, "libmp3lame", "mp3float", (8_000, 16_000, 24_000)),
        "g722": Codec(16_000, "g722"),
        "opus": Codec(16_000, "libopus", bit_rates=(9_000, 12_000, 16_000, 24_000, 32_000)),
        "mp3": Codec(16_000, "libmp3lame", "mp3float", (16_000, 24_000, 32_000, 48_000)),
        "aac": Codec(16_000, "aac", bit_rates=(12_000, 16_000, 24_000, 32_000, 48_000)),
        "vorbis": Codec(16_000, "OGG/VORBIS"),
    }
)
"""All that are known, by name: those of telephones at 8 kHz, those of calls over the network and of files at 16 kHz."""


@cache
def available_codecs() -> tuple[str, ...]:
    """The names of the codecs that the installed libsndfile and FFmpeg can both encode and decode."""
    return tuple(name for name, codec in CODECS.items() if _available(codec))


def coded(samples: Samples, codec: str, bit_rate: int | None = None, peak: float = _PEAK) -> Samples:
    """Through one of `CODECS` and back: as long, and at the same time.

    bit_rate: bits a second; None: the codec's lowest.
    peak: 0..1 of full scale, the highest sample while it is coded: low ones have coarse steps.
    Raises ValueError for an unknown codec, one that this installation lacks, and a peak or a bit rate that cannot be.
    """
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}: one of {', '.join(CODECS)}")
    kind = CODECS[codec]
    if codec not in available_codecs():
        raise ValueError(f"the installed libsndfile and FFmpeg have no {codec} ({kind.encoder}): draw from others")
    if bit_rate is not None and bit_rate not in kind.bit_rates:
        raise ValueError(f"{codec} at {bit_rate} bits a second is not known: one of {kind.bit_rates or None}")
    if not 0 < peak <= 1:
        raise ValueError(f"peak must be above 0 and at most 1, not {peak}")
    if not len(samples):
        return samples
    padded = np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
    voice = _resampled(_telephone_band(padded) if kind.narrow else padded, SAMPLE_RATE, kind.rate)
    scale = np.float32(peak / max(float(np.abs(voice).max()), 1e-9))
    wide = _resampled(_round_trip(voice * scale, codec, bit_rate), kind.rate, SAMPLE_RATE)[: len(samples)]
    return np.pad(wide, (0, len(samples) - len(wide))) / scale


def _telephone_band(samples: Samples) -> Samples:
    band = butter(4, (_LOWEST, _HIGHEST), "bandpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(band, samples), dtype=np.float32)


def _round_trip(voice: Samples, codec: str, bit_rate: int | None) -> Samples:
    """The voice decoded, at the codec's rate; libsndfile keeps the time by itself."""
    kind = CODECS[codec]
    return _libsndfile(voice, kind) if "/" in kind.encoder else _ffmpeg(voice, kind, bit_rate)[_delay(codec) :]


@cache
def _delay(codec: str) -> int:
    """Samples at its rate by which a codec of FFmpeg is late.

    Measured, since it depends on FFmpeg's version: some decoders take their encoder's delay off, some do not.
    """
    kind = CODECS[codec]
    rng = np.random.default_rng(0)
    pulses = np.zeros(kind.rate)
    pulses[np.cumsum(rng.integers(kind.rate // 200, kind.rate // 60, 60))] = rng.uniform(0.3, 1, 60)
    hum = lfilter([1], [1, -1.5, 0.8], pulses)  # like a voice, or a codec of voices would not know it again
    probe = np.asarray(0.4 * hum / np.abs(hum).max(), dtype=np.float32)
    decoded = _ffmpeg(probe, kind, kind.bit_rates[-1] if kind.bit_rates else None)
    return max(0, int(np.argmax(correlate(decoded, probe, method="fft"))) - len(probe) + 1)


def _libsndfile(voice: Samples, codec: Codec) -> Samples:
    container, subtype = codec.encoder.split("/")
    compression = {"compression_level": 0.9} if container == "OGG" else {}
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", codec.rate, 1, format=container, subtype=subtype, **compression) as out:
        for at in range(0, len(voice), codec.rate):  # its Vorbis encoder crashes on much more at once
            out.write(voice[at : at + codec.rate])
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return np.asarray(decoded, dtype=np.float32)


def _ffmpeg(voice: Samples, codec: Codec, bit_rate: int | None) -> Samples:
    import av

    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = codec.rate, "mono", encoder.codec.audio_formats[0]
    if codec.bit_rates:
        encoder.bit_rate = bit_rate or codec.bit_rates[0]
    encoder.open()
    decoder: Any = av.CodecContext.create(codec.decoder or codec.encoder, "r")
    decoder.sample_rate, decoder.layout = codec.rate, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    pcm = np.round(voice * 32767).astype(np.int16)
    if encoder.frame_size:  # not every encoder fills its last frame up; one more carries out what is delayed
        pcm = np.pad(pcm, (0, -len(pcm) % encoder.frame_size + encoder.frame_size))
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = codec.rate, 0
    cut = av.AudioResampler(encoder.format, "mono", codec.rate, frame_size=encoder.frame_size or 0)
    packets = [packet for part in (*cut.resample(frame), None) for packet in encoder.encode(part)]
    frames = [part for packet in (*packets, None) for part in decoder.decode(packet)]
    decoded = np.concatenate([_floats(part.to_ndarray().reshape(-1)) for part in frames])
    return _resampled(decoded, frames[0].sample_rate, codec.rate)  # Opus is always decoded at 48 kHz


def _floats(samples: NDArray[Any]) -> Samples:
    full = np.iinfo(samples.dtype).max + 1 if samples.dtype.kind == "i" else 1
    return np.asarray(samples / full, dtype=np.float32)


def _resampled(samples: Samples, rate: int, to: int) -> Samples:
    return samples if rate == to else np.asarray(soxr.resample(samples, rate, to), dtype=np.float32)


def _available(codec: Codec) -> bool:
    if "/" in codec.encoder:
        container, subtype = codec.encoder.split("/")
        known = soundfile.available_formats()
        return container in known and subtype in soundfile.available_subtypes(container)
    import av

    try:
        av.codec.Codec(codec.encoder, "w")
        av.codec.Codec(codec.decoder or codec.encoder, "r")
    except (ValueError, av.FFmpegError):
        return False
    return True
