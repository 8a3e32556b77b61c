"""Online clustering as a stage: a label for every window as it comes, corrected as more is heard, final at the end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import Embeddings, Labels, by_first_appearance, totals, unit
from diarize.clustering.constraints import smoothed
from diarize.clustering.exemplars import Exemplar, gather, thin_out
from diarize.clustering.groups import group_start, groups, voices
from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.naming import Identify, Names, identities, talk
from diarize.clustering.numbering import numbered
from diarize.clustering.offline import ClusteringConfig, cluster_windows, confidences, gaps, speakers
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
    growing: since the last clock, by group, the speakers said of provisional windows.
    """

    labels: list[int] = field(default_factory=list)
    recent: list[EmbeddingWindow] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    voices: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    opened: int = 0
    fresh: int = 0
    strange: int = 0
    names: Names = field(default_factory=Names)
    growing: dict[int, list[int]] = field(default_factory=dict)

    @property
    def talked(self) -> list[int]:
        """The speakers of the recent windows."""
        return self.labels[len(self.labels) - len(self.recent) :]


class OnlineClustering(Stage[EmbeddingWindow | Clock | Merge, Said]):
    """Labels windows as they come.

    A window goes to the nearest speaker, at a price for changing speakers; those of a group to different ones, as far
    as there are so many; several in a row that are near nobody open a new one.  Every few windows the newest are
    clustered together with exemplars of the older ones, as a recording would be, and the clusters are matched to the
    speakers already shown so that as little as possible changes (as in NeMo's online clustering); a window whose
    speaker changes is said again.  At the end all embeddings are clustered as offline and every window is said once
    more: the same partition, under the numbers already shown.

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
        if isinstance(item, Clock):
            self.state.growing.clear()
        if isinstance(item, Clock | Merge):
            return [item]
        if item.provisional:
            taken = self.state.growing.setdefault(item.group, [])
            speaker, confidence, _ = self._nearest(item, taken)
            taken.append(speaker)
            return [_said(item, speaker, confidence, len(taken) - 1)]
        return self._take(item)

    def flush(self) -> list[Said]:
        windows = self.embeddings.read_all()
        if not windows:
            return []
        order = sorted(range(len(windows)), key=lambda i: (windows[i].start, windows[i].end))
        windows = [windows[i] for i in order]
        labels, scores = cluster_windows(windows, self.clustering)
        numbers = self._numbered(labels, [self.state.labels[i] for i in order], np.ones(len(windows)))
        distances = np.full((len(windows), max(numbers.values()) + 1), np.inf, np.float32)
        distances[:, [numbers[label] for label in range(len(numbers))]] = 1 - scores
        sure = confidences(scores, labels).tolist()
        found = identities(windows, labels, self._identify)
        said = zip(windows, labels.tolist(), sure, voices(windows), distances.tolist(), strict=True)
        return [
            *(
                replace(_said(window, numbers[label], confidence, voice), distances=tuple(away))
                for window, label, confidence, voice, away in said
            ),
            *self.state.names.conclude({numbers[label]: identity for label, identity in found.items()}),
        ]

    def _take(self, window: EmbeddingWindow) -> list[Said]:
        """A window that counts: it is kept, labelled, and now and then gives reason to cluster again."""
        state, online = self.state, self.online
        self.embeddings.append(window)
        taken = state.talked[group_start(state.recent, window.group) :]
        speaker, confidence, distance = self._nearest(window, taken)
        state.strange = state.strange + 1 if distance > self.clustering.scale * online.near else 0
        state.recent.append(window)
        state.labels.append(speaker)
        state.fresh += 1
        state.opened = max(state.opened, 1)
        if state.strange == 0:  # what may be somebody else's would blur the voice
            state.voices[speaker] = state.voices.get(speaker, 0) + window.embedding
        out: list[Said] = [_said(window, speaker, confidence, len(taken))]
        due = state.fresh >= max(online.every, (len(state.recent) + len(state.exemplars)) // 10)
        if due or state.strange == online.opening:
            out += [*self._cluster(), *self._name()]
        if len(state.recent) > online.buffer:
            self._settle()
        return out

    def _nearest(self, window: EmbeddingWindow, taken: Sequence[int]) -> tuple[int, float, float]:
        """The speaker of a window by itself, the confidence in that, and the distance from them.

        taken: the speakers of its group's other voices; it is one of them only where there is nobody else.
        """
        state = self.state
        if not state.voices:
            return 0, 1.0, 0.0
        numbers = list(state.voices)
        scores = unit(np.stack([state.voices[number] for number in numbers])) @ window.embedding
        price = np.zeros(len(numbers), np.float32)
        before = state.recent[: group_start(state.recent, window.group)]
        if before:
            gap = gaps([before[-1], window])
            price += self.clustering.scale * self.clustering.switch_penalty * np.exp(-gap)
            going_on = state.talked[group_start(before, before[-1].group) : len(before)]
            price[[number in going_on for number in numbers]] = 0
        others = [number in taken for number in numbers]
        price[others] = 0 if all(others) else np.inf
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
        shown = [*(one.speaker for one in state.exemplars), *state.talked]
        members = self._members(sums)
        means = totals(sums, members).astype(np.float32)
        scores = np.stack([window.embedding for window in state.recent]) @ unit(means).T
        penalty = self.clustering.scale * self.clustering.switch_penalty * np.exp(-gaps(state.recent))
        labels = np.concatenate((members[:old], smoothed(scores, penalty, None, groups(state.recent))))
        numbers = self._numbered(labels, shown, weights)
        sure = confidences(scores, labels[old:])
        for one, label in zip(state.exemplars, labels[:old].tolist(), strict=True):
            one.speaker = numbers[label]
        state.voices = {numbers[label]: mean for label, mean in enumerate(means) if label in numbers}
        out = []
        first = len(state.labels) - len(state.recent)
        said = zip(state.recent, labels[old:].tolist(), sure.tolist(), voices(state.recent), strict=True)
        for i, (window, label, confidence, voice) in enumerate(said, first):
            if state.labels[i] != numbers[label]:
                state.labels[i] = numbers[label]
                out.append(_said(window, numbers[label], confidence, voice))
        return out

    def _name(self) -> list[Named]:
        """Match the speakers with the enrolled people."""
        state = self.state
        if self._identify is None:
            return []
        heard: Counter[int] = Counter()
        for one in state.exemplars:
            heard[one.speaker] += one.talk
        for number, samples in zip(state.talked, talk(state.recent).tolist(), strict=True):
            heard[number] += samples
        seconds = np.array([heard[number] / SAMPLE_RATE for number in state.voices])
        found = self._identify(unit(np.stack([*state.voices.values()])), seconds)
        return state.names.decide(dict(zip(state.voices, found, strict=True)))

    def _members(self, sums: Embeddings) -> Labels:
        """The cluster of each, shape (n,), those of people among them whom clustering alone overlooks.

        These are who was heard long ago, of whom a few exemplars are left, and who has only just begun to talk.
        """
        state, online, clustering = self.state, self.online, self.clustering
        # every exemplar is a group of its own, whatever became of those its windows were of
        together = np.concatenate((-1 - np.arange(len(state.exemplars)), groups(state.recent)))
        members = speakers(unit(sums), clustering, together, logging.DEBUG)  # the final clustering says it aloud
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

    def _numbered(self, labels: Labels, shown: list[int], weights: NDArray[np.float64]) -> dict[int, int]:
        """The number of each cluster, old or new; see `numbered`."""
        numbers = numbered(labels, np.array(shown), weights, self.state.opened)
        self.state.opened = max(self.state.opened, *(number + 1 for number in numbers.values()))
        return numbers

    def _settle(self) -> None:
        """Make exemplars of the oldest quarter of the buffer, and keep these few."""
        state, online = self.state, self.online
        quarter = len(state.recent) // 4
        leaving = group_start(state.recent[: quarter + 1], state.recent[quarter].group)  # no group is torn apart
        leave = zip(state.recent[:leaving], state.talked, talk(state.recent).tolist(), strict=False)
        alone = [Exemplar(window.embedding, 1, samples, speaker) for window, speaker, samples in leave]
        del state.recent[:leaving]
        gather(state.exemplars, alone, online.exemplar)
        thin_out(state.exemplars, online.exemplars)


def _said(window: EmbeddingWindow, speaker: int, confidence: float, voice: int) -> SpeakerWindow:
    return SpeakerWindow(
        window.start, window.end, window.speech, window.group, speaker, confidence, window.provisional, voice=voice
    )


def _likeness(embeddings: Embeddings, sums: Embeddings, members: Labels) -> NDArray[np.float32]:
    """The cosine of each embedding to the nearest cluster's mean."""
    likeness: NDArray[np.float32] = (embeddings @ unit(totals(sums, members)).astype(np.float32).T).max(axis=1)
    return likeness
