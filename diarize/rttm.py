"""RTTM and UEM: the field's files for who spoke when, and for what is to be scored.

A line of RTTM holds ten fields separated by spaces (NIST RT-09 evaluation plan, appendix A):

    SPEAKER <uri> <channel> <start> <duration> <NA> <NA> <speaker> <NA> <NA>

Names with spaces.  Fields cannot be quoted, so in a recording's or speaker's name white space, control characters,
the double quote and the percent sign are written as in a URL (`Ana Maria` is `Ana%20Maria`) and decoded when read.
Unlike replacing them by `_` this is reversible, so two names never become one; a tool that does not decode still
finds ten fields, and the same name everywhere.  An empty name is `<NA>`.  All else is written as it is, in UTF-8.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from diarize.intervals import length, union
from diarize.types import SAMPLE_RATE, Interval, TurnUpdate, position

_MILLISECOND = SAMPLE_RATE // 1000
_ABSENT = "<NA>"
_OTHER_TYPES = frozenset({"SEGMENT", "NOSCORE", "NO_RT_METADATA", "SPKR-INFO", "SU", "CB", "IP", "A/P", "EDIT"})
_OTHER_TYPES |= {"LEXEME", "NON-LEX", "NON-SPEECH", "FILLER"}
_LONGEST = 1e9
"""Seconds: a time beyond this (30 years) is a damaged number."""


class RttmError(ValueError):
    """A file is not RTTM (or UEM): one line with the file, the line's number and what is wrong."""


@dataclass(frozen=True, order=True)
class Turn:
    """One speaker talks during [start, end), in sample positions.  Turns order by time.

    Raises ValueError unless 0 <= start < end.
    """

    start: int
    end: int
    speaker: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a turn must start at 0 or later and end after its start: got [{self.start}, {self.end})")


def newest(updates: Iterable[TurnUpdate]) -> list[TurnUpdate]:
    """The current answer: of each id its newest update, the withdrawn ones left out, by start."""
    latest = {update.id: update for update in updates}
    spoken = [update for update in latest.values() if update.speaker is not None]
    return sorted(spoken, key=lambda update: (update.start, update.end, update.id))


def turns_from(updates: Iterable[TurnUpdate]) -> list[Turn]:
    """The current answer as turns, by start, under the enrolled person's name where known, else under the label."""
    return [Turn(update.start, update.end, update.name or "") for update in newest(updates)]


def talking(turns: Iterable[Turn]) -> dict[str, list[Interval]]:
    """When each speaker talks, by time and as stretches that do not touch; speakers by first appearance."""
    stretches: dict[str, list[Interval]] = {}
    for turn in sorted(turns):
        stretches.setdefault(turn.speaker, []).append((turn.start, turn.end))
    return {speaker: union(own) for speaker, own in stretches.items()}


def talk_time(turns: Iterable[Turn]) -> dict[str, int]:
    """How long each speaker talks, in samples, by first appearance.  Two turns at the same moment count it once."""
    return {speaker: length(stretches) for speaker, stretches in talking(turns).items()}


def format_rttm(turns: Iterable[Turn], uri: str, channels: Mapping[str, int] | None = None) -> str:
    """The turns as RTTM, by time; no turns give the empty string, which is valid RTTM.

    channels: of speakers, by their names in the turns, the channel they talk on; 1 for all others.

    Times have three decimals.  Starts and ends are rounded, and durations are their differences, so turns that do not
    overlap do not come to overlap.  A turn lasts at least 0.001 s: only one shorter than that can come to overlap.
    """
    known = channels or {}
    return "".join(_speaker_line(turn, uri, known.get(turn.speaker, 1)) for turn in sorted(turns))


def _speaker_line(turn: Turn, uri: str, channel: int) -> str:
    start, end = milliseconds(turn.start), milliseconds(turn.end)
    duration = max(1, end - start)
    return (
        f"SPEAKER {_encode(uri)} {channel} {_decimal(start)} {_decimal(duration)} "
        f"{_ABSENT} {_ABSENT} {_encode(turn.speaker)} {_ABSENT} {_ABSENT}\n"
    )


def milliseconds(at: int) -> int:
    """The millisecond nearest to a sample position, which is how finely times are written."""
    # half up, in integers: what is a millisecond or more apart stays apart, which rounding half to even would not hold
    return (at + _MILLISECOND // 2) // _MILLISECOND


def _decimal(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def read_rttm(path: str | PathLike[str]) -> dict[str, list[Turn]]:
    """The turns of each recording in an RTTM file, by time.

    Comments (`;;`), blank lines, a byte order mark and the types of lines that are not SPEAKER are passed over;
    nine fields (RTTM before 2009) are taken as well as ten.  Turns without length say nothing and are left out.

    Raises RttmError for what is not RTTM, OSError when the file cannot be read.
    """
    turns: dict[str, list[Turn]] = {}
    for where, fields in _lines(path):
        if fields[0] in _OTHER_TYPES:
            continue
        if fields[0] != "SPEAKER":
            raise RttmError(f"{where}: {fields[0][:40]!r} is not a type of RTTM line; expected SPEAKER")
        if len(fields) not in (9, 10):
            raise RttmError(f"{where}: expected 10 fields, got {len(fields)}; a name must not contain spaces")
        start, duration = _time(fields[3], "start", where), _time(fields[4], "duration", where)
        first, end = position(start), position(start + duration)
        if first < end:
            turns.setdefault(_decode(fields[1]), []).append(Turn(first, end, _decode(fields[7])))
    return {uri: sorted(found) for uri, found in turns.items()}


def read_rttms(path: str | PathLike[str]) -> dict[str, list[Turn]]:
    """The turns of each recording in a file or in the `.rttm` files of a folder; an empty file is named by its stem.

    Raises RttmError for what is not RTTM, a folder without any and a recording in two files; OSError as `read_rttm`.
    """
    files = sorted(Path(path).glob("*.rttm")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise RttmError(f"{path}: no file in this folder has a name that ends in .rttm")
    turns: dict[str, list[Turn]] = {}
    for file in files:
        found = read_rttm(file) or {file.stem: []}
        if both := turns.keys() & found.keys():
            raise RttmError(f"{file}: the recording {min(both)!r} is in another file of this folder too")
        turns |= found
    return turns


def read_uem(path: str | PathLike[str]) -> dict[str, list[Interval]]:
    """The stretches of each recording that are to be scored, by time: lines of `<uri> <channel> <start> <end>`.

    Raises RttmError for what is not UEM, OSError when the file cannot be read.
    """
    stretches: dict[str, list[Interval]] = {}
    for where, fields in _lines(path):
        if len(fields) != 4:
            raise RttmError(f"{where}: expected the 4 fields of UEM (uri, channel, start, end), got {len(fields)}")
        start, end = position(_time(fields[2], "start", where)), position(_time(fields[3], "end", where))
        if start >= end:
            raise RttmError(f"{where}: the end {fields[3]} is not after the start {fields[2]}")
        stretches.setdefault(_decode(fields[0]), []).append((start, end))
    return {uri: sorted(found) for uri, found in stretches.items()}


def _lines(path: str | PathLike[str]) -> Iterator[tuple[str, list[str]]]:
    """Each line that says something: where it is (`file, line 3`) and its fields."""
    data = Path(path).read_bytes()
    # PowerShell's `>` writes UTF-16
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RttmError(f"{path}, line {line}: not text in UTF-8") from error
    for number, content in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        # only ASCII white space separates: others, such as the no-break space, occur in names
        fields = re.findall(r"(?a:\S+)", content)
        if fields and not fields[0].startswith(";;"):
            yield f"{path}, line {number}", fields


def _time(field: str, name: str, where: str) -> float:
    try:
        value = float(field)
    except ValueError:
        raise RttmError(f"{where}: the {name} {field[:40]!r} is not a number of seconds") from None
    if not 0 <= value <= _LONGEST:
        raise RttmError(f"{where}: the {name} {field[:40]} is not a number of seconds from 0 to {_LONGEST:g}")
    return value


def _encode(name: str) -> str:
    if name == _ABSENT:
        return "%3CNA>"
    return "".join(map(_encode_character, name)) or _ABSENT


def _encode_character(character: str) -> str:
    # the double quote: readers built on pandas take it for the start of a quoted field
    # surrogates: Python's stand-ins for the bytes of a file name that is not UTF-8; they cannot be written as they are
    if character.isspace() or character in '%"' or unicodedata.category(character) in ("Cc", "Cs"):
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return character


def _decode(field: str) -> str:
    return "" if field == _ABSENT else re.sub(r"(?:%[0-9A-Fa-f]{2})+", _decode_bytes, field)


def _decode_bytes(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # another tool's percent signs
        return match[0]
