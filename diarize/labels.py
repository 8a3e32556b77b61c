"""Labels over stretches of time: what Audacity and Praat show below the waveform.

These formats have no place for more than a name, and their lines no escapes: a name is written `legible`, and where one
speaker's turns overlap, as turns may, they become one label.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from diarize.rttm import Turn, milliseconds


class Label(NamedTuple):
    """One speaker talks during [start, end), in milliseconds; the name is `legible`."""

    start: int
    end: int
    name: str


def legible(name: str) -> str:
    """A name as one line of plain text.

    Line breaks, tabs and control characters become blanks, and what no file can hold (the bytes of a file name that
    is not UTF-8) a question mark, as does a name of nothing.
    """
    plain = "".join(" " if unicodedata.category(character) == "Cc" else character for character in name)
    return " ".join(plain.encode(errors="replace").decode().split()) or "?"


def labels(turns: Iterable[Turn]) -> list[Label]:
    """The turns as labels, by time.  Those of one name never overlap, and none is empty.

    Turns of one name that overlap, once they are rounded to the millisecond and last at least one, become one label.
    """
    last: dict[str, Label] = {}
    done: list[Label] = []
    for turn in sorted(turns):
        start, name = milliseconds(turn.start), legible(turn.speaker)
        label = Label(start, max(milliseconds(turn.end), start + 1), name)
        before = last.get(name)
        if before is not None and label.start < before.end:
            label = before._replace(end=max(before.end, label.end))
        elif before is not None:
            done.append(before)
        last[name] = label
    return sorted([*done, *last.values()])


def format_audacity(turns: Iterable[Turn]) -> str:
    """A label track of Audacity: lines of `<start> TAB <end> TAB <name>`, in seconds (manual, "Importing Labels")."""
    return "".join(f"{decimal(label.start)}\t{decimal(label.end)}\t{label.name}\n" for label in labels(turns))


def format_textgrid(turns: Iterable[Turn], duration: int) -> str:
    """A TextGrid of Praat, in its long text format: an interval tier for each speaker, in order of appearance.

    The intervals of a tier cover the recording without gap; those in which the speaker is silent have no text.  A
    recording in which nobody talks has one such tier, named `speech`, as Praat wants at least one.

    duration: of the recording, in samples.
    """
    spoken = labels(turns)
    end = max([milliseconds(duration), 1, *(label.end for label in spoken)])
    tiers: dict[str, list[Label]] = {label.name: [] for label in spoken} or {"speech": []}
    for label in spoken:
        tiers[label.name].append(label)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        *_span(0, end),
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, own) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", *(f"        {line}" for line in _tier(name, _without_gaps(own, end), end))]
    return "\n".join(lines) + "\n"


def _tier(name: str, intervals: list[Label], end: int) -> list[str]:
    lines = ['class = "IntervalTier"', f"name = {_quoted(name)}", *_span(0, end), f"intervals: size = {len(intervals)}"]
    for number, interval in enumerate(intervals, start=1):
        inside = [*_span(interval.start, interval.end), f"text = {_quoted(interval.name)}"]
        lines += [f"intervals [{number}]:", *(f"    {line}" for line in inside)]
    return lines


def _without_gaps(spoken: list[Label], end: int) -> list[Label]:
    """The labels of one speaker with the silences between them, from 0 to `end`."""
    covered: list[Label] = []
    at = 0
    for label in [*spoken, Label(end, end, "")]:
        if at < label.start:
            covered.append(Label(at, label.start, ""))
        if label.start < label.end:
            covered.append(label)
        at = label.end
    return covered


def _span(start: int, end: int) -> list[str]:
    return [f"xmin = {decimal(start)}", f"xmax = {decimal(end)}"]


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def decimal(milliseconds: int) -> str:
    """Seconds with three decimals, from milliseconds."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
