"""Sessions of the live server, driven by the tests, and a client that believes the rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from diarize.audio import decode_pcm
from diarize.models.encoder import SpeakerEncoder
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.rttm import Turn, format_rttm
from diarize.server import messages
from diarize.server.messages import Message, Start
from diarize.server.session import Session
from diarize.types import Clock, EmbeddingWindow, Samples, SpeechWindow, position
from tests.command import conversation

RATE = 16_000
SERVER = Draft202012Validator({"$ref": "#/$defs/server", "$defs": messages.schema()["$defs"]})
"""Whether the server may say this."""


Known = dict[bytes, NDArray[np.float32]]
"""Embeddings, by the hash of what they are made of."""


class Remembering:
    """The real encoder, that computes the embedding of the same window once: it is equal to the bit each time."""

    def __init__(self, encoder: SpeakerEncoder, known: Known) -> None:
        self.fingerprint = encoder.fingerprint
        self.known = known
        self._encoder = encoder

    def embed_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = [hashlib.sha256(row.tobytes()).digest() for row in batch]
        if not self.known.keys() >= set(rows):
            self.known.update(zip(rows, self._encoder.embed_batch(batch), strict=True))
        return np.stack([self.known[row] for row in rows])


def remembering(config: PipelineConfig | None = None, embeddings: Known | None = None) -> SpeakerDiarization:
    """The real pipeline, quick when the same audio comes again."""
    pipeline = SpeakerDiarization(config)
    encoder = Remembering(pipeline.encoder, {} if embeddings is None else embeddings)
    pipeline.encoder = encoder  # type: ignore[assignment]  # all that a pipeline needs of one
    return pipeline


def write_known(pipeline: SpeakerDiarization, path: Path) -> None:
    """Put what a pipeline remembers into a file, for another process."""
    assert isinstance(pipeline.encoder, Remembering)
    known = pipeline.encoder.known
    np.savez(
        path, rows=np.frombuffer(b"".join(known), np.uint8).reshape(-1, 32), embeddings=np.stack([*known.values()])
    )


def read_known(path: str) -> Known:
    """What `write_known` has written."""
    with np.load(path) as content:
        return {row.tobytes(): embedding for row, embedding in zip(content["rows"], content["embeddings"], strict=True)}


def pcm(samples: Samples, start: Start) -> bytes:
    """Audio at 16 kHz as a client of this format sends it."""
    if start.sample_rate != RATE:
        samples = soxr.resample(samples, RATE, start.sample_rate)
    frames = np.repeat(samples, start.channels).astype("<f4")
    if start.encoding == "s16le":
        frames = np.rint(frames * 32767).astype("<i2")
    if start.encoding == "mulaw":
        values = decode_pcm(bytes(range(256)), "mulaw", 1)[:, 0]
        order = np.argsort(values, kind="stable")
        frames = order[np.searchsorted(values[order], frames).clip(0, 255)].astype(np.uint8)
    return bytes(frames.tobytes())


def speech(seconds: float, start: Start | None = None) -> bytes:
    """The beginning of the sample conversation as a client sends it."""
    return pcm(conversation(seconds), start or Start())


def blocks(data: bytes, cuts: Iterable[int], frame: int) -> list[bytes]:
    """Audio cut at these frames."""
    edges = [0, *sorted(cut * frame for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def embedded(pipeline: SpeakerDiarization, items: Sequence[SpeechWindow | Clock]) -> list[EmbeddingWindow | Clock]:
    """What a session has given out, embedded."""
    done = iter(pipeline.embed([item for item in items if isinstance(item, SpeechWindow)]))
    return [item if isinstance(item, Clock) else next(done) for item in items]


def heard(pipeline: SpeakerDiarization, session: Session, data: bytes) -> list[Message]:
    """What a session says to more audio."""
    return session.embedded(embedded(pipeline, session.audio(data)))


def finalized(pipeline: SpeakerDiarization, session: Session) -> list[Message]:
    """What a session says to finalize."""
    return session.embedded(embedded(pipeline, session.finalize())) + session.finalized()


def ended(pipeline: SpeakerDiarization, session: Session) -> list[Message]:
    """What a session says at the end."""
    return session.embedded(embedded(pipeline, session.end())) + session.finish()


def run(pipeline: SpeakerDiarization, session: Session, pieces: Iterable[bytes]) -> list[Message]:
    """What a session says to the whole of some audio."""
    return [message for piece in pieces for message in heard(pipeline, session, piece)] + ended(pipeline, session)


def unnumbered(said: Iterable[Message]) -> list[Message]:
    """Messages without their seq."""
    return [{key: value for key, value in message.items() if key != "seq"} for message in said]


@dataclass
class Client:
    """Does what the protocol tells a client to do, and holds the server to it.

    uri: the recording's name.  segments: by id.  names: by label.  merged: the labels that are gone.
    """

    uri: str = "Session-1"
    segments: dict[int, Message] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    names: dict[str, str | None] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    seq: int = 0
    rttm: str | None = None

    def take(self, said: Iterable[Message]) -> None:
        """Messages have come."""
        for message in said:
            SERVER.validate(message)
            assert self.rttm is None, "done is the last message"
            assert message["seq"] > self.seq
            self.seq = message["seq"]
            if handler := getattr(self, f"_{message['type']}", None):
                handler(message)

    @property
    def current(self) -> list[Turn]:
        """The turns, under names where there are any."""
        return sorted(
            Turn(position(one["start"]), position(one["end"]), self.names.get(one["speaker"]) or one["speaker"])
            for one in self.segments.values()
        )

    @property
    def talking(self) -> list[str]:
        """The labels of those who talk, by their first segment."""
        return list(dict.fromkeys(self.segments[number]["speaker"] for number in sorted(self.segments)))

    def _ready(self, _: Message) -> None:
        for known in (self.segments, self.labels, self.names, self.merged):
            known.clear()

    def _segment(self, segment: Message) -> None:
        before = self.segments.get(segment["id"])
        assert before is None or before["speaker"] == segment["speaker"], "another speaker is a revision"
        assert before is None or before["state"] == "provisional"
        self._put(segment["id"], segment, segment["speaker"])

    def _revision(self, revision: Message) -> None:
        assert revision["changes"]
        for change in revision["changes"]:
            before = self.segments.pop(change["id"])
            assert before["speaker"] == change["from"] != change["to"]
            assert before["state"] == "provisional"
            if change["to"] is not None:
                self._put(change["id"], change, change["to"])

    def _put(self, number: int, segment: Message, label: str) -> None:
        assert label in self.labels - self.merged
        assert segment["name"] == self.names.get(label)
        self.segments[number] = {**segment, "speaker": label}

    def _speaker(self, told: Message) -> None:
        label = told["speaker"]
        if told["event"] == "new":
            assert label not in self.labels
            self.labels.add(label)
            self.names[label] = told["name"]
        if told["event"] in ("renamed", "identified"):
            assert label in self.labels - self.merged
            self.names[label] = told["name"]
        if told["event"] == "merged":
            assert told["into"] in self.labels
            self.merged.add(label)

    def _done(self, done: Message) -> None:
        self.rttm = done["rttm"]
        assert format_rttm(self.current, self.uri) == self.rttm
        assert all(segment["state"] == "final" for segment in self.segments.values())
        talking: dict[str, Any] = {one["speaker"]: one["name"] for one in done["speakers"]}
        assert set(talking) == {segment["speaker"] for segment in self.segments.values()}
        assert all(self.names.get(label) == name for label, name in talking.items())
