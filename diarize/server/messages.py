"""The messages of the live protocol, version 1: a client's as values, a server's as what JSON will hold.

docs/protocol.md explains them to those who write a client; `schema()` is their JSON schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from diarize.rttm import milliseconds
from diarize.types import Identity, TurnUpdate

VERSION = 1
"""Of the protocol: a message or a field that is added leaves it, one that goes or changes its meaning raises it."""

MOST_SPEAKERS = 1_000

Message = dict[str, Any]

Pardoned = Literal["bad_message", "unknown_type", "bad_state"]
Fatal = Literal["bad_audio", "unauthorized", "unknown_session", "idle", "too_big", "internal", "full", "busy_session"]
Code = Pardoned | Fatal
Warned = Literal["not_finite", "clipped", "not_resumable", "slow"]
Reason = Literal["reclustered", "merged", "final"]
Event = Literal["new", "renamed", "merged", "identified"]

CLOSE_CODES: Mapping[Code, int | None] = {
    "bad_message": None,
    "unknown_type": None,
    "bad_state": None,
    "bad_audio": 1003,
    "unauthorized": 1008,
    "unknown_session": 1008,
    "idle": 1008,
    "too_big": 1009,
    "internal": 1011,
    "full": 1013,
    "busy_session": 1013,
}
"""How each error closes the connection (RFC 6455, 7.4.1; 1013: the registry of IANA); None: the session goes on."""


class ProtocolError(ValueError):
    """What a client did wrong, or what it cannot have.

    code: for the program.  message: one line for a person.
    close: the code with which the connection is closed, by `CLOSE_CODES` unless given; None: the session goes on.
    """

    def __init__(self, code: Code, message: str, *, close: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close = CLOSE_CODES[code] if close is None else close

    @property
    def fatal(self) -> bool:
        """Whether the connection ends."""
        return self.close is not None

    def before_ready(self) -> ProtocolError:
        """The same error where no session has begun: always fatal.

        A client may send audio right behind its start.  Were a refused start pardoned, that audio would be taken for
        audio of the default format.
        """
        return self if self.fatal else ProtocolError(self.code, self.message, close=1003)


@dataclass(frozen=True)
class Options:
    """What a client asks of the diarization; None leaves it to the server.

    latency: seconds.  num_speakers, min_speakers, max_speakers: what is known of the number of speakers.

    Raises ValueError when the numbers of speakers contradict each other.
    """

    latency: float | None = None
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None

    def __post_init__(self) -> None:
        lowest = max(self.num_speakers or 1, self.min_speakers or 1)
        highest = min(self.num_speakers or MOST_SPEAKERS, self.max_speakers or MOST_SPEAKERS)
        if lowest > highest:
            raise ValueError(f"at least {lowest} and at most {highest} speakers is impossible")


@dataclass(frozen=True)
class Start:
    """The first message: what audio will come.

    encoding, sample_rate (Hz), channels: of the binary messages; see `diarize.audio.ENCODINGS`.
    session: the one to go on with; None: a new one.
    position: of `session`, the first frame that the client can still send.
    uri: the recording's name in the RTTM; None: the session's.

    Raises ValueError for a position without a session.
    """

    version: int = VERSION
    encoding: str = "s16le"
    sample_rate: int = 16_000
    channels: int = 1
    session: str | None = None
    position: int | None = None
    uri: str | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.position is not None and self.session is None:
            raise ValueError("position without session: a new session begins at 0; leave it out")


@dataclass(frozen=True)
class KeepAlive:
    """The client is there, with nothing to send."""


@dataclass(frozen=True)
class Finalize:
    """Label at once what has been heard."""


@dataclass(frozen=True)
class Rename:
    """The name of a speaker, who is given by label; the empty name takes it back."""

    speaker: str
    name: str


@dataclass(frozen=True)
class Merge:
    """Two labels are one person, who goes by `into`.  Raises ValueError when they are one label."""

    speaker: str
    into: str

    def __post_init__(self) -> None:
        if self.speaker == self.into:
            raise ValueError(f"{self.speaker} cannot be merged into itself")


@dataclass(frozen=True)
class End:
    """The audio is over.  erase: leave nothing on disk."""

    erase: bool = False


ClientMessage = Start | KeepAlive | Finalize | Rename | Merge | End


def ready(
    session: str,
    start: Start,
    *,
    resumed: bool,
    position: int,
    latency: float,
    resumable: bool,
    message_bytes: int,
    idle_s: float,
) -> Message:
    """The session has begun, in the format of `start`; the client sends audio from frame `position` on."""
    return {
        "type": "ready",
        "session": session,
        "version": VERSION,
        "resumed": resumed,
        "position": position,
        "encoding": start.encoding,
        "sample_rate": start.sample_rate,
        "channels": start.channels,
        "latency": latency,
        "resumable": resumable,
        "limits": {"message_bytes": message_bytes, "idle_s": idle_s},
    }


def segment(update: TurnUpdate, name: str | None) -> Message:
    """A turn that is new or has grown.  Raises ValueError for one that is withdrawn: it belongs in a revision."""
    if update.speaker is None:
        raise ValueError(f"turn {update.id} is withdrawn, which is a change of a revision")
    return {"type": "segment", **_turn(update, {"speaker": update.speaker, "name": name})}


def change(update: TurnUpdate, was: str, name: str | None, reason: Reason) -> Message:
    """A part of a revision: a turn, shown under the label `was`, has another or is withdrawn."""
    return {**_turn(update, {"from": was, "to": update.speaker, "name": name}), "reason": reason}


def _turn(update: TurnUpdate, labels: Mapping[str, str | None]) -> Message:
    # as in RTTM: to the millisecond, and at least one long
    start = milliseconds(update.start)
    end = max(start + 1, milliseconds(update.end))
    return {
        "id": update.id,
        "start": start / 1000,
        "end": end / 1000,
        **labels,
        "confidence": round(update.confidence, 3),
        "state": "final" if update.final else "provisional",
    }


def revision(changes: Iterable[Message]) -> Message:
    """What the system has thought better of, in one piece; see `change`."""
    return {"type": "revision", "changes": list(changes)}


def speaker(
    label: str, event: Event, *, name: str | None = None, into: str | None = None, decision: Message | None = None
) -> Message:
    """A speaker is new, has a name (None: no longer), or is the same person as `into`.  See `identified` too."""
    return {"type": "speaker", "speaker": label, "event": event, "name": name, "into": into, "decision": decision}


def identified(label: str, identity: Identity) -> Message:
    """A speaker was found to be an enrolled person; or to be nobody known, and loses the name that was found before."""
    second = identity.runner_up
    decision = {
        "score": round(identity.score, 3),
        "runner_up": second and {"name": second[0], "score": round(second[1], 3)},
        "reason": identity.reason,
    }
    return speaker(label, "identified", name=identity.name, decision=decision)


def ack(position: int) -> Message:
    """Audio before frame `position` is never needed again."""
    return {"type": "ack", "position": position}


def warning(code: Warned, message: str) -> Message:
    """Something that a person should know; the session goes on."""
    return {"type": "warning", "code": code, "message": message}


def finalized(position: int) -> Message:
    """The answer to finalize: all speech before frame `position` has its label."""
    return {"type": "finalized", "position": position}


def error(what: ProtocolError) -> Message:
    """What the client did wrong, or what it cannot have."""
    return {"type": "error", "code": what.code, "message": what.message, "fatal": what.fatal}


def done(audio: int, speakers: Iterable[tuple[str, str | None, int]], rttm: str) -> Message:
    """The final answer.  audio: its samples at 16 kHz.  speakers: label, name, and the samples in which each talks."""
    talk = [
        {"speaker": label, "name": name, "seconds": milliseconds(samples) / 1000} for label, name, samples in speakers
    ]
    return {"type": "done", "audio_s": milliseconds(audio) / 1000, "speakers": talk, "rttm": rttm}


def numbered(message: Message, seq: int) -> Message:
    """The message as it is sent.  seq: greater than that of the message before."""
    return {"type": message["type"], "seq": seq, **message}


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of every message; those of one side are `$defs/client` and `$defs/server`."""
    text = files("diarize.server").joinpath("protocol.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
