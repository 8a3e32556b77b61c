"""What is to be done, which recording goes into which files and whether that can be at all, and what became of it."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from diarize.audio import check_layout, frame_bytes
from diarize.embedded import SUFFIX as VOICES
from diarize.embedded import EmbeddedRecording
from diarize.formats import FORMATS, Diarization, write_atomically
from diarize.inputs import STDIN, SUFFIXES, Recording, find_recordings, is_search
from diarize.linking import Voices
from diarize.plot import SUFFIXES as PICTURES
from diarize.rttm import Turn, turns_from
from diarize.sources import Source, open_source, raw_source
from diarize.types import seconds

REMEDIES = {
    errno.ENOENT: "check the name",
    errno.EISDIR: "name a file, or end a folder's name with " + os.sep,
    errno.ENOTDIR: "a file stands where a folder should; choose another place",
    errno.EEXIST: "a file stands where a folder should; choose another place",
    errno.EACCES: "change the permissions, or choose another place",
    errno.EPERM: "change the permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOSPC: "make room, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about what the system refuses."""


def explain(error: Exception) -> str:
    """An error as one sentence: what of the system's comes as a number gets a name and a remedy."""
    if not (isinstance(error, OSError) and error.strerror):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    remedy = REMEDIES.get(error.errno or 0)
    return where + error.strerror + (f"; {remedy}" if remedy else "")


@dataclass(frozen=True)
class RawAudio:
    """What raw PCM on standard input is: Hz, number of channels, encoding (see `diarize.audio`).

    Raises `diarize.audio.AudioError` for what no audio has.
    """

    rate: int = 16_000
    channels: int = 1
    encoding: str = "s16le"

    def __post_init__(self) -> None:
        check_layout(self.rate, self.channels, "raw PCM")
        frame_bytes(self.encoding, self.channels)


@dataclass(frozen=True)
class Order:
    """One recording to be diarized.

    outputs: the files to write, by format (see `diarize.formats.FORMATS`); one alone may be None, standard output.
    plot: the picture to draw, or None.
    embeddings: where to keep its embeddings, or None.
    per_channel: whether the speakers of each channel are told apart from those of the others.
    linked: whether its speakers will be looked for in other recordings, by their voices.
    """

    input: str
    outputs: Mapping[str, Path | None]
    plot: Path | None = None
    embeddings: Path | None = None
    raw: RawAudio = field(default_factory=RawAudio)
    per_channel: bool = False
    linked: bool = False

    @property
    def writes(self) -> list[Path]:
        """The files it makes."""
        return [path for path in (*self.outputs.values(), self.plot, self.embeddings) if path is not None]

    def open(self) -> Source:
        """The audio; raises `diarize.audio.AudioError`."""
        if self.input == STDIN:
            return raw_source(sys.stdin.buffer, self.raw.rate, self.raw.channels, self.raw.encoding, uri="stdin")
        return open_source(self.input)

    def write(self, result: Diarization) -> str:
        """Write the turns into their files; what goes to standard output comes back.  Raises OSError."""
        text = ""
        for form, path in self.outputs.items():
            if path is None:
                text = FORMATS[form].write(result)
            else:
                write_atomically(path, FORMATS[form].write(result))
        return text

    def is_done(self) -> bool:
        """Whether all the files it makes are there and none is older than the recording: none is ever half written."""
        if self.input == STDIN or None in self.outputs.values():
            return False
        try:
            recorded = Path(self.input).stat().st_mtime_ns
            return all(path.is_file() and path.stat().st_mtime_ns >= recorded for path in self.writes)
        except OSError:
            return False


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    error: what went wrong, in one sentence, or None.
    result: None when it failed.
    recording: the embeddings, where the order keeps them.
    voices: of the speakers, where the order is to be linked.
    took: seconds.
    text: what goes to standard output.
    """

    order: Order
    error: str | None = None
    result: Diarization | None = None
    recording: EmbeddedRecording | None = None
    voices: Voices | None = None
    took: float = 0.0
    text: str = ""

    @property
    def seconds(self) -> float:
        """How long the recording is; 0 when it failed."""
        return 0.0 if self.result is None else seconds(self.result.duration)

    @property
    def turns(self) -> list[Turn]:
        """Who spoke when; nobody when it failed."""
        return [] if self.result is None else turns_from(self.result.updates)

    @property
    def speakers(self) -> int:
        """How many there are."""
        return len({turn.speaker for turn in self.turns})


def format_of(output: str | PathLike[str] | None) -> str:
    """The format that the ending of an output's name says, or RTTM."""
    ending = Path(output or "").suffix.removeprefix(".").lower()
    return ending if ending in FORMATS else "rttm"


def plan(
    inputs: Sequence[str],
    output: str | None = None,
    formats: Sequence[str] = (),
    plot: Path | None = None,
    raw: RawAudio | None = None,
    *,
    embeddings: str | None = None,
    per_channel: bool = False,
    linked: bool = False,
    summary: Path | None = None,
    suffixes: Collection[str] = SUFFIXES,
) -> list[Order]:
    """Decide what is written where.

    inputs: files, folders and patterns (see `diarize.inputs`).
    output: a file, or a folder, in which the outputs lie as the recordings do in theirs; None: standard output.
    formats: of `FORMATS`; none: what the ending of `output` says, otherwise RTTM.
    embeddings: a file, or a folder as `output`, for the embeddings.
    per_channel, linked: see `Order`.
    summary: a file that is written besides, on which nothing may fall.
    suffixes: of the files that a folder is searched for.

    Raises ValueError for nothing to do, an unknown format, several inputs without a folder or beside standard input, a
    standard input that is not there, several formats on standard output, a picture that cannot be drawn, and an output
    that would fall on another or a recording.
    """
    recordings = find_recordings(inputs, suffixes)
    several = len(recordings) > 1 or any(is_search(name) for name in inputs)
    formats = tuple(dict.fromkeys(formats or [format_of(output)]))
    _check_formats(formats, output)
    if several:
        _check_folders(inputs, len(recordings), output, embeddings)
    if STDIN in inputs and (sys.stdin is None or sys.stdin.isatty()):
        raise ValueError("nothing comes in on standard input: pipe raw PCM into it")
    if plot is not None:
        _check_plot(plot, several)
    orders = [
        Order(
            recording.path,
            _outputs(output, formats, recording, several),
            plot,
            None if embeddings is None else _path(embeddings, recording, VOICES, several),
            raw or RawAudio(),
            per_channel,
            linked,
        )
        for recording in recordings
    ]
    _check_collisions(orders, summary)
    return orders


def _outputs(output: str | None, formats: Sequence[str], recording: Recording, several: bool) -> dict[str, Path | None]:
    if output is None:
        return dict.fromkeys(formats)
    if len(formats) > 1 and not _is_folder(output, several):
        bare = Path(output)
        if bare.suffix.lower() in {form.suffix.lower() for form in FORMATS.values()}:
            bare = bare.with_suffix("")
        return {form: bare.with_name(bare.name + FORMATS[form].suffix) for form in formats}
    return {form: _path(output, recording, FORMATS[form].suffix, several) for form in formats}


def _path(name: str, recording: Recording, suffix: str, several: bool) -> Path:
    return Path(name, recording.place + suffix) if _is_folder(name, several) else Path(name)


def _is_folder(name: str, several: bool) -> bool:
    return several or name.endswith((os.sep, "/")) or Path(name).is_dir()


def _check_formats(formats: Sequence[str], output: str | None) -> None:
    for form in formats:
        if form not in FORMATS:
            raise ValueError(f"unknown format {form!r}: choose one of {', '.join(FORMATS)}")
    if len(formats) > 1 and output is None:
        raise ValueError(f"standard output takes one format, not {', '.join(formats)}: add --output")


def _check_folders(inputs: Sequence[str], recordings: int, output: str | None, embeddings: str | None) -> None:
    who = f"{recordings} inputs need" if recordings > 1 else f"{inputs[0]} needs"
    if output is None:
        raise ValueError(f"{who} a folder to write to: add --output DIR")
    for folder in (output, embeddings or ""):
        if Path(folder).is_file():
            raise ValueError(f"{who} a folder to write to, and {folder} is a file")
    if STDIN in inputs:
        raise ValueError("standard input (-) goes alone: do the other inputs apart")


def _check_plot(plot: Path, several: bool) -> None:
    if several:
        raise ValueError("--plot draws one recording: give one input")
    if plot.suffix.lower() not in PICTURES:
        raise ValueError(f"cannot draw {str(plot)!r}: a picture's name must end in {' or '.join(PICTURES)}")


def _check_collisions(orders: Sequence[Order], summary: Path | None) -> None:
    recordings = {os.path.realpath(order.input) for order in orders if order.input != STDIN}
    written = {} if summary is None else {os.path.realpath(summary): "the summary"}
    if not recordings.isdisjoint(written):
        raise ValueError(f"{summary} is a recording and would be overwritten: choose another summary")
    for order in orders:
        for path in order.writes:
            real = os.path.realpath(path)
            if real in recordings:
                raise ValueError(f"{path} is a recording and would be overwritten: choose another output")
            if real in written:
                raise ValueError(
                    f"{path} would be written twice, for {written[real]} and for {order.input}: "
                    "rename one, leave one out, or do them apart"
                )
            written[real] = order.input


def check_writable(path: Path) -> None:
    """Make the folder of `path`, and raise OSError, naming `path`, when a file cannot be written there."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        return  # a pipe or a device is written to as it is
    folder = Path(os.path.realpath(path)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell: root has them all, disks may be read-only
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
