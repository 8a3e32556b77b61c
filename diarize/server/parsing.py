"""What a client says, checked: every field known, of its type and in its range, or a ProtocolError that tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from diarize.audio import ENCODINGS
from diarize.server.messages import (
    MOST_SPEAKERS,
    VERSION,
    ClientMessage,
    End,
    Finalize,
    KeepAlive,
    Merge,
    Options,
    ProtocolError,
    Rename,
    Start,
)

LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000
"""Hz.  Live audio comes from telephones (8 kHz) to studios (192 kHz)."""

TEXT_LIMIT = 16_384
"""Characters in a text message.  The longest that means something, its names written in escapes, has a third."""

LONGEST_NAME = 200
"""Characters in the name of a speaker or of a recording."""

LAST_POSITION = 2**53 - 1
"""Frames.  Above it the numbers of JavaScript leave out integers."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Field:
    """What a field must be, in words, and how its value in JSON is read: None is what it must not be."""

    must: str
    read: Callable[[Any], Any]


def integer(lowest: int, highest: int) -> Field:
    """A whole number in a range; 1.0 is one, since JSON does not tell it from 1."""

    def read(value: Any) -> int | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value if type(value) is int and lowest <= value <= highest else None

    return Field(f"an integer from {lowest:,} to {highest:,}", read)


def number(lowest: float, highest: float) -> Field:
    """A number in a range."""

    def read(value: Any) -> float | None:
        return float(value) if type(value) in (int, float) and lowest <= value <= highest else None

    return Field(f"a number from {lowest:g} to {highest:g}", read)


def string(must: str, pattern: str, refused: str = r"(?!)") -> Field:
    """Text all of which matches the pattern, and no part of which what is refused."""

    def read(value: Any) -> str | None:
        fits = isinstance(value, str) and re.fullmatch(pattern, value) and not re.search(refused, value)
        return value if fits else None

    return Field(must, read)


# control characters, separators of lines, what turns the direction of the text around it, and halves of characters
UNFIT = r"^\s|\s$|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
NAME = f"text of at most {LONGEST_NAME} characters, without control characters or space around it"
LABEL = string("a speaker's label, such as SPEAKER_01", r"SPEAKER_[0-9]{2,6}")

OPTIONS = {
    "latency": number(0.5, 5),
    "num_speakers": integer(1, MOST_SPEAKERS),
    "min_speakers": integer(1, MOST_SPEAKERS),
    "max_speakers": integer(1, MOST_SPEAKERS),
}
START = {
    "version": Field(f"{VERSION}, which this server speaks", integer(VERSION, VERSION).read),
    "encoding": string(f"one of {', '.join(ENCODINGS)}", "|".join(ENCODINGS)),
    "sample_rate": integer(LOWEST_RATE, HIGHEST_RATE),
    "channels": integer(1, 2),
    "session": string("the session of an earlier ready", r"[A-Za-z0-9_-]{1,64}"),
    "position": integer(0, LAST_POSITION),
    "uri": string(f"{NAME}, and not empty", rf"(?s:.{{1,{LONGEST_NAME}}})", UNFIT),
    "options": Field("an object", lambda value: build(Options, OPTIONS, value) if isinstance(value, dict) else None),
}
RENAME = {
    "speaker": LABEL,
    "name": string(f"{NAME}, and no label", rf"(?s:.{{0,{LONGEST_NAME}}})", rf"{UNFIT}|^SPEAKER_[0-9]+$"),
}
TYPES: Mapping[str, tuple[type[ClientMessage], Mapping[str, Field]]] = {
    "start": (Start, START),
    "keepalive": (KeepAlive, {}),
    "finalize": (Finalize, {}),
    "rename": (Rename, RENAME),
    "merge": (Merge, {"speaker": LABEL, "into": LABEL}),
    "end": (End, {"erase": Field("true or false", lambda value: value if isinstance(value, bool) else None)}),
    "CloseStream": (End, {}),
}


def parse(text: str) -> ClientMessage:
    """The message that a text frame holds.  Raises ProtocolError for what is none, and nothing else.

    As in other protocols, `Done` (sherpa-onnx), `{"eof": 1}` (Vosk) and `{"type": "CloseStream"}` (Deepgram) end it.
    """
    if text == "Done":
        return End()
    if len(text) > TEXT_LIMIT:
        raise ProtocolError("too_big", f"{len(text):,} characters of text; a message has at most {TEXT_LIMIT:,}")
    try:
        values = read_object(text)
        if values.keys() == {"eof"} and integer(1, 1).read(values["eof"]):
            return End()
        name = values.pop("type", None)
        if not isinstance(name, str):
            raise ValueError(f"type is {shown(name)}: it must be one of {', '.join(TYPES)}")
        if name in TYPES:
            return build(*TYPES[name], values)
    except ValueError as error:
        raise ProtocolError("bad_message", str(error)) from None
    raise ProtocolError("unknown_type", f"unknown type {shown(name)}: {meant(name, TYPES)}")


def start_from_query(query: Mapping[str, str]) -> Start:
    """The start that the query of a URL asks for: the fields of a start and those of its options, side by side.

    Raises ProtocolError as `parse` does.  What is no part of a start, such as a token, must have been taken out.
    """
    known = {name: field for name, field in START.items() if name != "options"} | OPTIONS
    words = ("encoding", "session", "uri")
    values = {name: value if name in words else scalar(value) for name, value in query.items()}
    try:
        checked = {name: check(name, value, known) for name, value in values.items()}
        options = Options(**{name: checked.pop(name) for name in OPTIONS if name in checked})
        return Start(**checked, options=options)
    except ValueError as error:
        raise ProtocolError("bad_message", f"in the query: {error}") from None


def read_object(text: str) -> dict[str, Any]:
    """A JSON object.  Raises ValueError for anything else, and for what JSON forbids but Python takes."""
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except RecursionError:
        raise ValueError("text that is no message: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"text that is no message: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"text that is no message: {shown(value)} is no JSON object")
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, no field of which is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a field is there twice")
    return values


def no_number(constant: str) -> Any:
    """NaN and the infinities are no JSON."""
    raise ValueError(f"{constant} is no number of JSON")


def scalar(text: str) -> Any:
    """A value in a query: what JSON would read, else text, which its field refuses."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def build(kind: type[Kind], known: Mapping[str, Field], values: Mapping[str, Any]) -> Kind:
    """A message or a part of one.  Raises ValueError for an unknown, a wrong or a missing field."""
    checked = {name: check(name, value, known) for name, value in values.items()}
    for needed in fields(kind):  # type: ignore[arg-type]  # every `kind` is a dataclass
        if needed.default is needed.default_factory is MISSING and needed.name not in checked:
            raise ValueError(f"{needed.name} is missing: it must be {known[needed.name].must}")
    return kind(**checked)


def check(name: str, value: Any, known: Mapping[str, Field]) -> Any:
    """A field's value.  Raises ValueError for an unknown field and a wrong value."""
    if name not in known:
        raise ValueError(f"unknown field {shown(name)}: {meant(name, known)}")
    read = known[name].read(value)
    if read is None:
        raise ValueError(f"{name} is {shown(value)}: it must be {known[name].must}")
    return read


def meant(name: str, known: Iterable[str]) -> str:
    """What could have been said, and what probably was meant."""
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def shown(value: Any) -> str:
    """A value as JSON, cut short; what has parts is only named: it may be nested too deeply to write."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
