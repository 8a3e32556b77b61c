"""The audio of a page: small, and what every browser plays."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from diarize.types import SAMPLE_RATE, AudioChunk, seconds

BIT_RATE = 24_000
"""Bits a second: speech at 16 kHz stays clear, and an hour makes a page of 14.4 MB."""


def encode_mp3(chunks: Iterable[AudioChunk]) -> tuple[bytes, float]:
    """The audio as MP3, mono, at a constant bit rate, and how many seconds it is.

    MP3 because it is what every browser plays: Safari knows Opus in Ogg only since 18.4, and some builds of Chromium
    lack AAC.  At a constant bit rate a place in time is a place in the file, which a browser finds at once; without a
    bit reservoir no frame needs the ones before it, or the first tenth of a second after a jump would be silent.  Only
    the encoded audio is kept.

    Raises `diarize.audio.AudioError` as the chunks do.
    """
    import av  # slow to import

    content, end = io.BytesIO(), 0
    with av.open(content, "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", options={"reservoir": "0"})
        stream.bit_rate = BIT_RATE
        for chunk in chunks:
            samples = np.clip(chunk.samples * 2**15, -(2**15), 2**15 - 1).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), chunk.position
            file.mux(stream.encode(frame))
            end = chunk.position + len(samples)
        file.mux(stream.encode(None))
    return content.getvalue(), seconds(end)
