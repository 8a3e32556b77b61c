"""A cohort: the voices of people who are nobody in particular, by which scores are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIPPED = Path(__file__).with_name("cohort.safetensors")
"""The voices of 485 people by the bundled model, made by `python -m diarize.training.cohort`."""

FEWEST = 20
"""Voices that a cohort must have: of fewer, mean and deviation say little."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """What is known of voices in general, as one network hears them.

    voices: the mean embedding of each person in clean speech, shape (n, dimensions), unit norm.
    within: covariance of the embeddings of one person over many recordings, noises and lines, of any scale, shape
        (dimensions, dimensions).
    fingerprint: of the network.
    Raises ValueError where they are not so.
    """

    voices: NDArray[np.float32]
    within: NDArray[np.float32]
    fingerprint: str

    def __post_init__(self) -> None:
        if self.voices.ndim != 2 or len(self.voices) < FEWEST:
            raise ValueError(f"a cohort has at least {FEWEST} voices: not the shape {self.voices.shape}")
        if not np.all(np.abs(np.linalg.norm(self.voices, axis=1) - 1) < 1e-2):  # False for NaN too
            raise ValueError("every voice of a cohort must have norm 1")
        if self.within.shape != 2 * self.voices.shape[1:] or not np.isfinite(self.within).all():
            raise ValueError(f"the covariance of a cohort must have the voices' dimensions, not {self.within.shape}")

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, shape (..., dimensions), where noises and lines move them least; unit norm, as before.

        Within-class covariance normalisation (Hatch, Kajarekar and Stolcke, 2006) around the cohort's mean.
        """
        return _unit((embeddings - self.centre) @ self.whitening)

    @cached_property
    def projected(self) -> NDArray[np.float32]:
        """The voices, projected."""
        return self.project(self.voices)

    @cached_property
    def centre(self) -> NDArray[np.float32]:
        """The mean voice, shape (dimensions,)."""
        return np.asarray(self.voices.mean(axis=0))

    @cached_property
    def whitening(self) -> NDArray[np.float32]:
        """The inverse square root of the covariance, shape (dimensions, dimensions).

        What they are in the mean is added to each variance, since a few hundred people show the small ones badly.  On
        `dev` speakers half or twice as much was as good, and ten times as much was worse.
        """
        variances, axes = np.linalg.eigh(self.within.astype(np.float64))
        return np.asarray((axes / np.sqrt(np.maximum(variances, 0) + variances.mean())) @ axes.T, dtype=np.float32)


def write_cohort(path: Path, cohort: Cohort) -> None:
    """Keep a cohort in one safetensors file, in half precision.  Raises OSError where it cannot be written."""
    from safetensors.numpy import save

    from diarize.formats import write_atomically

    within = cohort.within / np.trace(cohort.within) * len(cohort.within)  # or half precision has no numbers so small
    tensors = {"voices": cohort.voices.astype(np.float16), "within": within.astype(np.float16)}
    write_atomically(path, save(tensors, {"fingerprint": cohort.fingerprint}))


def read_cohort(path: Path) -> Cohort:
    """The cohort of a file.  Raises ValueError for a file that is not there or holds none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            voices, within = (file.get_tensor(name).astype(np.float32) for name in ("voices", "within"))
            fingerprint = (file.metadata() or {})["fingerprint"]
        return Cohort(_unit(voices), within, fingerprint)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no cohort ({error}): make one with diarize cohort") from error


@lru_cache(maxsize=8)
def cohort_for(fingerprint: str, path: str | None = None) -> Cohort:
    """The cohort of a network: that of a file or, without one, the shipped one.

    Raises ValueError where it is of another network, naming both.
    """
    cohort = read_cohort(SHIPPED if path is None else Path(path))
    if cohort.fingerprint != fingerprint:
        which = "the shipped cohort" if path is None else f"the cohort {path}"
        raise ValueError(
            f"{which} is of the model {cohort.fingerprint}, not {fingerprint}: make one with diarize cohort and set "
            "identification.cohort, or find a threshold for plain cosines with diarize calibrate"
        )
    return cohort


def _unit(embeddings: NDArray[Any]) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norms, 1e-9), dtype=np.float32)
