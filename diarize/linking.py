"""The same person across recordings: found by the voice, so nobody needs to be enrolled; by name where somebody is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diarize.clustering.agglomerative import Embeddings, Labels, by_first_appearance, unit
from diarize.embedded import EmbeddedRecording
from diarize.formats import Diarization
from diarize.intervals import shared
from diarize.rttm import newest, talking, turns_from
from diarize.turns import is_label
from diarize.types import Interval

CERTAIN = -1.0
"""The distance of voices that are one person by name: below every other, so they are put together first."""


@dataclass(frozen=True)
class LinkingConfig:
    """When speakers of two recordings are one person.

    threshold: cosine distance in 0..2 between their mean voices; what is nearer is one person.  Higher links more of
        what belongs together, and sooner takes two people for one.
    """

    threshold: float = 0.32

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 2:
            raise ValueError(f"linking.threshold is {self.threshold}: a cosine distance lies between 0 and 2")


@dataclass(frozen=True, eq=False)
class Voices:
    """The speakers of one recording: all that linking needs of it.

    uri: the recording's name.
    model: the fingerprint of the network.
    means: the mean voice of each speaker, shape (dimensions,), unit norm, by label in order of first appearance; None
        for one who never talks most in a window.
    enrolled: the names of those who were recognised as enrolled people, by label.
    """

    uri: str
    model: str
    means: Mapping[str, Embeddings | None]
    enrolled: Mapping[str, str]


def voices_of(recording: EmbeddedRecording, answer: Diarization) -> Voices:
    """The voices of a recording's speakers.

    answer: who spoke when in it.  Raises ValueError for an answer about another recording.
    """
    if recording.uri != answer.uri:
        raise ValueError(f"the turns are those of {answer.uri}, and the voices those of {recording.uri}")
    talk = talking(turns_from(replace(update, identity=None) for update in answer.updates))  # by label
    means = _means(recording, answer, talk)
    enrolled = {
        update.speaker: update.identity.name
        for update in newest(answer.updates)
        if update.speaker is not None and update.identity is not None and update.identity.name is not None
    }
    return Voices(recording.uri, recording.model, {name: means.get(name) for name in talk}, enrolled)


def link(recordings: Sequence[Voices], config: LinkingConfig = LinkingConfig()) -> list[dict[str, str]]:
    """For each recording, from its speakers' labels to labels that hold in all recordings: PERSON_000, PERSON_001...

    Persons are numbered by first appearance.  Two speakers of one recording are never one person.  Who was named by
    hand keeps the name, for all of the person: one name is one person, and two names are two.  So it is with enrolled
    people, but nobody else is linked to them: who was not recognised is unknown, of which a link is no proof.  For
    everything else the order of the recordings does not matter.

    Raises ValueError for voices of different models.
    """
    for one in recordings:
        if one.model != recordings[0].model:
            raise ValueError(
                f"voices of different models cannot be compared: {recordings[0].uri} was made with "
                f"{recordings[0].model}, {one.uri} with {one.model}; make both with the same --model"
            )
    enrolled = {name for one in recordings for name in one.enrolled.values()}
    labels = [
        {label: name for label in one.means if (name := one.enrolled.get(label, label)) in enrolled}
        for one in recordings
    ]
    names = [
        (number, name) for number, one in enumerate(recordings) for name in one.means if name not in labels[number]
    ]
    if not names:
        return labels
    size = max((len(mean) for one in recordings for mean in one.means.values() if mean is not None), default=1)
    means = [recordings[number].means[name] for number, name in names]
    voices = np.stack([np.zeros(size, np.float32) if mean is None else mean for mean in means])
    by_hand = {name: i for i, name in enumerate(dict.fromkeys(name for _, name in names if not is_label(name)))}
    persons = link_voices(
        voices,
        np.array([number for number, _ in names]),
        config.threshold,
        np.array([by_hand.get(name, -1) for _, name in names]),
    ).tolist()
    called = {person: name for (_, name), person in zip(names, persons, strict=True) if name in by_hand}
    for (number, name), person in zip(names, persons, strict=True):
        labels[number][name] = called.get(person, f"PERSON_{person:03d}")
    return labels


def link_voices(voices: Embeddings, recordings: Labels, threshold: float, known: Labels | None = None) -> Labels:
    """The person of each voice, numbered by first appearance, shape (n,).

    Bottom-up: the two nearest persons become one while they are at most `threshold` apart and in no recording both.
    A person's voice is the mean over recordings, each of the same weight: one long recording would give its room and
    its microphone to the mean.

    voices: the mean voice of a speaker in a recording, shape (n, dimensions), unit norm; of zeros where there is none,
        which is near nobody.
    recordings: which recording each voice is from, shape (n,).
    threshold: cosine distance in 0..2.
    known: who it certainly is, shape (n,): the number of a person, -1 where it is not known; None: of no voice.
    """
    order = np.lexsort(voices.T)  # of equal distances the first counts, whatever the order of the recordings
    sums = voices[order].astype(np.float64)
    means = sums.copy()
    distance = 1 - means @ means.T
    distance[recordings[order, None] == recordings[order]] = np.inf  # never one person; nor a voice with itself
    silent = ~sums.any(axis=1)
    distance[silent] = distance[:, silent] = np.inf
    if known is not None:
        certain, apart = known[order], np.isinf(distance)
        distance[(certain[:, None] == certain) & (certain >= 0)] = CERTAIN
        distance[(certain[:, None] != certain) & (certain >= 0) & (certain[:, None] >= 0) | apart] = np.inf
    rows = np.arange(len(voices))
    person = rows.copy()
    nearest = distance.argmin(axis=1)
    while True:
        nearness = distance[rows, nearest]
        kept = int(nearness.argmin())
        gone = int(nearest[kept])
        if nearness[kept] > threshold:
            break
        person[person == gone] = kept
        sums[kept] += sums[gone]
        means[kept] = unit(sums[kept][None])[0]
        changed = np.isin(nearest, (kept, gone)) | np.isin(rows, (kept, gone))
        new = np.where(np.minimum(distance[kept], distance[gone]) == CERTAIN, CERTAIN, 1 - means @ means[kept])
        new[np.isinf(distance[kept]) | np.isinf(distance[gone])] = np.inf
        distance[kept] = distance[:, kept] = new
        distance[gone] = distance[:, gone] = np.inf
        nearest[new < distance[rows, nearest]] = kept
        nearest[changed] = distance[changed].argmin(axis=1)
    found = np.empty_like(person)
    found[order] = person
    return by_first_appearance(found)


def _means(
    recording: EmbeddedRecording, answer: Diarization, talk: Mapping[str, Sequence[Interval]]
) -> dict[str, Embeddings]:
    """The mean voice of each speaker: of the windows in which this one talks most.  Without such there is none.

    Where several talk in all of a window's speech, its voice may be either's, and does not count.
    """
    means: dict[str, Embeddings] = {}
    for channel, windows in enumerate(recording.channels, start=1):
        here = [name for name in talk if answer.channels.get(name, channel) == channel]
        if here and windows:
            spoken = shared([window.speech for window in windows], [talk[name] for name in here])
            alone = (spoken == spoken.max(axis=1, keepdims=True)).sum(axis=1) == 1
            most = np.where(alone & spoken.any(axis=1), spoken.argmax(axis=1), -1)
            embeddings = np.stack([window.embedding for window in windows])
            for number in np.unique(most[most >= 0]).tolist():
                means[here[number]] = unit(embeddings[most == number].sum(axis=0, keepdims=True))[0]
    return means
