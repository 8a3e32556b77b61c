"""The loop that drives a recording through the first half of a pipeline and its network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TypeVar

from diarize.stage import Stage

Chunk = TypeVar("Chunk")
Window = TypeVar("Window")
Embedded = TypeVar("Embedded")
Given = TypeVar("Given")
Done = TypeVar("Done")


def drive(
    front: Stage[Chunk, Window],
    embed: Callable[[Sequence[Window]], list[Embedded]],
    chunks: Iterable[Chunk],
    batch: int,
    beside: Executor | None = None,
) -> Iterator[Embedded]:
    """Run a stream through its first half and the network.

    batch: windows are embedded so many at a time, since a batch that is not full costs as much; the audio is let go,
        so memory hardly grows with it.
    beside: embeds while the front goes on; where that has two batches to do, the third is done here.
    """
    waiting: list[Window] = []
    batches: deque[Future[list[Embedded]]] = deque()
    for chunk in chunks:
        waiting += front.push(chunk)
        while len(waiting) >= batch:
            busy = sum(not one.done() for one in batches) > 1
            batches.append(_begun(embed, waiting[:batch], None if busy else beside))
            del waiting[:batch]
        while batches and batches[0].done():
            yield from batches.popleft().result()
    batches.append(_begun(embed, waiting + front.flush(), None))
    for one in batches:
        yield from one.result()


def _begun(work: Callable[[Given], Done], given: Given, beside: Executor | None) -> Future[Done]:
    """Work that is begun there, or without a place is done."""
    if beside is not None:
        return beside.submit(work, given)
    done: Future[Done] = Future()
    done.set_result(work(given))
    return done
