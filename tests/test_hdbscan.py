"""Clustering by density, held to the same laws as agglomerative clustering and to its answers on clear voices."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.agglomerative import agglomerative, average_linkage, by_first_appearance
from diarize.clustering.hdbscan import hdbscan_clusters
from diarize.clustering.offline import ClusteringConfig, cluster, speakers
from diarize.metrics import score
from diarize.rttm import read_rttm
from tests.command import SAMPLE, here
from tests.test_clustering import gaps, random_embeddings, same_partition, voices

Embeddings = NDArray[np.float32]
Labels = NDArray[np.int64]
Logs = pytest.LogCaptureFixture


def clustered(
    embeddings: Embeddings, threshold: float = 0.4, smallest: int = 5, minimum: int = 1, maximum: int | None = None
) -> Labels:
    """What `speakers` says, the test for a single voice left out."""
    config = ClusteringConfig(
        "hdbscan", threshold=threshold, fragment=0.6, smallest=smallest, min_speakers=minimum, max_speakers=maximum
    )
    found = hdbscan_clusters(embeddings, threshold, smallest=smallest, minimum=minimum, maximum=maximum)
    return speakers(embeddings, config) if found is None else found


def offline(embeddings: Embeddings, name: str = "hdbscan", **known: int) -> Labels:
    """What a recording of these windows is said to be, without smoothing."""
    config = ClusteringConfig(name, threshold=0.4, fragment=0.6, smallest=5, switch_penalty=0, **known)
    return cluster(embeddings, gaps(len(embeddings)), config)[0]


@pytest.mark.parametrize("sizes", [[60, 60], [100, 40, 30], [40, 40, 40, 40], [60, 50, 40, 30, 25, 25]])
@pytest.mark.parametrize("noise", [0.4, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_clear_voices_are_found_by_density_as_agglomerative_finds_them(
    sizes: list[int], noise: float, seed: int, caplog: Logs
) -> None:
    embeddings, truth = voices(sizes, noise, seed)
    found = clustered(embeddings)
    assert not caplog.records, "this was agglomerative clustering"
    other = agglomerative(embeddings, average_linkage(embeddings), 0.4, fragment=0.6, smallest=5)
    assert adjusted_rand_score(truth, found) == 1
    assert adjusted_rand_score(other, found) == 1


@given(st.integers(2, 60), st.integers(0, 1000), st.integers(1, 12), st.integers(1, 8), st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_window_has_a_label_and_a_wanted_number_is_kept(
    n: int, seed: int, k: int, smallest: int, lumpy: bool
) -> None:
    embeddings = voices([n // 2 + 1, n // 2 + 1], 0.8, seed)[0][:n] if lumpy else random_embeddings(n, seed)
    labels = clustered(embeddings, smallest=smallest, minimum=k, maximum=k)
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
    assert same_partition(clustered(embeddings, threshold=0.1), truth)
    assert same_partition(clustered(embeddings, threshold=0.1, maximum=2), np.minimum(truth, 1))


def test_fragments_of_one_voice_are_merged_up_to_the_threshold(caplog: Logs) -> None:
    embeddings, truth = voices([50, 50, 50, 50], 1.2)  # so noisy that HDBSCAN's usual choice is two clusters
    embeddings[np.arange(200), 62 + truth // 2] += 2  # a fragment's mean is now 0.1 from one other, 1 from the rest
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert same_partition(clustered(embeddings, threshold=0.05), truth)
    assert same_partition(clustered(embeddings, threshold=0.4), truth // 2)
    assert not caplog.records


@pytest.mark.parametrize(("sizes", "smallest", "wanted"), [([30, 30, 10], 50, 1), ([20] * 12, 50, 12)])
def test_fragments_may_be_a_tenth_of_the_recording_or_the_share_of_a_wanted_speaker(
    sizes: list[int], smallest: int, wanted: int, caplog: Logs
) -> None:
    embeddings, truth = voices(sizes, 0.4)
    assert same_partition(clustered(embeddings, smallest=smallest, minimum=wanted), truth)
    assert not caplog.records


def test_windows_far_from_all_go_to_the_nearest_voice(caplog: Logs) -> None:
    embeddings, truth = voices([60, 60], 0.4)
    stray, _ = voices([6, 6], 3.0, seed=1)
    labels = clustered(np.concatenate([embeddings, stray]))
    middles = np.stack([embeddings[truth == voice].mean(axis=0) for voice in (0, 1)])
    nearest = np.argmax(stray @ middles.T, axis=1)
    assert set(nearest) == {0, 1}
    assert same_partition(labels, np.concatenate([truth, nearest]))
    assert not caplog.records


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.8])
def test_a_single_voice_stays_one(noise: float, caplog: Logs) -> None:
    embeddings, _ = voices([80], noise)
    assert set(offline(embeddings)) == {0}
    assert not caplog.records, "that it is one is known before HDBSCAN is asked"


@given(st.lists(st.integers(20, 40), min_size=2, max_size=4), st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_the_answer_is_the_same_at_every_run_and_in_every_order(sizes: list[int], seed: int) -> None:
    embeddings, _ = voices(sizes, 0.5, seed)
    labels = clustered(embeddings)
    assert np.array_equal(clustered(embeddings.copy()), labels)
    order = np.random.default_rng(seed).permutation(len(embeddings))
    assert same_partition(clustered(embeddings[order]), labels[order])


def test_noisy_windows_too_are_labelled_the_same_at_every_run(caplog: Logs) -> None:
    embeddings, _ = voices([300, 200, 100], 3.0)
    assert np.array_equal(clustered(embeddings), clustered(embeddings.copy()))
    assert not caplog.records


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_few_windows_are_enough(n: int, k: int) -> None:
    assert len(np.unique(offline(random_embeddings(n, 0), num_speakers=k))) == min(n, k)
    assert len(offline(random_embeddings(n, 0))) == n


@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_equal_embeddings_are_one_voice_unless_more_are_wanted(n: int) -> None:
    embeddings = np.full((n, 64), 1 / 8, dtype=np.float32)
    assert set(offline(embeddings)) == {0}
    assert set(clustered(embeddings)) == {0}
    assert len(np.unique(offline(embeddings, num_speakers=2))) == 2


@pytest.mark.parametrize(("sizes", "minimum"), [([40], 2), ([30, 30], 4)])
def test_too_few_clusters_are_told_and_clustered_agglomeratively(sizes: list[int], minimum: int, caplog: Logs) -> None:
    embeddings, _ = voices(sizes, 0.5)
    expected = agglomerative(embeddings, average_linkage(embeddings), 0.4, fragment=0.6, smallest=5, minimum=minimum)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(clustered(embeddings, minimum=minimum), expected)
    said = f"HDBSCAN finds fewer than {minimum} clusters: clustering agglomeratively"
    assert caplog.messages == [said]


def test_the_name_chooses_the_algorithm(caplog: Logs) -> None:
    embeddings, _ = voices([30, 30], 0.5)
    offline(embeddings, "agglomerative", num_speakers=4)
    assert not caplog.records
    offline(embeddings, "hdbscan", num_speakers=4)
    assert "HDBSCAN" in caplog.text


def test_the_command_finds_the_voices_of_the_sample(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: Logs
) -> None:
    out = tmp_path / "out.rttm"
    assert here(capfd, "file", SAMPLE, "--clustering", "hdbscan", "-o", out).code == 0
    assert not caplog.records
    (reference,) = read_rttm(SAMPLE.with_suffix(".rttm")).values()
    (turns,) = read_rttm(out).values()
    result = score(reference, turns)
    assert result.hypothesis_speakers == 4
    assert result.lenient.confusion is not None
    assert result.lenient.confusion < 0.01
