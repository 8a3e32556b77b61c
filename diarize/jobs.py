"""Orders done: one after the other or side by side, each failing alone, with a progress bar."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from diarize.corrections import relabelled
from diarize.embedded import read_embedded, write_embedded
from diarize.engines.local import Engine, side_by_side
from diarize.formats import Diarization
from diarize.linking import LinkingConfig, link, voices_of
from diarize.orders import Order, Outcome, check_writable, explain
from diarize.pipeline import SpeakerDiarization, load_config, recluster
from diarize.plot import plot_timeline
from diarize.profiles.people import People
from diarize.rttm import turns_from
from diarize.sources import Progress as Told

log = logging.getLogger(__name__)


def run(
    orders: Sequence[Order],
    diarization: SpeakerDiarization,
    *,
    workers: int,
    console: Console,
    engine: Engine | None = None,
) -> Iterator[Outcome]:
    """Do the orders and give each outcome as it is done, with a progress bar where `console` is a terminal.

    engine: where they are done; None: on this machine, so many `workers` at the same time.

    Raises OSError when an output cannot be written, before any work.
    """
    for order in orders:
        for path in order.writes:
            check_writable(path)
    if not orders:
        return
    workers = min(workers, len(orders))
    with Progress(*_columns(), console=console, disable=not console.is_terminal, transient=True) as bar:
        if engine is None and workers == 1:
            outcomes = _one_after_the_other(orders, diarization, bar)
        else:
            engine = engine or partial(side_by_side, workers=workers)
            outcomes = _told(engine(diarize, orders, diarization.config, diarization.people), len(orders), bar)
        for outcome in outcomes:
            yield _written(outcome)


def _written(outcome: Outcome) -> Outcome:
    """Write what goes to files.  Not left to the workers: none that is stopped leaves anything behind."""
    order, result = outcome.order, outcome.result
    if result is None:
        return outcome

    def write() -> Outcome:
        if order.embeddings is not None and outcome.recording is not None:
            write_embedded(order.embeddings, outcome.recording)
        if order.plot is not None:
            plot_timeline(turns_from(result.updates), duration=result.duration, title=result.uri, path=order.plot)
        return replace(outcome, recording=None, text=order.write(result))  # embeddings are large

    return _failing_alone(order, write)


def diarize(diarization: SpeakerDiarization, order: Order, told: Told | None = None) -> Outcome:
    """Do one order, up to what is to be written; only an interruption is raised."""

    def work() -> Outcome:
        began = time.perf_counter()
        recording = diarization.embedded(order.open(), told, per_channel=order.per_channel)
        result = recluster(recording, diarization.config, diarization.people)
        kept = None if order.embeddings is None else recording
        voices = voices_of(recording, result) if order.linked else None
        return Outcome(order, result=result, recording=kept, voices=voices, took=time.perf_counter() - began)

    return _failing_alone(order, work)


def linking(
    orders: Sequence[Order], outcomes: Iterable[Outcome], config: LinkingConfig, people: People | None = None
) -> Iterator[Outcome]:
    """The outcomes as they come; then, once more, with one label for a person in all recordings, and written again.

    orders: all, each `linked`, in the order in which persons are numbered; those without an outcome are done already,
        and their answers are had from their embeddings, corrections by hand included.
    people: who is enrolled.
    Raises ValueError for voices of different models; what is written keeps the labels of one recording then.
    """
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        found[outcome.order.input] = outcome
        yield outcome
    for order in orders:
        if order.input not in found:
            found[order.input] = _recalled(order, people)
            yield found[order.input]
    of_all = [found[order.input] for order in orders]
    known = [(one, one.result, one.voices) for one in of_all if one.result is not None and one.voices is not None]
    for (outcome, result, _), labels in zip(known, link([voices for _, _, voices in known], config), strict=True):
        yield _written(replace(outcome, result=_renamed(result, labels)))


def _recalled(order: Order, people: People | None) -> Outcome:
    def work() -> Outcome:
        if order.embeddings is None:
            raise ValueError("its voices were not kept: add --save-embeddings")
        recording = read_embedded(order.embeddings)
        result = recluster(recording, load_config(base=recording.settings), people)
        return Outcome(order, result=result, voices=voices_of(recording, result))

    return _failing_alone(order, work)


def _renamed(result: Diarization, labels: Mapping[str, str]) -> Diarization:
    updates = tuple(relabelled(update, labels) for update in result.updates)
    return replace(
        result, updates=updates, channels={labels.get(name, name): channel for name, channel in result.channels.items()}
    )


def _failing_alone(order: Order, work: Callable[[], Outcome]) -> Outcome:
    try:
        return work()
    except (ValueError, OSError) as error:
        told_of = any(name in str(error) for name in [order.input, *map(str, order.writes)])
        return Outcome(order, error=explain(error) if told_of else f"{order.input}: {explain(error)}")
    except Exception as error:  # a fault of ours in one recording must not cost the others theirs
        log.debug("unexpected", exc_info=True)
        return Outcome(order, error=f"{order.input}: unexpected {type(error).__name__}: {error}")


def _one_after_the_other(orders: Sequence[Order], diarization: SpeakerDiarization, bar: Progress) -> Iterator[Outcome]:
    for number, order in enumerate(orders, start=1):
        place = f"{number}/{len(orders)} " if len(orders) > 1 else ""
        task = bar.add_task(place + Path(order.input).name, total=None, heard=0.0)

        def told(done: float, total: float | None, task: int = task) -> None:
            bar.update(task, completed=done, total=total, heard=done)  # type: ignore[arg-type]  # rich takes None, its annotation not

        outcome = diarize(diarization, order, told)
        bar.remove_task(task)
        yield outcome


def _told(outcomes: Iterator[Outcome], total: int, bar: Progress) -> Iterator[Outcome]:
    """The outcomes of several orders done at once, with a bar for all of them."""
    task = bar.add_task(f"{total} files", total=total, heard=0.0)
    heard = 0.0
    for outcome in outcomes:
        heard += outcome.seconds
        bar.update(task, advance=1, heard=heard)
        yield outcome


class _Speed(ProgressColumn):
    """How many times faster than real time it goes, by the seconds of audio in the task's field `heard`."""

    def render(self, task: Task) -> Text:
        heard, elapsed = task.fields["heard"], task.elapsed
        return Text(f"{heard / elapsed:.0f}× real time" if heard and elapsed else "", style="progress.data.speed")


def _columns() -> tuple[ProgressColumn, ...]:
    name = TextColumn("{task.description}", markup=False)
    return (name, BarColumn(), TextColumn("{task.percentage:>3.0f}%"), _Speed(), TimeRemainingColumn())
