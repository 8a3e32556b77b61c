"""Averaging windows with their neighbours: what it is, by hand, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.clustering.averaging import FOREIGN, averaged
from diarize.clustering.offline import ClusteringConfig, cluster_windows
from diarize.types import EmbeddingWindow, position


def around(voices: NDArray[np.float64], spread: float, seed: int) -> NDArray[np.float32]:
    """Unit vectors around unit vectors, each `spread` away in a direction of its own."""
    noise = np.random.default_rng(seed).normal(size=voices.shape)
    moved = voices + spread * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 2)), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.4, 1.0, 2.0]),
    st.integers(0, 5),
)
@settings(deadline=None, max_examples=100)
def test_each_window_is_the_mean_of_those_near_it_by_how_alike_they_are(
    steps: list[tuple[int, int]], reach: float, seed: int
) -> None:
    """steps: fifths of a second before each group of so many windows."""
    middles: list[float] = []
    groups: list[int] = []
    for number, (step, many) in enumerate(steps):
        middles += [(middles[-1] if middles else 0.0) + step / 5] + [0.0] * (many - 1)
        middles[-many:] = [middles[-many]] * many
        groups += [number] * many
    n = len(middles)
    embeddings = around(np.random.default_rng(seed).normal(size=(n, 8)), 0, seed)
    found = averaged(embeddings, np.array(middles), np.array(groups), reach)
    alone = [groups.count(group) == 1 for group in groups]
    for i in range(n):
        total = (1 - FOREIGN) * embeddings[i].astype(np.float64)
        for j in range(n):
            if j != i and alone[i] and alone[j] and abs(middles[i] - middles[j]) <= reach + 1e-6:
                total += max(0.0, float(embeddings[i] @ embeddings[j]) - FOREIGN) * embeddings[j]
        np.testing.assert_allclose(found[i], total / np.linalg.norm(total), atol=1e-5)


def test_a_voice_becomes_surer_and_another_stays_apart() -> None:
    voices = np.eye(192)[np.repeat([0, 1, 0, 1], 10)]
    heard = around(voices, 1.2, 0)
    found = averaged(heard, np.arange(40, dtype=np.float64) * 0.4, np.arange(40), 1.2)
    own, other = (found * voices).sum(axis=1), (found * voices[:, ::-1][:, -192:]).sum(axis=1)
    assert own.min() > 0.75 > (heard * voices).sum(axis=1).max()
    assert np.abs(other).max() < 0.5
    assert (found[:, :2].argmax(axis=1) == voices.argmax(axis=1)).all()


def conversation() -> list[EmbeddingWindow]:
    """Three people in turns of 2 s, from windows that are noisy."""
    who = np.repeat(np.arange(24) % 3, 5)
    heard = around(np.eye(192)[who], 2.2, 1)
    share = position(0.4)
    return [
        EmbeddingWindow(i * share, (i + 1) * share, ((i * share, (i + 1) * share),), i, embedding, 1.0)
        for i, embedding in enumerate(heard)
    ]


def test_speakers_are_found_in_noise() -> None:
    windows, who = conversation(), np.repeat(np.arange(24) % 3, 5)
    labels, scores = cluster_windows(windows, ClusteringConfig(averaging=1.2))
    assert np.array_equal(labels, who)
    heard = np.stack([window.embedding for window in windows])
    means = np.stack([heard[who == one].mean(axis=0) for one in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, heard @ means.T, atol=1e-5)  # of the windows as they are
    alone, _ = cluster_windows(windows, ClusteringConfig())
    assert not np.array_equal(alone, who)


def test_a_reach_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"clustering\.averaging is -1: it must be between 0 and 10"):
        ClusteringConfig(averaging=-1)
