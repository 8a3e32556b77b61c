"""Agglomerative clustering, speaker counts, smoothing and the offline stage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from diarize.clustering.agglomerative import (
    absorb,
    agglomerative,
    average_linkage,
    by_first_appearance,
    centroids,
    merge_nearest,
    one_speaker,
)
from diarize.clustering.offline import ClusteringConfig, OfflineClustering, cluster, confidences
from diarize.clustering.viterbi import viterbi
from diarize.types import EmbeddingWindow


def voices(sizes: list[int], spread: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Shuffled unit embeddings around orthogonal voices, and which voice each is."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    middles = np.eye(64, dtype=np.float32)[: len(sizes)]
    embeddings = middles[truth] + spread * rng.standard_normal((len(truth), 64)).astype(np.float32) / 8
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), truth


def same_partition(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    return bool(np.array_equal(by_first_appearance(a), by_first_appearance(b)))


def clustered(
    embeddings: NDArray[np.float32],
    threshold: float = 0.4,
    fragment: float = 0.6,
    smallest: int = 1,
    minimum: int = 1,
    maximum: int | None = None,
) -> NDArray[np.int64]:
    return agglomerative(
        embeddings,
        average_linkage(embeddings),
        threshold,
        fragment=fragment,
        smallest=smallest,
        minimum=minimum,
        maximum=maximum,
    )


def gaps(n: int) -> NDArray[np.float64]:
    return np.zeros(n - 1)


@given(st.integers(2, 60), st.integers(0, 1000), st.floats(0.05, 1.2))
@settings(deadline=None, max_examples=50)
def test_fragments_that_are_not_merged_are_scipys_cut(n: int, seed: int, fragment: float) -> None:
    embeddings = random_embeddings(n, seed)
    expected = fcluster(linkage(embeddings.astype(np.float64), "average", metric="cosine"), fragment, "distance")
    found = clustered(embeddings, threshold=0, fragment=fragment)
    assert same_partition(found, expected.astype(np.int64))


def random_embeddings(n: int, seed: int) -> NDArray[np.float32]:
    embeddings = np.random.default_rng(seed).standard_normal((n, 8))
    unit: NDArray[np.float32] = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    return unit


@given(st.integers(2, 40), st.integers(0, 1000), st.floats(0.1, 1.5))
@settings(deadline=None, max_examples=50)
def test_what_is_left_after_merging_is_further_apart_than_the_threshold(n: int, seed: int, threshold: float) -> None:
    embeddings = random_embeddings(n, seed)
    labels = merge_nearest(embeddings, np.arange(n), threshold)
    middles = centroids(embeddings, labels)
    apart = 1 - middles @ middles.T
    assert (apart[~np.eye(len(middles), dtype=bool)] > threshold - 1e-5).all()


@pytest.mark.parametrize(("minimum", "maximum"), [(1, None), (2, 2)])
def test_outliers_do_not_become_speakers_nor_take_the_places_of_wanted_ones(minimum: int, maximum: int | None) -> None:
    embeddings, truth = voices([30, 30, 1, 1], 0.5)
    labels = clustered(embeddings, smallest=5, minimum=minimum, maximum=maximum)
    regular = truth < 2
    assert same_partition(labels[regular], truth[regular])
    assert labels.max() == 1


@pytest.mark.parametrize("noise", [0.3, 0.8, 1.2])
def test_the_number_of_voices_does_not_depend_on_how_noisy_the_windows_are(noise: float) -> None:
    embeddings, _ = voices([40, 40, 40], noise)
    assert len(np.unique(clustered(embeddings, smallest=5))) == 3


def test_one_voice_is_one_speaker_and_two_are_not() -> None:
    for sizes, expected in (([60], True), ([40, 20], False), ([54, 6], False)):
        embeddings, _ = voices(sizes, 0.7)
        assert one_speaker(embeddings, average_linkage(embeddings), 0.4, smallest=5) is expected


def test_absorbing_keeps_the_largest_when_none_is_large_enough() -> None:
    embeddings, truth = voices([3, 2], 0.1)
    assert set(absorb(embeddings, truth, 10)) == {0}


def test_centroids_are_unit_means() -> None:
    embeddings, truth = voices([5, 7], 0.5)
    middles = centroids(embeddings, truth)
    expected = embeddings[truth == 1].mean(axis=0)
    np.testing.assert_allclose(middles[1], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(middles, axis=1), 1, atol=1e-6)


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000), st.floats(0, 2))
@settings(deadline=None, max_examples=60)
def test_viterbi_finds_the_best_of_all_paths(n: int, speakers: int, seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, speakers)).astype(np.float32)
    prices = penalty * rng.random(n - 1)

    def value(path: tuple[int, ...]) -> float:
        said = sum(float(scores[i, s]) for i, s in enumerate(path))
        return said - float(sum(prices[i] for i in range(n - 1) if path[i] != path[i + 1]))

    best = max(value(path) for path in np.ndindex(*[speakers] * n))
    assert value(tuple(viterbi(scores, prices))) == pytest.approx(best, abs=1e-5)


def test_viterbi_without_price_takes_the_best_each_time() -> None:
    scores = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert np.array_equal(viterbi(scores, np.zeros(49)), scores.argmax(axis=1))


def test_smoothing_takes_back_a_single_doubtful_window() -> None:
    embeddings, truth = voices([20, 20], 0.1)
    order = np.argsort(truth, kind="stable")
    embeddings, truth = embeddings[order], truth[order]
    doubtful = 0.45 * embeddings[5] + 0.55 * embeddings[35]
    embeddings[5] = doubtful / np.linalg.norm(doubtful)
    raw, _ = cluster(embeddings, gaps(40), ClusteringConfig(threshold=0.4, smallest=2, switch_penalty=0))
    smooth, _ = cluster(embeddings, gaps(40), ClusteringConfig(threshold=0.4, smallest=2, switch_penalty=0.3))
    assert raw[5] != truth[5]
    assert np.array_equal(smooth, truth)


@given(st.integers(6, 40), st.integers(0, 1000), st.integers(1, 6), st.floats(0, 5))
@settings(deadline=None, max_examples=100)
def test_smoothing_takes_no_wanted_speaker_away(n: int, seed: int, k: int, penalty: float) -> None:
    config = ClusteringConfig(num_speakers=k, smallest=1, switch_penalty=penalty)
    labels, scores = cluster(random_embeddings(n, seed), gaps(n), config)
    sure = confidences(scores, labels)
    assert len(np.unique(labels)) == k
    assert ((sure >= 0) & (sure <= 1)).all()


def test_a_pause_makes_changing_cheap() -> None:
    embeddings, truth = voices([20, 20], 0.1)
    order = np.argsort(truth, kind="stable")
    embeddings = embeddings[order]
    doubtful = 0.45 * embeddings[5] + 0.55 * embeddings[35]
    embeddings[5] = doubtful / np.linalg.norm(doubtful)
    config = ClusteringConfig(threshold=0.4, smallest=2, switch_penalty=0.3)
    assert cluster(embeddings, np.full(39, 60.0), config)[0][5] == 1
    assert cluster(embeddings, np.zeros(39), config)[0][5] == 0


def test_a_long_recording_is_clustered_through_a_sample() -> None:
    embeddings, truth = voices([300, 200, 100], 0.5)
    labels, _ = cluster(embeddings, gaps(600), ClusteringConfig(threshold=0.4, smallest=3, switch_penalty=0, limit=100))
    assert same_partition(labels, truth)


def test_confidence_is_the_simplified_silhouette() -> None:
    scores = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=np.float32)
    sure = confidences(scores, np.array([0, 0, 0]))
    np.testing.assert_allclose(sure, [(0.9 - 0.1) / 0.9, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(confidences(scores[:, :1], np.zeros(3, dtype=np.int64)), np.ones(3))


def window(start: int, embedding: NDArray[np.float32]) -> EmbeddingWindow:
    return EmbeddingWindow(start, start + 10, ((start, start + 10),), start, embedding, 1.0)


def test_the_stage_numbers_by_first_appearance_and_does_not_mind_the_order_of_arrival() -> None:
    embeddings, truth = voices([12, 9], 0.3)
    windows = [window(10 * i, embedding) for i, embedding in enumerate(embeddings)]
    answers = []
    for order in (range(21), reversed(range(21))):
        stage = OfflineClustering(ClusteringConfig(threshold=0.4, smallest=2, switch_penalty=0))
        assert all(stage.push(windows[i]) == [] for i in order)
        answers.append(stage.flush())
    assert answers[0] == answers[1]
    assert [w.speaker for w in answers[0]] == list(by_first_appearance(truth))


def test_a_saved_stage_goes_on_as_if_nothing_had_happened() -> None:
    embeddings, _ = voices([12, 9], 0.3)
    windows = [window(10 * i, embedding) for i, embedding in enumerate(embeddings)]
    config = ClusteringConfig(threshold=0.4, smallest=2)
    whole, first, second = OfflineClustering(config), OfflineClustering(config), OfflineClustering(config)
    for item in windows[:8]:
        whole.push(item)
        first.push(item)
    second.restore(first.save())
    first.push(window(0, -embeddings[0]))  # must not reach the copy
    for item in windows[8:]:
        whole.push(item)
        second.push(item)
    assert whole.flush() == second.flush()


def test_no_window_gives_no_label_and_one_gives_one() -> None:
    assert OfflineClustering(ClusteringConfig()).flush() == []
    stage = OfflineClustering(ClusteringConfig(num_speakers=3))
    stage.push(window(0, np.full(4, 0.5, dtype=np.float32)))
    assert [w.speaker for w in stage.flush()] == [0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "magic"}, "magic"),
        ({"threshold": 2.5}, "clustering.threshold is 2.5"),
        ({"fragment": -2.0}, "clustering.fragment is -2.0"),
        ({"switch_penalty": -1.0}, "clustering.switch_penalty is -1.0"),
        ({"scale": 0.0}, "clustering.scale is 0.0"),
        ({"smallest": 0}, "clustering.smallest is 0"),
        ({"limit": 1}, "clustering.limit is 1"),
        ({"num_speakers": 0}, "clustering.num_speakers is 0"),
        ({"max_speakers": -3}, "clustering.max_speakers is -3"),
        ({"min_speakers": 4, "max_speakers": 2}, "at least 4 and at most 2"),
        ({"num_speakers": 4, "max_speakers": 2}, "at least 4 and at most 2"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ClusteringConfig(**wrong)  # type: ignore[arg-type]  # wrong on purpose
