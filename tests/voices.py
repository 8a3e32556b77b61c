"""Made-up references for the tests of the store."""

from __future__ import annotations

import numpy as np

from diarize.profiles.person import Origin, Reference

DIMENSIONS = 64
MODEL = "a" * 64


def reference(voice: int, recording: int = 0, *, model: str = MODEL, origin: Origin | None = None) -> Reference:
    """What one voice is like in one recording: voices are unrelated, recordings of one are alike."""
    rng = np.random.default_rng([voice, recording])
    own = np.random.default_rng(voice).normal(size=DIMENSIONS)
    vector = own + 0.2 * rng.normal(size=DIMENSIONS)
    embedding = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Reference(embedding, model, 5.5 + recording, 0.8, f"2026-01-{1 + recording % 28:02d}T10:00:00+00:00", origin)


def references(voice: int, count: int = 2) -> list[Reference]:
    """Several recordings of one voice."""
    return [reference(voice, recording) for recording in range(count)]
