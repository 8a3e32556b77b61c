"""SubRip (SRT) and WebVTT: cues of who speaks, and names for the cues of a transcript.

A file of cues is labelled in place: a name is put before the text of each cue, and every other character of the file
stays as it is.  No reader of these formats gives all of it back: numbers, settings, notes, styles, line ends.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from diarize.labels import labels, legible
from diarize.rttm import Turn

_LINES = re.compile(r"[^\r\n]+(?:\r\n|\n|\r|$)|\r\n|\n|\r")
_TIME = r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
# as readers take them: SRT with dots, VTT with commas, short fields
_TIMES = re.compile(rf"\ufeff?[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(?![\d.,:]).*", re.DOTALL)
_DAMAGED = re.compile(r"\ufeff?[ \t]*\d[\d:.,]*[ \t]*-->")
_VOICE = re.compile(r"</?v(?:[. \t\r\n][^>]*)?>")


class SubtitleError(ValueError):
    """A file is not SRT or WebVTT: one line that says where and what is wrong."""


class Cue(NamedTuple):
    """A text shown during [start, end), in milliseconds, with the name of who says it, or None."""

    start: int
    end: int
    name: str | None
    text: str


class Part(NamedTuple):
    """A piece of a file: the text of a cue with its times, in milliseconds, or, without times, what stands between."""

    text: str
    times: tuple[int, int] | None = None


def format_srt(turns: Iterable[Turn]) -> str:
    """The turns as SRT with the speakers' names for text; no turns give the empty string.  Cues overlap as turns do."""
    return write_srt(Cue(*label[:2], None, label.name) for label in labels(turns))


def format_vtt(turns: Iterable[Turn]) -> str:
    """The turns as WebVTT with the speakers' names for text, each in a voice tag.  Cues overlap as turns do."""
    return write_vtt(Cue(*label, label.name) for label in labels(turns))


def write_srt(cues: Iterable[Cue]) -> str:
    """Cues as SRT, the name before the text: `SPEAKER_00: Hello`."""
    return "\n".join(
        f"{number}\n{_times(cue, ',')}\n{_prefix(cue.name)}{_without_arrows(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    )


def write_vtt(cues: Iterable[Cue]) -> str:
    """Cues as WebVTT, the name in a voice tag: `<v SPEAKER_00>Hello`."""
    return "WEBVTT\n" + "".join(
        f"\n{_times(cue, '.')}\n{_voice(cue.name)}{html.escape(cue.text, quote=False)}\n" for cue in cues
    )


def read_cues(text: str) -> list[Part]:
    """A file of SRT or WebVTT in parts that, joined, are the file again.  A cue without text is none.

    Raises SubtitleError for a cue whose times are damaged.
    """
    parts: list[Part] = []
    times: tuple[int, int] | None = None
    for number, line in enumerate(_LINES.findall(text), start=1):
        if found := _TIMES.fullmatch(line):
            parts.append(Part(line))
            times = _milliseconds(*found.groups()[:4]), _milliseconds(*found.groups()[4:])
        elif _DAMAGED.match(line):
            raise SubtitleError(f"line {number}: {line.strip()[:60]!r} does not hold the times of a cue")
        elif times is None or not line.strip("\r\n"):
            parts.append(Part(line))
            times = None
        elif parts[-1].times is None:
            parts.append(Part(line, times))
        else:
            parts[-1] = Part(parts[-1].text + line, times)
    return parts


def label_srt(parts: Sequence[Part], names: Sequence[str | None], known: Iterable[str]) -> str:
    """The file, with a name before the text of each cue: `SPEAKER_00: Hello`.

    names: of the cues, in order; a cue that gets None gets no name.
    known: all speakers' names; where they stand before the text already they are replaced.
    """
    prefixes = sorted((re.escape(_prefix(name)) for name in known), reverse=True)  # the longer of two first
    before = re.compile(rf"\A(?:{'|'.join(prefixes)})*")
    rest = iter(names)
    return "".join(
        part.text if part.times is None else _prefix(next(rest)) + before.sub("", part.text) for part in parts
    )


def label_vtt(parts: Sequence[Part], names: Sequence[str | None]) -> str:
    """The file, with the text of each cue in a voice tag: `<v SPEAKER_00>Hello`.  The voice tags it had are replaced.

    names: of the cues, in order; a cue that gets None gets no tag.
    """
    rest = iter(names)
    return "".join(
        part.text if part.times is None else _voice(next(rest)) + _without_voices(part.text) for part in parts
    )


def _without_voices(text: str) -> str:
    # a line of nothing but tags goes with them: an empty one would end the cue
    lines = [line for line in _LINES.findall(_VOICE.sub("", text)) if line.strip("\r\n")]
    return "".join(lines) or text


def _prefix(name: str | None) -> str:
    return "" if name is None else f"{_without_arrows(legible(name))}: "


def _voice(name: str | None) -> str:
    return "" if name is None else f"<v {html.escape(legible(name), quote=False)}>"


def _without_arrows(text: str) -> str:
    """SRT has no escapes, and a text with an arrow would be taken for times."""
    return re.sub("-{2,}>", "->", text)


def _times(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _clock(milliseconds: int, point: str) -> str:
    seconds = milliseconds // 1000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{milliseconds % 1000:03d}"


def _milliseconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> int:
    return ((int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))
