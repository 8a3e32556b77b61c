"""Long recordings: the tree of many windows, held to SciPy's, and what is clustered with it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.agglomerative import Tree, agglomerative, average_linkage, centroids, labels_after
from diarize.clustering.linkage import long_linkage, representatives
from diarize.clustering.offline import ALGORITHMS, ClusteringConfig, cluster, speakers
from tests.test_clustering import gaps, random_embeddings, same_partition, voices

Embeddings = NDArray[np.float32]


def check(tree: Tree, n: int) -> None:
    """A tree of so many leaves, as SciPy's functions take it."""
    assert tree.shape == (n - 1, 4)
    assert is_valid_linkage(tree)
    assert tree[-1, 3] == n
    assert (np.diff(tree[:, 2]) >= 0).all()


def closest_call(embeddings: Embeddings) -> float:
    """By how much, at the closest, the two nearest clusters were nearer than the next two: rounding decides on less."""
    means, sizes = embeddings.astype(np.float64), np.ones(len(embeddings))
    least = np.inf
    while len(means) > 2:
        distance = 1 - means @ means.T
        pairs = np.triu_indices(len(means), 1)
        order = np.argsort(distance[pairs])
        least = min(least, distance[pairs][order[1]] - distance[pairs][order[0]])
        a, b = pairs[0][order[0]], pairs[1][order[0]]
        means[a] = (sizes[a] * means[a] + sizes[b] * means[b]) / (sizes[a] + sizes[b])
        sizes[a] += sizes[b]
        means, sizes = np.delete(means, b, axis=0), np.delete(sizes, b)
    return float(least)


@given(st.integers(2, 80), st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=60)
def test_it_is_scipys_tree(n: int, seed: int, lumpy: bool) -> None:
    embeddings = voices([n // 2 + 1, n // 2 + 1], 0.8, seed)[0][:n] if lumpy else random_embeddings(n, seed)
    assume(closest_call(embeddings) > 1e-5)
    tree, expected = long_linkage(embeddings), average_linkage(embeddings)
    check(tree, n)
    np.testing.assert_allclose(tree[:, 2], expected[:, 2], atol=1e-5)
    for merges in np.flatnonzero(np.diff(expected[:, 2]) > 1e-4).tolist():  # nearer ones may come in another order
        assert same_partition(labels_after(tree, merges + 1), labels_after(expected, merges + 1))


def test_it_is_scipys_tree_of_a_thousand_noisy_windows() -> None:
    embeddings, _ = voices([500, 300, 200], 3.0)
    tree, expected = long_linkage(embeddings), average_linkage(embeddings)
    check(tree, 1000)
    for merges in (500, 900, 980, 997):
        assert same_partition(labels_after(tree, merges), labels_after(expected, merges))


@pytest.mark.parametrize(("kinds", "times"), [(1, 300), (3, 100), (200, 2)])
def test_equal_windows_are_one_from_the_start(kinds: int, times: int) -> None:
    embeddings = np.tile(random_embeddings(kinds, 0), (times, 1))
    tree = long_linkage(embeddings)
    check(tree, kinds * times)
    assert same_partition(labels_after(tree, kinds * (times - 1)), np.tile(np.arange(kinds), times))


@pytest.mark.parametrize("n", [2, 3, 100])
def test_windows_that_are_all_equally_far_apart_make_a_tree(n: int) -> None:
    tree = long_linkage(np.eye(n, dtype=np.float32))
    check(tree, n)
    np.testing.assert_allclose(tree[:, 2], 1)


@given(st.integers(2, 200), st.integers(0, 1000), st.integers(2, 60))
@settings(deadline=None, max_examples=40)
def test_in_stretches_too_it_is_a_tree(n: int, seed: int, at_once: int) -> None:
    check(long_linkage(random_embeddings(n, seed), max(at_once, n // at_once + 1)), n)


@pytest.mark.parametrize("n", [200, 400, 800, 3200])
def test_what_is_compared_at_once_does_not_grow(n: int) -> None:
    embeddings, truth = voices([n // 2, n // 4, n // 4], 0.6)
    tree = long_linkage(embeddings, 100)
    assert np.count_nonzero(tree[:, 2]) < 100
    assert same_partition(labels_after(tree, n - 3), truth)


def test_memory_grows_with_the_windows_and_not_with_their_square() -> None:
    peaks = []
    for n in (1500, 3000):
        embeddings, _ = voices([n // 2, n // 2], 0.8)
        tracemalloc.start()
        long_linkage(embeddings)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.3 * peaks[0]
    assert peaks[1] < 3000 * 3000 * 8 / 2 / 2, "half of what all distances would take"


def test_few_stand_for_many() -> None:
    embeddings, truth = voices([500, 300, 20], 0.6)
    tree = long_linkage(embeddings)
    points, of = representatives(embeddings, tree, 50)
    assert points.shape == (50, 64)
    np.testing.assert_array_equal(points, centroids(embeddings, of))
    assert all(len(set(truth[of == one])) == 1 for one in range(50))
    same, each = representatives(embeddings, tree, len(embeddings))
    assert same is embeddings
    np.testing.assert_array_equal(each, np.arange(len(embeddings)))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_below_the_limit_nothing_is_reduced(name: str) -> None:
    embeddings, _ = voices([90, 60, 30], 2.0)
    answers = [cluster(embeddings, gaps(180), ClusteringConfig(name, limit=limit)) for limit in (180, 5000)]
    for part in (0, 1):
        np.testing.assert_array_equal(answers[0][part], answers[1][part])
    if name == "agglomerative":
        tree = average_linkage(embeddings)
        direct = agglomerative(embeddings, tree, 0.3, fragment=0.65, smallest=12)
        np.testing.assert_array_equal(speakers(embeddings, ClusteringConfig(name)), direct)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(("sizes", "noise"), [([400, 300, 200, 100], 0.8), ([500, 300, 150], 1.4)])
def test_above_the_limit_the_answer_is_the_direct_one(name: str, sizes: list[int], noise: float) -> None:
    embeddings, truth = voices(sizes, noise)
    direct, reduced = (
        speakers(embeddings, ClusteringConfig(name, threshold=0.4, smallest=5, limit=limit)) for limit in (5000, 150)
    )
    assert adjusted_rand_score(truth, direct) > 0.98
    assert adjusted_rand_score(direct, reduced) > 0.98


@pytest.mark.parametrize("name", ["agglomerative", "hdbscan"])
@pytest.mark.parametrize("seed", range(3))
def test_who_talks_seldom_is_not_lost(name: str, seed: int) -> None:
    """Of whom an even sample of `limit` would have taken two windows."""
    embeddings, truth = voices([900, 700, 20], 0.8, seed)
    labels = speakers(embeddings, ClusteringConfig(name, threshold=0.4, smallest=5, limit=160))
    assert same_partition(labels, truth)


def test_in_hours_a_few_strange_windows_are_no_speaker() -> None:
    for strange, found in ((1, [3, 2]), (3, [3, 3])):  # of 3,200 windows two must be a speaker's
        embeddings, _ = voices([1800, 1400, strange], 0.5)
        configs = [ClusteringConfig("agglomerative", smallest=1, limit=limit) for limit in (4000, 3000)]
        assert [speakers(embeddings, config).max() + 1 for config in configs] == found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_wanted_numbers_are_kept_above_the_limit(name: str) -> None:
    embeddings, _ = voices([100, 100, 100], 0.8)
    for wanted in (1, 2, 5):
        config = ClusteringConfig(name, threshold=0.4, smallest=5, num_speakers=wanted, limit=60)
        assert len(np.unique(cluster(embeddings, gaps(300), config)[0])) == wanted
