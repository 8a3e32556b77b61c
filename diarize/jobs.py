"""Orders done: one after the other or side by side, each failing alone, with a progress bar."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from diarize.formats import FORMATS, write_atomically
from diarize.orders import Order, check_writable, explain
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.pipeline import Progress as Told
from diarize.plot import plot_timeline
from diarize.rttm import turns_from
from diarize.types import seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    text: the turns in the order's format; empty when it failed.
    error: what went wrong, in one sentence, or None.
    seconds, took: how long the recording is, and how long it took, in seconds.
    """

    order: Order
    text: str = ""
    error: str | None = None
    speakers: int = 0
    turns: int = 0
    seconds: float = 0.0
    took: float = 0.0


def run(
    orders: Sequence[Order], diarization: SpeakerDiarization, *, workers: int, console: Console
) -> Iterator[Outcome]:
    """Do the orders and give each outcome as it is done, with a progress bar where `console` is a terminal.

    Raises OSError when an output cannot be written, before any work.
    """
    for order in orders:
        for path in order.writes:
            check_writable(path)
    workers = min(workers, len(orders))
    with Progress(*_columns(), console=console, disable=not console.is_terminal, transient=True) as bar:
        if workers == 1:
            outcomes = _one_after_the_other(orders, diarization, bar)
        else:
            outcomes = _side_by_side(orders, diarization.config, workers, bar)
        for outcome in outcomes:
            yield _written(outcome)


def _written(outcome: Outcome) -> Outcome:
    """Write what goes to a file.  Not left to the workers: none that is stopped leaves anything behind."""
    path = outcome.order.output
    if path is None or outcome.error is not None:
        return outcome
    try:
        write_atomically(path, outcome.text)
    except OSError as error:
        return replace(outcome, text="", error=explain(error))
    return outcome


def diarize(diarization: SpeakerDiarization, order: Order, told: Told | None = None) -> Outcome:
    """Do one order, up to its text; only an interruption is raised."""
    began = time.perf_counter()
    try:
        result = diarization.diarize(order.open(), told)
        text = FORMATS[order.format](result)
        if order.plot is not None:
            plot_timeline(turns_from(result.updates), duration=result.duration, title=result.uri, path=order.plot)
    except (ValueError, OSError) as error:
        told_of = any(name in str(error) for name in [order.input, *map(str, order.writes)])
        return Outcome(order, error=explain(error) if told_of else f"{order.input}: {explain(error)}")
    except Exception as error:  # a fault of ours in one recording must not cost the others theirs
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


def _one_after_the_other(orders: Sequence[Order], diarization: SpeakerDiarization, bar: Progress) -> Iterator[Outcome]:
    for number, order in enumerate(orders, start=1):
        place = f"{number}/{len(orders)} " if len(orders) > 1 else ""
        task = bar.add_task(place + Path(order.input).name, total=None, heard=0.0)

        def told(done: float, total: float | None, task: int = task) -> None:
            bar.update(task, completed=done, total=total, heard=done)  # type: ignore[arg-type]  # rich takes None, its annotation not

        outcome = diarize(diarization, order, told)
        bar.remove_task(task)
        yield outcome


def _side_by_side(orders: Sequence[Order], config: PipelineConfig, workers: int, bar: Progress) -> Iterator[Outcome]:
    task = bar.add_task(f"{len(orders)} files", total=len(orders), heard=0.0)
    heard = 0.0
    # spawned, not forked: torch's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (config, workers))
    try:
        with _interruptions_wait():  # the workers start as they get work
            waiting = {pool.submit(_work, order): order for order in orders}
        for future in as_completed(waiting):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                lost = waiting[future]
                outcome = Outcome(lost, error=f"{lost.input}: a worker died (out of memory?); use fewer --jobs")
            heard += outcome.seconds
            bar.update(task, advance=1, heard=heard)
            yield outcome
    except BaseException:  # an interruption: what is under way is not waited for
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interruptions_wait() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: what starts in here leaves it to us, and for us it waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: SpeakerDiarization | None = None
"""The pipeline of a worker process, made once; None in every other process."""


def _start_worker(config: PipelineConfig, workers: int) -> None:
    global _worker  # the one way to hand something to the calls of a pool's process
    from diarize.models.encoder import use_threads

    Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    use_threads(max(1, (os.cpu_count() or 1) // workers))
    _worker = SpeakerDiarization(config)


def _end_with_parent() -> None:
    """A worker whose parent was killed would work on for nobody, and then wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(order: Order) -> Outcome:
    if _worker is None:
        raise RuntimeError("called outside of a worker process")
    return diarize(_worker, order)


class _Speed(ProgressColumn):
    """How many times faster than real time it goes, by the seconds of audio in the task's field `heard`."""

    def render(self, task: Task) -> Text:
        heard, elapsed = task.fields["heard"], task.elapsed
        return Text(f"{heard / elapsed:.0f}× real time" if heard and elapsed else "", style="progress.data.speed")


def _columns() -> tuple[ProgressColumn, ...]:
    name = TextColumn("{task.description}", markup=False)
    return (name, BarColumn(), TextColumn("{task.percentage:>3.0f}%"), _Speed(), TimeRemainingColumn())
