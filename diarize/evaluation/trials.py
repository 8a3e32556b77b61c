"""Which utterances are compared: all pairs of a folder's speakers, or a list in VoxCeleb's form."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diarize.training.manifest import Utterance

_log = logging.getLogger(__name__)

Ints = NDArray[np.int64]

MOST = 1_000_000
"""Trials that are made, half of them of one speaker; 1,400 utterances have as many pairs."""

ALL, WITHIN = "all", "within sets"
"""Kinds of trials: any, and those of which both utterances are of one set.  Between sets the microphone alone tells
two speakers apart, so that the others are the hard ones."""


@dataclass(frozen=True, eq=False)
class Trials:
    """Pairs of utterances.

    files: the utterances.
    speakers: of each, numbered from 0, shape (files,).
    sets: what each was recorded for or with, its corpus.
    first, second: the utterances of each trial, shape (trials,); which one comes first is by chance.
    """

    files: tuple[Path, ...]
    speakers: Ints
    sets: tuple[str, ...]
    first: Ints
    second: Ints

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which trials are of one speaker, shape (trials,)."""
        return np.asarray(self.speakers[self.first] == self.speakers[self.second])

    @property
    def strata(self) -> Ints:
        """The set of each speaker, numbered, shape (speakers,)."""
        numbers = np.unique(self.sets, return_inverse=True)[1]
        strata = np.zeros(self.speakers.max() + 1, np.int64)
        strata[self.speakers] = numbers
        return strata

    def kinds(self) -> dict[str, NDArray[np.bool_]]:
        """Which trials are of which kind: within sets, all, and of each single set; one set needs no kinds."""
        everything = np.ones(len(self.first), bool)
        names, numbers = np.unique(self.sets, return_inverse=True)
        if len(names) == 1:
            return {ALL: everything}
        first, second = numbers[self.first], numbers[self.second]
        within = first == second
        return {WITHIN: within, ALL: everything} | {
            str(name): within & (first == number) for number, name in enumerate(names)
        }


def make_trials(utterances: Sequence[Utterance], seed: int = 0, most: int = MOST) -> Trials:
    """All pairs of utterances with a speaker or, where these are more than `most`, drawn ones, half of one speaker.

    The same utterances and seed give the same trials.  A speaker with one utterance is compared with others only,
    which is logged.  Raises ValueError for fewer than two speakers, and where nobody has two utterances.
    """
    known = [(one, one.speaker) for one in utterances if one.speaker is not None]
    names, speakers = np.unique([speaker for _, speaker in known], return_inverse=True)
    said = np.bincount(speakers, minlength=len(names))
    if len(names) < 2 or said.max() < 2:
        raise ValueError(
            f"trials need two speakers, and two utterances of one: here are {len(known)} utterances of {len(names)}"
        )
    if (said == 1).any():
        _log.warning("%d of %d speakers have one utterance: no trial is theirs alone", (said == 1).sum(), len(names))
    rng = np.random.default_rng(seed)
    count = len(known)
    if count * (count - 1) // 2 <= most:
        first, second = np.triu_indices(count, 1)
    else:
        same, different = _same_pairs(speakers, most // 2, rng), _different_pairs(speakers, most // 2, rng)
        first, second = np.concatenate([same, different], axis=1)
    swapped = rng.random(len(first)) < 0.5
    return Trials(
        tuple(one.file for one, _ in known),
        speakers,
        tuple(one.group for one, _ in known),
        np.where(swapped, second, first),
        np.where(swapped, first, second),
    )


def read_trials(path: Path, root: Path) -> Trials:
    """The trials of a list with lines like "1 a.wav b.wav", 1 for one speaker and 0 for two, as VoxCeleb's veri_test.

    root: the folder from which on files are named.
    The speaker of a file is the first folder of its name, as in VoxCeleb, where that agrees with every line; otherwise
    files are one speaker's which lines of one speaker join.  Trials with a missing file are left out, and counted in
    the log.  Raises ValueError for a line that is no trial, for lines that contradict each other, and where no trial
    or none of a kind is left; OSError where the list cannot be read.
    """
    same, pairs = _parse(path)
    names = sorted({name for pair in pairs for name in pair})
    number = {name: place for place, name in enumerate(names)}
    first, second = np.array([[number[name] for name in pair] for pair in pairs], np.int64).reshape(-1, 2).T
    speakers = _speakers(path, names, first, second, same)
    present = np.array([(root / name).is_file() for name in names], bool)
    kept = present[first] & present[second]
    if not kept.any():
        raise ValueError(f"{path}: no trial of it has both files in {root}: give the folder its names are relative to")
    if not kept.all():
        _log.warning(
            "%s: %d of %d trials left out; files missing: %d", path, (~kept).sum(), len(kept), (~present).sum()
        )
    for kind, name in ((same, "one speaker"), (~same, "different speakers")):
        if not (kept & kind).any():
            raise ValueError(f"{path}: no trial of {name}; error rates need both kinds")
    used, places = np.unique([first[kept], second[kept]], return_inverse=True)
    first, second = places.reshape(2, -1)
    numbered = np.unique(speakers[used], return_inverse=True)[1]
    return Trials(tuple(root / names[one] for one in used), numbered, (path.stem,) * len(used), first, second)


def _parse(path: Path) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no list of trials: it is not text") from error
    same, pairs = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise ValueError(f"{path}:{number}: no trial: {line[:80]!r}; give 1 or 0 and two files: 1 a.wav b.wav")
        same.append(fields[0] == "1")
        pairs.append((fields[1], fields[2]))
    if not pairs:
        raise ValueError(f"{path} holds no trials: give lines like 1 a.wav b.wav")
    return np.array(same), pairs


def _speakers(path: Path, names: Sequence[str], first: Ints, second: Ints, same: NDArray[np.bool_]) -> Ints:
    """The speaker of each file, as `read_trials` says."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    folders = np.unique([name.strip("/").partition("/")[0] for name in names], return_inverse=True)[1]
    if np.array_equal(folders[first] == folders[second], same):
        return np.asarray(folders)
    joined = coo_array((np.ones(same.sum()), (first[same], second[same])), shape=(len(names), len(names)))
    speakers = connected_components(joined, directed=False)[1].astype(np.int64)
    wrong = np.flatnonzero((speakers[first] == speakers[second]) & ~same)
    if len(wrong):
        one, other = names[first[wrong[0]]], names[second[wrong[0]]]
        raise ValueError(f"{path}: {one} and {other} are of different speakers in one line and of one by others")
    return speakers


def _same_pairs(speakers: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Pairs of one speaker, at most so many, shape (2, pairs)."""
    pairs = [pair for speaker in np.unique(speakers) for pair in combinations(np.flatnonzero(speakers == speaker), 2)]
    chosen = rng.permutation(len(pairs))[:most]
    return np.array(pairs, np.int64)[np.sort(chosen)].T


def _different_pairs(speakers: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Different pairs of two speakers, about so many and no more, shape (2, pairs)."""
    count = len(speakers)
    low, high = np.sort(rng.integers(count, size=(2, 2 * most)), axis=0)
    keys = np.unique((low * count + high)[speakers[low] != speakers[high]])
    return np.stack(np.divmod(rng.permutation(keys)[:most], count))
