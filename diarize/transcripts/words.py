"""Transcripts in JSON: segments and words with their times, and what speakers do to them.

The shapes are those of openai-whisper, WhisperX, faster-whisper and the OpenAI interface (`segments` with `words`,
times in seconds, perhaps `words` or `word_segments` beside them), and of whisper.cpp (`transcription` with `tokens`,
`offsets` in milliseconds).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any, TypeVar

from diarize.rttm import milliseconds
from diarize.subtitles import Cue
from diarize.types import Interval, position

T = TypeVar("T")

Item = dict[str, Any]
"""A segment or a word of the JSON, which is labelled in place."""

_SEGMENTS = ("segments", "transcription")
_WORDS = ("words", "tokens")
_ALL_WORDS = ("words", "word_segments")
_MARK = re.compile(r"\[_[A-Z]+_\d*\]")
"""What whisper.cpp has among its tokens that nobody says: [_BEG_], [_TT_50]."""
_LONGEST = 1e9
"""Seconds: a time beyond this is a damaged number."""


class TranscriptError(ValueError):
    """A transcript cannot be labelled: one line that says why."""


@dataclass(frozen=True)
class Words:
    """Words that follow each other, and their times; a time is None only where nothing has any."""

    items: list[Item]
    times: list[Interval | None]

    def label(self, speaker: Callable[[int, int], str | None]) -> list[str | None]:
        """Give each its `speaker`."""
        for item, times in zip(self.items, self.times, strict=True):
            item["speaker"] = times and speaker(*times)
        return [item["speaker"] for item in self.items]


@dataclass(frozen=True)
class Segment:
    """A segment and its words, which may be none."""

    item: Item
    times: Interval | None
    words: Words

    def label(self, speaker: Callable[[int, int], str | None]) -> list[str | None]:
        """Label the words and, with who talks most in them, the segment; without words, with who talks most in it.

        Returns the words' speakers, or the segment's where it has no words.
        """
        if not self.words.items:
            return Words([self.item], [self.times]).label(speaker)
        speakers = self.words.label(speaker)
        heard: dict[str, int] = {}
        for who, times in zip(speakers, self.words.times, strict=True):
            if who is not None and times is not None:
                heard[who] = heard.get(who, 0) + max(times[1] - times[0], 1)
        self.item["speaker"] = max(heard, key=heard.__getitem__, default=None)
        return speakers

    def cues(self) -> Iterator[Cue]:
        """A cue for each stretch of words of one speaker; words of nobody go with those before them, or else after."""
        words = self.words
        known = list(accumulate((item["speaker"] for item in words.items), _newer))
        first = next((speaker for speaker in known if speaker is not None), None)
        runs = [list(run) for _, run in groupby(range(len(known)), key=lambda at: _newer(first, known[at]))]
        texts = self._texts([run[0] for run in runs])
        if len(runs) < 2:
            yield from _cue([self.times], self.item["speaker"], texts[0])
        else:
            for run, text in zip(runs, texts, strict=True):
                yield from _cue([words.times[at] for at in run], known[run[-1]], text)

    def _texts(self, begins: list[int]) -> list[str]:
        """The text in pieces, one from each of these words to the next: cut, as not every script has spaces."""
        text, at, places = _plain(_text(self.item)), 0, []
        for word in self.words.items:
            found = text.find(_plain(_text(word)), at)
            if found < 0:  # the words are not those of the text: they make it
                return self._joined(begins)
            places.append(found)
            at = found + len(_plain(_text(word)))
        cuts = [0, *(places[word] for word in begins[1:]), len(text)]
        return [text[start:end].strip() for start, end in pairwise(cuts)]

    def _joined(self, begins: list[int]) -> list[str]:
        texts = [_text(word) for word in self.words.items]
        space = "" if any(text.startswith(" ") for text in texts) else " "
        cuts = [*begins, len(texts)]
        return [_plain(space.join(texts[start:end])) for start, end in pairwise(cuts)]


def parse(text: str) -> Item:
    """Raises TranscriptError for what is not JSON, or JSON of another shape."""
    try:
        content = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise TranscriptError(f"line {error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets in brackets
        raise TranscriptError(f"not JSON that can be read: {error}") from error
    if not isinstance(content, dict) or not any(
        isinstance(content.get(key), list) for key in (*_SEGMENTS, *_ALL_WORDS)
    ):
        raise TranscriptError('not a transcript: expected JSON as {"segments": [{"start": 0.5, "end": 1.5, ...}]}')
    return content


def segments(content: Item) -> list[Segment]:
    """The segments of a transcript, with times for those that have none."""
    items = _items(content, *_SEGMENTS)
    words = [_words(_items(item, *_WORDS), _times(item)) for item in items]
    times = _filled([_times(item) or _hull(inside.times) for item, inside in zip(items, words, strict=True)])
    return [Segment(*one) for one in zip(items, times, words, strict=True)]


def all_words(content: Item) -> Words:
    """The words beside the segments, of all the lists of them."""
    lists = [_words(_items(content, key)) for key in _ALL_WORDS]
    return Words([item for one in lists for item in one.items], [time for one in lists for time in one.times])


def _words(items: list[Item], around: Interval | None = None) -> Words:
    words = [item for item in items if not _MARK.fullmatch(_text(item))]
    return Words(words, _filled([_times(word) for word in words], around))


def _items(holder: Item, *keys: str) -> list[Item]:
    """The list of objects under the first of the keys that has one; openai-whisper's tokens are numbers."""
    for key in keys:
        items = holder.get(key)
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            return items
    return []


def _times(item: Item) -> Interval | None:
    """From `start` and `end` in seconds, or `offsets` in milliseconds; None where they are no times."""
    offsets = item.get("offsets")
    if isinstance(offsets, dict):
        times, unit = [offsets.get("from"), offsets.get("to")], 1000
    else:
        times, unit = [item.get("start"), item.get("end")], 1
    found = [
        position(time / unit)
        for time in times
        if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time <= _LONGEST  # NaN is not
    ]
    return (found[0], max(found)) if len(found) == 2 else None


def _filled(times: list[Interval | None], around: Interval | None = None) -> list[Interval | None]:
    """The times of words or segments.  WhisperX gives none to numbers, which it cannot align.

    Those without get the time between the one before and the one after; where none is left, that of the one before,
    or else after.  around: the time of what they are all in.
    """
    before = accumulate(times, _newer)
    after = reversed(list(accumulate(reversed(times), _newer)))
    return [own or _between(one, other, around) for own, one, other in zip(times, before, after, strict=True)]


def _newer(last: T | None, new: T | None) -> T | None:
    return last if new is None else new


def _between(before: Interval | None, after: Interval | None, around: Interval | None) -> Interval | None:
    start = before[1] if before else around[0] if around else None
    end = after[0] if after else around[1] if around else None
    if start is not None and end is not None and start < end:
        return start, end
    return before or after or around


def _hull(times: Iterable[Interval | None]) -> Interval | None:
    """From the first start to the last end."""
    known = [one for one in times if one is not None]
    return (min(start for start, _ in known), max(end for _, end in known)) if known else None


def _cue(times: Iterable[Interval | None], speaker: str | None, text: str) -> Iterator[Cue]:
    """The cue that spans these times, where it has a text."""
    spanned = _hull(times)
    if spanned is not None and text:
        start, end = (milliseconds(time) for time in spanned)
        yield Cue(start, max(end, start + 1), speaker, text)


def _text(item: Item) -> str:
    return str(item.get("word") or item.get("text") or "")


def _plain(text: str) -> str:
    return " ".join(text.split())
