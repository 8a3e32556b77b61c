"""Clustering by density: what it alone promises, beside the laws in test_clusterings."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diarize.clustering.agglomerative import agglomerative, average_linkage
from diarize.clustering.hdbscan import hdbscan_clusters
from diarize.clustering.offline import ClusteringConfig, cluster, speakers
from diarize.metrics import score
from diarize.rttm import read_rttm
from tests.command import SAMPLE, here
from tests.test_clustering import gaps, same_partition, voices

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
