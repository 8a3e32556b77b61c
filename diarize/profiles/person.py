"""An enrolled person: a name and the references by which the voice is known."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diarize.turns import is_label
from diarize.types import Interval

LONGEST_NAME = 200
"""Characters."""


class ProfilesError(ValueError):
    """Something cannot be done with enrolled people: one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class Origin:
    """The recording a reference was made from, for it to be made again when the model changes.

    path: absolute.
    sha256: of the file, in hexadecimal: another recording under the same name may be another voice.
    stretches: in samples at 16 kHz, what of it was heard, by time and apart; none: all of it.
    """

    path: str
    sha256: str
    stretches: tuple[Interval, ...] = ()


@dataclass(frozen=True, eq=False)
class Reference:
    """The mean voice of one person in one recording.

    embedding: shape (dimensions,), float32, unit norm.
    model: the fingerprint of the network (`SpeakerEncoder.fingerprint`); those of different ones cannot be compared.
    speech: seconds of net speech it was made of.
    cohesion: in (0, 1], how well its windows agree (see `diarize.embedding.average_crops`).
    made: when, in ISO 8601, UTC.
    origin: None where it came from no file, and cannot be made again.
    """

    embedding: NDArray[np.float32]
    model: str
    speech: float
    cohesion: float
    made: str
    origin: Origin | None = None

    def __post_init__(self) -> None:
        norm = float(np.linalg.norm(self.embedding)) if self.embedding.ndim == 1 else 0.0
        if not 0.99 < norm < 1.01:  # False for NaN too
            raise ProfilesError(f"a reference must be one vector of unit norm: shape {self.embedding.shape}, {norm:g}")
        if not (0 < self.speech < float("inf") and 0 < self.cohesion <= 1):
            raise ProfilesError(f"no reference has {self.speech} s of speech and cohesion {self.cohesion}")


@dataclass(frozen=True, eq=False)
class Person:
    """A name and its references, oldest first."""

    name: str
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Profile:
    """What a list says of a person: how many references, seconds of speech in all, when the last was made."""

    name: str
    references: int
    speech: float
    made: str


def checked_name(name: str) -> str:
    """A person's name as it is kept: without white space around it, composed (NFC).

    Raises ProfilesError for a name that is empty, too long, not printable, or a label of nobody in particular.
    """
    kept = unicodedata.normalize("NFC", name.strip())
    if not kept or len(kept) > LONGEST_NAME or not kept.isprintable():
        raise ProfilesError(f"{name[:40]!r} is no name: give 1 to {LONGEST_NAME} printable characters")
    if is_label(kept):
        raise ProfilesError(f"{kept} is what a speaker without a name is called: give the person's name")
    return kept


def one_model(references: Sequence[Reference]) -> str:
    """The model of all of them.  Raises ProfilesError where there is none, or more than one."""
    models = sorted({reference.model for reference in references})
    if not models:
        raise ProfilesError("no reference: give at least one")
    if len(models) > 1 or len({len(reference.embedding) for reference in references}) > 1:
        raise ProfilesError(f"references of different models cannot be kept together: {', '.join(map(short, models))}")
    return models[0]


def short(model: str) -> str:
    """So much of a fingerprint as tells it from others."""
    return model[:12]
