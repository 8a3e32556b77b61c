"""Clustering with what is known beforehand: must-link and cannot-link, by hand and within a group."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.clustering.agglomerative import by_first_appearance, centroids, merge_nearest
from diarize.clustering.constraints import constrained, smoothed
from diarize.clustering.offline import ALGORITHMS, ClusteringConfig, OfflineClustering, cluster
from diarize.clustering.viterbi import viterbi
from diarize.types import EmbeddingWindow, SpeakerWindow
from tests.test_clustering import random_embeddings, same_partition, voices

Labels = NDArray[np.int64]


@st.composite
def knowledge(draw: st.DrawFn) -> tuple[NDArray[np.float32], Labels, Labels]:
    """Embeddings, of clear voices or of none, what is known of them, and which talk at the same time."""
    if draw(st.booleans()):
        embeddings, _ = voices(
            draw(st.lists(st.integers(5, 20), min_size=1, max_size=4)), 0.5, draw(st.integers(0, 99))
        )
    else:
        embeddings = random_embeddings(draw(st.integers(1, 40)), draw(st.integers(0, 99)))
    n = len(embeddings)
    people = draw(st.integers(0, 5))
    known = np.array(draw(st.lists(st.integers(-1, people - 1), min_size=n, max_size=n)), np.int64)
    sizes = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    return embeddings, known, np.repeat(np.arange(n), sizes)[:n]


def together(labels: Labels, groups: Labels) -> list[Labels]:
    """The labels of each group."""
    return [labels[groups == group] for group in np.unique(groups)]


def holds(labels: Labels, known: Labels) -> bool:
    """Whether windows of one person share a label and those of different people do not."""
    sure = known >= 0
    pairs = set(zip(known[sure].tolist(), labels[sure].tolist(), strict=True))
    return len(pairs) == len({person for person, _ in pairs}) == len({label for _, label in pairs})


@pytest.mark.parametrize("name", ALGORITHMS)
@given(knowledge(), st.integers(1, 6), st.integers(0, 6), st.floats(0, 2), st.sampled_from([5, 5000]))
@settings(deadline=None, max_examples=60)
def test_what_is_known_holds(
    name: str, case: tuple[NDArray[np.float32], Labels, Labels], low: int, more: int, penalty: float, limit: int
) -> None:
    embeddings, known, groups = case
    people = len(np.unique(known[known >= 0]))
    high = max(low, people) + more if more < 6 else None
    config = ClusteringConfig(
        name, smallest=2, min_speakers=low, max_speakers=high, switch_penalty=penalty, limit=max(limit, low)
    )
    logging.disable()  # that so many speakers cannot be
    labels, scores = cluster(embeddings, np.zeros(len(embeddings) - 1), config, known, groups)
    logging.disable(logging.NOTSET)
    found = len(np.unique(labels))
    assert holds(labels, known)
    assert scores.shape == (len(embeddings), found)
    assert high is None or found <= high
    for own in together(known, groups):
        own = own[own >= 0]
        if len(np.unique(own)) < len(own):
            return  # what is known contradicts the groups
    if found >= 3:
        assert all(len(np.unique(said)) == len(said) for said in together(labels, groups))


@given(st.integers(2, 30), st.integers(0, 500), st.integers(1, 6), st.integers(1, 4), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_as_many_speakers_as_wanted_whatever_is_known(n: int, seed: int, k: int, people: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    known = np.where(rng.random(n) < share, rng.integers(0, min(k, people), n), -1)
    config = ClusteringConfig(num_speakers=k, smallest=1, switch_penalty=0)
    if k <= n:
        labels, _ = cluster(random_embeddings(n, seed), np.zeros(n - 1), config, known)
        possible = len(np.unique(known[known >= 0])) + int((known < 0).sum())
        assert len(np.unique(labels)) == min(k, possible)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_known_changes_nothing(name: str) -> None:
    embeddings, _ = voices([40, 30, 20], 0.8)
    config, gaps = ClusteringConfig(name, smallest=3), np.random.default_rng(0).random(89)
    labels, scores = cluster(embeddings, gaps, config)
    for known, groups in ((np.full(90, -1), None), (None, np.arange(90)[::-1]), (np.full(90, -1), np.arange(90))):
        again, others = cluster(embeddings, gaps, config, known, groups)
        assert np.array_equal(again, labels)
        assert np.array_equal(others, scores)


def test_knowing_what_was_found_changes_nothing() -> None:
    embeddings, truth = voices([40, 30, 20], 0.5)
    config = ClusteringConfig(threshold=0.4, smallest=3, switch_penalty=0)
    labels, scores = cluster(embeddings, np.zeros(89), config)
    assert same_partition(labels, truth)
    known = np.where(np.arange(90) % 7 == 0, truth, -1)
    again, others = cluster(embeddings, np.zeros(89), config, known)
    assert np.array_equal(again, labels)
    np.testing.assert_allclose(others, scores, atol=1e-6)


def test_two_voices_that_were_taken_for_one_are_told_apart_everywhere() -> None:
    embeddings, truth = voices([40, 40, 40], 0.5)
    config = ClusteringConfig(threshold=0.4, smallest=3)
    merged = np.where(truth == 2, 1, truth)
    known = np.full(120, -1)
    for person, voice in enumerate((1, 2)):  # of 40 windows each, three
        known[np.flatnonzero(truth == voice)[:3]] = person
    assert np.mean(merged != truth) > 0.3
    assert same_partition(constrained(embeddings, merged, known), truth)
    one = ClusteringConfig(threshold=2.0, smallest=3, switch_penalty=0)
    assert len(np.unique(cluster(embeddings[truth > 0], np.zeros(79), one)[0])) == 1
    labels, _ = cluster(embeddings[truth > 0], np.zeros(79), one, known[truth > 0])
    assert same_partition(labels, truth[truth > 0])
    assert same_partition(cluster(embeddings, np.zeros(119), config, known)[0], truth)


def test_one_wrong_window_does_not_make_two_speakers_one() -> None:
    embeddings, truth = voices([40, 40], 0.5)
    found = truth.copy()
    first = np.flatnonzero(truth == 0)
    found[first[-1]] = 1  # the clustering's mistake, set right by hand
    known = np.full(80, -1)
    known[first[[0, 1, -1]]] = 0
    assert same_partition(constrained(embeddings, found, known), truth)


def test_more_people_than_speakers_are_refused() -> None:
    embeddings, truth = voices([10, 10, 10], 0.5)
    for config in (ClusteringConfig(max_speakers=2), ClusteringConfig(num_speakers=2)):
        with pytest.raises(ValueError, match="3 people are known by hand, and at most 2 speakers are allowed"):
            cluster(embeddings, np.zeros(29), config, truth)


def test_clusters_of_different_people_are_never_merged() -> None:
    embeddings, truth = voices([10, 10, 10, 10], 0.5)
    different = np.array([True, True, False, True])
    labels = merge_nearest(embeddings, truth, -1.0, 1, 3, different)
    assert len(np.unique(labels)) == 3
    assert len({int(labels[truth == voice][0]) for voice in (0, 1, 3)}) == 3


@given(st.integers(2, 12), st.integers(2, 4), st.integers(0, 500), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_voices_of_a_group_are_given_to_speakers_one_to_one_at_best(
    groups: int, speakers: int, seed: int, penalty: float
) -> None:
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(groups), rng.integers(1, speakers + 1, groups))
    scores = rng.standard_normal((len(of), speakers)).astype(np.float32)
    labels = smoothed(scores, np.full(len(of) - 1, penalty), None, of)
    assert all(len(np.unique(said)) == len(said) for said in together(labels, of))
    free = smoothed(scores, np.zeros(len(of) - 1), None, of)
    alone = np.bincount(of)[of] == 1
    assert np.array_equal(free[alone], scores[alone].argmax(axis=1))
    for said, own in zip(together(free, of), (scores[of == group] for group in range(groups)), strict=True):
        assert own.max(axis=0).argmax() in said  # whoever is most like a voice in it is in it


def test_groups_of_one_are_the_path_alone() -> None:
    rng = np.random.default_rng(0)
    scores, penalty = rng.standard_normal((50, 4)).astype(np.float32), rng.random(49)
    path = viterbi(scores, penalty)
    assert np.array_equal(smoothed(scores, penalty, None, np.arange(50)), path)
    assert np.array_equal(smoothed(scores, penalty, np.full(50, -1), None), path)


def test_overlapping_voices_are_both_found() -> None:
    embeddings, truth = voices([30, 30], 0.3)
    order = np.argsort(truth, kind="stable")
    embeddings, truth = embeddings[order], truth[order]
    doubtful = 0.55 * embeddings[5] + 0.45 * embeddings[35]
    pair = np.stack((embeddings[6], doubtful / np.linalg.norm(doubtful)))
    embeddings, truth = np.insert(embeddings, [7, 7], pair, axis=0), np.insert(truth, [7, 7], [0, 1])
    groups = np.insert(np.arange(60), [7, 7], [90, 90])
    config = ClusteringConfig(threshold=0.4, smallest=2)
    assert np.array_equal(cluster(embeddings, np.zeros(61), config, groups=groups)[0], truth)
    assert not np.array_equal(cluster(embeddings, np.zeros(61), config)[0], truth)


def test_mixtures_of_voices_at_once_make_no_speaker() -> None:
    embeddings, truth = voices([30, 30, 40], 0.3)
    first, second = (embeddings[truth == voice].mean(axis=0) for voice in (0, 1))
    both = embeddings[truth == 2] + 0.6 * (first + second)  # so much alike that they would be a third
    embeddings = np.concatenate((embeddings[truth < 2], both / np.linalg.norm(both, axis=1, keepdims=True)))
    groups = np.concatenate((np.arange(60), 100 + np.arange(40) // 2))
    config, gaps = ClusteringConfig(), np.zeros(99)
    assert len(np.unique(cluster(embeddings, gaps, config)[0])) == 3
    labels, _ = cluster(embeddings, gaps, config, groups=groups)
    assert len(np.unique(labels)) == 2
    assert all(len(np.unique(pair)) == 2 for pair in together(labels, groups)[60:])


@pytest.mark.parametrize("known_count", [None, 3])
def test_who_is_never_alone_is_found_where_nobody_else_is(known_count: int | None) -> None:
    embeddings, truth = voices([20, 20, 20], 0.3)
    order = np.argsort(np.concatenate([np.arange(20)] * 3), kind="stable")  # one of each, again and again
    embeddings, truth = embeddings[np.argsort(truth, kind="stable")][order], np.tile(np.arange(3), 20)
    config = ClusteringConfig(num_speakers=known_count)
    labels, _ = cluster(embeddings, np.zeros(59), config, groups=np.repeat(np.arange(20), 3))
    assert same_partition(labels, truth)


def test_the_stage_knows_people_and_groups_by_its_windows() -> None:
    embeddings, truth = voices([12, 9], 0.3)
    names = [("Ana" if voice == 0 else "Bo") if i % 3 == 0 else None for i, voice in enumerate(truth)]
    windows = [
        EmbeddingWindow(10 * i, 10 * i + 10, ((10 * i, 10 * i + 10),), i, embedding, 1.0, person=name)
        for i, (embedding, name) in enumerate(zip(embeddings, names, strict=True))
    ]
    stage = OfflineClustering(ClusteringConfig(threshold=2.0, smallest=2, switch_penalty=0))
    assert all(stage.push(window) == [] for window in windows)
    said = [one for one in stage.flush() if isinstance(one, SpeakerWindow)]
    assert [window.person for window in said] == names
    assert np.array_equal([window.speaker for window in said], by_first_appearance(truth))


def test_a_new_person_begins_with_the_windows_that_are_known() -> None:
    embeddings, truth = voices([20, 20], 0.5)
    known = np.where((truth == 1) & (np.arange(40) < 20), 0, np.where((truth == 0) & (np.arange(40) < 5), 1, -1))
    labels = constrained(embeddings, np.zeros(40, np.int64), known)
    assert same_partition(labels, truth)
    assert (embeddings @ centroids(embeddings, labels).T).argmax(axis=1).tolist() == labels.tolist()
