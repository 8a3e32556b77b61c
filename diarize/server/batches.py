"""The windows of all sessions, embedded in common batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from diarize.pipeline import SpeakerDiarization
from diarize.types import EmbeddingWindow, SpeechWindow

WAIT = 0.1
"""Seconds.  Windows together cost half of what they cost one by one, so a window waits this long for others to share
its batch: forty talking sessions fill ten of sixteen places in that time, at a tenth of the latency that they ask
for."""


@dataclass(eq=False)
class Pending:
    """A window that waits, since when on the event loop's clock, and its embedding once it is there."""

    window: SpeechWindow
    since: float
    embedded: asyncio.Future[EmbeddingWindow]


class Batches:
    """One thread that embeds for everyone, up to a full batch at a time.

    A batch goes when it is full or its oldest window has waited `WAIT`, and the thread is free.  The calls that wait
    give one window each in turn, so one that asks for many delays the others by little.  What shared a batch changes
    no bit of the result (see `diarize.embedding`).  What waits is bounded by the callers: each has its answer before
    it asks again.

    told: called with the number of windows of each batch.
    """

    def __init__(self, pipeline: SpeakerDiarization, told: Callable[[int], object] = lambda _: None) -> None:
        self._embed, self._size = pipeline.live_embed, pipeline.config.embedding.batch
        self._told = told
        self._calls: deque[deque[Pending]] = deque()
        self._waiting = 0
        self._full = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "embed")

    async def embed(self, windows: Sequence[SpeechWindow]) -> list[EmbeddingWindow]:
        """Their embeddings, in order.  Raises what `SpeakerDiarization.embed` raises for one of them."""
        loop = asyncio.get_running_loop()
        call = deque(Pending(window, loop.time(), loop.create_future()) for window in windows)
        answers = [pending.embedded for pending in call]
        if call:
            self._calls.append(call)
            self._waiting += len(call)
            if self._waiting >= self._size:
                self._full.set()
            if self._work is None:
                self._work = asyncio.create_task(self._run())
        return await asyncio.gather(*answers)

    async def close(self) -> None:
        """Stop.  Nobody may be waiting any more."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        self._thread.shutdown()

    async def _run(self) -> None:
        """Batch after batch, as long as any window waits."""
        try:
            while self._calls:
                await self._gathered()
                batch = self._take()
                if batch:
                    self._told(len(batch))
                    await self._answer(batch)
        finally:
            self._work = None

    async def _gathered(self) -> None:
        """Return when the next batch is full, or its oldest window has waited long enough."""
        self._full.clear()
        if self._waiting < self._size:
            oldest = min(call[0].since for call in self._calls)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(oldest + WAIT):
                    await self._full.wait()

    def _take(self) -> list[Pending]:
        """The next batch, without the windows of calls that were given up."""
        batch: list[Pending] = []
        while self._calls and len(batch) < self._size:
            call = self._calls.popleft()
            pending = call.popleft()
            self._waiting -= 1
            if call:
                self._calls.append(call)
            if not pending.embedded.done():
                batch.append(pending)
        return batch

    async def _answer(self, batch: Sequence[Pending]) -> None:
        """Embed a batch; where that fails each window by itself, so that it fails only those whose fault it is."""
        loop = asyncio.get_running_loop()
        try:
            embedded = await loop.run_in_executor(self._thread, self._embed, [pending.window for pending in batch])
        except Exception as error:  # whatever it is, the one who asked is told
            if len(batch) > 1:
                for pending in batch:
                    await self._answer([pending])
            elif not batch[0].embedded.done():
                batch[0].embedded.set_exception(error)
            return
        for pending, window in zip(batch, embedded, strict=True):
            if not pending.embedded.done():
                pending.embedded.set_result(window)
