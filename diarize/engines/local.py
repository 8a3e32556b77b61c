"""Many recordings at once in processes of this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread

from diarize.allocation import keep_freed_memory
from diarize.orders import Order, Outcome
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.profiles.people import People

Work = Callable[[SpeakerDiarization, Order], Outcome]
"""What is done with each order: a function of a module, which a process on another machine can import too.  It raises
nothing but interruptions."""

Engine = Callable[[Work, Sequence[Order], PipelineConfig, People | None], Iterator[Outcome]]
"""Where the work is done, with which settings and enrolled people: every order's outcome, once, as it is done.  What
goes wrong with an order is in its outcome; OSError when nothing can be done at all."""


def side_by_side(
    work: Work, orders: Sequence[Order], config: PipelineConfig, people: People | None, workers: int
) -> Iterator[Outcome]:
    """The outcome of each order as it is done, by so many processes, which end with this one.

    A worker that dies costs the orders that are not done yet.
    """
    # spawned, not forked: torch's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (config, people, workers))
    try:
        with interruptions_wait():  # the workers start as they get work
            waiting = {pool.submit(_work, work, order): order for order in orders}
        for future in as_completed(waiting):
            try:
                yield future.result()
            except BrokenProcessPool:
                lost = waiting[future]
                yield Outcome(lost, error=f"{lost.input}: a worker died (out of memory?); use fewer --jobs")
    except BaseException:  # an interruption: what is under way is not waited for
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruptions_wait() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: what starts in here leaves it to us, and for us it waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def beside() -> Executor | None:
    """A thread for `SpeakerDiarization` to embed in, with half of the cores for it and half for the rest.

    Two networks with a core each do more than one with two: a recording took 0.8 of the time so, with `--segmentation`
    and without.  It is for programs, not for libraries, as it says for all of torch how many threads it uses.  None
    where there is one core.
    """
    from diarize.models.encoder import share_cores

    if os.cpu_count() == 1:
        return None
    share_cores(2)
    return ThreadPoolExecutor(1, "embed")


_worker: SpeakerDiarization | None = None
"""The pipeline of a worker process, made once; None in every other process."""


def _start_worker(config: PipelineConfig, people: People | None, workers: int) -> None:
    global _worker  # the one way to hand something to the calls of a pool's process
    from diarize.models.encoder import share_cores

    Thread(target=end_with_parent, daemon=True).start()
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    share_cores(workers)
    keep_freed_memory()
    _worker = SpeakerDiarization(config, people)


def end_with_parent() -> None:
    """For a thread of its own: a process whose parent was killed would work on for nobody, and then wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(work: Work, order: Order) -> Outcome:
    if _worker is None:
        raise RuntimeError("called outside of a worker process")
    return work(_worker, order)
