"""What a client has said and may have to say again: audio and commands, until the server has them on disk."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
"""One of those in docs/protocol.md."""


class Recorded:
    """The audio from frame `start` on; what is before frame `sent` has been sent, and before `reached` at some time.

    frame: bytes of a frame.  bound: bytes that are held at most.
    """

    def __init__(self, frame: int, bound: int) -> None:
        self.start = self.sent = self.reached = 0
        self._data = bytearray()
        self._frame, self._bound = frame, bound - bound % frame

    @property
    def end(self) -> int:
        """The frame after the last."""
        return self.start + len(self._data) // self._frame

    @property
    def full(self) -> bool:
        """Whether there is no room for another frame."""
        return len(self._data) >= self._bound

    def append(self, audio: memoryview) -> int:
        """Take as much as there is room for: so many bytes."""
        room = self._bound - len(self._data)
        self._data += audio[:room]
        return min(room, len(audio))

    def next(self, most: int, until: int | None = None) -> bytes:
        """What is to be sent next: at most so many bytes, and what is before frame `until`; it counts as sent."""
        last = min(self.sent + most // self._frame, self.end if until is None else until)
        piece = self._data[(self.sent - self.start) * self._frame : (last - self.start) * self._frame]
        self.sent += len(piece) // self._frame
        self.reached = max(self.reached, self.sent)
        return bytes(piece)

    def forget(self, before: int) -> None:
        """Let go of the frames before this one that have been sent."""
        before = min(before, self.sent)
        if before > self.start:
            del self._data[: (before - self.start) * self._frame]
            self.start = before

    def resume(self, at: int) -> None:
        """Send what comes from this frame on; where nothing is here yet, it is the first.

        Raises ValueError where it is not here.
        """
        if self.end == 0:
            self.start = at
        if not self.start <= at <= self.end:
            raise ValueError(f"the server wants audio from frame {at:,} on; here are {self.start:,} to {self.end:,}")
        self.sent, self.reached = at, max(at, self.reached)


@dataclass(eq=False)
class Command:
    """A message that is no audio.

    text: the same, as it is sent.
    at: the frame before which all audio goes before it.
    sent: over the present connection.
    answered: the server has said that it is done, or that it will not do it, and why (`refused`).
    """

    message: Message
    text: str
    at: int
    sent: bool = False
    answered: bool = False
    refused: str = ""


class Commands:
    """Commands that may not be on the server's disk, in order.

    The server works in order on what it gets.  So answers come in order, and a command that is sent again behind the
    audio that it followed before meets the same speakers.
    """

    def __init__(self) -> None:
        self._kept: list[Command] = []
        self._asked: deque[Command] = deque()  # over the present connection, and not answered over it
        self._begun = False

    def add(self, message: Message, at: int) -> Command:
        """One more, to be sent when all audio before frame `at` has been.  Raises TypeError for what is no JSON."""
        self._kept.append(Command(message, json.dumps(message), at))
        return self._kept[-1]

    def next(self, sent: int) -> str | None:
        """What is to be sent next, if anything is, after the audio before frame `sent`."""
        for command in self._kept:
            if not command.sent and command.at <= sent:
                command.sent, command.at = True, sent
                self._asked.append(command)
                return command.text
        return None

    def until(self) -> int | None:
        """The frame at which a command is to be sent before more audio, if there is one."""
        return min((command.at for command in self._kept if not command.sent), default=None)

    def hear(self, answer: Message) -> Command | None:
        """The command that a message of the server's answers, if it is an answer."""
        # until then, a resumed session tells of the speakers that it has, merged ones too
        self._begun = self._begun or answer["type"] != "speaker"
        refused = answer["type"] == "error" and not answer["fatal"]
        if not (self._begun and self._asked and (refused or self._asked[0].message == _done(answer))):
            return None
        command = self._asked.popleft()
        if refused and not command.answered:  # what is done and sent again can be refused: it had reached the disk
            command.refused = answer["message"]
        command.answered = True
        if command.refused or command.message["type"] == "finalize":
            self._kept.remove(command)
        return command

    def forget(self, before: int) -> None:
        """Let go of those that the server had done before it came to this frame."""
        self._kept = [command for command in self._kept if not command.answered or command.at >= before]

    def resume(self) -> None:
        """There is a new connection, over which nothing has been sent."""
        self._asked.clear()
        self._begun = False
        for command in self._kept:
            command.sent = False


def _done(answer: Message) -> Message | None:
    """The command of which a message of the server's says that it is done."""
    match answer:
        case {"type": "speaker", "event": "renamed", "speaker": speaker, "name": name}:
            return {"type": "rename", "speaker": speaker, "name": name or ""}
        case {"type": "speaker", "event": "merged", "speaker": speaker, "into": into}:
            return {"type": "merge", "speaker": speaker, "into": into}
        case {"type": "finalized"}:
            return {"type": "finalize"}
    return None
