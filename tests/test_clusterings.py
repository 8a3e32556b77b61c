"""The laws that every way of clustering obeys."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.agglomerative import agglomerative, average_linkage, by_first_appearance
from diarize.clustering.offline import ALGORITHMS, OTHERS, ClusteringConfig, cluster, speakers
from tests.test_clustering import gaps, random_embeddings, same_partition, voices

Embeddings = NDArray[np.float32]
Logs = pytest.LogCaptureFixture

every = pytest.mark.parametrize("name", ALGORITHMS)


def configured(name: str, smallest: int = 5, **known: int | None) -> ClusteringConfig:
    return ClusteringConfig(name, 0.4, 0.6, smallest, switch_penalty=0, **known)  # type: ignore[arg-type]  # by name


@every
@pytest.mark.parametrize("sizes", [[60, 60], [100, 40, 30], [40, 40, 40, 40], [60, 50, 40, 30, 25, 25]])
@pytest.mark.parametrize("noise", [0.4, 0.8])
def test_clear_voices_are_found(name: str, sizes: list[int], noise: float, caplog: Logs) -> None:
    for seed in (0, 1):
        embeddings, truth = voices(sizes, noise, seed)
        assert adjusted_rand_score(truth, speakers(embeddings, configured(name))) == 1
    assert not caplog.records, "this was agglomerative clustering"


@every
@pytest.mark.parametrize("noise", [0.0, 0.3, 0.8])
def test_a_single_voice_stays_one(name: str, noise: float, caplog: Logs) -> None:
    embeddings, _ = voices([80], noise)
    assert set(speakers(embeddings, configured(name))) == {0}
    assert not caplog.records, "that it is one is known before it is asked"


@every
@given(st.integers(1, 60), st.integers(0, 1000), st.integers(1, 12), st.integers(1, 8), st.booleans())
@settings(deadline=None, max_examples=40)
def test_every_window_has_a_label_and_a_wanted_number_is_kept(
    name: str, n: int, seed: int, k: int, smallest: int, lumpy: bool
) -> None:
    embeddings = voices([n // 2 + 1, n // 2 + 1], 0.8, seed)[0][:n] if lumpy else random_embeddings(n, seed)
    labels = speakers(embeddings, configured(name, smallest=smallest, num_speakers=k))
    assert labels.shape == (n,)
    assert len(np.unique(labels)) == min(k, n)
    assert np.array_equal(labels, by_first_appearance(labels))


@every
@pytest.mark.parametrize(("low", "high", "found"), [(1, None, 4), (2, 3, 3), (3, 8, 4), (1, 1, 1), (6, 6, 6)])
def test_bounds_change_the_number_only_as_far_as_they_must(name: str, low: int, high: int | None, found: int) -> None:
    embeddings, _ = voices([50, 50, 50, 50], 0.8)
    labels = speakers(embeddings, configured(name, min_speakers=low, max_speakers=high))
    assert len(np.unique(labels)) == found


@every
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_scale_makes_up_for_a_network_that_puts_voices_less_far_apart(name: str, share: float) -> None:
    embeddings, truth = voices([60, 50, 40], 0.6)
    # what all windows have in common makes every distance so many times smaller
    near = np.hstack([np.sqrt(share) * embeddings, np.full((len(embeddings), 1), np.sqrt(1 - share))]).astype(
        np.float32
    )
    assert np.allclose(1 - near @ near.T, share * (1 - embeddings @ embeddings.T), atol=1e-5)
    config = configured(name)
    assert set(speakers(near, replace(config, threshold=0.9))) == {0}
    assert same_partition(speakers(near, replace(config, scale=share)), truth)


@every
def test_too_many_are_reduced_by_merging_the_nearest(name: str) -> None:
    embeddings, truth = voices([60, 60, 60], 0.4)
    embeddings[truth == 2] += 0.4 * embeddings[truth == 1]  # so these two are the more alike
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert same_partition(speakers(embeddings, configured(name)), truth)
    assert same_partition(speakers(embeddings, configured(name, max_speakers=2)), np.minimum(truth, 1))


@every
@given(st.lists(st.integers(20, 40), min_size=1, max_size=4), st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_the_answer_is_the_same_at_every_run_and_in_every_order(name: str, sizes: list[int], seed: int) -> None:
    embeddings, _ = voices(sizes, 0.5, seed)
    labels = speakers(embeddings, configured(name))
    assert np.array_equal(speakers(embeddings.copy(), configured(name)), labels)
    order = np.random.default_rng(seed).permutation(len(embeddings))
    found = speakers(embeddings[order], configured(name))
    # k-means begins with windows that are drawn by their place, so that a window between two voices may change
    assert adjusted_rand_score(labels[order], found) >= (0.8 if name == "spectral" else 1)


@every
def test_noisy_windows_too_are_labelled_the_same_at_every_run(name: str) -> None:
    embeddings, _ = voices([150, 100, 50], 3.0)
    assert np.array_equal(speakers(embeddings, configured(name)), speakers(embeddings.copy(), configured(name)))


@every
@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_few_windows_are_enough(name: str, n: int, k: int) -> None:
    labels, scores = cluster(random_embeddings(n, 0), gaps(n), configured(name, num_speakers=k))
    assert len(np.unique(labels)) == min(n, k)
    assert scores.shape == (n, min(n, k))
    assert len(cluster(random_embeddings(n, 0), gaps(n), configured(name))[0]) == n


@every
@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_equal_embeddings_are_one_voice_unless_more_are_wanted(name: str, n: int) -> None:
    embeddings = np.full((n, 64), 1 / 8, dtype=np.float32)
    assert set(speakers(embeddings, configured(name))) == {0}
    assert len(np.unique(speakers(embeddings, configured(name, num_speakers=2)))) == 2


@pytest.mark.parametrize("seed", range(4))
def test_who_does_not_pay_is_found_by_bayesian_clustering_where_more_are_wanted(seed: int, caplog: Logs) -> None:
    embeddings, truth = voices([200, 150, 20], 1.0, seed)
    embeddings[truth == 2] += 0.9 * embeddings[truth == 1][:20]  # seldom heard, and much like somebody else
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert same_partition(speakers(embeddings, ClusteringConfig()), np.minimum(truth, 1))
    for wanted in (ClusteringConfig(num_speakers=3), ClusteringConfig(min_speakers=3)):
        assert adjusted_rand_score(truth, speakers(embeddings, wanted)) > 0.98
    assert not caplog.records, "this was agglomerative clustering"


@pytest.mark.parametrize("name", OTHERS)
def test_too_few_clusters_are_told_and_clustered_agglomeratively(name: str, caplog: Logs) -> None:
    embeddings, _ = voices([3, 2], 0.5)
    expected = agglomerative(embeddings, average_linkage(embeddings), 0.4, fragment=0.6, smallest=5, minimum=9)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(speakers(embeddings, configured(name, min_speakers=9)), expected)
    said, _ = OTHERS[name]
    assert caplog.messages == [f"{said} finds fewer than 9 clusters: clustering agglomeratively"]
