"""The live server in the tests' own process, on a real port, and clients of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from diarize.pipeline import SpeakerDiarization
from diarize.server.messages import Message
from diarize.server.server import Server, ServerConfig, listen
from tests.sessions import SERVER, speech

Result = TypeVar("Result")
Sent = bytes | str | Mapping[str, Any]
"""Audio, text, or what is sent as JSON."""

LENGTH = 7
"""Seconds: two speakers, and a checkpoint on the way."""

END = {"type": "end"}


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What it returns; what has not in a minute hangs."""

    async def limited() -> Result:
        return await asyncio.wait_for(coroutine, 60)

    return asyncio.run(limited())


@asynccontextmanager
async def serving(pipeline: SpeakerDiarization, **config: Any) -> AsyncIterator[Server]:
    """A server on a free port."""
    async with listen(ServerConfig(port=0, **config), pipeline) as server:
        yield server


class Hearing(ClientConnection):
    """A client's connection that may be closed more than once; see `diarize.server.wire.Socket`."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, unless it is."""
        if self.state is not State.CLOSED:
            await super().close(code, reason)


def opened(server: Server, query: str = "", **options: Any) -> connect:
    """A connection to the stream."""
    url = server.url.replace("http", "ws", 1) + "stream" + query
    return connect(url, proxy=None, max_size=None, create_connection=Hearing, **options)


@dataclass
class Heard:
    """What a client was told, and how its connection ended."""

    messages: list[Message] = field(default_factory=list)
    code: int | None = None

    @property
    def kinds(self) -> list[str]:
        """The types, in order."""
        return [message["type"] for message in self.messages]

    @property
    def errors(self) -> list[tuple[str, bool]]:
        """Their codes, and whether they were fatal."""
        return [(one["code"], one["fatal"]) for one in self.messages if one["type"] == "error"]

    @property
    def session(self) -> str:
        """The id in the first message, which is ready."""
        return str(self.messages[0]["session"])


@contextmanager
def raw(url: str, buffer: int = 2**16) -> Iterator[socket.socket]:
    """A connection to a stream at the level of bytes, after the handshake.  buffer: for what has not been read."""
    where = urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(30)
        connection.connect((where.hostname, where.port))
        connection.sendall(
            f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield connection


async def listen_to(connection: ClientConnection, heard: Heard) -> None:
    """Keep what comes until the connection ends; every message is one of the protocol, in order."""
    with suppress(ConnectionClosed):
        while True:
            message = json.loads(await connection.recv())
            SERVER.validate(message)
            assert not heard.messages or message["seq"] > heard.messages[-1]["seq"]
            heard.messages.append(message)
    heard.code = connection.close_code


async def say(connection: ClientConnection, sent: Iterable[Sent]) -> None:
    """Send one after the other; who is hung up on sends no more."""
    with suppress(ConnectionClosed):
        for one in sent:
            await connection.send(one if isinstance(one, bytes | str) else json.dumps(one))


async def talk(server: Server, sent: Iterable[Sent], query: str = "", **options: Any) -> Heard:
    """Send all of it as fast as it goes, and hear what is said until the server hangs up."""
    heard = Heard()
    async with opened(server, query, **options) as connection:
        listening = asyncio.create_task(listen_to(connection, heard))
        await say(connection, sent)
        await listening
    return heard


def pieces(data: bytes, size: int = 3200) -> list[bytes]:
    """Audio in messages of one size; 3,200 bytes are a tenth of a second."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def start(**fields: Any) -> Message:
    """A start whose RTTM does not depend on the session."""
    return {"type": "start", "uri": "conversation", **fields}


def conversation(**fields: Any) -> list[Sent]:
    """A whole session of `LENGTH`."""
    return [start(**fields), *pieces(speech(LENGTH)), END]


def told(messages: Sequence[Message]) -> list[Message]:
    """What a client was told, without what is another each time: the session's id, and that the machine is busy."""
    slow = [message for message in messages if message.get("code") == "slow"]
    return [
        {key: value for key, value in message.items() if key not in ("session", "seq")}
        for message in messages
        if message not in slow
    ]


@asynccontextmanager
async def beside(server: Server, expected: Sequence[Message], query: str = "") -> AsyncIterator[Heard]:
    """Something happens while a conversation goes on, which must be told exactly what is expected."""
    sent, heard = conversation(), Heard()
    async with opened(server, query) as connection:
        listening = asyncio.create_task(listen_to(connection, heard))
        await say(connection, sent[: len(sent) // 2])
        waiting = asyncio.create_task(keep_alive(connection))
        try:
            yield heard
        finally:
            waiting.cancel()
        await say(connection, sent[len(sent) // 2 :])
        await listening
    assert heard.code == 1000
    assert told(heard.messages) == expected


async def keep_alive(connection: ClientConnection) -> None:
    """Be there, without audio."""
    while True:
        await say(connection, [{"type": "keepalive"}])
        await asyncio.sleep(0.1)


@dataclass
class Answered:
    """What plain HTTP was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Answered:
    """Ask over HTTP."""

    def answer() -> Answered:
        with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=30)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return Answered(response.status, dict(response.getheaders()), response.read())

    return await asyncio.to_thread(answer)


async def metric(server: Server, name: str) -> float:
    """The value of a metric, by its name with labels; 0 where there is none yet."""
    lines = (await ask(server, "/metrics")).body.decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)


async def until(server: Server, name: str, value: float) -> None:
    """Return when a metric has a value."""
    while await metric(server, name) != value:
        await asyncio.sleep(0.01)
