"""Online clustering as a stage: a label for every window as it comes, corrected as more is heard, final at the end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diarize.clustering.agglomerative import Embeddings, Labels, by_first_appearance, totals, unit
from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.naming import Identify, Names, identities, talk
from diarize.clustering.offline import ClusteringConfig, cluster, confidences, gaps, speakers
from diarize.clustering.viterbi import viterbi
from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, Clock, EmbeddingWindow, Merge, Named, SpeakerWindow

Said = SpeakerWindow | Named | Clock | Merge


@dataclass(frozen=True)
class OnlineConfig:
    """How labels are found while the stream runs.

    buffer: windows, 50..5000; so many of the newest are clustered again and again, and can be corrected before the end.
    every: windows, 1..1000; they are clustered again after so many new ones, or after a tenth of those clustered where
        that is more, so that the work does not grow with the square of the buffer.
    exemplar: windows, 1..100; what leaves the buffer goes on as exemplars, means of up to so many neighbours.
    exemplars: 10..5000; of more, the nearest two of the speaker that has most are put together.
    opening: windows, 1..100; so many in a row that are near nobody open a new speaker at once.
    near: cosine distance in 0..2; a window farther than this from every speaker is near nobody.
    """

    buffer: int = 400
    every: int = 5
    exemplar: int = 10
    exemplars: int = 100
    opening: int = 3
    near: float = 0.65

    def __post_init__(self) -> None:
        for name, low, high in (
            ("buffer", 50, 5000),
            ("every", 1, 1000),
            ("exemplar", 1, 100),
            ("exemplars", 10, 5000),
            ("opening", 1, 100),
            ("near", 0, 2),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"online.{name} is {getattr(self, name)}: give {low} to {high}")


@dataclass
class Exemplar:
    """Neighbouring windows of one speaker: the sum of their embeddings, how many they are, and samples of speech."""

    sum: NDArray[np.float32]
    windows: int
    talk: int
    speaker: int


@dataclass
class OnlineState:
    """What is known of the stream.  Speakers are numbers, given once and never again.

    labels: the speaker last said of each window so far, in order.
    recent: the newest windows, which can still be labelled otherwise.
    exemplars: what is known of older ones.
    voices: the sum of the embeddings of each speaker.
    opened: how many speakers there have been.
    fresh: windows since they were last clustered.
    strange: how many of the newest windows in a row were near nobody.
    names: of the speakers who were found to be enrolled people.
    """

    labels: list[int] = field(default_factory=list)
    recent: list[EmbeddingWindow] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    voices: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    opened: int = 0
    fresh: int = 0
    strange: int = 0
    names: Names = field(default_factory=Names)


class OnlineClustering(Stage[EmbeddingWindow | Clock | Merge, Said]):
    """Labels windows as they come.

    A window goes to the nearest speaker, at a price for changing speakers; several in a row that are near nobody open
    a new one.  Every few windows the newest are clustered together with exemplars of the older ones, as a recording
    would be, and the clusters are matched to the speakers already shown so that as little as possible changes (as in
    NeMo's online clustering); a window whose speaker changes is said again.  At the end all embeddings are clustered
    as offline and every window is said once more: the same partition, under the numbers already shown.

    Whenever windows are clustered the speakers are matched with the enrolled people, and who is found to be the same
    twice in a row gets the name; at the end the names are those of the offline run.

    embeddings: where every window is kept; the first `len(state.labels)` in it are this stream's.
    identify: tells who the speakers are; None: nobody is enrolled.
    """

    state: OnlineState

    def __init__(
        self,
        clustering: ClusteringConfig,
        online: OnlineConfig,
        embeddings: EmbeddingFile,
        identify: Identify | None = None,
    ) -> None:
        self.clustering, self.online, self.embeddings, self._identify = clustering, online, embeddings, identify
        self.state = OnlineState()

    def push(self, item: EmbeddingWindow | Clock | Merge, /) -> list[Said]:
        if isinstance(item, Clock | Merge):
            return [item]
        if item.provisional:
            speaker, confidence, _ = self._nearest(item)
            return [_said(item, speaker, confidence)]
        return self._take(item)

    def flush(self) -> list[Said]:
        windows = self.embeddings.read_all()
        if not windows:
            return []
        order = sorted(range(len(windows)), key=lambda i: (windows[i].start, windows[i].end))
        windows = [windows[i] for i in order]
        labels, scores = cluster(np.stack([window.embedding for window in windows]), gaps(windows), self.clustering)
        numbers = self._matched(labels, np.array(self.state.labels)[order], np.ones(len(windows)))
        distances = np.full((len(windows), max(numbers.values()) + 1), np.inf, np.float32)
        distances[:, [numbers[label] for label in range(len(numbers))]] = 1 - scores
        sure = confidences(scores, labels).tolist()
        found = identities(windows, labels, self._identify)
        return [
            *(
                replace(_said(window, numbers[label], sure[i]), distances=tuple(distances[i].tolist()))
                for i, (window, label) in enumerate(zip(windows, labels.tolist(), strict=True))
            ),
            *self.state.names.conclude({numbers[label]: identity for label, identity in found.items()}),
        ]

    def _take(self, window: EmbeddingWindow) -> list[Said]:
        """A window that counts: it is kept, labelled, and now and then gives reason to cluster again."""
        state, online = self.state, self.online
        self.embeddings.append(window)
        speaker, confidence, distance = self._nearest(window)
        state.strange = state.strange + 1 if distance > self.clustering.scale * online.near else 0
        state.recent.append(window)
        state.labels.append(speaker)
        state.fresh += 1
        state.opened = max(state.opened, 1)
        if state.strange == 0:  # what may be somebody else's would blur the voice
            state.voices[speaker] = state.voices.get(speaker, 0) + window.embedding
        out: list[Said] = [_said(window, speaker, confidence)]
        due = state.fresh >= max(online.every, (len(state.recent) + len(state.exemplars)) // 10)
        if due or state.strange == online.opening:
            out += [*self._cluster(), *self._name()]
        if len(state.recent) > online.buffer:
            self._settle()
        return out

    def _nearest(self, window: EmbeddingWindow) -> tuple[int, float, float]:
        """The speaker of a window by itself, the confidence in that, and the distance from them."""
        state = self.state
        if not state.voices:
            return 0, 1.0, 0.0
        numbers = list(state.voices)
        scores = unit(np.stack([state.voices[number] for number in numbers])) @ window.embedding
        price = np.zeros(len(numbers), np.float32)
        if state.recent:
            gap = gaps([state.recent[-1], window])
            price += self.clustering.scale * self.clustering.switch_penalty * np.exp(-gap)
            price[[number == state.labels[-1] for number in numbers]] = 0
        best = int(np.argmax(scores - price))
        (confidence,) = confidences(scores[None], np.array([best]))
        return numbers[best], float(confidence), float(1 - scores[best])

    def _cluster(self) -> list[SpeakerWindow]:
        """Cluster what is in the buffer; the windows whose speaker changes."""
        state = self.state
        state.fresh = 0
        sums = np.stack([*(one.sum for one in state.exemplars), *(window.embedding for window in state.recent)])
        weights = np.array([*(one.windows for one in state.exemplars), *([1] * len(state.recent))], dtype=np.float64)
        old = len(state.exemplars)
        shown = np.array([*(one.speaker for one in state.exemplars), *state.labels[-len(state.recent) :]])
        members = self._members(sums)
        voices = totals(sums, members).astype(np.float32)
        scores = np.stack([window.embedding for window in state.recent]) @ unit(voices).T
        penalty = self.clustering.scale * self.clustering.switch_penalty * np.exp(-gaps(state.recent))
        labels = np.concatenate((members[:old], viterbi(scores, penalty)))
        numbers = self._matched(labels, shown, weights)
        sure = confidences(scores, labels[old:])
        for one, label in zip(state.exemplars, labels[:old].tolist(), strict=True):
            one.speaker = numbers[label]
        state.voices = {numbers[label]: voice for label, voice in enumerate(voices) if label in numbers}
        out = []
        first = len(state.labels) - len(state.recent)
        for i, (window, label) in enumerate(zip(state.recent, labels[old:].tolist(), strict=True)):
            if state.labels[first + i] != numbers[label]:
                state.labels[first + i] = numbers[label]
                out.append(_said(window, numbers[label], float(sure[i])))
        return out

    def _name(self) -> list[Named]:
        """Match the speakers with the enrolled people."""
        state = self.state
        if self._identify is None:
            return []
        heard: Counter[int] = Counter()
        for one in state.exemplars:
            heard[one.speaker] += one.talk
        for number, samples in zip(state.labels[-len(state.recent) :], talk(state.recent).tolist(), strict=True):
            heard[number] += samples
        seconds = np.array([heard[number] / SAMPLE_RATE for number in state.voices])
        found = self._identify(unit(np.stack([*state.voices.values()])), seconds)
        return state.names.decide(dict(zip(state.voices, found, strict=True)))

    def _members(self, sums: Embeddings) -> Labels:
        """The cluster of each, shape (n,), those of people among them whom clustering alone overlooks.

        These are who was heard long ago, of whom a few exemplars are left, and who has only just begun to talk.
        """
        state, online, clustering = self.state, self.online, self.clustering
        members = speakers(unit(sums), clustering, logging.DEBUG)  # the final clustering says it aloud
        earlier = np.array([one.speaker for one in state.exemplars], np.int64)
        windows = np.array([one.windows for one in state.exemplars], np.int64)
        for own in (np.flatnonzero(earlier == number) for number in np.unique(earlier)):
            voice, known = unit(sums[own].sum(axis=0, keepdims=True)), windows[own].sum() >= clustering.smallest
            apart = _likeness(voice, sums, members)[0] < 1 - clustering.scale * clustering.threshold
            if known and apart and self._room(members):
                members[own] = members.max() + 1
                members = by_first_appearance(members)
        near = _likeness(sums[-len(state.recent) :], sums, members) >= 1 - clustering.scale * online.near
        state.strange = int(np.argmax([*near[::-1], True]))
        if state.strange >= online.opening and self._room(members):
            members[-state.strange :] = members.max() + 1
            state.strange = 0
        return by_first_appearance(members)

    def _room(self, members: Labels) -> bool:
        """Whether there can be one speaker more."""
        _, most = self.clustering.speakers
        return most is None or members.max() + 1 < most

    def _matched(self, labels: Labels, shown: Labels, weights: NDArray[np.float64]) -> dict[int, int]:
        """The number of each cluster: of the speaker it shares most with, one to one; new ones where none is left.

        labels, shown, weights: cluster, speaker and number of windows, each of shape (n,).
        """
        clusters, column = np.unique(labels, return_inverse=True)
        numbers, row = np.unique(shown, return_inverse=True)
        shared = np.zeros((len(numbers), len(clusters)))
        np.add.at(shared, (row, column), weights)
        pairs = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
        found = {int(clusters[j]): int(numbers[i]) for i, j in pairs if shared[i, j] > 0}
        for label in clusters.tolist():
            if label not in found:
                found[label] = self._open()
        return found

    def _open(self) -> int:
        self.state.opened += 1
        return self.state.opened - 1

    def _settle(self) -> None:
        """Make exemplars of the oldest quarter of the buffer, and keep these few."""
        state, online = self.state, self.online
        labels = state.labels[-len(state.recent) :]
        leaving = len(state.recent) // 4
        talked = talk(state.recent).tolist()
        for window, speaker, samples in zip(state.recent[:leaving], labels, talked, strict=False):
            last = state.exemplars[-1] if state.exemplars else None
            if last is not None and last.speaker == speaker and last.windows < online.exemplar:
                last.sum, last.windows, last.talk = last.sum + window.embedding, last.windows + 1, last.talk + samples
            else:
                state.exemplars.append(Exemplar(window.embedding, 1, samples, speaker))
        del state.recent[:leaving]
        while len(state.exemplars) > online.exemplars:
            numbers, counts = np.unique([one.speaker for one in state.exemplars], return_counts=True)
            most = [i for i, one in enumerate(state.exemplars) if one.speaker == numbers[np.argmax(counts)]]
            voices = unit(np.stack([state.exemplars[i].sum for i in most]))
            alike = np.triu(voices @ voices.T + 2, 1)
            a, b = (most[i] for i in np.unravel_index(np.argmax(alike), alike.shape))
            one, other = state.exemplars[a], state.exemplars.pop(b)
            one.sum, one.windows, one.talk = one.sum + other.sum, one.windows + other.windows, one.talk + other.talk


def _said(window: EmbeddingWindow, speaker: int, confidence: float) -> SpeakerWindow:
    return SpeakerWindow(window.start, window.end, window.speech, window.group, speaker, confidence, window.provisional)


def _likeness(embeddings: Embeddings, sums: Embeddings, members: Labels) -> NDArray[np.float32]:
    """The cosine of each embedding to the nearest cluster's mean."""
    likeness: NDArray[np.float32] = (embeddings @ unit(totals(sums, members)).astype(np.float32).T).max(axis=1)
    return likeness
