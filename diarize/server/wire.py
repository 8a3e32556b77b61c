"""Messages onto a connection, and connections closed so that they are."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from diarize.server.messages import Message

CLOSING = 5
"""Seconds that a client has to answer a close."""


def encoded(message: Message) -> str:
    """As JSON; what JSON has no word for is a ValueError."""
    return json.dumps(message, allow_nan=False, separators=(",", ":"))


class Socket(ServerConnection):
    """A connection that may be closed more than once.

    Where the client has hung up in the middle of what we said, asyncio's transport cannot be aborted any more, which is
    how websockets would close it again.
    """

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, unless it is."""
        if self.state is not State.CLOSED:
            await super().close(code, reason)


def abort(socket: ServerConnection) -> None:
    """Cut a connection, unless it is cut."""
    if socket.state is not State.CLOSED:
        socket.transport.abort()


async def close(socket: ServerConnection, code: int) -> None:
    """Close a connection that nobody reads any more; what still comes is thrown away, up to the client's own close."""

    async def drain() -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()

    draining = asyncio.create_task(drain())
    try:
        async with asyncio.timeout(CLOSING):
            await socket.close(code)
    except TimeoutError:
        abort(socket)
    draining.cancel()
    await asyncio.wait([draining])
