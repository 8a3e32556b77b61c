"""Many recordings: which goes where, one after the other or side by side, each failing alone."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from diarize.formats import FORMATS, Diarization, write_atomically
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.pipeline import Progress as Told
from diarize.rttm import turns_from
from diarize.sources import Source, open_source, raw_source
from diarize.types import seconds

log = logging.getLogger(__name__)

STDIN = "-"


@dataclass(frozen=True)
class RawAudio:
    """What raw PCM on standard input is: Hz, number of channels, encoding (see `diarize.audio`)."""

    rate: int = 16_000
    channels: int = 1
    encoding: str = "s16le"


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

    def open(self) -> Source:
        """The audio; raises `diarize.audio.AudioError`."""
        if self.input == STDIN:
            return raw_source(sys.stdin.buffer, self.raw.rate, self.raw.channels, self.raw.encoding, uri="stdin")
        return open_source(self.input)


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    text: what was written, in the order's format; empty when it failed.
    error: what went wrong, in one line, or None.
    """

    order: Order
    text: str = ""
    error: str | None = None
    speakers: int = 0
    turns: int = 0
    seconds: float = 0.0
    took: float = 0.0

    def report(self, stdout: Console, stderr: Console) -> bool:
        """Tell the user; returns whether the work was done."""
        if self.error is not None:
            stderr.print(f"error: {self.error}", markup=False)
        elif self.order.output is None:
            stdout.file.write(self.text)
            stdout.file.flush()
        else:
            found = f"{self.speakers} speaker{'' if self.speakers == 1 else 's'}, {self.turns} turns"
            speed = f"{self.seconds:.0f} s of audio in {self.took:.1f} s"
            stderr.print(f"{self.order.output}: {found}; {speed}", markup=False)
        return self.error is None


def plan(inputs: Sequence[str], output: str | None, form: str, plot: Path | None, raw: RawAudio) -> list[Order]:
    """Decide what is written where.

    Raises ValueError for an unknown format, for several inputs without a folder, and for two that would write one file.
    """
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}: choose one of {', '.join(FORMATS)}")
    if len(inputs) > 1 and output is None:
        raise ValueError(f"{len(inputs)} inputs need a folder to write to: add --output DIR")
    if len(inputs) > 1 and plot is not None:
        raise ValueError("--plot draws one recording: give one input")
    if len(inputs) > 1 and output is not None and Path(output).is_file():
        raise ValueError(f"{len(inputs)} inputs need a folder to write to, and {output} is a file")
    into_folder = output is not None and (len(inputs) > 1 or output.endswith(os.sep) or Path(output).is_dir())
    orders = []
    taken: dict[Path, str] = {}
    for name in inputs:
        path = None if output is None else Path(output)
        if into_folder and path is not None:
            path = path / f"{'stdin' if name == STDIN else Path(name).stem}.{form}"
        if path is not None:
            if path in taken:
                raise ValueError(f"{taken[path]} and {name} would both write {path}: rename one, or do them apart")
            taken[path] = name
        orders.append(Order(name, path, form, plot, raw))
    return orders


def run(orders: Sequence[Order], config: PipelineConfig, *, workers: int, console: Console) -> Iterator[Outcome]:
    """Do the orders and give each outcome as it is done, with a progress bar where `console` is a terminal.

    Raises OSError when an output cannot be written, before any work, and ValueError when the pipeline cannot be made.
    """
    for order in orders:
        for path in (order.output, order.plot):
            if path is not None:
                check_writable(path)
    with Progress(*_columns(), console=console, disable=not console.is_terminal, transient=True) as bar:
        if workers == 1 or len(orders) == 1:
            yield from _one_after_the_other(orders, config, bar)
        else:
            yield from _side_by_side(orders, config, min(workers, len(orders)), bar)


def check_writable(path: Path) -> None:
    """Make the folder of `path`, and raise OSError, naming it, when a file cannot be written there."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file, or end the folder's name with {os.sep}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path.parent} is not writable: choose another place with --output")


def diarize(diarization: SpeakerDiarization, order: Order, told: Told | None = None) -> Outcome:
    """Do one order; never raises but for an interruption."""
    began = time.perf_counter()
    try:
        result = diarization.diarize(order.open(), told)
        text = FORMATS[order.format](result)
        if order.output is not None:
            write_atomically(order.output, text)
        if order.plot is not None:
            _draw(result, order.plot)
    except (ValueError, OSError) as error:
        return Outcome(order, error=str(error) if order.input in str(error) else f"{order.input}: {error}")
    except Exception as error:  # a fault of ours in one file must not cost the others theirs
        log.debug("unexpected", exc_info=True)
        return Outcome(order, error=f"{order.input}: unexpected {type(error).__name__}: {error}")
    turns = turns_from(result.updates)
    return Outcome(
        order,
        text=text,
        speakers=len({turn.speaker for turn in turns}),
        turns=len(turns),
        seconds=seconds(result.duration),
        took=time.perf_counter() - began,
    )


def _draw(result: Diarization, path: Path) -> None:
    from diarize.plot import plot_timeline  # matplotlib is slow to import

    plot_timeline(turns_from(result.updates), duration=result.duration, title=result.uri, path=path)


def _one_after_the_other(orders: Sequence[Order], config: PipelineConfig, bar: Progress) -> Iterator[Outcome]:
    diarization = SpeakerDiarization(config)
    for order in orders:
        task = bar.add_task(Path(order.input).name, total=None)

        def told(done: float, total: float | None, task: int = task) -> None:
            bar.update(task, completed=done, total=total)  # type: ignore[arg-type]  # rich takes None, its annotation not

        outcome = diarize(diarization, order, told)
        bar.remove_task(task)
        yield outcome


def _side_by_side(orders: Sequence[Order], config: PipelineConfig, workers: int, bar: Progress) -> Iterator[Outcome]:
    task = bar.add_task(f"{len(orders)} files", total=len(orders))
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (config, workers)) as pool:
        waiting = {pool.submit(_work, order): order for order in orders}
        for future in as_completed(waiting):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                outcome = Outcome(
                    waiting[future], error=f"{waiting[future].input}: a worker died (out of memory?): use fewer --jobs"
                )
            bar.advance(task)
            yield outcome


_worker: SpeakerDiarization | None = None
"""The pipeline of a worker process, made once; None in every other process."""


def _start_worker(config: PipelineConfig, workers: int) -> None:
    global _worker  # the one way to hand something to the calls of a pool's process
    from diarize.models.encoder import use_threads

    use_threads(max(1, (os.cpu_count() or 1) // workers))
    _worker = SpeakerDiarization(config)


def _work(order: Order) -> Outcome:
    if _worker is None:
        raise RuntimeError("called outside of a worker process")
    return diarize(_worker, order)


class _Speed(ProgressColumn):
    """How many times faster than real time it goes."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f}× real time" if speed and speed > 2 else "", style="progress.data.speed")


def _columns() -> tuple[ProgressColumn, ...]:
    percentage = TextColumn("{task.percentage:>3.0f}%")
    return (TextColumn("{task.description}"), BarColumn(), percentage, _Speed(), TimeRemainingColumn())
