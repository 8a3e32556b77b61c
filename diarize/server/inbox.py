"""What a client has sent and has not been dealt with."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

COST = 64
"""Bytes that a frame takes beside its data, so that many small ones are bounded too."""


@dataclass(frozen=True)
class Frame:
    """One message of the client: text, or audio as bytes.

    at: when it came, on the event loop's clock.
    """

    data: str | bytes
    at: float


class Inbox:
    """Frames, in order, between the task that reads them off a connection and the one that works on them.

    It takes no more while it holds `limit` bytes: then the connection is not read, and TCP stops the client.
    """

    limit = 2**16

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._held = 0
        self._why: Exception | None = None
        self._came, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, frame: Frame) -> None:
        """One more; returns when there is room for the next."""
        self._frames.append(frame)
        self._held += len(frame.data) + COST
        self._came.set()
        while self._held >= self.limit and self._why is None:
            self._room.clear()
            await self._room.wait()

    def close(self, why: Exception, *, drop: bool = False) -> None:
        """Nothing more comes: `get` raises this, after what is there or, with `drop`, at once."""
        self._why = self._why or why
        if drop:
            self._frames.clear()
            self._held = 0
        self._came.set()
        self._room.set()

    @property
    def audio(self) -> int:
        """Bytes of audio in it."""
        return sum(len(frame.data) for frame in self._frames if isinstance(frame.data, bytes))

    async def get(self, most: int) -> list[Frame]:
        """The next text, or the next frames of audio: `most` bytes at most, and of a longer frame its beginning."""
        while not self._frames:
            if self._why is not None:
                raise self._why
            self._came.clear()
            await self._came.wait()
        if isinstance(self._frames[0].data, str):
            return [self._take(self._frames[0].data)]
        taken: list[Frame] = []
        while most > 0 and self._frames and isinstance(self._frames[0].data, bytes):
            taken.append(self._take(self._frames[0].data[:most]))
            most -= len(taken[-1].data)
        return taken

    def _take(self, data: str | bytes) -> Frame:
        """The first frame, if that is all of its data; else the part of it that begins with `data`."""
        frame = self._frames.popleft()
        self._held -= len(data) + COST
        if len(data) < len(frame.data):
            self._frames.appendleft(Frame(frame.data[len(data) :], frame.at))
            self._held += COST
        if self._held < self.limit:
            self._room.set()
        return Frame(data, frame.at)
