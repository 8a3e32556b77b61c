"""Online clustering: the offline answer at the end, numbers that keep their meaning, and little that is held."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.offline import ClusteringConfig, OfflineClustering
from diarize.clustering.online import OnlineClustering, OnlineConfig, OnlineState
from diarize.types import Clock, EmbeddingWindow, Merge, SpeakerWindow
from tests import laws
from tests.test_clustering import same_partition

LENGTH, STEP = 25_600, 6_400
DIMENSIONS = 64

Embeddings = NDArray[np.float32]
Item = EmbeddingWindow | Clock | Merge


def heard(voices: Sequence[int], noise: float, seed: int = 0) -> Embeddings:
    """For each number an embedding of this voice: voices are orthogonal."""
    random = np.random.default_rng(seed).standard_normal((len(voices), DIMENSIONS))
    return unit(np.eye(DIMENSIONS)[np.array(voices, int)] + noise * random / np.sqrt(DIMENSIONS))


def unit(rows: NDArray[np.floating[Any]]) -> Embeddings:
    scaled: Embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def windows_of(embeddings: Embeddings, gaps: Iterable[int] = ()) -> list[EmbeddingWindow]:
    """One window after another, with these pauses (in samples) before the first of them."""
    windows = []
    start = 0
    waits = iter(gaps)
    for group, embedding in enumerate(embeddings):
        start += STEP + next(waits, 0)
        windows.append(EmbeddingWindow(start, start + LENGTH, ((start, start + LENGTH),), group, embedding, 1.0))
    return windows


def growing(window: EmbeddingWindow, embedding: Embeddings) -> EmbeddingWindow:
    end = window.start + LENGTH // 3
    return EmbeddingWindow(window.start, end, ((window.start, end),), window.group, embedding, 0.3, provisional=True)


@st.composite
def conversations(draw: st.DrawFn) -> list[EmbeddingWindow]:
    """Random voices on the sphere, in turns, with noise and pauses."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    middles = unit(random.standard_normal((draw(st.integers(1, 5)), DIMENSIONS)))
    turns = random.integers(0, len(middles), 40).repeat(random.integers(1, 30, 40))[: draw(st.integers(0, 150))]
    noise = draw(st.sampled_from([0.2, 0.8, 1.5])) / np.sqrt(DIMENSIONS)
    embeddings = unit(middles[turns] + noise * random.standard_normal((len(turns), DIMENSIONS)))
    gaps = random.integers(0, 100_000, len(turns)) * (random.random(len(turns)) < 0.1)
    return windows_of(embeddings, gaps.tolist())


@st.composite
def at_once(draw: st.DrawFn) -> list[EmbeddingWindow]:
    """The same where now and then two or three of them talk at the same time, in shares of time that do not overlap."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    people = draw(st.integers(1, 4))
    middles = unit(random.standard_normal((people, DIMENSIONS)))
    noise = draw(st.sampled_from([0.2, 0.8, 1.5])) / np.sqrt(DIMENSIONS)
    windows = []
    talking = random.permutation(people)
    for group in range(draw(st.integers(0, 120))):
        if random.random() < 0.2:
            talking = random.permutation(people)[: random.choice([1, 1, 1, 2, 3])]
        start, end = group * STEP, (group + 1) * STEP
        for voice in talking[:3]:
            embedding = unit((middles[voice] + noise * random.standard_normal(DIMENSIONS))[None])[0]
            windows.append(EmbeddingWindow(start, end, ((start, end),), group, embedding, 1.0))
    return windows


def for_now(items: Sequence[Item]) -> list[Item]:
    """The same windows, provisional."""
    return [replace(item, provisional=True) if isinstance(item, EmbeddingWindow) else item for item in items]


@pytest.fixture
def kept() -> Iterator[EmbeddingFile]:
    with closing(EmbeddingFile()) as file:
        yield file


def latest(said: Iterable[object]) -> NDArray[np.int64]:
    """The speaker last said of each window, in order of the windows."""
    speakers = {one.group: one.speaker for one in said if isinstance(one, SpeakerWindow)}
    return np.array([speakers[group] for group in sorted(speakers)], np.int64)


def told(items: Iterable[object]) -> list[SpeakerWindow]:
    windows = [item for item in items if isinstance(item, SpeakerWindow)]
    assert len(windows) == len(list(items))
    return windows


# The end.


@given(
    conversations(), st.sampled_from([OnlineConfig(), OnlineConfig(buffer=50, exemplar=3, exemplars=10)]), st.booleans()
)
@settings(deadline=None, max_examples=40)
def test_the_end_is_the_offline_answer_but_for_the_numbers(
    windows: list[EmbeddingWindow], online: OnlineConfig, bounded: bool
) -> None:
    clustering = ClusteringConfig(min_speakers=2, max_speakers=3) if bounded else ClusteringConfig()
    said = laws.run(OfflineClustering(clustering), windows)
    offline = told(said)
    with closing(EmbeddingFile()) as file:
        stage = OnlineClustering(clustering, online, file)
        live = laws.pushed(stage, windows)
        end = told(stage.flush())
    assert len(end) == len(offline)
    assert same_partition(latest(end), latest(offline))
    for one, other in zip(end, offline, strict=True):
        assert (one.start, one.end, one.speech, one.group) == (other.start, other.end, other.speech, other.group)
        assert one.confidence == other.confidence
    for before in told(live):
        assert not before.provisional
        window = windows[before.group]
        assert (before.start, before.end, before.speech) == (window.start, window.end, window.speech)
        assert 0 <= before.confidence <= 1


def test_the_end_is_the_offline_answer_of_hdbscan_too(kept: EmbeddingFile) -> None:
    windows = windows_of(heard(np.repeat([0, 1, 0, 2, 1], [40, 30, 20, 40, 30]).tolist(), 0.8))
    clustering = ClusteringConfig("hdbscan")
    said = laws.run(OfflineClustering(clustering), windows)
    offline = told(said)
    expected = latest(offline)
    assert set(expected) == {0, 1, 2}
    stage = OnlineClustering(clustering, OnlineConfig(buffer=50), kept)
    laws.pushed(stage, windows)
    assert same_partition(latest(stage.flush()), expected)


def test_without_windows_there_is_nothing(kept: EmbeddingFile) -> None:
    assert laws.run(OnlineClustering(ClusteringConfig(), OnlineConfig(), kept), []) == []


@given(at_once(), st.sampled_from(["bayesian", "agglomerative"]), st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_end_is_the_offline_answer_where_voices_talk_at_once(
    windows: list[EmbeddingWindow], name: str, bounded: bool
) -> None:
    clustering = ClusteringConfig(name, max_speakers=3 if bounded else None)
    said = laws.run(OfflineClustering(clustering), windows)
    offline = told(said)
    with closing(EmbeddingFile()) as file:
        stage = OnlineClustering(clustering, OnlineConfig(buffer=50, exemplars=10), file)
        laws.pushed(stage, windows)
        end = told(stage.flush())
    assert [(one.group, one.speech, one.confidence) for one in end] == [
        (one.group, one.speech, one.confidence) for one in offline
    ]
    assert [one.voice for one in end] == places(windows)
    speakers = np.array([one.speaker for one in end], np.int64)
    assert same_partition(speakers, np.array([one.speaker for one in offline], np.int64))


def places(windows: Sequence[EmbeddingWindow]) -> list[int]:
    return [place for _, group in groupby(windows, lambda window: window.group) for place, _ in enumerate(group)]


# Going on.


@given(conversations() | at_once(), st.data())
@settings(deadline=None, max_examples=20)
def test_a_saved_stage_goes_on_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory, windows: list[EmbeddingWindow], data: st.DataObject
) -> None:
    """With the file as it is after a kill: what came after the saved state is in it too, and is cut off."""
    folder = tmp_path_factory.mktemp("saved")
    online = OnlineConfig(buffer=50, exemplars=10)
    at = data.draw(st.integers(0, len(windows)))
    with closing(EmbeddingFile(folder / "first")) as file:
        first = OnlineClustering(ClusteringConfig(), online, file)
        laws.pushed(first, windows[:at])
        saved = first.save()
        as_saved = laws.plain(saved)
        expected = laws.run(first, windows[at:])
        shutil.copy(folder / "first", folder / "second")
    assert laws.plain(saved) == as_saved
    with closing(EmbeddingFile(folder / "second")) as file:
        file.truncate(len(saved.labels))
        second = OnlineClustering(ClusteringConfig(), online, file)
        second.restore(saved)
        assert laws.plain(laws.run(second, windows[at:])) == laws.plain(expected)
    assert laws.plain(saved) == as_saved


def test_clocks_and_merges_pass_through_in_order(kept: EmbeddingFile) -> None:
    first, second = windows_of(heard([0, 0], 0.1))
    items: list[Item] = [Clock(1), first, Merge(3, 1), Clock(2), Clock(3), second, Merge(0, 0)]
    said = laws.run(OnlineClustering(ClusteringConfig(), OnlineConfig(), kept), items)
    assert [one for one in said if not isinstance(one, SpeakerWindow)] == [
        item for item in items if not isinstance(item, EmbeddingWindow)
    ]
    groups = [one.group if isinstance(one, SpeakerWindow) else one for one in said]
    assert groups == [Clock(1), 0, Merge(3, 1), Clock(2), Clock(3), 1, Merge(0, 0), 0, 1]


@pytest.mark.parametrize("known", [0, 1, 60])
def test_a_growing_window_is_labelled_and_leaves_no_trace(kept: EmbeddingFile, known: int) -> None:
    voices = [i // 20 % 2 for i in range(known)]
    *windows, another = windows_of(heard([*voices, 0], 0.5))
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(buffer=50), kept)
    heard_so_far = laws.pushed(stage, windows)
    said = latest(heard_so_far)
    before = laws.plain(stage.save())
    for voice in (0, 1, 7):
        (label,) = told(stage.push(growing(another, heard([voice], 0.3)[0])))
        assert label.provisional
        assert (label.group, label.start, label.end) == (known, another.start, another.start + LENGTH // 3)
        if known == 60 and voice < 2:
            assert label.speaker == said[20 * voice]
    stage.push(Clock(0))
    assert laws.plain(stage.save()) == before
    assert len(kept) == known


# Voices at the same time.


@given(at_once())
@settings(deadline=None, max_examples=40)
def test_voices_at_the_same_time_are_different_people_as_far_as_there_are_so_many(
    windows: list[EmbeddingWindow],
) -> None:
    """While the stream runs too, for now and for good, and when they are said again."""
    shown: dict[tuple[int, int], int] = {}
    with closing(EmbeddingFile()) as file:
        stage = OnlineClustering(ClusteringConfig(), OnlineConfig(buffer=50, exemplars=10), file)
        for number, members in groupby(windows, lambda window: window.group):
            group: list[Item] = [*members]
            known = len(stage.state.voices)
            growing = told([one for item in for_now(group) for one in stage.push(item)])
            assert [one.voice for one in growing] == list(range(len(group)))
            assert len({one.speaker for one in growing}) == min(len(group), max(1, known))
            stage.push(Clock(0))
            said = told([one for item in group for one in stage.push(item)])
            shown |= {(one.group, one.voice): one.speaker for one in said}
            assert list(shown.values()) == stage.state.labels
            recent = [window.group for window in stage.state.recent]
            assert all(recent.count(one) == sum(window.group == one for window in windows) for one in set(recent))
            talked = [speaker for (one, _), speaker in shown.items() if one == number]
            assert len(set(talked)) == min(len(group), len(stage.state.voices))


def test_a_voice_over_another_is_given_to_who_is_left(kept: EmbeddingFile) -> None:
    """Though it sounds more like the one who talks already."""
    windows = windows_of(heard([0, 1] * 30, 0.3))
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(), kept)
    said = latest([one for window in windows for one in stage.push(window)])
    start = windows[-1].end
    both: list[Item] = [
        EmbeddingWindow(start, start + STEP, ((start, start + STEP),), 60, one, 1.0)
        for one in heard([0, 0], 0.3, seed=1)
    ]
    for group in (for_now(both), for_now(both), both):
        one, other = told([one for item in group for one in stage.push(item)])
        stage.push(Clock(0))
        assert (one.speaker, one.voice) == (said[0], 0)
        assert (other.speaker, other.voice) == (said[1], 1)


def test_mixtures_of_voices_at_once_open_nobody() -> None:
    """Neither do they in a recording; they would, had each been heard alone."""
    both = unit(heard([2] * 40, 0.3) + 0.6 * heard([0], 0) + 0.6 * heard([1], 0))
    alone = windows_of(np.concatenate((heard([0, 1] * 30, 0.3), both)))
    windows = [*alone[:60], *(replace(one, group=60 + i // 2) for i, one in enumerate(alone[60:]))]
    assert opened(alone) == 3
    assert opened(windows) == 2


def opened(windows: list[EmbeddingWindow]) -> int:
    """How many speakers there have been by the end of a stream."""
    with closing(EmbeddingFile()) as file:
        stage = OnlineClustering(ClusteringConfig(), OnlineConfig(), file)
        laws.pushed(stage, windows)
        return stage.state.opened


# The numbers.


@given(st.integers(1, 200), st.integers(0, 1000), st.sampled_from([1, 2, 3, 5]))
@settings(deadline=None, max_examples=25)
def test_a_new_voice_is_opened_within_so_many_windows_and_keeps_its_number(
    before: int, seed: int, opening: int
) -> None:
    """However much of another has been heard, and wherever between two clusterings it comes."""
    windows = windows_of(heard([0] * before + [1] * 20, 0.3, seed))
    with closing(EmbeddingFile()) as file:
        stage = OnlineClustering(ClusteringConfig(), OnlineConfig(opening=opening), file)
        said = laws.pushed(stage, windows[: before + opening])
        assert same_partition(latest(said), np.array([0] * before + [1] * opening))
        new = latest(said)[-1]
        if before > 10:  # of less there is too little at the end to be a speaker
            said += laws.pushed(stage, windows[before + opening :])
            assert latest(said).tolist() == [1 - new] * before + [new] * 20
            assert stage.state.opened == 2


def test_an_outlier_alone_opens_nobody(kept: EmbeddingFile) -> None:
    voices = [0] * 40 + [5] + [0] * 15 + [6, 7] + [0] * 40
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(), kept)
    said = laws.run(stage, windows_of(heard(voices, 0.5)))
    assert {one.speaker for one in told(said)} == {0}


def test_nobody_is_opened_beyond_the_most_there_can_be(kept: EmbeddingFile) -> None:
    voices = np.repeat([0, 1, 2, 0, 3], 15).tolist()
    stage = OnlineClustering(ClusteringConfig(max_speakers=2), OnlineConfig(), kept)
    said: list[SpeakerWindow] = []
    for window in windows_of(heard(voices, 0.5)):
        said += told(stage.push(window))
        assert len(np.unique(latest(said))) <= 2
    assert len(np.unique(latest(said))) == 2


def shown_and_true(counts: dict[tuple[int, int], int]) -> tuple[list[int], list[int]]:
    """Windows as {(speaker shown, voice): how many}, one voice after another."""
    pairs = [pair for pair, count in sorted(counts.items(), key=lambda item: item[0][1]) for _ in range(count)]
    return [shown for shown, _ in pairs], [voice for _, voice in pairs]


@pytest.mark.parametrize(
    ("counts", "numbers"),
    [
        # who was always called so
        ({(4, 0): 20, (9, 1): 20}, {0: 4, 1: 9}),
        # most windows have the right number, some had another's
        ({(4, 0): 20, (9, 0): 5, (4, 1): 6, (9, 1): 20}, {0: 4, 1: 9}),
        # one voice under two numbers, another without any: the one keeps the number of most, the other gets a new one
        ({(4, 0): 10, (9, 0): 15, (4, 1): 0, (9, 1): 8}, {0: 4, 1: 9}),
        ({(9, 0): 25, (9, 1): 20}, {0: 9, 1: 10}),
        ({(9, 0): 20, (9, 1): 25}, {0: 10, 1: 9}),
        # the best for both together, not the best for one: 14 + 14 windows keep theirs, and not 15 + 0
        ({(4, 0): 15, (9, 0): 14, (4, 1): 14, (9, 1): 0}, {0: 9, 1: 4}),
        # who shares nothing with a voice does not get it
        ({(4, 0): 20, (9, 0): 5, (4, 1): 13}, {0: 4, 1: 10}),
        # three shown, two there
        ({(1, 0): 12, (2, 0): 9, (3, 1): 20}, {0: 1, 1: 3}),
    ],
)
@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_number_stays_with_those_who_had_it_most(
    kept: EmbeddingFile, counts: dict[tuple[int, int], int], numbers: dict[int, int], at_the_end: bool
) -> None:
    shown, voices = shown_and_true(counts)
    windows = windows_of(heard(voices, 0.3))
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(), kept)
    *before, last = windows if not at_the_end else [*windows, None]
    for window in before:
        assert window is not None
        kept.append(window)
    known = {n: heard([0], 0)[0] for n in set(shown)}
    stage.restore(OnlineState(shown[: len(before)], [w for w in before if w], [], known, opened=10, fresh=100))
    said = stage.flush() if last is None else stage.push(last)
    final = shown[: len(before)] + [0] * (last is not None)
    for one in told(said):
        final[one.group] = one.speaker
    assert final == [numbers[voice] for voice in voices]


# What is held.


def test_little_is_held_of_a_long_stream(kept: EmbeddingFile) -> None:
    voices = np.random.default_rng(0).integers(0, 4, 500).repeat(10)
    voices[:40] = voices[3000:3040] = 4  # who is silent for twenty minutes
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(), kept)
    sizes = []
    said: list[SpeakerWindow] = []
    for window in windows_of(heard(voices.tolist(), 0.7)):
        said += told(stage.push(window))
        state = stage.state
        assert len(state.recent) <= 400
        assert len(state.exemplars) <= 100
        assert sum(one.windows for one in state.exemplars) + len(state.recent) == len(state.labels)
        assert len(state.voices) <= 6
        if len(state.labels) % 100 == 0:
            sizes.append(len(pickle.dumps(stage.save())) - len(pickle.dumps(state.labels)))
    assert len(kept) == len(state.labels) == 5000
    assert max(sizes[25:]) <= max(sizes[:25]) * 1.02
    assert same_partition(latest(said), voices)


def test_what_has_left_the_buffer_is_not_labelled_anew(kept: EmbeddingFile) -> None:
    stage = OnlineClustering(ClusteringConfig(), OnlineConfig(buffer=50), kept)
    for i, window in enumerate(windows_of(heard(np.random.default_rng(0).integers(0, 3, 400).tolist(), 1.5))):
        assert all(one.group >= i - 50 for one in told(stage.push(window)))


# Settings.


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("buffer", 50, 5000),
        ("every", 1, 1000),
        ("exemplar", 1, 100),
        ("exemplars", 10, 5000),
        ("opening", 1, 100),
        ("near", 0, 2),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(OnlineConfig(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"online\.{name} is {value}: give {low} to {high}"):
            OnlineConfig(**{name: value})
