"""Bayesian clustering counts voices by what they explain, and merges means by how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from diarize.clustering.agglomerative import Labels, agglomerative, average_linkage
from diarize.clustering.bayesian import bayesian_clusters
from diarize.clustering.offline import ClusteringConfig, speakers
from tests.test_clustering import random_embeddings, same_partition

Embeddings = NDArray[np.float32]


def talk(sizes: list[int], likeness: float, seed: int = 0, noise: float = 0.9) -> tuple[Embeddings, Labels]:
    """Shuffled unit embeddings of 192 numbers around voices of that cosine to each other, and whose each is.

    noise: length of what is added to a voice of length 1; 0.9 scatters windows as real ones are.
    """
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    axes = np.eye(192)
    middles = np.sqrt(likeness) * axes[-1] + np.sqrt(1 - likeness) * axes[: len(sizes)]
    embeddings = middles[truth] + noise * rng.standard_normal((len(truth), 192)) / np.sqrt(192)
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32), truth


def counted(embeddings: Embeddings, threshold: float = 0.3, **known: int) -> Labels:
    return speakers(embeddings, ClusteringConfig("bayesian", threshold, **known))


@pytest.mark.parametrize("sizes", [[200], [60, 60], [300, 100, 40], [40] * 5, [400, 30, 30, 30]])
@pytest.mark.parametrize("seed", [0, 1])
def test_clear_voices_are_told_apart_and_a_single_one_stays_one(sizes: list[int], seed: int) -> None:
    embeddings, truth = talk(sizes, 0.3, seed)
    assert same_partition(counted(embeddings), truth)


def test_who_says_a_sentence_is_found_where_one_threshold_and_a_least_size_lose_them() -> None:
    embeddings, truth = talk([200, 150, 8], 0.1)
    assert same_partition(counted(embeddings), truth)
    other = agglomerative(embeddings, average_linkage(embeddings), 0.3, fragment=0.65, smallest=12)
    assert other.max() == 1


def test_voices_that_talk_much_are_told_apart_nearer_to_each_other_than_those_that_talk_little() -> None:
    much, truth = talk([200, 200], 0.75)
    little, _ = talk([20, 20], 0.75)
    assert same_partition(counted(much), truth)
    assert set(counted(little)) == {0}


def test_a_higher_threshold_merges_more() -> None:
    embeddings, _ = talk([60, 60, 60], 0.4)
    found = [len(np.unique(counted(embeddings, threshold))) for threshold in (0.1, 0.3, 1.5)]
    assert found == [3, 3, 1]


def test_equal_windows_are_one_voice() -> None:
    embeddings = np.repeat(random_embeddings(1, 0), 30, axis=0)
    assert set(counted(embeddings)) == {0}
    assert bayesian_clusters(embeddings, average_linkage(embeddings), 0.3, minimum=2) is None
