"""Many recordings at once on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from socket import gethostname
from threading import Thread

from diarize import __version__
from diarize.allocation import keep_freed_memory
from diarize.engines.local import Engine, Work, end_with_parent, interruptions_wait
from diarize.inputs import STDIN
from diarize.orders import Order, Outcome, explain
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.profiles.people import People

log = logging.getLogger(__name__)

IN_FLIGHT = 64
"""Orders given to the cluster and not yet done, or twice as many as it has cores: enough that no core waits."""

TRIES = 3
"""How often an order is begun before it is given up, when its workers die."""

PATIENCE = 20
"""Seconds in which a cluster must answer; Ray itself would wait for many minutes."""

Warned = tuple[Outcome, list[str]]
"""An outcome, and what was warned of on the way."""


def cluster(address: str | None = None) -> Engine:
    """Connect to a Ray cluster that runs already; the engine that comes back does orders once, and disconnects then.

    Every order is a task for one core (and one GPU, where the pipeline computes on cuda).  Its recording, and a model
    that is not a bundled one, are read where it runs, by the same path: they lie on storage that all machines share.
    What it makes is written here.  An order whose worker or machine dies is begun again, `TRIES` times in all.  Every
    machine has this version of the package.

    Ray's driver is a process of its own, since it prints to standard output and ends with the cluster.

    address: HOST:PORT of the head where this machine is one of the cluster's, ray://HOST:PORT from outside; None: what
        RAY_ADDRESS says, or else the cluster that runs on this machine.
    Raises ValueError where Ray is not installed, ConnectionError where no cluster answers; the engine raises ValueError
    for standard input, and for cuda where the cluster has no GPU.
    """
    if find_spec("ray") is None:
        raise ValueError('Ray is not installed: pip install "diarize-live[ray]"')
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    here, there = get_context("spawn").Pipe()
    driver = get_context("spawn").Process(target=_drive, args=(address, there), daemon=True)
    with interruptions_wait():
        driver.start()
    there.close()
    try:
        answer = here.recv() if here.poll(PATIENCE) else "no answer"
    except EOFError:
        answer = f"exit code {driver.exitcode}"
    if isinstance(answer, str):
        driver.kill()
        driver.join()
        where = "on this machine: give its --address" if address == "auto" else f"at {address}: give its head's address"
        raise ConnectionError(f"no Ray cluster to be used {where} ({answer})")

    def engine(work: Work, orders: Sequence[Order], config: PipelineConfig, people: People | None) -> Iterator[Outcome]:
        try:
            gpus = int(config.embedding.compute == "cuda")
            if gpus > answer.get("GPU", 0):
                raise ValueError("the Ray cluster has no GPU: add --compute cpu")
            if any(order.input == STDIN for order in orders):
                raise ValueError("standard input (-) does not reach another machine: leave out --engine ray")
            here.send((work, orders, config, people, gpus))
            yield from _received(here, orders)
        finally:
            driver.terminate()  # what is under way ends with it
            driver.join()

    return engine


def _received(driver: Connection, orders: Sequence[Order]) -> Iterator[Outcome]:
    """The outcome of each order, as the driver sends them."""
    left = list(orders)
    while left:
        try:
            outcome, warnings = driver.recv()
        except (EOFError, OSError):
            yield from (Outcome(order, error=f"{order.input}: the Ray cluster was lost") for order in left)
            return
        for warning in warnings:
            log.warning("%s", warning)
        left.remove(outcome.order)
        yield outcome


def _drive(address: str, caller: Connection) -> None:
    """Ray's driver: say what the cluster has, or in a sentence why there is none; then do what is asked."""
    Thread(target=end_with_parent, daemon=True).start()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        import ray

        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        caller.send(ray.cluster_resources())  # type: ignore[no-untyped-call]  # Ray has types, this function none
    except Exception as error:  # of many kinds, all of which mean that this cluster cannot be used
        caller.send(" ".join(str(error).split()))
        return
    for done in _done(*caller.recv()):
        caller.send(done)
    ray.shutdown()


def _done(
    work: Work, orders: Sequence[Order], config: PipelineConfig, people: People | None, gpus: int
) -> Iterator[Warned]:
    """Every order's outcome, as it is done."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    cores = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]  # Ray has types, this function none
    # its own tries do not count the workers that ran out of memory, and would go on for ever
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_work)
    enrolled = ray.put(people)  # once for all, since they may be many
    waiting = deque((order, 1) for order in orders)
    running: dict[ray.ObjectRef[Warned], tuple[Order, int]] = {}
    while waiting or running:
        while waiting and len(running) < max(IN_FLIGHT, 2 * cores):
            order, tries = waiting.popleft()
            running[task.remote(work, order, config, enrolled, str(Path.cwd()), __version__)] = order, tries
        (ready, *_), _ = ray.wait(list(running))
        order, tries = running.pop(ready)
        try:
            yield ray.get(ready)
        except RayTaskError as error:  # as text the traceback in the worker, what was wrong in its last line
            yield Outcome(order, error=f"{order.input}: on a worker, {str(error).strip().splitlines()[-1]}"), []
        except RayError:
            if tries < TRIES:
                waiting.appendleft((order, tries + 1))
            else:
                yield Outcome(order, error=f"{order.input}: its worker died {TRIES} times (out of memory?)"), []


def _work(work: Work, order: Order, config: PipelineConfig, people: People | None, folder: str, version: str) -> Warned:
    """Do one order in a worker process."""
    if version != __version__:
        wrong = f"{gethostname()} has version {__version__} of diarize-live, and {version} is asked for: install that"
        return Outcome(order, error=f"{order.input}: {wrong}"), []
    with suppress(OSError):  # not there: then a path that starts from it is not found either, and that is said
        os.chdir(folder)
    warnings = _Warnings()
    logging.getLogger("diarize").addHandler(warnings)
    try:
        diarization = _pipeline(config)
        diarization.people = people
        return work(diarization, order), warnings.messages
    except (ValueError, OSError) as error:  # of the pipeline; work raises none
        return Outcome(order, error=f"{order.input}: on {gethostname()}: {explain(error)}"), warnings.messages
    finally:
        logging.getLogger("diarize").removeHandler(warnings)


@lru_cache(maxsize=1)
def _pipeline(config: PipelineConfig) -> SpeakerDiarization:
    """The pipeline of a worker process, made once."""
    from diarize.models.encoder import use_threads

    use_threads(1)
    keep_freed_memory()
    return SpeakerDiarization(config)


class _Warnings(logging.Handler):
    """Keeps what the package warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
