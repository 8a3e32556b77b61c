"""A page to listen by: who spoke when beside the audio, in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diarize.formats import write_atomically
from diarize.intervals import length
from diarize.metrics import errors_in_time, pair_speakers, score
from diarize.plot.embedding_map import places
from diarize.plot.similarity import COLOUR_MAP, LEAST_COSINE, MOST_COSINE, similarity
from diarize.plot.sound import encode_mp3
from diarize.plot.style import GREY, colours, partner_colours
from diarize.plot.timeline import ERRORS
from diarize.plot.voices import thinned, window_speakers
from diarize.rttm import Turn, milliseconds, talking
from diarize.types import AudioChunk, EmbeddingWindow, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE_SUFFIX = ".html"
"""Of pages."""

MOST_WINDOWS = 600
"""Windows in the matrix and the map of a page: as many rows as a screen shows there, in half a megabyte."""

_STYLE = "page.css"
_SCRIPTS = ("words.js", "player.js", "timeline.js", "similarity.js", "map.js", "page.js")
"""In this order: each uses only what the ones before it define."""


_SLACK = 1.0
"""Seconds that turns may go beyond the end of the audio."""

log = logging.getLogger(__name__)


def write_page(
    turns: Iterable[Turn],
    *,
    path: str | PathLike[str],
    title: str = "",
    reference: Iterable[Turn] | None = None,
    duration: int | None = None,
    audio: Iterable[AudioChunk] | None = None,
    windows: Sequence[EmbeddingWindow] = (),
) -> None:
    """Write a page with a timeline that plays: click on a turn to hear it.

    The page works without a network and from a disk, asks nothing of anybody, and follows the reader's choice of light
    or dark.  Whoever has the page has the voices: treat it as the recording itself.

    path: ends in .html.
    reference: shown above, in the colours of the speakers it is paired with, with the strict errors and their rates.
    duration: of the recording, in samples; without it the timeline ends with the last turn or the audio.
    audio: from the beginning; without it there is nothing to play.  It is encoded as it comes, and only that is kept.
    windows: of speech, with their embeddings: a similarity matrix and a map of the voices, which play too.

    Raises ValueError for another suffix, `diarize.audio.AudioError` as `audio` does, OSError when the page cannot be
    written.
    """
    check_page_suffix(path)
    answer, truth = sorted(turns), None if reference is None else sorted(reference)
    sound, heard = encode_mp3(audio) if audio is not None else (b"", 0.0)
    spoken = seconds(max([turn.end for turn in (*answer, *(truth or ()))], default=0))
    if audio is not None and spoken > heard + _SLACK:
        log.warning(
            "the audio ends after %.1f s, and the last turn after %.1f s: is it the same recording?", heard, spoken
        )
    content = {
        "title": title,
        "duration": max(seconds(duration or 0), spoken, heard),
        "groups": _groups(answer, truth),
        "errors": [] if truth is None else _errors(truth, answer),
        "scores": "" if truth is None else _scores(truth, answer),
        "voices": _voices(windows, answer),
    }
    write_atomically(path, _filled(content, sound))


def check_page_suffix(path: str | PathLike[str]) -> None:
    """Raise ValueError unless the name is one of a page."""
    if Path(path).suffix.lower() != PAGE_SUFFIX:
        raise ValueError(f"cannot write {str(path)!r}: a page's name must end in {PAGE_SUFFIX}")


def _filled(content: Mapping[str, object], sound: bytes) -> bytes:
    """The template with everything in its place."""
    folder = files("diarize.plot") / "page"
    script = "".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    parts = {
        "style": (folder / _STYLE).read_text(encoding="utf-8"),
        "script": script,
        # the browser runs this script and no other, whatever a name may contain
        "script-hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        # in ASCII, and without the one character that could end the element
        "content": json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "sound": base64.b64encode(sound).decode(),
    }
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([\w-]+)\}\}", lambda part: parts[part[1]], template).encode()


def _groups(answer: Sequence[Turn], truth: Sequence[Turn] | None) -> list[dict[str, object]]:
    """The lanes of the timeline; those of the answer come last."""
    own = colours(answer)
    if truth is None:
        return [_group("", answer, own)]
    partners = partner_colours(truth, pair_speakers(truth, answer), own)
    return [_group("reference", truth, partners), _group("hypothesis", answer, own)]


def _group(name: str, turns: Sequence[Turn], shown: Mapping[str, str]) -> dict[str, object]:
    speakers = [
        {
            "name": speaker,
            "colour": shown[speaker],
            "seconds": _time(length(talks)),
            "turns": [(_time(start), _time(end)) for start, end in talks],
        }
        for speaker, talks in talking(turns).items()
    ]
    return {"name": name, "speakers": speakers}


def _errors(truth: Sequence[Turn], answer: Sequence[Turn]) -> list[dict[str, object]]:
    found = errors_in_time(truth, answer)
    return [
        {
            "name": kind,
            "colour": colour,
            "turns": [(_time(start), _time(end)) for start, end, its in found if its == kind],
        }
        for kind, colour in ERRORS.items()
    ]


def _scores(truth: Sequence[Turn], answer: Sequence[Turn]) -> str:
    scored = score(truth, answer)
    rates = [("strict DER", scored.strict.der), ("lenient DER", scored.lenient.der)]
    return ", ".join(f"{name} {rate:.1%}" for name, rate in rates if rate is not None)


def _time(at: int) -> float:
    return milliseconds(at) / 1000


def _voices(windows: Sequence[EmbeddingWindow], answer: Sequence[Turn]) -> dict[str, object] | None:
    """What the matrix and the map show; None without windows."""
    if not windows:
        return None
    shown = thinned(windows, MOST_WINDOWS)
    speakers = window_speakers(shown, answer)
    points, means = places(shown, speakers)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 1 / max(float((high - low).max()), 1e-9)

    def placed(at: NDArray[np.float64]) -> list[list[float]]:
        """In the unit square's middle, both axes to one scale."""
        laid: list[list[float]] = np.round(0.5 + (at - (low + high) / 2) * scale, 4).tolist()
        return laid

    return {
        "times": [(_time(window.start), _time(window.end)) for window in shown],
        "speakers": speakers.tolist(),
        "quality": [round(float(window.quality), 2) for window in shown],
        "points": placed(points),
        "means": [(speaker, *placed(mean)) for speaker, mean in means.items()],
        "matrix": base64.b64encode(_shades(similarity(shown)).tobytes()).decode(),
        "span": (LEAST_COSINE, MOST_COSINE),
        "palette": _palette(),
        "nobody": GREY,
    }


def _shades(cosines: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers of the palette: a byte each."""
    within = np.clip((cosines - LEAST_COSINE) / (MOST_COSINE - LEAST_COSINE), 0, 1)
    shades: NDArray[np.uint8] = np.round(255 * within).astype(np.uint8)
    return shades


def _palette() -> list[str]:
    """The 256 colours of the matrix."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps[COLOUR_MAP](np.arange(256))]
