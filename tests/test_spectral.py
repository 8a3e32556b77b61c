"""Spectral clustering: what it alone promises, beside the laws in test_clusterings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.offline import ClusteringConfig, cluster
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


@pytest.mark.parametrize("noise", [0.4, 0.8])
def test_clear_voices_are_found_among_more_windows_than_the_sample(noise: float) -> None:
    embeddings, truth = voices([300, 250, 200], noise)
    assert len(embeddings) > SAMPLE
    assert same_partition(clustered(embeddings), truth)


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


@pytest.mark.parametrize("sizes", [[300, 30], [200, 40, 30]])
def test_who_talks_little_is_found_beside_who_talks_much(sizes: list[int]) -> None:
    embeddings, truth = voices(sizes, 0.6)
    assert same_partition(clustered(embeddings), truth)


def test_a_few_strange_windows_are_no_speaker() -> None:
    embeddings, truth = voices([60, 60, 2], 0.4)
    labels = clustered(embeddings)
    assert labels.max() == 1
    assert same_partition(labels[truth < 2], truth[truth < 2])


def test_noisy_windows_too_are_labelled_the_same_at_every_run() -> None:
    n = SAMPLE + 200
    embeddings, _ = voices([n // 2, n // 3, n // 6], 3.0)
    assert np.array_equal(clustered(embeddings), clustered(embeddings.copy()))


@pytest.mark.parametrize("n", [FEW - 1, FEW, FEW + 1])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_few_windows_are_enough(n: int, k: int) -> None:
    assert len(np.unique(offline(random_embeddings(n, 0), num_speakers=k))) == min(n, k)
    assert len(offline(random_embeddings(n, 0))) == n


def test_equal_embeddings_are_one_voice_unless_more_are_wanted() -> None:
    embeddings = np.full((SAMPLE + 50, 64), 1 / 8, dtype=np.float32)
    assert set(offline(embeddings)) == {0}
    assert set(clustered(embeddings)) == {0}
    assert len(np.unique(offline(embeddings, num_speakers=2))) == 2


def test_the_command_finds_the_voices_of_the_sample(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.rttm"
    assert here(capfd, "file", CONVERSATION, "--clustering", "spectral", "-o", out).code == 0
    (reference,) = read_rttm(CONVERSATION.with_suffix(".rttm")).values()
    (turns,) = read_rttm(out).values()
    result = score(reference, turns)
    assert result.hypothesis_speakers == 4
    assert result.lenient.confusion is not None
    assert result.lenient.confusion < 0.01
