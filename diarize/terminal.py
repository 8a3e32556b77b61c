"""What a command says and where: results on standard output, everything else on stderr, an error in one line."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType

stderr = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

UsageError: Any = typer.BadParameter.__mro__[1]
"""Click's; typer imports click or, since 0.22, carries it inside."""


def say(message: str) -> None:
    """One line on stderr."""
    stderr.print(printable(message))


def printable(text: str) -> str:
    """The text with an escape for what cannot be printed, such as a line break in a file's name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, and out."""
    say(f"error: {message}")
    sys.exit(code)


class Warnings(logging.Handler):
    """What the package logs, on stderr, above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def exit_code(code: int) -> Iterator[None]:
    """An error in here ends the command with this code and one line."""
    try:
        yield
    except (ValueError, OSError) as error:
        from diarize.orders import explain

        fail(explain(error), code)


def write(text: str) -> None:
    """Write to standard output, in UTF-8 wherever it goes.

    Raises OSError when it cannot be written; a reader that has seen enough (`diarize file ... | head`) is no error.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    try:
        sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would try to write it again
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from error


def show(*renderables: RenderableType) -> None:
    """Write what rich renders to standard output."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    stdout = Console(highlight=False, soft_wrap=True, width=None if terminal else 120)  # tables need a width
    with stdout.capture() as capture:
        for renderable in renderables:
            stdout.print(renderable)
    write(capture.get())


def counted(number: int, noun: str) -> str:
    """1 turn, 2 turns."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say_written(path: Path | str, speakers: int, turns: int, *more: str) -> None:
    """A result is in its file: what it holds, in one line."""
    say("; ".join([f"{path}: {counted(speakers, 'speaker')}, {counted(turns, 'turn')}", *more]))
