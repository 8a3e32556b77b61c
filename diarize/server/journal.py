"""What is kept of sessions on disk, so that none is lost: embeddings and states, never audio, and not for long."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

from diarize.clustering.memory import EmbeddingFile
from diarize.config import from_mapping
from diarize.formats import write_atomically
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.server.messages import Message, Start
from diarize.server.saved import Saved, dumps, loads, made_with
from diarize.server.session import Session

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_START, _STATE, _EMBEDDINGS, _RESULT = "start.json", "state", "embeddings.bin", "result.json"


def new_id() -> str:
    """A name for a session that nobody can guess: who knows it may resume it."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class Begun:
    """How a session began.

    start: the client's message.  config: the settings of the server.  made_with: see `saved.made_with`.
    at: when, in seconds since 1970.
    """

    start: Start
    config: PipelineConfig
    made_with: str
    at: float


@dataclass(frozen=True)
class Result:
    """The answer of a session that is over.

    position: how many frames the client had sent.
    messages: what `Session.snapshot` gave after `finish`, and `done` at the end; to be numbered anew.
    """

    position: int
    messages: list[Message]


class Entry:
    """One session's folder, open until it is closed.

    begun: how it began.
    embeddings: the file.
    """

    def __init__(self, folder: Path, begun: Begun) -> None:
        self.id = folder.name
        self.begun = begun
        self._folder = folder

    @cached_property
    def embeddings(self) -> EmbeddingFile:
        """Of its windows; opened when it is asked for, since a session that is over has none."""
        return EmbeddingFile(self._folder / _EMBEDDINGS)

    def session(self, pipeline: SpeakerDiarization) -> Session:
        """The session as of its last checkpoint; from the beginning where there is none.

        After a resume: `checkpoint` it before anything is sent, so that no number comes twice.
        Raises ValueError for a damaged state and for one of another version, other settings or another model.
        """
        if self.begun.made_with != made_with(pipeline):
            raise ValueError(
                f"session {self.id} was begun by another version of this program, with other settings or with another "
                "model: go on with the same, or begin a new one"
            )
        saved = self._saved()
        if saved is None:
            self.embeddings.truncate(0)
            return Session(self.id, self.begun.start, pipeline, self.embeddings)
        return Session.restore(saved, self.id, self.begun.start, pipeline, self.embeddings)

    def checkpoint(self, saved: Saved) -> None:
        """Return when all of it is on the disk itself; now `saved.position` may be acknowledged.

        May run in a thread beside the session.  Raises OSError that names the file: see `Session.detach`.
        """
        path = self._folder / _EMBEDDINGS
        try:
            self.embeddings.sync()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        self._write(_STATE, dumps(saved))

    def finish(self, position: int, messages: Sequence[Message]) -> None:
        """Keep the answer (see `Result`), and delete what voices could be known by.

        Raises OSError that names a file.
        """
        self._write(_RESULT, json.dumps({"position": position, "messages": list(messages)}).encode())
        self.close()
        for path in self._folder.iterdir():
            if path.name not in (_START, _RESULT):  # also what a killed process has left half-written
                path.unlink()
        _settle(self._folder)

    @property
    def result(self) -> Result | None:
        """The answer, or None where the session is not over.  Raises ValueError where it is damaged."""
        path = self._folder / _RESULT
        if not path.exists() or not (data := path.read_bytes()):
            return None
        try:
            values = json.loads(data)
            return Result(int(values["position"]), list(values["messages"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: the answer of this session is damaged: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        if "embeddings" in vars(self):
            self.embeddings.close()

    def _saved(self) -> Saved | None:
        path = self._folder / _STATE
        try:
            data = path.read_bytes()
            return loads(data) if data else None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except FileNotFoundError:
            raise ValueError(f"{path} is gone: session {self.id} cannot be resumed") from None

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self._folder / name, data)
        _settle(self._folder)


class Journal:
    """A folder with a folder for each session, which this user alone can read.

    folder: made where it is absent.
    keep: hours; what was not written to for so long is removed by `expire`.
    Raises OSError that names the folder where it cannot be made or written, ValueError for hours that cannot be.
    """

    def __init__(self, folder: str | PathLike[str], keep: float = 24.0) -> None:
        if not 0 < keep <= 24 * 366:
            raise ValueError(f"sessions cannot be kept for {keep:g} hours: give more than 0 and at most a year")
        self.folder, self.keep = Path(folder), keep
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder):
            pass  # so it can be written

    def create(self, session_id: str, start: Start, pipeline: SpeakerDiarization) -> Entry:
        """A new session's.  Raises ValueError for an id that cannot be or is taken, OSError that names the file."""
        folder = self._path(session_id)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise ValueError(f"there is a session {session_id} already") from None
        for name in (_EMBEDDINGS, _STATE, _RESULT, _START):
            (folder / name).touch(mode=0o600)  # which it keeps when it is replaced; empty: not there yet
        begun = Begun(start, pipeline.config, made_with(pipeline), time.time())
        write_atomically(folder / _START, json.dumps(asdict(begun)))
        _settle(folder)
        _settle(self.folder)
        return Entry(folder, begun)

    def open(self, session_id: str) -> Entry:
        """One that is there.  Raises LookupError for an unknown id, ValueError for a damaged one."""
        path = self._path(session_id) / _START
        try:
            begun = from_mapping(Begun, json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise LookupError(f"no session {session_id}: sessions are kept for {self.keep:g} hours") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: the beginning of this session is damaged: {error}") from error
        return Entry(path.parent, begun)

    def copy(self, session_id: str, to: Journal) -> None:
        """Put a session as it is now into another journal.  Raises LookupError for an unknown id, OSError.

        The session may be going on: at least the embeddings that its state counts are copied, and if it comes to its
        end meanwhile, its answer.
        """
        source, copied = self._path(session_id), to._path(session_id)
        if not source.exists():
            raise LookupError(f"no session {session_id}: sessions are kept for {self.keep:g} hours")
        copied.mkdir(mode=0o700)
        for name in (_START, _STATE, _EMBEDDINGS, _RESULT):
            with suppress(FileNotFoundError):
                shutil.copy(source / name, copied / name)

    def ids(self) -> list[str]:
        """Of all that are there, the one written to last at the end."""
        written = {path.name: _written(path) for path in self.folder.iterdir() if _ID.fullmatch(path.name)}
        return sorted(written, key=lambda name: written[name])

    def expire(self, busy: Collection[str] = ()) -> list[str]:
        """Remove those that nothing was written to for `keep` hours, but for the busy ones; their ids."""
        oldest = time.time() - 3600 * self.keep
        expired = [name for name in self.ids() if name not in busy and _written(self.folder / name) < oldest]
        for name in expired:
            self.erase(name)
        return expired

    def erase(self, session_id: str) -> None:
        """Remove a session, now.  Nothing happens where it is unknown.  Raises OSError where it stays."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path(session_id))

    def _path(self, session_id: str) -> Path:
        if not _ID.fullmatch(session_id):
            raise ValueError(
                f"{session_id[:80]!r} is no session: an id has 1 to 64 of the characters A-Z, a-z, 0-9, _ and -"
            )
        return self.folder / session_id


def _written(folder: Path) -> float:
    """When something in a folder was last written to, in seconds since 1970."""
    times = [0.0]
    for path in (folder, *folder.glob("*")):
        with suppress(FileNotFoundError):  # it has just been replaced or removed
            times.append(path.stat().st_mtime)
    return max(times)


def _settle(folder: Path) -> None:
    """Return when the names in a folder are on the disk itself; where that cannot be asked for, at once."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
