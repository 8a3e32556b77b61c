"""Files that the tests of audio write: what soundfile cannot encode, and files broken on purpose."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BURST = 2.0
"""Where `burst` sounds, in seconds."""


def burst(rate: int, seconds: float = 4.0) -> NDArray[np.float32]:
    """Silence with a tenth of a second of a 1 kHz tone in it, shape (samples,)."""
    samples = np.zeros(round(seconds * rate), np.float32)
    tone = np.arange(rate // 10) / rate
    samples[round(BURST * rate) :][: rate // 10] = 0.5 * np.sin(2 * np.pi * 1000 * tone)
    return samples


def onset(samples: NDArray[np.float32], rate: int = 16_000) -> float:
    """Where audio first is loud, in seconds."""
    return float(np.flatnonzero(np.abs(samples) > 0.2)[0]) / rate


def noise(samples: int, seed: int = 0) -> NDArray[np.int16]:
    """White noise at about -20 dBFS, shape (samples,)."""
    return np.random.default_rng(seed).normal(0, 3000, samples).astype(np.int16)


def encode(
    path: Path | Any,
    samples: NDArray[np.float32] | NDArray[np.int16],
    rate: int,
    codec: str,
    container: str,
    *,
    late: float = 0.0,
    gap: tuple[float, float] | None = None,
    video: bool = False,
    tags: dict[str, str] | None = None,
) -> None:
    """Write audio with PyAV.

    samples: (samples,) or (samples, channels).
    late: seconds that the audio starts after the file does.
    gap: at the first number of seconds, the time stamps jump by the second.
    video: whether a picture goes with it, from 0 s on.
    """
    if samples.dtype != np.int16:
        samples = (samples * 32767).astype(np.int16)
    columns = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo", 16: "hexadecagonal"}[columns.shape[1]]
    with av.open(path, "w", format=container, options={"movflags": "faststart"} if container == "mp4" else {}) as out:
        out.metadata.update(tags or {})
        stream: Any = out.add_stream(codec, rate=rate, layout=layout)
        if codec == "wavpack":
            stream.format = "s16p"  # not its first choice, 8 bits
        if video:
            _add_video(out)
        for start in range(0, len(columns), 1024):
            piece: Any = np.ascontiguousarray(columns[start : start + 1024].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            jump = gap[1] if gap and start >= gap[0] * rate else 0.0
            frame.pts, frame.sample_rate, frame.time_base = start + round((late + jump) * rate), rate, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def silent_film(path: Path) -> None:
    """A video without sound."""
    with av.open(str(path), "w") as out:
        _add_video(out)


def _add_video(out: Any) -> None:
    picture = out.add_stream("mpeg4", rate=10)
    picture.width = picture.height = 32
    picture.pix_fmt = "yuv420p"
    for _ in range(5):
        out.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
    out.mux(picture.encode(None))
