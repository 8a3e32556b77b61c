"""Transcripts with speakers: whoever talks in a word or a cue is put onto it.

What is taken: JSON with segments and words (see `diarize.transcripts.words`), SRT and WebVTT.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path

from diarize.formats import writable
from diarize.rttm import Turn
from diarize.subtitles import label_srt, label_vtt, read_cues, write_srt, write_vtt
from diarize.transcripts.talk import Talk
from diarize.transcripts.words import TranscriptError, all_words, parse, segments
from diarize.types import SAMPLE_RATE

__all__ = ["FORMS", "Labelled", "Talk", "TranscriptError", "form_of", "label_transcript", "read_transcript", "turns_of"]

FORMS = {"json": ("json", "srt", "vtt"), "srt": ("srt",), "vtt": ("vtt",)}
"""What a transcript can be, which is also the files' suffix, and what it can become when it is labelled."""


@dataclass(frozen=True)
class Labelled:
    """A transcript with speakers.

    text: what goes into a file.
    speakers: of every word, or of every segment or cue that has no words, in order; None where nobody talks.
    """

    text: str
    speakers: tuple[str | None, ...]


def read_transcript(path: str | PathLike[str]) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark; line ends stay as they are.

    Raises TranscriptError for another encoding, OSError when the file cannot be read.
    """
    data = Path(path).read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TranscriptError(f"line {line}: not text in UTF-8; save it as UTF-8") from error


def form_of(path: str | PathLike[str]) -> str:
    """The form that a file's suffix says; raises TranscriptError when it says none."""
    form = Path(path).suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise TranscriptError(f"{path}: the name of a transcript must end in .json, .srt or .vtt")
    return form


def turns_of(transcript: str | PathLike[str], recordings: Mapping[str, list[Turn]]) -> list[Turn]:
    """The turns of the recording that a transcript is of: the one with its name, or the only one.

    The name is the file's, less its suffixes: `talk` for talk.json, talk.en.srt and talk.wav.json.

    Raises TranscriptError when neither is there.
    """
    name = Path(transcript).stem
    shorter = [name[:at] for at in range(len(name) - 1, 0, -1) if name[at] == "."]
    for known in (name, *shorter, *recordings) if len(recordings) == 1 else (name, *shorter):
        if known in recordings:
            return recordings[known]
    there = f"it has {', '.join(sorted(recordings))}" if recordings else "nobody talks in it"
    raise TranscriptError(f"the RTTM has no recording named {name!r}: {there}")


def label_transcript(text: str, form: str, talk: Talk, into: str | None = None) -> Labelled:
    """Put speakers onto a transcript.  Doing it again changes nothing.

    JSON: every word and segment gets a `speaker`, the segment the one who talks most in its words; null for nobody.
    All else stays, in its order.  SRT and WebVTT: see `diarize.subtitles`.

    form, into: of `text`, and of the result, by default the same (see `FORMS`).  JSON becomes a cue for each segment,
        and within it for each stretch of words of one speaker.

    Raises TranscriptError or `diarize.subtitles.SubtitleError` for a text that is of another form, has no times or is
    of another recording.
    """
    into = into or form
    if not text.strip("\ufeff \t\r\n"):
        raise TranscriptError("the file is empty")
    labelled = _label_json(text, talk, into) if form == "json" else _label_cues(text, talk, form)
    if labelled.speakers and all(speaker is None for speaker in labelled.speakers):
        raise TranscriptError("nobody talks where anything is said: is the RTTM of this recording?")
    return labelled


def _label_json(text: str, talk: Talk, into: str) -> Labelled:
    content = parse(text)
    found, words = segments(content), all_words(content)
    times = [time for one in found for time in (one.times, *one.words.times)] + words.times
    if times and not any(times):
        raise TranscriptError("no word and no segment has a start and an end: transcribe with timestamps")
    speakers = tuple(chain.from_iterable(one.label(talk.speaker) for one in found)) + tuple(words.label(talk.speaker))
    if into == "json":
        return Labelled(writable(json.dumps(content, indent=2, ensure_ascii=False)) + "\n", speakers)
    if words.items and not found:
        raise TranscriptError(f"it has no segments, which become the cues of {into}: label it as JSON")
    cues = [cue for segment in found for cue in segment.cues()]
    return Labelled(write_srt(cues) if into == "srt" else write_vtt(cues), speakers)


def _label_cues(text: str, talk: Talk, form: str) -> Labelled:
    if text.removeprefix("\ufeff").startswith("WEBVTT") != (form == "vtt"):
        raise TranscriptError(f"not {form.upper()}: WebVTT, and only that, begins with WEBVTT")
    parts = read_cues(text)
    millisecond = SAMPLE_RATE // 1000
    speakers = [talk.speaker(*(time * millisecond for time in part.times)) for part in parts if part.times]
    if not speakers and form == "srt":
        raise TranscriptError("it has no cue with times")
    labelled = label_srt(parts, speakers, talk.speakers) if form == "srt" else label_vtt(parts, speakers)
    return Labelled(labelled, tuple(speakers))
