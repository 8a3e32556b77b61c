"""From recordings to references: heard through the pipeline, judged by the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from diarize.clustering.agglomerative import Embeddings
from diarize.embedded import EmbeddedRecording
from diarize.embedding import average_crops
from diarize.intervals import union, without
from diarize.profiles.gate import Gate, net_speech
from diarize.profiles.person import Origin, Person, ProfilesError, Reference
from diarize.rttm import read_rttm, talking
from diarize.sources import Source, open_source
from diarize.types import Interval, Samples

Embedded = Callable[[Source], EmbeddedRecording]
"""A recording after the network, mixed down: `SpeakerDiarization.embedded`."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording, or parts of one, as the network has heard it.

    name: what it is called when something is said of it.
    origin: None for what is in no file.
    """

    name: str
    recording: EmbeddedRecording
    origin: Origin | None = None

    @property
    def embeddings(self) -> Embeddings:
        """Of its windows, shape (n, dimensions)."""
        return np.array([window.embedding for channel in self.recording.channels for window in channel], np.float32)

    @property
    def speech(self) -> float:
        """Seconds of net speech."""
        return sum(net_speech(channel) for channel in self.recording.channels)


def hear(embedded: Embedded, path: str | Path, stretches: Sequence[Interval] = ()) -> Heard:
    """Hear a file, or some stretches of it, by time and apart.

    Raises AudioError for what is no readable audio, ProfilesError where it ends before the first stretch.
    """
    source = open_source(path)
    origin = Origin(str(Path(path).resolve()), _sha256(path), tuple(stretches))
    if stretches:
        samples = _cut(source, stretches)
        if not len(samples):
            raise ProfilesError(f"{path}: it ends before the first of these turns: is it the right recording?")
        source = open_source(samples, uri=source.uri)
    return Heard(str(path), embedded(source), origin)


def enrolment(heard: Sequence[Heard], gate: Gate | None = None) -> list[Reference]:
    """One reference from each recording, all of one voice.

    Raises RefusedError where the gate does not let them pass, ProfilesError where there are none.
    """
    if not heard:
        raise ProfilesError("nothing to enrol: give a recording")
    gate = gate or Gate()
    names = [one.name for one in heard]
    gate.check_speech(names, [one.speech for one in heard])
    for one in heard:
        gate.check_voice(one.name, one.embeddings)
    references = [_reference(one) for one in heard]
    voices = np.stack([reference.embedding for reference in references])
    gate.check_agreement(names, voices, voices[:0], names[0])
    return references


def heard_again(embedded: Embedded, people: Sequence[Person], *, drop: bool = False) -> list[Person]:
    """Everybody's references made anew from their recordings, with the network of today.

    drop: leave out references that cannot be made again, and people without any other.

    Raises ProfilesError where a recording is gone, is not what it was or has no speech for this network; and, even with
    `drop`, where nobody would be left.
    """
    if not drop:  # before anything is heard, which takes its time
        for person in people:
            for reference in person.references:
                with _told(person):
                    _check_origin(reference)
    made = []
    for person in people:
        references = []
        for reference in person.references:
            try:
                with _told(person):
                    references.append(_again(embedded, reference))
            except ProfilesError:
                if not drop:
                    raise
        if references:
            made.append(Person(person.name, tuple(references)))
    if people and not made:
        raise ProfilesError("no reference can be made again: are the recordings where they were?")
    return made


def turns_alone(rttm: str | Path, speaker: str, uri: str) -> list[Interval]:
    """When, in a diarized recording, this speaker talks and nobody else does; by time and apart.

    Raises RttmError for what is not RTTM, ProfilesError where it has no such recording or speaker.
    """
    recordings = read_rttm(rttm)
    if uri not in recordings:
        raise ProfilesError(f"{rttm}: no turns of {uri!r}: it names {_listed(recordings)}")
    talk = talking(recordings[uri])
    if speaker not in talk:
        raise ProfilesError(f"{rttm}: nobody is called {speaker!r}: it names {_listed(talk)}")
    others = union(stretch for name, stretches in talk.items() if name != speaker for stretch in stretches)
    alone = without(talk[speaker], others)
    if not alone:
        raise ProfilesError(f"{rttm}: {speaker} never talks alone")
    return alone


def _again(embedded: Embedded, reference: Reference) -> Reference:
    origin = _check_origin(reference)
    heard = hear(embedded, origin.path, origin.stretches)
    if not len(heard.embeddings):
        raise ProfilesError(f"{origin.path}: no speech is found in it any more")
    return _reference(heard)


def _check_origin(reference: Reference) -> Origin:
    origin = reference.origin
    if origin is None:
        raise ProfilesError("a reference came from no file")
    if _sha256(origin.path) != origin.sha256:
        raise ProfilesError(f"{origin.path}: is not the recording it was at the enrolment")
    return origin


@contextmanager
def _told(person: Person) -> Iterator[None]:
    """What goes wrong with somebody's recording, with the name and what to do."""
    try:
        yield
    except (ValueError, OSError) as error:
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        raise ProfilesError(
            f"{person.name} cannot be enrolled again: {why}; nothing was changed; --drop forgets such references"
        ) from error


def _reference(heard: Heard) -> Reference:
    mean, agree = average_crops(heard.embeddings)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Reference(mean, heard.recording.model, heard.speech, agree, made, heard.origin)


def _cut(source: Source, stretches: Sequence[Interval]) -> Samples:
    pieces = [np.zeros(0, np.float32)]
    for chunk in source.chunks():
        for start, end in stretches:
            piece = chunk.samples[max(0, start - chunk.position) : max(0, end - chunk.position)]
            if len(piece):
                pieces.append(piece)
    return np.concatenate(pieces)


def _sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(names: Iterable[str]) -> str:
    first, more = list(names)[:5], list(names)[5:]
    return ", ".join(first) + (", ..." if more else "") or "nobody"
