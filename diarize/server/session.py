"""One client's session without its connection: what comes in is given to it, what is to be sent is what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace

from diarize.clustering.memory import EmbeddingFile
from diarize.formats import Diarization, as_rttm
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.rttm import Turn, talk_time
from diarize.server import messages
from diarize.server.hearing import Hearing
from diarize.server.messages import KeepAlive, Merge, Message, Options, ProtocolError, Rename, Start, Warned
from diarize.server.saved import Saved
from diarize.server.shown import Shown
from diarize.types import SAMPLE_RATE, Clock, EmbeddingWindow, SpeechWindow, position
from diarize.types import Merge as MergeSpeakers

_JUMP = 1_000_000
"""By so much does a resumed session count on: more messages than are sent between two checkpoints."""


class Session:
    """Audio and commands to messages, in the order in which they are to be sent.

    No I/O but the embedding file, no threads, no clock.  Who drives it embeds what `audio`, `finalize` and `end` give
    (the Clocks pass through) and hands it to `embedded` in the same order.  Every message that is sent carries a `seq`
    greater than that of the one before; what is not the session's own is numbered by `say`.

    session_id: also the recording's name where the start gives none.
    start: the format of the audio, and what the client asks of the diarization.
    pipeline: shared by all sessions.
    embeddings: a file of this session's own, with nothing in it.
    Raises ProtocolError (bad_message) where the settings of the pipeline do not allow the options of the start.
    """

    resumable: bool
    """Whether it can be saved: not with the webrtc detector, which holds audio of its own, and not after `detach`."""
    latency: float
    """In seconds."""
    embeddings: EmbeddingFile
    """Where they are kept now; another file after `detach`."""

    def __init__(self, session_id: str, start: Start, pipeline: SpeakerDiarization, embeddings: EmbeddingFile) -> None:
        self.id, self.start = session_id, start
        self._warned: set[Warned] = set()
        self._warnings: list[Message] = []
        try:
            self._pipeline = copy(pipeline)  # with the same model
            self._pipeline.config = asked(pipeline.config, start.options)
            self._hearing = Hearing(start, self._pipeline, self._warn)
        except ValueError as error:
            raise ProtocolError("bad_message", f"options: {error}") from error
        self.latency = self._pipeline.config.live.latency
        self.embeddings = embeddings
        self._back = self._pipeline.live_back(embeddings)
        self._shown = Shown()
        self._seq = self._until = 0
        self._finalizing: list[int] = []
        self._resumed = self._ended = self._detached = False
        self.resumable = self._pipeline.config.vad.name != "webrtc"
        if not self.resumable:
            self._warn("not_resumable", "with the webrtc detector a session that is cut off cannot be resumed")

    @property
    def position(self) -> int:
        """The frame, at the client's rate, with which the next audio begins."""
        return self._hearing.position

    @property
    def heard(self) -> int:
        """How much audio has been heard, in samples at 16 kHz."""
        return self._hearing.heard

    def ready(self, *, message_bytes: int, idle_s: float, resumable: bool) -> Message:
        """The first message.  resumable: whether there is a journal; the session may still be unable to be resumed."""
        ready = messages.ready(
            self.id,
            self.start,
            resumed=self._resumed,
            position=self.position,
            latency=self.latency,
            resumable=resumable and self.resumable,
            message_bytes=message_bytes,
            idle_s=idle_s,
        )
        return self.say(ready)[0]

    def say(self, *said: Message) -> list[Message]:
        """Messages of the server's own (ack, error, warning), numbered as the next to be sent."""
        first = self._seq + 1
        self._seq += len(said)
        return [messages.numbered(message, seq) for seq, message in enumerate(said, first)]

    def audio(self, data: bytes) -> list[SpeechWindow | Clock]:
        """More audio, whole frames.  Raises ProtocolError: bad_audio for part of a frame, bad_state after the end."""
        self._go_on()
        return self._hearing.push(data)

    def embedded(self, items: Sequence[EmbeddingWindow | Clock]) -> list[Message]:
        """What has been given out comes back embedded, in the same order: what there is to send."""
        updates = []
        for item in items:
            if isinstance(item, Clock):
                # a finalize has put the clock ahead: turns that it showed are not hidden again
                self._until = max(self._until, item.position)
                item = replace(item, position=self._until)
            try:
                updates += self._back.push(item)
            except OSError as error:  # an embedding cannot be kept, and nothing has changed yet
                self.detach(error)
                updates += self._back.push(item)
        return self.say(*self._shown.update(updates, "reclustered"))

    def command(self, message: Rename | Merge | KeepAlive) -> list[Message]:
        """What the user wants.  Raises ProtocolError (bad_message, the session goes on) for an unknown label."""
        if isinstance(message, Rename):
            return self.say(*self._shown.rename(message))
        if isinstance(message, Merge):
            told = self._shown.merge(message)
            updates = self._back.push(MergeSpeakers(_number(message.speaker), _number(message.into)))
            return self.say(*told, *self._shown.update(updates, "merged"))
        return []

    def finalize(self) -> list[SpeechWindow | Clock]:
        """All that has been heard is to be labelled now; `finalized` when this has been embedded."""
        self._go_on()
        heard = self.heard
        self._finalizing.append(heard * self.start.sample_rate // SAMPLE_RATE)
        return [*self._hearing.tail(), Clock(heard + position(self.latency))]

    def finalized(self) -> list[Message]:
        """The answer to the oldest `finalize` that has none."""
        return self.say(messages.finalized(self._finalizing.pop(0)))

    def end(self) -> list[SpeechWindow | Clock]:
        """The audio is over; `finish` when this has been embedded.  Raises ProtocolError as `audio` does."""
        self._go_on()
        items = self._hearing.flush()
        self._ended = True
        return items

    def finish(self) -> list[Message]:
        """Every turn, final, and `done`."""
        told = self._shown.update(self._back.flush(), "final")
        talk = talk_time(Turn(turn.start, turn.end, turn.speaker or "") for turn in self._shown.turns.values())
        speakers = [(label, self._shown.name(label), samples) for label, samples in talk.items()]
        return self.say(*told, messages.done(self.heard, speakers, as_rttm(self.result)))

    @property
    def result(self) -> Diarization:
        """The turns as they are shown; the final ones after `finish`."""
        settings = asdict(self._pipeline.config)
        return Diarization(self.start.uri or self.id, self.heard, self._shown.named_turns(), settings)

    def warnings(self) -> list[Message]:
        """What the person should know and has not been told; to be asked after `ready`, `audio` and `embedded`."""
        told, self._warnings = self._warnings, []
        return self.say(*told)

    def snapshot(self) -> list[Message]:
        """All speakers, names, merges and segments, for a client that has forgotten them; nothing in a new session."""
        return self.say(*self._shown.snapshot())

    def save(self) -> Saved:
        """A copy of everything but embeddings and audio, to be asked for when all that was given out has been embedded.

        Audio before its `position` is never needed again; this may be acknowledged once it and the embeddings are on
        disk.  Raises ValueError where the session is not resumable or has ended.
        """
        if not self.resumable or self._ended:
            raise ValueError(f"session {self.id} {'has ended' if self._ended else 'is not resumable'}: do not save it")
        heard, back, shown = self._hearing.save(), self._back.save(), self._shown.copy()
        return Saved(heard, back, len(self.embeddings), shown, self._seq, self._until)

    @classmethod
    def restore(
        cls,
        saved: Saved,
        session_id: str,
        start: Start,
        pipeline: SpeakerDiarization,
        embeddings: EmbeddingFile,
    ) -> Session:
        """The session as it was saved; it wants audio from `saved.position` on, and goes on as if never interrupted.

        start: the first one, whose format holds.  embeddings: the same file; what came after `saved` is cut off.
        It counts its messages a million further on, past all that were lost: save it again before anything is sent.
        Raises ValueError where embeddings are absent.
        """
        if len(embeddings) < saved.embeddings:
            raise ValueError(
                f"session {session_id}: {saved.embeddings} embeddings were kept, but only {len(embeddings)} are there"
            )
        embeddings.truncate(saved.embeddings)
        session = cls(session_id, start, pipeline, embeddings)
        session._hearing.restore(saved.heard)
        session._back.restore(saved.back)
        session._shown = saved.shown.copy()
        session._seq, session._until = saved.seq + _JUMP, saved.until
        session._resumed = True
        return session

    def detach(self, why: OSError) -> None:
        """The journal cannot be written: go on without, resumable no more, the embeddings in a temporary file.

        Happens by itself where an embedding cannot be kept.  Raises `why` where it has happened before, and OSError
        where there is no room for a temporary file either.
        """
        if self._detached:
            raise why
        self._detached, self.resumable = True, False
        spare = EmbeddingFile()
        for window in self.embeddings.read_all():
            spare.append(window)
        back = self._pipeline.live_back(spare)
        back.restore(self._back.save())
        self.embeddings, self._back = spare, back
        self._warn("not_resumable", f"the session is not kept any more, and cannot be resumed: {why.strerror or why}")

    def close(self) -> None:
        """Let go of the embeddings."""
        self.embeddings.close()

    def _go_on(self) -> None:
        if self._ended:
            raise ProtocolError("bad_state", "the audio has ended: start another session")

    def _warn(self, code: Warned, message: str) -> None:
        if code not in self._warned:
            self._warned.add(code)
            self._warnings.append(messages.warning(code, message))


def asked(config: PipelineConfig, options: Options) -> PipelineConfig:
    """The settings as a client asks for them; what it says of the number of speakers replaces all that was said of it.

    Raises ValueError where they cannot be.
    """
    speakers = {name: value for name, value in asdict(options).items() if name != "latency"}
    if any(speakers.values()):
        config = replace(config, clustering=replace(config.clustering, **speakers))
    if options.latency is not None:
        config = replace(config, live=replace(config.live, latency=options.latency))
    return config


def _number(label: str) -> int:
    return int(label.removeprefix("SPEAKER_"))
