"""A recording's turns as text, as a pyannote Annotation, and safely on disk."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diarize.labels import decimal, format_audacity, format_textgrid
from diarize.rttm import Turn, format_rttm, milliseconds, newest, talk_time, turns_from
from diarize.subtitles import format_srt, format_vtt
from diarize.types import Identity, TurnUpdate, seconds

if TYPE_CHECKING:
    from pyannote.core import Annotation

JSON_VERSION = 1
"""Of the JSON: a field that is added leaves it, a field that goes or changes its meaning raises it."""


@dataclass(frozen=True)
class Diarization:
    """Who spoke when in one recording: what every format is made from.

    uri: the recording's name.
    duration: of the recording, in samples.
    updates: of the turns; the newest of each id holds.
    settings: what the turns were made with; whatever JSON can hold, anything else is given as its text.
    channels: of each speaker's label, the channel they talk on, from 1; empty where channels were mixed down.
    """

    uri: str
    duration: int
    updates: tuple[TurnUpdate, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """How a diarization is written.

    name: what the user calls it.
    suffix: how the names of its files end, with the dot.
    write: makes the text of a file.
    """

    name: str
    suffix: str
    write: Callable[[Diarization], str]


def as_rttm(result: Diarization) -> str:
    """RTTM (see `diarize.rttm`)."""
    named = {update.speaker: update.name or "" for update in newest(result.updates)}
    channels = {named.get(speaker, speaker): channel for speaker, channel in result.channels.items()}
    return format_rttm(turns_from(result.updates), result.uri, channels)


def as_json(result: Diarization) -> str:
    """JSON: the turns with their labels, names, confidence and distances, the speakers, and the settings.

    Of each speaker the talk time, and where people are enrolled, how it was decided who that is.

    Times are seconds with at most three decimals.  Strict JSON: a number that is not finite raises ValueError.
    """
    turns = newest(result.updates)
    content = {
        "version": JSON_VERSION,
        "uri": result.uri,
        "duration": _seconds(result.duration),
        "speakers": _speakers(turns, result.channels),
        "turns": [_turn(update) for update in turns],
        "settings": dict(result.settings),
    }
    return writable(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)) + "\n"


def writable(text: str) -> str:
    """JSON that can be in a file: surrogates, from file names that are not UTF-8, as their escapes."""
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


COLUMNS = ("uri", "channel", "start", "end", "speaker", "name", "confidence", "distance", "second", "second_distance")
"""Of the CSV, always these."""


def as_csv(result: Diarization) -> str:
    """CSV (RFC 4180, with a header): a row for each turn; what is not known is an empty cell.

    A spreadsheet takes a text that begins with = + - @ for a formula: such a text gets an apostrophe before it.  Other
    formats have it as it is.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for update in newest(result.updates):
        second, distance = update.second or (None, None)
        row = (
            _cell(result.uri),
            result.channels.get(update.speaker or ""),
            decimal(milliseconds(update.start)),
            decimal(milliseconds(update.end)),
            _cell(update.speaker),
            _cell(update.identity.name if update.identity else None),
            round(update.confidence, 3),
            _rounded(update.distance),
            _cell(second),
            _rounded(distance),
        )
        table.writerow(row)
    return text.getvalue()


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("rttm", ".rttm", as_rttm),
        Format("json", ".json", as_json),
        Format("csv", ".csv", as_csv),
        Format("srt", ".srt", lambda result: format_srt(turns_from(result.updates))),
        Format("vtt", ".vtt", lambda result: format_vtt(turns_from(result.updates))),
        Format("textgrid", ".TextGrid", lambda result: format_textgrid(turns_from(result.updates), result.duration)),
        Format("audacity", ".txt", lambda result: format_audacity(turns_from(result.updates))),
    )
}
"""How to write a diarization, by the format's name."""


def _turn(update: TurnUpdate) -> dict[str, object]:
    return {
        "start": _seconds(update.start),
        "end": _seconds(update.end),
        "speaker": update.speaker,
        "identity": _named(update.identity),
        "confidence": round(update.confidence, 3),
        "distance": _rounded(update.distance),
        "second": update.second and {"speaker": update.second[0], "distance": _rounded(update.second[1])},
    }


def _speakers(turns: list[TurnUpdate], channels: Mapping[str, int]) -> list[dict[str, object]]:
    identities = {update.speaker: update.identity for update in turns}
    heard = talk_time(Turn(update.start, update.end, update.speaker or "") for update in turns)
    return [
        {
            "speaker": speaker,
            **_decided(identities[speaker]),
            "seconds": _seconds(heard[speaker]),
            **({"channel": channels[speaker]} if speaker in channels else {}),
        }
        for speaker in heard
    ]


def _decided(identity: Identity | None) -> dict[str, object]:
    """Of a speaker: the name, and how it was decided, for somebody unknown too."""
    if identity is None:
        return {"identity": None, "decision": None}
    return {"identity": identity.name, "decision": _decision(identity)}


def _named(identity: Identity | None) -> dict[str, object] | None:
    if identity is None or identity.name is None:
        return None
    return {"name": identity.name, **_decision(identity)}


def _decision(identity: Identity) -> dict[str, object]:
    runner_up = identity.runner_up
    return {
        "score": round(identity.score, 3),
        "runner_up": runner_up and {"name": runner_up[0], "score": round(runner_up[1], 3)},
        "reason": identity.reason,
    }


def _seconds(position: int) -> float:
    return milliseconds(position) / 1000


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _cell(text: str | None) -> str | None:
    """A text as a cell; what no file can hold is a question mark."""
    if text is None:
        return None
    text = text.encode(errors="replace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def to_annotation(turns: Iterable[Turn], uri: str) -> Annotation:
    """The turns as pyannote's Annotation, in seconds."""
    from pyannote.core import Annotation, Segment  # slow to import, and not every use needs it

    annotation = Annotation(uri=uri)
    for track, turn in enumerate(sorted(turns)):
        annotation[Segment(seconds(turn.start), seconds(turn.end)), track] = turn.speaker
    return annotation


def write_atomically(path: str | PathLike[str], content: str | bytes) -> None:
    """Write a file whole or not at all: beside it first, then in its place by renaming.

    Text is written in UTF-8.  A file that is replaced keeps its permissions, a link keeps pointing to the
    file, and what is no file (a pipe, `/dev/stdout`) is written to as it is.

    Raises OSError that names `path`; what stood there before is then untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            _replace(Path(path).resolve(), data, mode)
        else:
            Path(path).write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _mode(path: str | PathLike[str]) -> int | None:
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return None


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    # a name of its own length: the target's may already be as long as names can be
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with beside.open("xb") as file:  # unlike tempfile's, with the permissions that the umask gives
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            beside.chmod(stat.S_IMODE(mode))
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
