"""Which utterances a folder of speech holds, and who says them.

A folder with `speakers.csv` (columns `set`, `speaker`, `split`, `file`, `seconds`) is read as that table says.  Any
other is read by its places: SET/SPEAKER/files, VoxCeleb's idXXXXX/VIDEO/file, CN-Celeb's idXXXXX/file.  In both, what
lies in `unlabelled/` is speech of which nobody knows whose it is.

To train on another machine, take the folder there and prepare the corpus there: Opus at 24 kbit/s is 10.8 MB an hour,
so six hours fit into 64 MiB; decoded, at three speeds in four takes, it is 130 times as large.  WAV and FLAC become
Opus with `ffmpeg -i a.flac -ac 1 -ar 16000 -c:a libopus -b:a 24k a.opus`; to take fewer, leave rows out of the table.
A prepared corpus can be moved as well: it names no place outside itself.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from diarize.audio import AudioError
from diarize.decoding import open_audio
from diarize.inputs import find_recordings

Split = Literal["train", "dev", "eval"]

TABLE = "speakers.csv"
UNLABELLED = "unlabelled"

_CELEBRITY = re.compile(r"id\d{5}")

_TEST = {"voxceleb": range(10270, 10310), "cnceleb": range(800, 1000)}
"""The numbers of the speakers whom VoxCeleb1 (Nagrani et al., 2017) and CN-Celeb1 (Fan et al., 2020) test on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterance:
    """One file of one person's speech.

    speaker: unique over all groups ("librispeech-1034"); None: nobody knows.
    group: the set it is from.
    seconds: of audio, as the table or the file says; 0 where the file cannot be read.
    """

    file: Path
    speaker: str | None
    group: str
    seconds: float

    @property
    def name(self) -> str:
        """What tells it apart wherever its folder lies: the last three parts of its path, with slashes."""
        return "/".join(self.file.parts[-3:])


def check_split(split: str) -> None:
    """Raise ValueError where this is not one of `Split`."""
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; one of {', '.join(get_args(Split))}")


def read_manifest(folder: Path, split: Split | None = None) -> tuple[Utterance, ...]:
    """The utterances of a split or of all, in the order of the table or of their names; unlabelled ones at the end.

    The splits share no speaker.  Where no table tells them, VoxCeleb1's and CN-Celeb1's test speakers are `eval`, and
    of the others one in ten is `dev` and one in ten `eval`, by a checksum of the name, which no new speaker changes.
    Unlabelled speech can only teach: it is `train`.

    Raises ValueError for an unknown split, a table that lacks a column, and a folder without speech of that split.
    """
    if split is not None:
        check_split(split)
    labelled = list(read_table(folder, split)) if (folder / TABLE).is_file() else _labelled(folder, split)
    found = (*labelled, *(_unlabelled(folder) if split in (None, "train") else ()))
    if not found:
        of = "" if split is None else f" of the split {split!r}"
        raise ValueError(
            f"{folder}: no speech{of} there; give a folder with SET/SPEAKER/files, of more speakers, or with {TABLE}"
        )
    return found


def read_table(folder: Path, split: Split | None = None) -> Iterator[Utterance]:
    """What `speakers.csv` lists, in its order.

    Raises ValueError where there is no such table, a column is not in it or a row is no utterance.
    """
    table = folder / TABLE
    if not table.is_file():
        raise ValueError(f"{folder}: no {TABLE} there; give the folder of real speech")
    for row in read_rows(table, ("set", "speaker", "split", "file", "seconds")):
        if split in (None, row["split"]):
            speaker = f"{row['set']}-{row['speaker']}"
            yield Utterance(folder / row["file"], speaker, row["set"], _number(row["seconds"], table))


def read_rows(table: Path, columns: Collection[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV table, by column.  ValueError where it is none, or lacks a column or a cell."""
    with table.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
        rows = csv.DictReader(file)
        try:
            if absent := set(columns) - set(rows.fieldnames or ()):
                raise ValueError(f"{table}: no column {', '.join(sorted(absent))}; add it")
            for row in rows:
                if lacking := [name for name in columns if row[name] is None]:
                    raise ValueError(f"{table}:{rows.line_num}: too short a row, without {lacking[0]}; fill it in")
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{table} is no CSV in UTF-8 ({error}); write it anew") from error


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """A hash of what they are and whose, wherever they lie."""
    lines = (f"{item.name}\t{item.speaker}\t{item.group}\t{item.seconds:.3f}\n" for item in utterances)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _number(text: str, table: Path) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{table}: {text!r} are no seconds; write a number")
    return number


def _labelled(folder: Path, split: Split | None) -> list[Utterance]:
    """The utterances of the folders that are named after a speaker."""
    files = [(file, parts) for file, parts in _files(folder) if parts[0] != UNLABELLED]
    celebrities = any(_celebrity(parts) is not None for _, parts in files)
    found, strays = [], 0
    for file, parts in files:
        number = _celebrity(parts)
        if number is not None:
            group, name = "cnceleb" if len(parts) == number + 2 else "voxceleb", parts[number]
        elif len(parts) > 2 and not celebrities:  # CN-Celeb's eval/test is no speaker
            group, name = parts[:2]
        else:
            strays += 1
            continue
        if split in (None, _drawn_split(group, name)):
            found.append(Utterance(file, f"{group}-{name}", group, _seconds(file)))
    if strays:
        place = "idXXXXX" if celebrities else "SET/SPEAKER"
        _log.warning("%s: %d files are not in %s and are passed over", folder, strays, place)
    return found


def _celebrity(parts: tuple[str, ...]) -> int | None:
    """Which of the folders is named as VoxCeleb and CN-Celeb name a speaker's."""
    return next((index for index, part in enumerate(parts[:-1]) if _CELEBRITY.fullmatch(part)), None)


def _unlabelled(folder: Path) -> list[Utterance]:
    """group: the folder within `unlabelled/`."""
    if not (folder / UNLABELLED).is_dir():
        return []
    return [
        Utterance(file, None, parts[0] if len(parts) > 1 else UNLABELLED, _seconds(file))
        for file, parts in _files(folder / UNLABELLED)
    ]


def _files(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The audio files below a folder, by name, and the parts of their names from there on."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give a folder with {TABLE}, or with SET/SPEAKER/files")
    for recording in find_recordings([str(folder)]):
        file = Path(recording.path)
        yield file, file.relative_to(folder).parts


def _seconds(file: Path) -> float:
    try:
        return open_audio(file).seconds or 0.0
    except AudioError:  # it is counted where it is to be decoded
        return 0.0


def _drawn_split(group: str, name: str) -> Split:
    """The split of a speaker where no table tells it."""
    if _CELEBRITY.fullmatch(name) and int(name[2:]) in _TEST.get(group, ()):
        return "eval"
    tenth = zlib.crc32(f"{group}-{name}".encode()) % 10
    return "dev" if tenth == 0 else "eval" if tenth == 1 else "train"
