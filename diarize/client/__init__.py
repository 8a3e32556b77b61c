"""A client of `diarize serve`: audio up, turns down, and nothing lost when the connection or the server goes.

>>> async with connect("ws://127.0.0.1:8787/stream") as client:  # doctest: +SKIP
...     await client.send(samples)
...     result = await client.end()

docs/protocol.md has the messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diarize.audio import frame_bytes, mended, to_float, to_pcm
from diarize.client.link import Link, ServerError
from diarize.client.unacknowledged import Message
from diarize.rttm import Turn
from diarize.types import position

__all__ = ["Client", "Message", "Result", "ServerError", "connect"]

LEAST_BUFFER = 30.0
"""Seconds.  Of what the server has heard, 5 s may not be acknowledged, and 11 s more where it resamples."""


@dataclass(frozen=True)
class Result:
    """The final answer.

    rttm: the turns, with names where speakers were renamed.  turns: the same.
    speakers: `speaker`, `name` (or None) and `seconds` of talk of each, by first appearance.
    audio_s: seconds of audio heard.
    """

    rttm: str
    turns: list[Turn]
    speakers: list[Message]
    audio_s: float


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    sample_rate: int = 16_000,
    channels: int = 1,
    encoding: str = "s16le",
    options: Mapping[str, float] | None = None,
    uri: str | None = None,
    session: str | None = None,
    patience: float = 120.0,
    buffer: float = 180.0,
) -> AsyncIterator[Client]:
    """A session with the server at `url`, such as ws://127.0.0.1:8787/stream.

    It goes on when the connection is lost and the server comes back.  Who leaves without `Client.end` leaves it to be
    resumed.

    token: where the server asks for one.
    sample_rate (Hz), channels (1 or 2), encoding (s16le, f32le or mulaw): of the audio.
    options: latency (seconds), num_speakers, min_speakers, max_speakers, where the server is not to choose.
    uri: the recording's name in the RTTM; without it, the session's id.
    session: the id of an earlier one, to go on with it.  Give the rest as it was then, and the audio from
        `Client.position` on.
    patience: for how many seconds the server may be out of reach.  A new session does not wait for one.
    buffer: seconds of audio, at least 30, that are kept until the server has them on disk; where it is full, `send`
        waits.  Of live audio it should hold more than comes in `patience`.

    Raises ValueError for an address, a buffer or audio that cannot be, ConnectionError where the server is out of
    reach, and ServerError, which is one, where it refuses.
    """
    if not buffer >= LEAST_BUFFER:
        raise ValueError(
            f"a buffer of {buffer:g} s is less than the server may want again: give {LEAST_BUFFER:g} or more"
        )
    start: Message = {"type": "start", "version": 1, "encoding": encoding, "sample_rate": sample_rate}
    start |= {"channels": channels, "options": dict(options or {})}
    start |= {name: value for name, value in (("uri", uri), ("session", session)) if value is not None}
    client = Client(url, token, start, patience, buffer)
    running = asyncio.create_task(client._link.run())
    try:
        await client._link.until(lambda: client._link.begun)
        yield client
    finally:
        running.cancel()
        await asyncio.wait([running])


class Client:
    """A session, as `connect` gives it.

    When it has ended without an answer, everything raises: ServerError where the server has ended it, ConnectionError
    where that is out of reach or does not keep sessions.

    segments: what is shown now, by id, each as the `segment` message that would say it.
    names: of the speakers that are renamed, by label.
    """

    def __init__(self, url: str, token: str | None, start: Message, patience: float, buffer: float) -> None:
        self.segments: dict[int, Message] = {}
        self.names: dict[str, str] = {}
        self._encoding, self._channels = start["encoding"], start["channels"]
        self._link = Link(url, token, start, patience=patience, buffer=buffer, hear=self._hear)
        self._ending = False
        self._result: Result | None = None
        self._events: list[deque[Message]] = []

    @property
    def session(self) -> str:
        """The id, with which it can be resumed.  Whoever has it can: treat it as a password."""
        return self._link.session or ""

    @property
    def position(self) -> int:
        """The frame with which the next audio begins."""
        return self._link.audio.end

    @property
    def turns(self) -> list[Turn]:
        """The current answer, by start, under names where speakers are renamed, else under labels."""
        return sorted(
            Turn(
                position(segment["start"]),
                position(segment["end"]),
                self.names.get(segment["speaker"]) or segment["speaker"],
            )
            for segment in self.segments.values()
        )

    async def send(self, audio: bytes | NDArray[Any]) -> None:
        """More audio.  Returns when it is in the buffer, and waits where that is full; if cancelled, see `position`.

        audio: whole frames of the encoding; or an array, shape (frames,) or (frames, channels), of floats of full scale
            -1..1 or of integers.
        Raises ValueError for what is neither, RuntimeError after `end`.
        """
        link, rest = self._link, memoryview(self._encoded(audio))
        while rest:
            await link.until(lambda: link.failure is None and not link.audio.full)
            if self._ending or link.done:
                raise RuntimeError("audio after the end: open another session for it")
            rest = rest[link.audio.append(rest) :]
            link.tell()

    async def rename(self, speaker: str, name: str) -> None:
        """Name a speaker, given by label; "" takes the name back.  Raises ValueError where the server refuses."""
        await self._command({"type": "rename", "speaker": speaker, "name": name}, self._link.audio.reached)

    async def merge(self, speaker: str, into: str) -> None:
        """Two labels are one person, who goes by the second.  Raises ValueError where the server refuses."""
        await self._command({"type": "merge", "speaker": speaker, "into": into}, self._link.audio.reached)

    async def finalize(self) -> None:
        """Have all audio so far labelled, without waiting for the latency; returns when it is."""
        await self._command({"type": "finalize"}, self._link.audio.end)

    async def end(self, *, erase: bool = False) -> Result:
        """The audio is over: the final answer.  erase: the server is to leave nothing of the session on its disk."""
        self._ending = True
        self._link.commands.add({"type": "end", "erase": erase}, self._link.audio.end)
        self._link.tell()
        while self._result is None:
            await self._link.until(lambda: self._result is not None)
        return self._result

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Every message from now on until `done`, as the server sends it; they wait in memory until they are taken.

        After a `ready` the connection has been made again, and all segments come once more.
        """
        events: deque[Message] = deque()
        self._events.append(events)
        try:
            while events or not self._link.done:
                await self._link.until(lambda: bool(events) or self._link.done)
                while events:
                    yield events.popleft()
        finally:
            self._events.remove(events)

    async def _command(self, message: Message, at: int) -> None:
        """Have it done, when the audio before frame `at` is sent."""
        command = self._link.commands.add(message, at)
        self._link.tell()
        await self._link.until(lambda: command.answered)
        if command.refused:
            raise ValueError(command.refused)

    def _hear(self, message: Message) -> None:
        """What the server says."""
        match message:
            case {"type": "ready"}:
                self.segments.clear()
                self.names.clear()
            case {"type": "segment", "id": turn}:
                self.segments[turn] = message
            case {"type": "revision", "changes": changes}:
                for change in changes:
                    self._revise(change)
            case {"type": "speaker", "speaker": label, "event": event, "name": name}:
                self.names.pop(label, None)
                if event != "merged" and name:
                    self.names[label] = name
            case {"type": "done"}:
                self._result = Result(message["rttm"], self.turns, message["speakers"], message["audio_s"])
        for events in self._events:
            events.append(message)

    def _revise(self, change: Message) -> None:
        """A segment has another speaker, or is withdrawn."""
        if change["to"] is None:
            self.segments.pop(change["id"], None)
        else:
            kept = {name: value for name, value in change.items() if name not in ("from", "to", "reason")}
            self.segments[change["id"]] = {"type": "segment", **kept, "speaker": change["to"]}

    def _encoded(self, audio: bytes | NDArray[Any]) -> bytes:
        """The audio as bytes of the encoding."""
        encoding, channels = self._encoding, self._channels
        if not isinstance(audio, np.ndarray):
            if len(audio) % frame_bytes(encoding, channels):
                raise ValueError(f"{len(audio)} bytes are no whole number of {encoding} frames of {channels} channels")
            return audio
        if encoding == "mulaw":
            raise ValueError("arrays are not sent as mulaw: give bytes, or connect with s16le")
        if audio.shape[1:] != (channels,) and (audio.ndim, channels) != (1, 1):
            raise ValueError(f"shape {audio.shape} is no audio of {channels} channels: give (frames, channels)")
        samples = to_float(audio)
        if encoding == "f32le":
            return samples.astype("<f4").tobytes()
        sound, _ = mended(samples)  # as the server does
        return to_pcm(sound).astype("<i2").tobytes()
