"""A server for the tests of the client: the live protocol over real sockets, from a peer that does as it is told.

It hears no voices.  In place of them a speaker appears with every `EVERY` frames, so all that it says depends on how
much it has heard, in what order it was told what, and nothing else: as with the real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from diarize.rttm import Turn, format_rttm
from diarize.types import position

Message = dict[str, Any]

EVERY, TURN, HELD = 2_000, 3_000, 700
"""Frames: a speaker appears, a checkpoint is made, audio before what has been heard is wanted again."""


@dataclass
class State:
    """What the peer knows of a session.

    pcm: all that it has heard.  told: the commands that it has done, each after how many frames.
    """

    pcm: bytes = b""
    names: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    told: list[tuple[int, Message]] = field(default_factory=list)
    over: bool = False

    @property
    def frames(self) -> int:
        return len(self.pcm) // 2

    @property
    def labels(self) -> list[str]:
        return [f"SPEAKER_{number:02d}" for number in range(self.frames // EVERY)]

    def label(self, number: int) -> str:
        """Who the nth segment is."""
        found = f"SPEAKER_{number:02d}"
        while found in self.merged:
            found = self.merged[found]
        return found

    def segment(self, number: int) -> Message:
        label = self.label(number)
        start, end, state = (
            number * EVERY / 16_000,
            (number + 1) * EVERY / 16_000,
            "final" if self.over else "provisional",
        )
        turn = {"id": number, "start": start, "end": end, "speaker": label, "name": self.names.get(label)}
        return {"type": "segment", **turn, "confidence": 0.5, "state": state}

    @property
    def rttm(self) -> str:
        segments = [self.segment(number) for number in range(len(self.labels))]
        turns = [Turn(position(s["start"]), position(s["end"]), s["name"] or s["speaker"]) for s in segments]
        return format_rttm(turns, "peer")


@dataclass
class Peer:
    """What it does, and what it has seen.

    cuts: of each connection in turn, after how many messages it is cut off, and whether the server crashes at that, so
        that it knows only what is on its disk; None and those that follow are not cut.
    acks: it acknowledges audio.  resumable: it says so.  idle: seconds, as it says.
    first: in place of `ready`, if it is given.
    """

    cuts: Sequence[tuple[int, bool] | None] = ()
    acks: bool = True
    resumable: bool = True
    idle: float = 60.0
    first: Callable[[ServerConnection, Message], Any] | None = None
    url: str = ""
    starts: list[Message] = field(default_factory=list)
    texts: list[Message] = field(default_factory=list)
    kept: dict[str, State] = field(default_factory=dict)
    now: dict[str, State] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    sockets: set[ServerConnection] = field(default_factory=set)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is true of what it has seen."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(holds)

    async def handle(self, socket: ServerConnection) -> None:
        self.sockets.add(socket)
        with suppress(ConnectionClosed):
            start = json.loads(await socket.recv())
            self.starts.append(start)
            if self.first is not None:
                await self.first(socket, start)
            else:
                await Talk(self, socket, start).run()
        self.sockets.discard(socket)
        async with self.news:
            self.news.notify_all()


class Talk:
    """One connection with the peer."""

    def __init__(self, peer: Peer, socket: ServerConnection, start: Message) -> None:
        self.peer, self.socket = peer, socket
        self.session = start.get("session", f"s{len(peer.now)}")
        self.resumed = "session" in start
        number = len(peer.starts) - 1
        self.cut = peer.cuts[number] if number < len(peer.cuts) else None
        self.state = peer.now.setdefault(self.session, State())
        self.at = max(0, self.state.frames - HELD) if self.resumed else 0
        self.seq = 0
        if start.get("position", 0) > self.at:
            peer.faults.append(f"the client has no audio from frame {self.at} on")

    async def say(self, *said: Message) -> None:
        for message in said:
            self.seq += 1
            await self.socket.send(json.dumps({**message, "seq": self.seq}))

    async def run(self) -> None:
        state = self.state
        limits = {"message_bytes": 2**20, "idle_s": self.peer.idle}
        ready = {"type": "ready", "session": self.session, "resumed": self.resumed, "position": self.at}
        await self.say({**ready, "resumable": self.peer.resumable, "limits": limits})
        for label in state.labels:
            await self.say(
                {
                    "type": "speaker",
                    "speaker": label,
                    "event": "new",
                    "name": state.names.get(label),
                    "into": None,
                    "decision": None,
                }
            )
        for label, into in state.merged.items():
            await self.say(
                {"type": "speaker", "speaker": label, "event": "merged", "name": None, "into": into, "decision": None}
            )
        await self.say(*map(state.segment, range(len(state.labels))))
        if state.over:
            return await self.done()
        count = 0
        async for data in self.socket:
            count += 1
            if isinstance(data, bytes):
                await self.hear(data)
            else:
                await self.obey(json.loads(data))
            if self.cut is not None and count == self.cut[0]:
                if self.cut[1]:
                    self.peer.now[self.session] = deepcopy(self.peer.kept.get(self.session, State()))
                self.socket.transport.abort()
                return None
            async with self.peer.news:
                self.peer.news.notify_all()
            if state.over:
                return await self.done()
        return None

    async def hear(self, data: bytes) -> None:
        state, before = self.state, self.state.frames
        again = state.pcm[2 * self.at : 2 * self.at + len(data)]
        if again != data[: len(again)]:
            self.peer.faults.append(f"other audio at frame {self.at} than before")
        state.pcm += data[len(again) :]
        self.at += len(data) // 2
        for number in range(before // EVERY, state.frames // EVERY):
            await self.say(
                {
                    "type": "speaker",
                    "speaker": state.labels[number],
                    "event": "new",
                    "name": None,
                    "into": None,
                    "decision": None,
                }
            )
            await self.say(state.segment(number))
        if state.frames // TURN > before // TURN and self.peer.acks:
            self.peer.kept[self.session] = deepcopy(state)
            await self.say({"type": "ack", "position": state.frames - HELD})

    async def obey(self, message: Message) -> None:
        state, label = self.state, message.get("speaker", "")
        self.peer.texts.append(message)
        alive = [known for known in state.labels if known not in state.merged]
        if message.get("into", "") == label != "" or {label, message.get("into", label)} - {""} - set(alive):
            return await self.say({"type": "error", "code": "bad_message", "message": f"no {label}", "fatal": False})
        state.told.append((state.frames, message))
        if message["type"] == "rename":
            state.names[label] = message["name"]
            if not message["name"]:
                del state.names[label]
            name = message["name"] or None
            await self.say(
                {"type": "speaker", "speaker": label, "event": "renamed", "name": name, "into": None, "decision": None}
            )
        elif message["type"] == "merge":
            numbers = [number for number in range(len(state.labels)) if state.label(number) == label]
            state.names.pop(label, None)
            state.merged[label] = into = message["into"]
            await self.say(
                {"type": "speaker", "speaker": label, "event": "merged", "name": None, "into": into, "decision": None}
            )
            changes = [{**state.segment(number), "from": label, "to": into, "reason": "merged"} for number in numbers]
            for change in changes:
                del change["type"], change["speaker"]
            await self.say({"type": "revision", "changes": changes})
        elif message["type"] == "finalize":
            await self.say({"type": "finalized", "position": state.frames})
        elif message["type"] == "end":
            state.over = True
        return None

    async def done(self) -> None:
        state = self.state
        await self.say(*map(state.segment, range(len(state.labels))))
        await self.say({"type": "done", "audio_s": state.frames / 16_000, "speakers": [], "rttm": state.rttm})


@asynccontextmanager
async def running(peer: Peer) -> AsyncIterator[Server]:
    """The peer, listening."""
    async with serve(peer.handle, "127.0.0.1", 0, compression=None) as server:
        peer.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
        yield server
