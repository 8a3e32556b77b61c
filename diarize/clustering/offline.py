"""Offline clustering as a stage: it listens to the end, then says who talks in every window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from diarize.clustering.agglomerative import (
    Embeddings,
    Labels,
    agglomerative,
    average_linkage,
    by_first_appearance,
    centroids,
    one_speaker,
)
from diarize.clustering.averaging import averaged
from diarize.clustering.bayesian import bayesian_clusters
from diarize.clustering.constraints import check_known, constrained, smoothed
from diarize.clustering.groups import alone, groups
from diarize.clustering.hdbscan import hdbscan_clusters
from diarize.clustering.linkage import long_linkage, representatives
from diarize.clustering.naming import Identify, identities
from diarize.clustering.spectral import spectral_clusters
from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, EmbeddingWindow, Named, SpeakerWindow

log = logging.getLogger(__name__)

OTHERS: dict[str, tuple[str, Callable[..., Labels | None]]] = {
    "bayesian": ("Bayesian clustering", bayesian_clusters),
    "hdbscan": ("HDBSCAN", hdbscan_clusters),
    "spectral": ("spectral clustering", spectral_clusters),
}
ALGORITHMS = ("agglomerative", *OTHERS)

OF_MANY = 1250
"""Of so many windows, more than eight minutes of speech, one must be a speaker's: in hours, noise and overlap come
together often enough to make groups of `smallest`.  Of ten hours half a minute is enough."""


@dataclass(frozen=True)
class ClusteringConfig:
    """How windows are grouped into speakers.

    name: the algorithm, one of `ALGORITHMS`.
    threshold: cosine distance in 0..2 between the mean voices of two speakers; what is nearer is one speaker.  Higher
        finds fewer speakers.
    fragment: cosine distance in 0..2; windows that are on average this near are put together before speakers are told
        apart; the others need it only where they find too few clusters.
    smallest: windows; a smaller group, unless it is a tenth of the recording, is no speaker and goes to the nearest.
    switch_penalty: in cosine; the price of a change of speaker from one window to the next.  0 switches smoothing off.
    averaging: seconds, 0..10; speakers are found among windows averaged with those like them that are so near (see
        `averaging`).  0: among the windows themselves.
    scale: how far apart the network puts voices, beside the bundled one; all distances here are multiplied by it.
    num_speakers, min_speakers, max_speakers: what is known of the number of speakers.
    limit: windows that are compared each with each at once; for longer recordings the work is bounded (see `linkage`).
    """

    name: str = "bayesian"
    threshold: float = 0.30
    fragment: float = 0.65
    smallest: int = 12
    switch_penalty: float = 0.1
    averaging: float = 0.0
    scale: float = 1.0
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    limit: int = 5000

    def __post_init__(self) -> None:
        if self.name not in ALGORITHMS:
            raise ValueError(f"unknown clustering {self.name!r}: choose one of {', '.join(ALGORITHMS)}")
        for name, low, high in (
            ("threshold", 0, 2),
            ("fragment", 0, 2),
            ("switch_penalty", 0, 10),
            ("averaging", 0, 10),
            ("scale", 0.1, 10),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"clustering.{name} is {getattr(self, name)}: it must be between {low} and {high}")
        for name, least in (("smallest", 1), ("limit", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"clustering.{name} is {getattr(self, name)}: it must be at least {least}")
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"clustering.{name} is {value}: there must be at least 1 speaker")
        fewest, most = self.speakers
        if most is not None and fewest > most:
            raise ValueError(
                f"at least {fewest} and at most {most} speakers is impossible: "
                "min_speakers, num_speakers and max_speakers must not contradict each other"
            )

    @property
    def speakers(self) -> tuple[int, int | None]:
        """The least and the greatest number of speakers allowed; None when there is no upper bound."""
        low = max(self.num_speakers or 1, self.min_speakers or 1)
        bounds = [bound for bound in (self.num_speakers, self.max_speakers) if bound is not None]
        return low, min(bounds, default=None)


@dataclass
class OfflineClusteringState:
    """The windows heard so far."""

    windows: list[EmbeddingWindow] = field(default_factory=list)


class OfflineClustering(Stage[EmbeddingWindow, SpeakerWindow | Named]):
    """Keeps every window, and says at the end all labels, and who the speakers are.

    identify: tells who they are; None: nobody is enrolled.
    """

    state: OfflineClusteringState

    def __init__(self, config: ClusteringConfig, identify: Identify | None = None) -> None:
        self.config, self._identify = config, identify
        self.state = OfflineClusteringState()

    def push(self, item: EmbeddingWindow, /) -> list[SpeakerWindow | Named]:
        self.state.windows.append(item)
        return []

    def flush(self) -> list[SpeakerWindow | Named]:
        windows = sorted(self.state.windows, key=lambda window: (window.start, window.end))
        if not windows:
            return []
        labels, scores = cluster_windows(windows, self.config)
        sure = confidences(scores, labels).tolist()
        said = [
            SpeakerWindow(
                window.start,
                window.end,
                window.speech,
                window.group,
                label,
                sure[i],
                distances=tuple((1 - scores[i]).tolist()),
                person=window.person,
            )
            for i, (window, label) in enumerate(zip(windows, labels.tolist(), strict=True))
        ]
        found = identities(windows, labels, self._identify)
        return [*said, *(Named(label, identity) for label, identity in found.items())]


def cluster_windows(windows: Sequence[EmbeddingWindow], config: ClusteringConfig) -> tuple[Labels, NDArray[np.float32]]:
    """What `cluster` says of windows, in order of time, at least one."""
    embeddings, of = np.stack([window.embedding for window in windows]), groups(windows)
    steady = None
    if config.averaging:
        middles = np.array([window.start + window.end for window in windows]) / (2 * SAMPLE_RATE)
        steady = averaged(embeddings, middles, of, config.averaging)
    return cluster(embeddings, gaps(windows), config, people(windows), of, steady)


def cluster(
    embeddings: Embeddings,
    gaps: NDArray[np.float64],
    config: ClusteringConfig,
    known: Labels | None = None,
    groups: Labels | None = None,
    steady: Embeddings | None = None,
) -> tuple[Labels, NDArray[np.float32]]:
    """Who talks in each window, and how near it is to everybody.

    embeddings: shape (n, dimensions), unit norm, in order of time; n at least 1.
    gaps: seconds of silence between one window and the next, shape (n - 1,).
    known: who talks in each window for certain, shape (n,): the number of a person, or -1.
    groups: shape (n,); windows of the same group are different voices at the same time.
    steady: the embeddings among which speakers are found, shape (n, dimensions), where they are not the same.
    Returns labels, shape (n,), numbered by first appearance, and the cosine similarity of each window to the mean voice
    of each speaker, shape (n, speakers).  Windows with the same known person share a label and those with different
    ones do not; the windows of a group have different labels, unless there are fewer speakers or `known` contradicts.
    Raises ValueError where more people are known than there may be speakers.
    """
    low, high = config.speakers
    if known is not None:
        check_known(known, high)
    if low > len(embeddings):
        log.warning("%d speakers wanted, but the speech fills only %d windows", low, len(embeddings))
    members = speakers(embeddings if steady is None else steady, config, groups)
    if known is not None and (known >= 0).any():
        members = constrained(embeddings, members, known, low, high)
        known = np.where(known >= 0, members, -1)
    scores = embeddings @ centroids(embeddings, members).T
    labels = smoothed(scores, config.scale * config.switch_penalty * np.exp(-gaps), known, groups)
    present = np.unique(labels)
    if len(present) < low:  # smoothing has taken away somebody who is known to be there: give the windows back
        lost = np.flatnonzero(~np.isin(members, present))
        if groups is not None:  # of a group only one window, or two would have one label
            lost = lost[np.unique((groups[lost], members[lost]), axis=1, return_index=True)[1]]
        labels[lost] = members[lost]
    present = labels[np.sort(np.unique(labels, return_index=True)[1])]  # as `by_first_appearance` numbers them
    return by_first_appearance(labels), scores[:, present]


def speakers(
    embeddings: Embeddings, config: ClusteringConfig, groups: Labels | None = None, level: int = logging.WARNING
) -> Labels:
    """The speaker of each embedding by itself, shape (n,): neither time nor smoothing enters.

    groups: as in `cluster`.  Speakers are found among the windows of groups of one, and the others go to the nearest:
        two voices at once are seldom told apart so well that there is nothing of the one in the embedding of the other,
        and such mixtures made speakers of their own.  Where windows of groups of one are fewer than two, or than the
        speakers, all count.
    level: of logging, at which it is said that agglomerative clustering stands in for another.
    """
    if groups is not None:
        single = alone(groups)
        if max(2, config.speakers[0]) <= single.sum() < len(single):
            found = _clusters(embeddings[single], config, level)
            members: Labels = (embeddings @ centroids(embeddings[single], found).T).argmax(axis=1)
            members[single] = found
            return members
    return _clusters(embeddings, config, level)


def _clusters(embeddings: Embeddings, config: ClusteringConfig, level: int) -> Labels:
    """What the algorithm makes of embeddings; see `speakers`."""
    n = len(embeddings)
    low, high = config.speakers
    one = np.zeros(n, dtype=np.int64)
    if n < 2 or high == 1:
        return one
    threshold, fragment = config.scale * config.threshold, config.scale * config.fragment
    if n <= config.limit:
        tree, smallest = average_linkage(embeddings), config.smallest
    else:
        tree, smallest = long_linkage(embeddings), max(config.smallest, n // OF_MANY)
    if low == 1 and config.name != "bayesian" and one_speaker(embeddings, tree, threshold, smallest):
        return one
    if config.name in OTHERS:
        said, clusters = OTHERS[config.name]
        voices, of = representatives(embeddings, tree, config.limit)
        if config.name == "bayesian":
            own_tree = tree if n <= config.limit else average_linkage(voices)
            clusters = partial(clusters, tree=own_tree, scale=config.scale)
        found = clusters(voices, threshold=threshold, smallest=config.smallest, minimum=low, maximum=high)
        if found is not None:
            return by_first_appearance(found[of])
        log.log(level, "%s finds fewer than %d clusters: clustering agglomeratively", said, low)
    return agglomerative(embeddings, tree, threshold, fragment=fragment, smallest=smallest, minimum=low, maximum=high)


def confidences(scores: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
    """How much nearer each window is to its speaker than to the next one: the simplified silhouette, cut off at 0.

    scores: cosine similarities, shape (n, speakers).
    Returns values in 0..1, shape (n,); 1 where there is one speaker only, with whom nobody can be mixed up.
    """
    n, speakers = scores.shape
    if speakers == 1:
        return np.ones(n, dtype=np.float32)
    distance = 1 - scores
    own = distance[np.arange(n), labels]
    others = distance.copy()
    others[np.arange(n), labels] = np.inf
    nearest = others.min(axis=1)
    margin: NDArray[np.float32] = (nearest - own) / np.maximum(np.maximum(nearest, own), 1e-6)
    return margin.clip(0, 1).astype(np.float32)


def people(windows: Sequence[EmbeddingWindow]) -> Labels | None:
    """The number of the person that is known to talk in each window, shape (n,), -1 where none; None: of no window."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(window.person for window in windows if window.person))}
    return np.array([numbers.get(window.person or "", -1) for window in windows]) if numbers else None


def gaps(windows: Sequence[EmbeddingWindow]) -> NDArray[np.float64]:
    """Seconds of silence between one window and the next, 0 where they overlap."""
    ends = np.array([window.end for window in windows[:-1]], dtype=np.float64)
    starts = np.array([window.start for window in windows[1:]], dtype=np.float64)
    return np.maximum(0.0, starts - ends) / SAMPLE_RATE
