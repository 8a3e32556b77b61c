"""A session as it is kept on disk: what its stages remember, without the audio, as bytes that are safe to read."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import diarize
from diarize.pipeline import SpeakerDiarization
from diarize.server.shown import Shown
from diarize.types import Held

Kind = TypeVar("Kind")

_NUMPY = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
"""What an array is made of in a pickle; NumPy 2 has renamed where it lies."""

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Absent:
    """In the place of a `Held`: samples [start, end) at 16 kHz, which have to be heard again."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Heard:
    """How far a session has heard.

    position: the frame, at the client's rate, from which on audio is needed to go on: what is before it never is.
    held: the same in samples at 16 kHz.
    heard: up to where the stages have heard, in samples at 16 kHz.
    front: their states, without audio: all that is left of it are the 4 ms, at another level, that the speech detector
        carries over from frame to frame.
    """

    position: int
    held: int
    heard: int
    front: Any


@dataclass(frozen=True, eq=False)
class Saved:
    """Everything that a session needs to go on, but for its embeddings and the audio that its stages held.

    back: the states of the stages after the embedding.
    embeddings: how many windows of the embedding file belong to it.
    shown: what the client has been told.
    seq: the number of the last message.
    until: the furthest that the clock has been, in samples.
    """

    heard: Heard
    back: Any
    embeddings: int
    shown: Shown
    seq: int
    until: int

    @property
    def position(self) -> int:
        """The frame to acknowledge: audio before it is never needed again."""
        return self.heard.position


def made_with(pipeline: SpeakerDiarization) -> str:
    """A name for the program, the settings and the models: a state goes on only where it is equal."""
    models = [pipeline.encoder.fingerprint, getattr(pipeline.segmenter, "fingerprint", "")]
    settings = json.dumps([diarize.__version__, asdict(pipeline.config), models], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()


def without_audio(state: Any) -> Any:
    """A state with `Absent` in place of what it holds of the audio."""
    return _replaced(state, Held, lambda held: Absent(held.start, held.end))


def with_audio(state: Any, audio: Held) -> Any:
    """The state again, given a stretch of audio that covers all that was held."""
    return _replaced(state, Absent, lambda absent: Held(absent.start, audio.cut(absent.start, absent.end)))


def first_held(state: Any, heard: int) -> int:
    """Where the audio begins that a state without audio needs again; `heard` where it needs none."""
    starts = [heard]

    def see(absent: Absent) -> Absent:
        if absent.start < absent.end:
            starts.append(absent.start)
        return absent

    _replaced(state, Absent, see)
    return min(starts)


def _replaced(value: Any, kind: type[Kind], change: Callable[[Kind], Any]) -> Any:
    """A nested value with everything of one kind changed."""
    if isinstance(value, kind):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _replaced(getattr(value, f.name), kind, change) for f in fields(value)})
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, kind, change) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, kind, change) for key, item in value.items()}
    return value


def dumps(saved: Saved) -> bytes:
    """As bytes for `loads`."""
    data = pickle.dumps(saved, protocol=5)
    return hashlib.sha256(data).digest() + data


def loads(data: bytes) -> Saved:
    """What `dumps` has written.

    The pickle may name the dataclasses of this package and what NumPy makes arrays of, and nothing else, so nothing in
    it can run.  Raises ValueError for bytes that are damaged or were written by something else.
    """
    digest, pickled = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(pickled).digest() != digest:
        raise ValueError("the saved state is damaged")
    try:
        saved = _Unpickler(io.BytesIO(pickled)).load()
    except Exception as error:  # whatever a pickle that others have made can raise
        raise ValueError(f"the saved state was not written by this program: {error}") from error
    if not isinstance(saved, Saved):
        raise ValueError(f"the saved state is of type {type(saved).__name__}")
    return saved


class _Unpickler(pickle.Unpickler):
    """Makes only what a `Saved` is made of."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) in _NUMPY:
            return super().find_class(module, name)
        if module.startswith("diarize."):
            found = super().find_class(module, name)
            # a name with dots can lead out of the package again
            if isinstance(found, type) and is_dataclass(found) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a session")
