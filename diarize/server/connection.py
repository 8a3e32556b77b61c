"""One client's connection: what it sends goes to its session, and what the session says goes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from diarize.audio import frame_bytes
from diarize.server import messages
from diarize.server.http import query
from diarize.server.inbox import Frame, Inbox
from diarize.server.journal import new_id
from diarize.server.kept import Answer, Kept, begin, resume
from diarize.server.messages import End, Finalize, Message, ProtocolError, Start
from diarize.server.parsing import parse, start_from_query
from diarize.server.shared import Shared
from diarize.server.wire import abort, encoded
from diarize.types import SAMPLE_RATE, Clock, EmbeddingWindow, SpeechWindow

log = logging.getLogger(__name__)

TURN = 5
"""Seconds of audio.  So much is worked on at most before other sessions have their turn.  At its multiples the session
is kept and its audio acknowledged, so what a client is told, and when, depends on what it has sent alone."""

LATE = 2
"""Seconds on top of the latency, after which a person notices that the server cannot keep up."""


class GoingAwayError(Exception):
    """The server is about to end."""


def now() -> float:
    """On the event loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


@dataclass
class Pace:
    """Whether a client should be told, once, that we cannot keep up.

    began: when its first audio could come.  first: where that begins, in seconds.
    """

    began: float
    first: float
    told: bool = False

    def late(self, delay: float, heard: float) -> bool:
        """After a turn that ended this many seconds after its audio had come, and this far into the audio."""
        as_time_goes_by = heard - self.first <= now() - self.began  # who sends faster than that can wait
        late = delay > LATE and as_time_goes_by and not self.told
        self.told = self.told or late
        return late


class Connection:
    """A client that has been let in, from its first message to the code that its connection is closed with."""

    def __init__(self, shared: Shared, socket: ServerConnection) -> None:
        self._shared, self._socket = shared, socket
        self._inbox = Inbox()
        self._session_id: str | None = None
        self._kept: Kept | None = None
        self._sound = True  # what is kept of the session is whole
        self._gone = self._over = False

    def stop(self) -> None:
        """End it after the turn that is under way; the client can resume the session."""
        self._inbox.close(GoingAwayError(), drop=True)

    def abort(self) -> None:
        """Cut the connection."""
        abort(self._socket)

    async def run(self) -> int:
        """Serve the client; the code to close the connection with.  The session is kept by then."""
        reading = asyncio.create_task(self._read())
        try:
            return await self._serve()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            if self._kept is not None:
                self._shared.metrics.gaps.inc(not self._over)
                await self._shared.off_loop(self._kept.leave, sound=self._sound)
            if self._session_id is not None:
                self._shared.busy.discard(self._session_id)

    async def _serve(self) -> int:
        """All that is said; the code to close with."""
        try:
            kept = await self._open()
            if kept is not None:
                await self._converse(kept)
        except ConnectionClosed:
            pass  # with a code of the client's
        except GoingAwayError:
            return 1001
        except ProtocolError as error:
            await self._send(told(self._kept, error))
            return error.close or 1000
        except Exception:  # a fault of ours in one session must not cost the others theirs
            self._sound = False
            log.exception("a session failed")
            await self._send(told(self._kept, ProtocolError("internal", "something went wrong in the server")))
            return 1011
        return 1000

    async def _read(self) -> None:
        """Take what the client sends, as far as there is room for it."""
        idle = self._shared.config.idle
        try:
            while True:
                async with asyncio.timeout(idle):
                    data = await self._socket.recv()
                await self._inbox.put(Frame(data if data != b"" else "Done", now()))  # an empty frame is an end
        except TimeoutError:
            why = f"nothing came for {idle:g} s: send keepalive while there is no audio"
            self._inbox.close(ProtocolError("idle", why))
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:  # websockets has closed it
                self._shared.metrics.errors.labels("too_big").inc()
            self._inbox.close(closed)

    async def _open(self) -> Kept | None:
        """The session that the client asks for, told that it is ready; None where there is nothing left to do in it."""
        shared = self._shared
        try:
            start = await self._asked()
            if start.session in shared.busy:
                raise ProtocolError("busy_session", "another connection holds this session")
            self._session_id = start.session or new_id()
            shared.busy.add(self._session_id)
            opening = begin if start.session is None else resume
            opened = await shared.off_loop(opening, shared, self._session_id, start)
        except ProtocolError as error:
            raise error.before_ready() from None
        if isinstance(opened, Answer):
            await self._send(opened.messages)
            return None
        self._kept = opened
        shared.metrics.begun.labels("new" if start.session is None else "resumed").inc()
        await self._send(await shared.off_loop(opened.opening))
        return opened

    async def _asked(self) -> Start:
        """The start, out of the address or else the first message; audio that comes first is of the default format."""
        request = self._socket.request
        fields = query(request) if request is not None else {}
        fields.pop("token", None)
        if fields:
            return start_from_query(fields)
        frames = await self._inbox.get(0)
        start = parse(str(frames[0].data)) if frames else Start()
        if not isinstance(start, Start):
            raise ProtocolError("bad_state", "the first message must be a start")
        return start

    async def _converse(self, kept: Kept) -> None:
        """Turn after turn, until the client says that it is the last."""
        start = kept.session.start
        size, turn = frame_bytes(start.encoding, start.channels), TURN * start.sample_rate
        self._inbox.limit = turn * size
        pace = Pace(now(), kept.session.position / start.sample_rate)
        while not self._over:
            frames = await self._inbox.get((turn - kept.session.position % turn) * size)
            if isinstance(frames[0].data, str):
                await self._obey(kept, frames[0].data)
                continue
            await self._hear(kept, [frame.data for frame in frames if isinstance(frame.data, bytes)])
            delay = now() - frames[0].at
            self._shared.metrics.delay.observe(delay)
            self._shared.metrics.backlog.observe(self._inbox.audio / size / start.sample_rate)
            if pace.late(delay, kept.session.position / start.sample_rate):
                why = f"labels come {delay:.1f} s late: the server has too much to do"
                await self._send(kept.session.say(messages.warning("slow", why)))
            if kept.session.position % turn == 0:
                await self._send(await self._shared.off_loop(kept.checkpoint))

    async def _hear(self, kept: Kept, frames: list[bytes]) -> None:
        """More audio."""
        before = kept.session.heard
        items, said, fault = await self._shared.off_loop(kept.hear, frames)
        self._shared.metrics.audio.inc((kept.session.heard - before) / SAMPLE_RATE)
        if items:
            said = await self._shared.off_loop(kept.embedded, await self._embed(items))
        await self._send(said)
        if fault is not None:
            raise fault

    async def _obey(self, kept: Kept, text: str) -> None:
        """A message of text; what is wrong with it is told, and unless that is fatal the session goes on."""
        shared, session = self._shared, kept.session
        try:
            message = parse(text)
            if isinstance(message, Start):
                raise ProtocolError("bad_state", "the session has begun: for another open another connection")
            if isinstance(message, End):
                items = await self._embed(await shared.off_loop(session.end))
                said = await shared.off_loop(kept.finish, items, erase=message.erase)
                shared.metrics.ended.inc()
                self._over = True
            elif isinstance(message, Finalize):
                items = await self._embed(await shared.off_loop(session.finalize))
                said = await shared.off_loop(kept.finalized, items)
            else:
                said = await shared.off_loop(kept.command, message)
        except ProtocolError as error:
            if error.fatal:
                raise
            said = told(kept, error)
        await self._send(said)

    async def _embed(self, items: Sequence[SpeechWindow | Clock]) -> list[EmbeddingWindow | Clock]:
        """The items with every window embedded, in batches with those of the other sessions."""
        windows = [item for item in items if isinstance(item, SpeechWindow)]
        embedded = iter(await self._shared.batches.embed(windows))
        return [item if isinstance(item, Clock) else next(embedded) for item in items]

    async def _send(self, said: Sequence[Message]) -> None:
        """To the client, if it is still there; one that takes nothing is cut off."""
        counts = {"error": self._shared.metrics.errors, "warning": self._shared.metrics.warnings}
        for message in said:
            if message["type"] in counts:
                counts[message["type"]].labels(message["code"]).inc()
            # a connection that has been closed from the other side in the middle of our words cannot even be asked
            if self._gone or self._socket.state is not State.OPEN:
                continue
            try:
                async with asyncio.timeout(self._shared.config.idle):
                    await self._socket.send(encoded(message))
            except TimeoutError:
                self._gone = True
                abort(self._socket)
            except ConnectionClosed:
                self._gone = True


def told(kept: Kept | None, error: ProtocolError) -> list[Message]:
    """The message that tells of an error, numbered as the session's next where there is one."""
    message = messages.error(error)
    return [messages.numbered(message, 1)] if kept is None else kept.session.say(message)
