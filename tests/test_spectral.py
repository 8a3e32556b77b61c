"""Spectral clustering, held to the same laws as agglomerative clustering and to its answers on clear voices."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.agglomerative import agglomerative, average_linkage, by_first_appearance
from diarize.clustering.offline import ClusteringConfig, cluster, speakers
from diarize.clustering.spectral import FEW, SAMPLE, spectral_clusters
from diarize.metrics import score
from diarize.rttm import read_rttm
from tests.command import SAMPLE as CONVERSATION
from tests.command import here
from tests.test_clustering import gaps, random_embeddings, same_partition, voices

Embeddings = NDArray[np.float32]
Labels = NDArray[np.int64]
Logs = pytest.LogCaptureFixture


def clustered(
    embeddings: Embeddings, threshold: float = 0.4, smallest: int = 5, minimum: int = 1, maximum: int | None = None
) -> Labels:
    """What it finds, the test for a single voice left out."""
    found = spectral_clusters(embeddings, threshold, smallest=smallest, minimum=minimum, maximum=maximum)
    assert found is not None
    return found


def offline(embeddings: Embeddings, **known: int) -> Labels:
    """What a recording of these windows is said to be, without smoothing."""
    config = ClusteringConfig("spectral", threshold=0.4, fragment=0.6, smallest=5, switch_penalty=0, **known)
    return cluster(embeddings, gaps(len(embeddings)), config)[0]


@pytest.mark.parametrize(
    "sizes", [[60, 60], [100, 40, 30], [40, 40, 40, 40], [60, 50, 40, 30, 25, 25], [300, 250, 200]]
)
@pytest.mark.parametrize("noise", [0.4, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_clear_voices_are_found_as_agglomerative_finds_them(sizes: list[int], noise: float, seed: int) -> None:
    embeddings, truth = voices(sizes, noise, seed)
    found = clustered(embeddings)
    other = agglomerative(embeddings, average_linkage(embeddings), 0.4, fragment=0.6, smallest=5)
    assert adjusted_rand_score(truth, found) == 1
    assert adjusted_rand_score(other, found) == 1


@pytest.mark.parametrize("sizes", [[40, 40, 40], [80, 50, 40, 30]])
def test_clear_voices_are_found_as_scikit_learn_finds_them(sizes: list[int]) -> None:
    """It has to be told how many there are."""
    embeddings, _ = voices(sizes, 0.6)
    oracle = SpectralClustering(len(sizes), affinity="precomputed", random_state=0)
    expected = oracle.fit_predict(np.clip(embeddings @ embeddings.T, 0, 1))
    assert adjusted_rand_score(expected, clustered(embeddings)) == 1


@pytest.mark.parametrize("noise", [0.4, 1.0])
def test_the_spectrum_alone_counts_clear_voices(noise: float) -> None:
    """With the merging by distance switched off, no more than the spare fragments are left over."""
    embeddings, truth = voices([50, 50, 50, 50], noise)
    found = clustered(embeddings, threshold=0)
    assert 4 <= found.max() + 1 <= 6
    assert all(len(set(truth[found == one])) == 1 for one in range(found.max() + 1))


@given(st.integers(2, 60), st.integers(0, 1000), st.integers(1, 12), st.integers(1, 8), st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_window_has_a_label_and_a_wanted_number_is_kept(
    n: int, seed: int, k: int, smallest: int, lumpy: bool
) -> None:
    embeddings = voices([n // 2 + 1, n // 2 + 1], 0.8, seed)[0][:n] if lumpy else random_embeddings(n, seed)
    config = ClusteringConfig("spectral", smallest=smallest, num_speakers=k)
    labels = speakers(embeddings, config)
    assert labels.shape == (n,)
    assert len(np.unique(labels)) == min(k, n)
    assert np.array_equal(labels, by_first_appearance(labels))


@pytest.mark.parametrize(("low", "high", "found"), [(1, None, 4), (2, 3, 3), (1, 2, 2), (3, 8, 4), (5, None, 5)])
def test_bounds_change_the_number_only_as_far_as_they_must(low: int, high: int | None, found: int) -> None:
    embeddings, _ = voices([50, 50, 50, 50], 0.8)
    assert len(np.unique(clustered(embeddings, minimum=low, maximum=high))) == found


def test_too_many_are_reduced_by_merging_the_nearest() -> None:
    embeddings, truth = voices([60, 60, 60], 0.4)
    embeddings[truth == 2] += 0.4 * embeddings[truth == 1]  # so these two are the more alike
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert same_partition(clustered(embeddings, maximum=2), np.minimum(truth, 1))


@pytest.mark.parametrize("sizes", [[300, 30], [200, 40, 30]])
def test_who_talks_little_is_found_beside_who_talks_much(sizes: list[int]) -> None:
    embeddings, truth = voices(sizes, 0.6)
    assert same_partition(clustered(embeddings), truth)


def test_a_few_strange_windows_are_no_speaker() -> None:
    embeddings, truth = voices([60, 60, 2], 0.4)
    labels = clustered(embeddings)
    assert labels.max() == 1
    assert same_partition(labels[truth < 2], truth[truth < 2])


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.8])
def test_a_single_voice_stays_one(noise: float) -> None:
    assert set(offline(voices([80], noise)[0])) == {0}


@given(st.lists(st.integers(20, 40), min_size=2, max_size=4), st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_the_answer_is_the_same_at_every_run_and_in_every_order(sizes: list[int], seed: int) -> None:
    embeddings, _ = voices(sizes, 0.5, seed)
    labels = clustered(embeddings)
    assert np.array_equal(clustered(embeddings.copy()), labels)
    order = np.random.default_rng(seed).permutation(len(embeddings))
    assert same_partition(clustered(embeddings[order]), labels[order])


@pytest.mark.parametrize("n", [200, SAMPLE + 200])
def test_noisy_windows_too_are_labelled_the_same_at_every_run(n: int) -> None:
    embeddings, _ = voices([n // 2, n // 3, n // 6], 3.0)
    assert np.array_equal(clustered(embeddings), clustered(embeddings.copy()))


@pytest.mark.parametrize("n", [1, 2, 3, FEW - 1, FEW, FEW + 1])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_few_windows_are_enough(n: int, k: int) -> None:
    assert len(np.unique(offline(random_embeddings(n, 0), num_speakers=k))) == min(n, k)
    assert len(offline(random_embeddings(n, 0))) == n


@pytest.mark.parametrize("n", [2, 3, 12, 40, SAMPLE + 50])
def test_equal_embeddings_are_one_voice_unless_more_are_wanted(n: int) -> None:
    embeddings = np.full((n, 64), 1 / 8, dtype=np.float32)
    assert set(offline(embeddings)) == {0}
    assert set(clustered(embeddings)) == {0}
    assert len(np.unique(offline(embeddings, num_speakers=2))) == 2


def test_fewer_fragments_than_wanted_are_told_and_clustered_agglomeratively(caplog: Logs) -> None:
    embeddings, _ = voices([3, 2], 0.5)
    config = ClusteringConfig("spectral", threshold=0.4, fragment=0.6, min_speakers=9)
    with caplog.at_level(logging.WARNING):
        assert same_partition(speakers(embeddings, config), np.arange(5))
    assert caplog.messages == ["spectral clustering finds fewer than 9 clusters: clustering agglomeratively"]


def test_the_command_finds_the_voices_of_the_sample(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.rttm"
    assert here(capfd, "file", CONVERSATION, "--clustering", "spectral", "-o", out).code == 0
    (reference,) = read_rttm(CONVERSATION.with_suffix(".rttm")).values()
    (turns,) = read_rttm(out).values()
    result = score(reference, turns)
    assert result.hypothesis_speakers == 4
    assert result.lenient.confusion is not None
    assert result.lenient.confusion < 0.01
