"""What is to be done: which recording goes into which file, and whether that can be at all."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from diarize.audio import check_layout, frame_bytes
from diarize.formats import FORMATS
from diarize.plot import SUFFIXES
from diarize.sources import Source, open_source, raw_source

STDIN = "-"

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

    output: the file to write, or None for standard output.
    plot: the picture to draw, or None.
    """

    input: str
    output: Path | None
    format: str
    plot: Path | None
    raw: RawAudio

    @property
    def writes(self) -> list[Path]:
        """The files it makes."""
        return [path for path in (self.output, self.plot) if path is not None]

    def open(self) -> Source:
        """The audio; raises `diarize.audio.AudioError`."""
        if self.input == STDIN:
            return raw_source(sys.stdin.buffer, self.raw.rate, self.raw.channels, self.raw.encoding, uri="stdin")
        return open_source(self.input)


def format_of(output: str | PathLike[str] | None) -> str:
    """The format that the ending of an output's name says, or RTTM."""
    ending = Path(output or "").suffix.removeprefix(".")
    return ending if ending in FORMATS else "rttm"


def plan(inputs: Sequence[str], output: str | None, form: str | None, plot: Path | None, raw: RawAudio) -> list[Order]:
    """Decide what is written where.

    form: one of `FORMATS`; None: what the ending of `output` says, otherwise RTTM.

    Raises ValueError for an unknown format, several inputs without a folder or beside standard input, a standard
    input that is not there, a picture that cannot be drawn, and an output that would fall on another or a recording.
    """
    form = format_of(output) if form is None else form
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}: choose one of {', '.join(FORMATS)}")
    if len(inputs) > 1 and output is None:
        raise ValueError(f"{len(inputs)} inputs need a folder to write to: add --output DIR")
    if len(inputs) > 1 and output is not None and Path(output).is_file():
        raise ValueError(f"{len(inputs)} inputs need a folder to write to, and {output} is a file")
    if len(inputs) > 1 and STDIN in inputs:
        raise ValueError("standard input (-) goes alone: do the other inputs apart")
    if STDIN in inputs and (sys.stdin is None or sys.stdin.isatty()):
        raise ValueError("nothing comes in on standard input: pipe raw PCM into it")
    if plot is not None:
        _check_plot(plot, len(inputs))
    into_folder = output is not None and (len(inputs) > 1 or output.endswith(os.sep) or Path(output).is_dir())
    orders = []
    for name in inputs:
        path = None if output is None else Path(output)
        if into_folder and path is not None:
            path = path / f"{'stdin' if name == STDIN else Path(name).stem}.{form}"
        orders.append(Order(name, path, form, plot, raw))
    _check_collisions(orders)
    return orders


def _check_plot(plot: Path, inputs: int) -> None:
    if inputs > 1:
        raise ValueError("--plot draws one recording: give one input")
    if plot.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot draw {str(plot)!r}: a picture's name must end in {' or '.join(SUFFIXES)}")


def _check_collisions(orders: Sequence[Order]) -> None:
    recordings = {os.path.realpath(order.input) for order in orders if order.input != STDIN}
    written: dict[str, str] = {}
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
