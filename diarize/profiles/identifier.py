"""From enrolled people to what tells who the speakers of one recording are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

import numpy as np

from diarize.clustering.naming import Identify
from diarize.profiles.cohort import cohort_for
from diarize.profiles.matching import IdentificationConfig, identify
from diarize.profiles.people import People


def identifier(
    people: People | None, model: str, config: IdentificationConfig, taken: Collection[str] = ()
) -> Identify | None:
    """What tells who the speakers are; None where there is nobody whom they could be.

    model: the fingerprint of the network that the voices are from.
    taken: the names of people who are known by hand, and whom nobody else can be.

    Raises ValueError for people who were enrolled with another model, and where their scores cannot be normalised.
    """
    if people is None or not people.names:
        return None
    if people.fingerprint != model:
        raise ValueError(
            f"the people were enrolled with the model {people.fingerprint}, and the voices are of {model}: use that "
            "model, or diarize profiles re-enroll"
        )
    if config.normalise:
        cohort_for(model, config.cohort)  # where there is none, it is said before any work
    people = without(people, taken)
    return partial(identify, people=people, config=config) if people.names else None


def without(people: People, taken: Collection[str]) -> People:
    """The people but for those of these names."""
    kept = np.array([name not in taken for name in people.names], bool)
    rows = kept[people.owner]
    names = tuple(name for name in people.names if name not in taken)
    owner = (np.cumsum(kept) - 1)[people.owner[rows]]
    return replace(people, names=names, references=people.references[rows], owner=owner)
