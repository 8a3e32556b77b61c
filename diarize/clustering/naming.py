"""Who the speakers are: clusters, not windows, are matched with the enrolled people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import Embeddings, Labels, centroids
from diarize.types import SAMPLE_RATE, EmbeddingWindow, Identity, Named, TurnUpdate

Identify = Callable[[Embeddings, NDArray[np.float64]], list[Identity]]
"""Who speakers are, by their mean voices, shape (k, dimensions), unit norm, and seconds of speech, shape (k,)."""


def identities(windows: Sequence[EmbeddingWindow], labels: Labels, identify: Identify | None) -> dict[int, Identity]:
    """Who each speaker is, by label; who is known by hand is left out.

    windows: by time.  labels: shape (n,), 0..k-1, each there.
    """
    by_hand = {label for window, label in zip(windows, labels.tolist(), strict=True) if window.person is not None}
    sought = [label for label in np.unique(labels).tolist() if label not in by_hand]
    if identify is None or not sought:
        return {}
    voices = centroids(np.stack([window.embedding for window in windows]), labels)
    seconds = np.bincount(labels, talk(windows)) / SAMPLE_RATE
    return dict(zip(sought, identify(voices[sought], seconds[sought]), strict=True))


def talk(windows: Sequence[EmbeddingWindow]) -> NDArray[np.int64]:
    """The samples of speech in each window, by time, up to where the next begins: what overlaps counts once."""
    starts = np.array([window.start for window in windows], np.int64)
    following = np.append(starts, np.iinfo(np.int64).max)[np.searchsorted(starts, starts, side="right")].tolist()
    return np.array(
        [
            sum(max(0, min(end, until) - start) for start, end in window.speech)
            for window, until in zip(windows, following, strict=True)
        ],
        np.int64,
    )


def once(updates: Sequence[TurnUpdate]) -> list[TurnUpdate]:
    """The turns, with each name for one speaker: of several, on different channels, it is the nearest."""
    named = {
        update.speaker: update.identity for update in updates if update.identity and update.identity.name is not None
    }
    nearest = {one.name: speaker for speaker, one in sorted(named.items(), key=lambda item: item[1].score)}
    lost = {
        speaker: replace(one, name=None, reason=f"{one.reason}: who is nearer on another channel")
        for speaker, one in named.items()
        if nearest[one.name] != speaker
    }
    return [replace(update, identity=lost.get(update.speaker, update.identity)) for update in updates]


@dataclass
class Names:
    """What has been said and found while a stream is live, by the speakers' numbers.

    said: the names that hold.
    found: what the last decision was; None: unknown.
    """

    said: dict[int, str] = field(default_factory=dict)
    found: dict[int, str | None] = field(default_factory=dict)

    def decide(self, found: Mapping[int, Identity]) -> list[Named]:
        """What there is to say after one more decision: what was found twice in a row, and is not what was said."""
        sure = {speaker: one for speaker, one in found.items() if self.found.get(speaker, "") == one.name}
        self.found = {speaker: one.name for speaker, one in found.items()}
        return self._say({speaker: one for speaker, one in sure.items() if self.said.get(speaker) != one.name})

    def conclude(self, found: Mapping[int, Identity]) -> list[Named]:
        """All that there is to say at the end; a name that is not found any more is taken back."""
        gone = {speaker: _lost(name) for speaker, name in self.said.items() if speaker not in found}
        return self._say({**gone, **found})

    def _say(self, news: Mapping[int, Identity]) -> list[Named]:
        """Nobody else keeps a name that is given."""
        given = {one.name for one in news.values()}
        gone = {speaker: _lost(name) for speaker, name in self.said.items() if name in given and speaker not in news}
        told = {**gone, **news}
        self.said = {speaker: name for speaker, name in self.said.items() if speaker not in told}
        self.said |= {speaker: one.name for speaker, one in told.items() if one.name is not None}
        return [Named(speaker, one) for speaker, one in told.items()]


def _lost(name: str) -> Identity:
    return Identity(None, 0.0, None, f"{name} is not found in this voice any more")
