"""The connection of a client, made again when it is lost: what may be needed again is sent again."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from diarize.audio import frame_bytes
from diarize.client.unacknowledged import Commands, Message, Recorded

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before another attempt to connect: each time twice as long, less up to a half by chance, so that the clients
of a server that comes back do not come at once."""

PASSING = {"full", "busy_session", "idle", "internal"}
"""Errors after which trying again can help."""

LASTING = {1003, 1008, 1009}
"""Close codes after which it cannot."""

PIECE = 2**15
"""Bytes of audio in a message, at most."""

LARGEST = 2**26
"""Bytes in a message of the server's, at most: `done` holds all turns of a recording, which may take days."""

READY, PONG, CLOSE = 30.0, 60.0, 2.0
"""Seconds to wait for `ready`, for the answer to a ping (a busy server reads it late), and for that to a close."""

log = logging.getLogger(__name__)


class ServerError(ConnectionError):
    """The server ends the session.  code: which of the errors in docs/protocol.md it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class Link:
    """What is recorded and commanded goes up, and what the server says comes down, over one connection after another.

    start: the first message, of a new session or of one that is there already.
    patience, buffer: see `diarize.client.connect`.
    hear: called with every message of the server's, at last with `done`.

    audio, commands: what may have to be sent again; `tell` of what is added.
    begun: the server has been ready.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        start: Message,
        *,
        patience: float,
        buffer: float,
        hear: Callable[[Message], object],
    ) -> None:
        frame = frame_bytes(start["encoding"], start["channels"])
        self.audio = Recorded(frame, round(buffer * start["sample_rate"]) * frame)
        self.commands = Commands()
        self.session: str | None = start.get("session")
        self.begun = self.done = False
        self.failure: Exception | None = None
        self._url, self._where = url, url.split("?")[0]  # behind the question mark may stand a token
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._start, self._patience, self._hear = start, patience, hear
        self._resumable = True
        self._ready_at: float | None = None  # over the present connection, on the event loop's clock
        self._limits: Mapping[str, Any] = {}
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Something has changed: wake all who wait."""
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds.  Raises what has ended the session before it did."""
        while not holds():
            if self.failure is not None:
                raise self.failure
            await self._news.wait()

    async def run(self) -> None:
        """Until the session is done or lost, which `failure` tells."""
        try:
            await self._persist()
        except Exception as error:  # whatever it is, those who wait must hear of it
            self.failure = error
        self.tell()

    async def _persist(self) -> None:
        """Connection after connection, until the server is done or it is no use."""
        clock = asyncio.get_running_loop().time
        delay, end = FIRST_DELAY, None
        while not self.done:
            acknowledged = self.audio.start
            try:
                await self._connect()
            except InvalidURI as error:
                raise ValueError(f"{error}; give one like ws://127.0.0.1:8787/stream") from error
            except (OSError, WebSocketException) as error:
                self._judge(error)
                since, self._ready_at = self._ready_at, None
                # only what the server has on disk is progress: it may come to grief over the same audio every time
                well = since is not None and (self.audio.start > acknowledged or clock() > since + self._patience)
                if end is None or well:
                    delay, end = FIRST_DELAY, clock() + self._patience
                if clock() >= end:
                    raise ConnectionError(
                        f"{self._where} has been out of reach for {self._patience:g} s: {error}; resume session "
                        f"{self.session}, or have what there is of it with diarize recover {self.session}"
                    ) from error
                wait = min(delay * random.uniform(0.5, 1), end - clock())
                log.warning("%s: %s; trying again in %.1f s", self._where, error, wait)
                await asyncio.sleep(wait)
                delay = min(2 * delay, LONGEST_DELAY)

    def _judge(self, error: Exception) -> None:
        """Raise what has ended the connection, unless the session can go on over another."""
        lasting = (
            (isinstance(error, ServerError) and error.code not in PASSING)
            or (isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code in LASTING)
            or (isinstance(error, InvalidStatus) and error.response.status_code < 500)
        )
        if isinstance(error, ServerError) and (lasting or self.session is None):
            raise error
        if lasting or self.session is None:
            raise ConnectionError(f"{self._where}: {error}") from error
        if not self._resumable:
            raise ConnectionError(
                f"{self._where}: {error}; session {self.session} is lost with it, as the server does not keep it"
            ) from error

    async def _connect(self) -> None:
        """One connection, to its end; returns where the server is done."""
        async with connect(
            self._url,
            additional_headers=self._headers,
            compression=None,  # of audio it saves little, at a price
            ping_timeout=PONG,
            close_timeout=CLOSE,
            max_size=LARGEST,
            max_queue=None,  # what comes is taken at once, but for the close of a task that is cancelled
        ) as socket:
            resume: Message = {} if self.session is None else {"session": self.session}
            if self.begun:
                resume |= {"position": self.audio.start}
            with suppress(ConnectionClosed):  # by a server that says why before it is asked
                await socket.send(json.dumps(self._start | resume))
            async with asyncio.timeout(READY):
                first = self._message(await socket.recv())
            if first["type"] not in ("ready", "error"):
                raise ConnectionError(f"{self._where} does not speak this protocol")
            self._take(first)
            writing = asyncio.create_task(self._write(socket))
            try:
                while not self.done:
                    self._take(self._message(await socket.recv()))
            finally:
                writing.cancel()
                await asyncio.wait([writing])

    async def _write(self, socket: ClientConnection) -> None:
        """Send what is to be sent, and now and then a sign of life where there is nothing."""
        most, idle = min(PIECE, self._limits["message_bytes"]), self._limits["idle_s"] / 3
        with suppress(ConnectionClosed):  # whoever reads learns why
            while True:
                command = self.commands.next(self.audio.sent)
                if command is not None:
                    await socket.send(command)
                elif piece := self.audio.next(most, self.commands.until()):
                    await socket.send(piece)
                    if not self._resumable:
                        self.audio.forget(self.audio.sent)
                        self.tell()
                else:
                    try:
                        async with asyncio.timeout(idle):
                            await self._news.wait()
                    except TimeoutError:
                        await socket.send(json.dumps({"type": "keepalive"}))

    def _message(self, text: str | bytes) -> Message:
        with suppress(ValueError):
            message = json.loads(text)
            if isinstance(message, dict) and "type" in message:
                return message
        raise ConnectionError(f"{self._where} does not speak this protocol")

    def _take(self, message: Message) -> None:
        """What the server says.  Raises ServerError where it says that it ends the session."""
        answered = self.commands.hear(message)
        match message:
            case {"type": "ready"}:
                self._ready(message)
            case {"type": "ack", "position": position}:
                self.audio.forget(position)
                self.commands.forget(position)
            case {"type": "warning", "code": code, "message": text}:
                log.warning("%s: %s", self._where, text)
                if code == "not_resumable":
                    self._keep_nothing()
            case {"type": "error", "fatal": True, "code": code, "message": text}:
                raise ServerError(code, text)
            case {"type": "done"}:
                self.done = True
        # a command that has been done before this connection was made can be refused when it comes again
        if message["type"] != "error" or answered is None or answered.refused:
            self._hear(message)
        self.tell()

    def _ready(self, message: Message) -> None:
        """Begin, or go on."""
        self.session, self._limits = message["session"], message["limits"]
        try:
            self.audio.resume(message["position"])
        except ValueError as error:
            raise ServerError("bad_state", str(error)) from error
        self.commands.resume()
        self.begun, self._ready_at = True, asyncio.get_running_loop().time()
        if not message["resumable"]:
            self._keep_nothing()

    def _keep_nothing(self) -> None:
        """The session cannot be resumed: what was sent is not needed any more."""
        self._resumable = False
        self.audio.forget(self.audio.sent)
