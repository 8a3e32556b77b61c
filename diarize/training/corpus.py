"""Speech decoded once: every utterance, by several voices and over several carriers, in one memory-mapped file."""

from __future__ import annotations

import csv
import errno
import json
import logging
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from diarize.audio import AudioError, Pcm
from diarize.config import from_mapping
from diarize.training.manifest import Utterance, fingerprint
from diarize.training.spoken import read_spoken
from diarize.training.takes import Carry, Perturbation, make_takes
from diarize.training.unfinished import made_whole
from diarize.types import SAMPLE_RATE

_Takes = list[tuple[str, Pcm]]
"""An utterance by each of its voices, by the mark of its `Perturbation`: shape (takes, samples)."""

_SAMPLES, _TABLE, _CONFIG = "samples.s16", "utterances.csv", "corpus.json"
_AHEAD = 32  # utterances a worker is given at a time; what they made waits in memory to be written in order

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorpusConfig:
    """What a corpus is made of.

    speeds, formants: at each speed every speaker becomes a speaker of their own, and with each factor of the formants
        another, as `Perturbation` says.
    takes: of every utterance; the first is clean, the others are carried.
    longest: seconds of a file that are used, from its start.
    seed: of what is drawn for the takes.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    takes: int = 4
    longest: float = 20.0
    seed: int = 0
    formants: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.speeds or len(set(self.speeds)) < len(self.speeds) or not all(0.5 <= s <= 2 for s in self.speeds):
            raise ValueError(f"speeds must be different numbers in 0.5..2, not {self.speeds}")
        if len({1.0, *self.formants}) <= len(self.formants) or not all(0.5 <= f <= 2 for f in self.formants):
            raise ValueError(f"formants must be different numbers in 0.5..2, none of them 1, not {self.formants}")
        if self.takes < 1:
            raise ValueError(f"takes must be at least 1, the clean one, not {self.takes}")
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1 s, not {self.longest}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")

    @property
    def voices(self) -> tuple[Perturbation, ...]:
        """What is made of every speaker."""
        return (*map(Perturbation, self.speeds), *(Perturbation(formants=factor) for factor in self.formants))


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prepared speech.

    speakers: their names, in order; "NAME@0.9" is NAME at another speed, "NAME~0.9" with other formants.
    owner: index into `speakers` of each utterance, -1 for an unlabelled one, shape (utterances,).
    groups: the set that each is from.
    lengths: samples of each, shape (utterances,).
    config, manifest: what it was made with, and the `fingerprint` of what it was made of.
    left_out: how many files were, by the reason.
    """

    folder: Path
    speakers: tuple[str, ...]
    owner: NDArray[np.int64]
    groups: tuple[str, ...]
    lengths: NDArray[np.int64]
    config: CorpusConfig
    manifest: str
    left_out: dict[str, int]

    def __reduce__(self) -> tuple[Callable[[Path], Corpus], tuple[Path]]:
        return open_corpus, (self.folder,)  # to another process goes the place, not the audio

    @property
    def takes(self) -> int:
        """Of every utterance; take 0 is the clean one."""
        return self.config.takes

    @cached_property
    def by_speaker(self) -> tuple[NDArray[np.int64], ...]:
        """The utterances of every speaker."""
        order = np.argsort(self.owner, kind="stable")
        edges = np.searchsorted(self.owner[order], np.arange(len(self.speakers) + 1))
        return tuple(order[start:end] for start, end in pairwise(edges))

    @cached_property
    def unlabelled(self) -> NDArray[np.int64]:
        """The utterances that are of nobody knows whom."""
        return np.flatnonzero(self.owner < 0)

    def crop(self, utterance: int, take: int, start: int, length: int) -> Pcm:
        """`length` samples of a take from `start` on; past its end it begins again.  Not to be written to.

        Raises IndexError for an utterance, a take or a start that is not there.
        """
        whole = int(self.lengths[utterance])
        if not (utterance >= 0 and 0 <= take < self.takes and 0 <= start < whole):
            raise IndexError(f"utterance {utterance}, take {take}, sample {start}: not in {self.folder}")
        begin = self._begins[utterance] + take * whole
        if start + length <= whole:
            return self._samples[begin + start : begin + start + length]
        return self._samples[begin + np.arange(start, start + length) % whole]

    @cached_property
    def _begins(self) -> list[int]:
        ends: list[int] = (np.cumsum(self.lengths) * self.takes).tolist()
        return [0, *ends]

    @cached_property
    def _samples(self) -> Pcm:
        # asarray: a slice of a memmap object costs ten times as much
        return np.asarray(np.memmap(self.folder / _SAMPLES, "<i2", "r"))


def open_corpus(folder: Path) -> Corpus:
    """What `prepare` made.  ValueError where there is none, or it is not whole."""
    if not (folder / _CONFIG).is_file():
        raise ValueError(f"{folder}: no {_CONFIG} there; prepare the corpus first")
    try:
        made = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        config, manifest, left_out = from_mapping(CorpusConfig, made["config"]), made["manifest"], made["left_out"]
        with (folder / _TABLE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        speakers = tuple(sorted({row["speaker"] for row in rows} - {""}))
        index = {"": -1} | {name: number for number, name in enumerate(speakers)}
        owner = np.array([index[row["speaker"]] for row in rows], np.int64)
        # a table of before there was this column
        groups = tuple(row.get("set", row["speaker"].partition("-")[0]) for row in rows)
        lengths = np.array([row["samples"] for row in rows], np.int64)
        size = (folder / _SAMPLES).stat().st_size
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: a damaged corpus ({error}); prepare it again") from error
    if size != (wanted := 2 * config.takes * int(lengths.sum())):
        raise ValueError(f"{folder / _SAMPLES}: {size:,} bytes where {wanted:,} belong; copy or prepare it again")
    return Corpus(folder, speakers, owner, groups, lengths, config, manifest, left_out)


def prepare(
    utterances: Sequence[Utterance], folder: Path, config: CorpusConfig, carry: Carry, workers: int = 1
) -> Corpus:
    """Decode utterances into a new folder, which appears when it is whole; the same bits with any number of workers.

    Silences are shortened as by `shorten_silences`; scale is kept, and what is beyond full scale is clipped.
    What is drawn for a take depends on the seed, the utterance's name, the voice and the take only.  Unlabelled speech
    is taken by its own voice only.  Files that cannot be decoded and those in which no voice is heard are left out,
    logged and counted, and with them speakers of whom nothing is left.

    Raises FileExistsError where the folder is there, ValueError where no speaker is left or a carrier changes the
    length, and OSError where the disk is full or cannot be written to, or a worker dies: then nothing is left behind.
    What a process that was killed has left behind is removed.
    """
    if folder.exists():
        raise FileExistsError(errno.EEXIST, "is there already; open it, remove it or give another", str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(_bytes(utterance, config) for utterance in utterances)
    with made_whole(folder) as beside, closing(_made(utterances, config, carry, workers)) as made:
        if (free := shutil.disk_usage(folder.parent).free) < needed:
            needs = f"needs up to {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
            raise OSError(errno.ENOSPC, needs, str(folder))
        try:
            _write(utterances, beside, config, made)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            needs = f"{error.strerror}; it needs up to {needed / 1e9:.3g} GB"
            raise OSError(error.errno, needs, str(folder)) from error
    return open_corpus(folder)


def _bytes(utterance: Utterance, config: CorpusConfig) -> int:
    """What is to be written of an utterance."""
    seconds = min(utterance.seconds, config.longest) * sum(1 / voice.speed for voice in _voices(utterance, config))
    return round(2 * SAMPLE_RATE * seconds * config.takes)


def _voices(utterance: Utterance, config: CorpusConfig) -> tuple[Perturbation, ...]:
    return config.voices if utterance.speaker is not None else (Perturbation(),)


def _made(utterances: Sequence[Utterance], config: CorpusConfig, carry: Carry, workers: int) -> Generator[_Takes | str]:
    """The takes of each utterance, in order, or why there are none."""
    make = partial(_make, config, carry)
    if workers <= 1:
        yield from map(make, utterances)
        return
    from diarize.engines.local import interruptions_wait

    # spawn: what a process with threads forks may hang
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _attend) as pool:
        size = workers * _AHEAD
        for start in range(0, len(utterances), size):
            with interruptions_wait():  # the workers start as they get work
                makings = pool.map(make, utterances[start : start + size])
            try:
                yield from makings
            except BrokenProcessPool as error:
                raise OSError("a process died (out of memory?); use fewer --workers") from error


def _attend() -> None:
    """In a worker process: do not outlive the one that asks."""
    from diarize.engines.local import end_with_parent

    Thread(target=end_with_parent, daemon=True).start()


def _make(config: CorpusConfig, carry: Carry, utterance: Utterance) -> _Takes | str:
    try:
        samples = read_spoken(utterance.file, config.longest)
    except AudioError as error:
        _log.warning("%s; it is left out", error)
        return "unreadable"
    if not len(samples):
        _log.warning("%s: no voice is heard in it; it is left out", utterance.file)
        return "silent"
    return [
        (voice.mark, make_takes(voice(samples), config.takes, carry, config.seed, utterance.name, voice.mark))
        for voice in _voices(utterance, config)
    ]


def _write(utterances: Sequence[Utterance], folder: Path, config: CorpusConfig, made: Iterable[_Takes | str]) -> None:
    left_out: Counter[str] = Counter()
    files: Counter[str] = Counter()
    with (folder / _SAMPLES).open("wb") as samples, (folder / _TABLE).open("w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table)
        rows.writerow(("file", "speaker", "samples", "set"))
        for utterance, takes in zip(utterances, made, strict=True):
            if isinstance(takes, str):
                left_out[takes] += 1
                continue
            name = utterance.speaker or ""
            files[name] += 1
            for voice, pcm in takes:
                rows.writerow((utterance.name, f"{name}{voice}", pcm.shape[1], utterance.group))
                samples.write(pcm.astype("<i2", copy=False).data)
    _tell(utterances, left_out, files, folder)
    about = {"config": asdict(config), "manifest": fingerprint(utterances), "left_out": dict(left_out)}
    (folder / _CONFIG).write_text(json.dumps(about, indent=1), encoding="utf-8")


def _tell(utterances: Sequence[Utterance], left_out: Counter[str], files: Counter[str], folder: Path) -> None:
    """Log what became of them; ValueError where no speaker is left."""
    speakers = {utterance.speaker for utterance in utterances} - {None}
    left = [name for name in files if name]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "none"
    if not left:
        raise ValueError(f"{folder}: no speaker is left of {len(speakers)} (files left out: {reasons}); give more")
    if left_out:
        gone = len(speakers) - len(left)
        _log.warning("left out of %d files: %s; speakers without any other: %d", len(utterances), reasons, gone)
    if single := sum(files[name] == 1 for name in left):
        _log.info("%d of %d speakers have a single file: only its crops differ", single, len(left))
