"""What became of many recordings: a row for each, as CSV and as a table, and all of them in one line."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from os.path import normpath
from pathlib import Path
from typing import Literal, get_args

from rich import box
from rich.table import Table
from rich.text import Text

from diarize.formats import write_atomically
from diarize.orders import Order, Outcome, check_writable
from diarize.terminal import counted, printable

log = logging.getLogger(__name__)

State = Literal["waiting", "done", "skipped", "failed"]

MANY = 20
"""More rows than these nobody wants to see on a screen."""


@dataclass(frozen=True)
class Row:
    """One recording; None is what is not known.

    seconds: its length.
    took: how many seconds the work took.
    error: what went wrong, in one sentence.
    """

    file: str
    state: State
    seconds: float | None = None
    speakers: int | None = None
    turns: int | None = None
    took: float | None = None
    error: str = ""


class Summary:
    """What has become of the orders so far.

    skipped: the inputs that were done before; where an earlier summary lies at `path`, what it says of them is kept.
    path: of the CSV, which is whole and up to date at any time; or None.

    Raises OSError when the CSV cannot be written.
    """

    def __init__(self, orders: Sequence[Order], skipped: Collection[str], path: Path | None) -> None:
        self._path = path
        self._began = time.perf_counter()
        self._rows = {order.input: Row(order.input, "waiting") for order in orders}
        earlier = {} if path is None else _read(path)
        for file in skipped:
            self._rows[file] = replace(earlier.get(normpath(file), Row(file, "skipped")), file=file)
        if path is not None:
            check_writable(path)
        self.save()

    @property
    def failed(self) -> list[Row]:
        """Those of which nothing became."""
        return [row for row in self._rows.values() if row.state == "failed"]

    def add(self, outcome: Outcome) -> None:
        """An order is done or has failed; of one that was skipped, more is known now."""
        file = outcome.order.input
        before = self._rows[file]
        if outcome.error is not None:
            self._rows[file] = Row(file, "failed", error=outcome.error)
        elif before.state == "skipped":
            self._rows[file] = Row(file, "skipped", *_found(outcome), before.took)
        else:
            self._rows[file] = Row(file, "done", *_found(outcome), round(outcome.took, 3))
        try:
            self.save()
        except OSError as error:  # it must not cost the recordings that wait; the last attempt is not caught
            log.debug("%s", error)

    def save(self) -> None:
        """Write the CSV; raises OSError."""
        if self._path is not None:
            text = io.StringIO()
            table = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
            table.writeheader()
            table.writerows({**vars(row), "file": _safe(row.file)} for row in self._rows.values())
            # names of files are bytes, and need not be UTF-8
            write_atomically(self._path, text.getvalue().encode(errors="surrogateescape"))

    def table(self) -> Table:
        """A row for each recording."""
        table = Table("file", box=box.SIMPLE)
        table.columns[0].overflow = "fold"
        for name in ("length", "speakers", "turns", "speed"):
            table.add_column(name, justify="right")
        table.add_column("state")
        for row in self._rows.values():
            speed = f"{row.seconds / row.took:.0f}×" if row.seconds and row.took else ""
            cells = (row.file, _clock(row.seconds), _text(row.speakers), _text(row.turns), speed, row.state)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table

    def lines(self) -> Iterator[str]:
        """Where there are more recordings than a table is good for, those that failed; and all of them in one line."""
        rows, failed = list(self._rows.values()), self.failed
        if len(rows) > MANY:
            yield from (f"failed: {row.error}" for row in failed[:MANY])
            if len(failed) > MANY:
                yield f"failed: {len(failed) - MANY} more"
        states = Counter(row.state for row in rows)
        said = ", ".join(f"{states[state]} {state}" for state in get_args(State) if states[state])
        heard = sum(row.seconds or 0.0 for row in rows if row.state == "done")
        took = time.perf_counter() - self._began
        speed = f"; {_clock(heard)} of audio in {_clock(took)}" if states["done"] else ""
        yield f"{counted(len(rows), 'recording')}: {said}{speed}"


def _found(outcome: Outcome) -> tuple[float, int, int]:
    return round(outcome.seconds, 3), outcome.speakers, len(outcome.turns)


def _read(path: Path) -> dict[str, Row]:
    """The rows of an earlier summary that have numbers, by file; none of what is no summary."""
    rows = {}
    with suppress(OSError, csv.Error):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        for line in csv.DictReader(io.StringIO(text)):
            with suppress(KeyError, TypeError, ValueError):
                numbers = (float(line["seconds"]), int(line["speakers"]), int(line["turns"]), float(line["took"]))
                rows[normpath(line["file"])] = Row(line["file"], "skipped", *numbers)
    return rows


def _safe(file: str) -> str:
    """The name of a file as no spreadsheet takes it for a formula."""
    return f"./{file}" if file.startswith(("=", "+", "-", "@")) else file


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _clock(seconds: float | None) -> str:
    """Hours, minutes and seconds; nothing where it is not known."""
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
