"""A recording after the network: its embeddings, kept in a file, to be clustered again without the audio."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diarize.formats import write_atomically
from diarize.rttm import Turn
from diarize.types import EmbeddingWindow

SUFFIX = ".voices"
"""Of the files.  What is in them tells people apart by their voices, and is as personal as a fingerprint."""

VERSION = 1
"""Of the files: one of another version is refused."""


class EmbeddedError(ValueError):
    """A file does not hold the embeddings of a recording: one line that says what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class EmbeddedRecording:
    """The embeddings of one recording, and what clustering them again needs to know.

    uri: the recording's name.
    duration: in samples.
    model: the fingerprint of the network; embeddings of different ones cannot be compared.
    channels: the windows by time; one entry where the recording was mixed down, one for each channel otherwise.
    settings: what they were made with, and what the answer was made with.
    corrections: by hand; during each of these turns this person talks.
    """

    uri: str
    duration: int
    model: str
    channels: tuple[tuple[EmbeddingWindow, ...], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    corrections: tuple[Turn, ...] = ()


def write_embedded(path: str | PathLike[str], recording: EmbeddedRecording) -> None:
    """Keep a recording's embeddings in one file: NumPy's archive of arrays, about 5 MB an hour of speech.

    Raises OSError that names `path`; what stood there before is then untouched.
    """
    windows = [window for channel in recording.channels for window in channel]
    facts = {
        "version": VERSION,
        "uri": recording.uri,
        "duration": recording.duration,
        "model": recording.model,
        "settings": dict(recording.settings),
        "corrections": [[turn.start, turn.end, turn.speaker] for turn in recording.corrections],
    }
    content = io.BytesIO()
    np.savez(
        content,
        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
        windows=np.array([len(channel) for channel in recording.channels], "<i8"),
        times=np.array([(one.start, one.end, one.group, len(one.speech)) for one in windows], "<i8").reshape(-1, 4),
        speech=np.array([interval for one in windows for interval in one.speech], "<i8").reshape(-1, 2),
        quality=np.array([one.quality for one in windows], "<f8"),
        embeddings=np.stack([one.embedding for one in windows]).astype("<f4") if windows else np.zeros((0, 0), "<f4"),
    )
    write_atomically(path, content.getvalue())


def read_embedded(path: str | PathLike[str]) -> EmbeddedRecording:
    """What `write_embedded` kept.  Nothing in the file is ever run.

    Raises EmbeddedError for a file that is something else, damaged or of another version, OSError as `open`.
    """
    content = Path(path).read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _recording({name: arrays[name] for name in arrays.files})
    except EmbeddedError as error:
        raise EmbeddedError(f"{path}: {error}") from None
    except Exception as error:  # what a damaged archive raises depends on where the damage is
        raise EmbeddedError(
            f"{path}: not the embeddings of a recording, or damaged; make it with diarize file --save-embeddings"
        ) from error


def _recording(arrays: Mapping[str, NDArray[Any]]) -> EmbeddedRecording:
    facts = json.loads(arrays["facts"].tobytes())
    if facts["version"] != VERSION:
        raise EmbeddedError(f"of version {facts['version']}, and this program reads {VERSION}: make it again")
    windows = _windows(arrays)
    ends = np.cumsum(arrays["windows"]).tolist()
    starts = [0, *ends[:-1]]
    if ends[-1:] != [len(windows)]:
        raise ValueError("windows are missing")
    return EmbeddedRecording(
        uri=str(facts["uri"]),
        duration=int(facts["duration"]),
        model=str(facts["model"]),
        channels=tuple(tuple(windows[start:end]) for start, end in zip(starts, ends, strict=True)),
        settings=dict(facts["settings"]),
        corrections=tuple(Turn(int(start), int(end), str(speaker)) for start, end, speaker in facts["corrections"]),
    )


def _windows(arrays: Mapping[str, NDArray[Any]]) -> Sequence[EmbeddingWindow]:
    speech = [(int(start), int(end)) for start, end in arrays["speech"].reshape(-1, 2)]
    times, embeddings = arrays["times"], arrays["embeddings"].astype(np.float32)
    if ((times[:, 0] < 0) | (times[:, 0] >= times[:, 1]) | (times[:, 3] < 0)).any():
        raise ValueError("times that cannot be")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings that are no numbers")
    windows, at = [], 0
    columns = zip(times.tolist(), arrays["quality"].tolist(), embeddings, strict=True)
    for (start, end, group, intervals), quality, embedding in columns:
        windows.append(EmbeddingWindow(start, end, tuple(speech[at : at + intervals]), group, embedding, quality))
        at += intervals
    if at != len(speech):
        raise ValueError("intervals of speech are missing")
    return windows
