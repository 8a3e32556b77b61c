"""Recordings with a reference beside them: what a program is measured on, and tuned on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from diarize.inputs import find_recordings
from diarize.rttm import RttmError, Turn, read_rttm, read_uem
from diarize.types import Interval

Found = TypeVar("Found")


@dataclass(frozen=True)
class Annotated:
    """A recording and who really speaks in it.

    uem: the stretches that are annotated; None: all of it.
    """

    audio: Path
    reference: tuple[Turn, ...]
    uem: tuple[Interval, ...] | None = None


def find_annotated(folder: Path) -> list[Annotated]:
    """The recordings of a folder and those below it, by name; NAME.rttm lies beside each, and perhaps NAME.uem.

    Raises ValueError for what is no folder, one without recordings, a recording without an RTTM file, and two
    recordings of one name in a folder; `diarize.rttm.RttmError` for a file that is no RTTM or UEM, or of another
    recording; OSError as `open`.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one that holds audio and an RTTM file for each recording")
    audio = [Path(recording.path) for recording in find_recordings([str(folder)])]
    alone = [path for path in audio if not path.with_suffix(".rttm").is_file()]
    if len(alone) == len(audio):
        raise ValueError(f"{folder}: no recording in it has an RTTM file of its name beside it: annotate some")
    if alone:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise ValueError(f"{alone[0]}: no {alone[0].stem}.rttm beside it{more}: annotate it, or take it out")
    seen: dict[Path, Path] = {}
    for path in audio:
        other = seen.setdefault(path.with_suffix(""), path)
        if other != path:
            raise ValueError(f"{other} and {path} share one RTTM file: take one out")
    return [_annotated(path) for path in audio]


def _annotated(audio: Path) -> Annotated:
    rttm, uem = audio.with_suffix(".rttm"), audio.with_suffix(".uem")
    reference = _of(audio.stem, read_rttm(rttm), rttm) or []
    stretches = _of(audio.stem, read_uem(uem), uem) if uem.is_file() else None
    return Annotated(audio, tuple(reference), None if stretches is None else tuple(stretches))


def _of(name: str, found: dict[str, Found], file: Path) -> Found | None:
    """What a file says of a recording: one that names one alone is of it, whatever the name."""
    if len(found) == 1:
        return next(iter(found.values()))
    if found and name not in found:
        raise RttmError(f"{file}: names {len(found)} recordings, none of them {name!r}")
    return found.get(name)
