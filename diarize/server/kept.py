"""A session with its place in the journal: the half of a connection's work that is done off the event loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diarize.clustering.memory import EmbeddingFile
from diarize.server import messages
from diarize.server.journal import Entry, Result
from diarize.server.messages import KeepAlive, Merge, Message, ProtocolError, Rename, Start
from diarize.server.session import Session, asked
from diarize.server.shared import ServerConfig, Shared
from diarize.types import Clock, EmbeddingWindow, SpeechWindow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Of a session that was over before its client came back: all that is left to say."""

    messages: list[Message]


class Kept:
    """A session, and its entry in the journal where there is one.

    Every method may take a while: call them from a thread, one at a time.
    """

    def __init__(self, shared: Shared, session: Session, entry: Entry | None) -> None:
        self.session = session
        self._shared, self._entry = shared, entry
        self._over = False

    def opening(self) -> list[Message]:
        """What a client is told first."""
        config, session = self._shared.config, self.session
        kept = self._entry is not None
        ready = session.ready(message_bytes=config.message_bytes, idle_s=config.idle, resumable=kept)
        return [ready, *session.snapshot(), *session.warnings()]

    def hear(self, frames: Sequence[bytes]) -> tuple[list[SpeechWindow | Clock], list[Message], ProtocolError | None]:
        """More audio: what is to be embedded, what is to be sent, and what is wrong with the audio after that."""
        items: list[SpeechWindow | Clock] = []
        fault = None
        for data in frames:
            try:
                items += self.session.audio(data)
            except ProtocolError as error:
                fault = error
                break
        clocks = [item for item in items if isinstance(item, Clock)]
        if len(clocks) < len(items):
            return items, [], fault
        return [], self.embedded(clocks), fault  # most audio ends here, without another change of threads

    def embedded(self, items: Sequence[EmbeddingWindow | Clock]) -> list[Message]:
        """What there is to send once these are embedded; clock by clock, so that it depends on the audio alone."""
        said = [message for item in items for message in self.session.embedded([item])]
        return said + self.session.warnings()

    def command(self, message: Rename | Merge | KeepAlive) -> list[Message]:
        """What the user says, kept before they are told so: nobody can be asked to say it again."""
        said = self.session.command(message)
        if not isinstance(message, KeepAlive):
            self.save()
        return said + self.session.warnings()

    def finalized(self, items: Sequence[EmbeddingWindow | Clock]) -> list[Message]:
        """The answer to a finalize whose items have been embedded."""
        return self.embedded(items) + self.session.finalized()

    def save(self) -> int:
        """Keep the session as it is now; the frame from which on audio may be needed again."""
        session = self.session
        if self._entry is None or not session.resumable:
            return session.position
        saved = session.save()
        try:
            self._entry.checkpoint(saved)
        except OSError as error:
            failed(self._shared, error)
            session.detach(error)
            return session.position
        return saved.position

    def checkpoint(self) -> list[Message]:
        """Keep the session, and acknowledge the audio that is not needed any more."""
        ack = messages.ack(self.save())
        return self.session.warnings() + self.session.say(ack)

    def finish(self, items: Sequence[EmbeddingWindow | Clock], *, erase: bool) -> list[Message]:
        """The final answer, once the last items have been embedded; the journal keeps it, or with `erase` nothing."""
        said = self.embedded(items) + self.session.finish()
        self._over = True
        journal, entry = self._shared.journal, self._entry
        if journal is not None and entry is not None:
            try:
                if erase:
                    entry.close()
                    journal.erase(entry.id)
                else:
                    entry.finish(self.session.position, [*self.session.snapshot(), said[-1]])
            except OSError as error:
                failed(self._shared, error)
        return said

    def leave(self, *, sound: bool) -> None:
        """The client is gone, or must go: keep the session for when it comes back, if it is sound and not over."""
        if sound and not self._over:
            self.save()
        self.session.close()
        if self._entry is not None:
            self._entry.close()


def begin(shared: Shared, session_id: str, start: Start) -> Kept:
    """A new session.

    Where the journal cannot be written it goes on without.  Raises ProtocolError where what the client asks cannot be.
    """
    journal, pipeline = shared.journal, shared.pipeline
    if journal is None:
        return Kept(shared, Session(session_id, start, pipeline, EmbeddingFile()), None)
    try:
        entry = journal.create(session_id, start, pipeline)
    except OSError as error:
        failed(shared, error)
        session = Session(session_id, start, pipeline, EmbeddingFile())
        session.detach(error)
        return Kept(shared, session, None)
    try:
        return Kept(shared, entry.session(pipeline), entry)
    except ProtocolError:
        entry.close()
        journal.erase(session_id)
        raise


def resume(shared: Shared, session_id: str, start: Start) -> Kept | Answer:
    """The session that a client comes back to.  Raises ProtocolError where it cannot go on."""
    if shared.journal is None:
        raise ProtocolError("unknown_session", "this server keeps no sessions: begin a new one")
    try:
        entry = shared.journal.open(session_id)
        if replace(start, session=None, position=None) != entry.begun.start:
            entry.close()
            raise ProtocolError("bad_state", "this session began with another start: send the same, or begin a new one")
        result = entry.result
        if result is not None:
            entry.close()
            return answer(shared.config, entry, result)
        session = entry.session(shared.pipeline)
    except ProtocolError:
        raise
    except LookupError as error:
        raise ProtocolError("unknown_session", f"{error}: begin a new one") from None
    except ValueError as error:
        log.warning("a session cannot be resumed: %s", error)
        why = "this session is damaged, or other settings or another version began it: begin a new one"
        raise ProtocolError("unknown_session", why) from error
    kept = Kept(shared, session, entry)
    if (start.position or 0) > session.position:
        kept.leave(sound=False)
        why = f"audio is needed from frame {session.position} on, but begins at {start.position}"
        raise ProtocolError("bad_state", why)
    kept.save()  # before anything is sent, so that no number comes twice
    return kept


def answer(config: ServerConfig, entry: Entry, result: Result) -> Answer:
    """What there is to say in a session that is over, numbered further on than ever before."""
    start = entry.begun.start
    ready = messages.ready(
        entry.id,
        start,
        resumed=True,
        position=result.position,
        latency=asked(entry.begun.config, start.options).live.latency,
        resumable=True,
        message_bytes=config.message_bytes,
        idle_s=config.idle,
    )
    last = max((message["seq"] for message in result.messages), default=0)
    return Answer([{**message, "seq": seq} for seq, message in enumerate([ready, *result.messages], last + 1)])


def failed(shared: Shared, error: OSError) -> None:
    """The journal cannot be written: the session goes on without, and whoever runs the server should know."""
    shared.metrics.journal_failures.inc()
    log.warning("a session's journal cannot be written: %s", error)
