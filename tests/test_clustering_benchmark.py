"""The benchmark of the clusterings: the plain tree it compares with, and its table."""

from __future__ import annotations

import numpy as np

from diarize.clustering.offline import ALGORITHMS
from diarize.metrics import score
from diarize.rttm import Turn
from diarize.types import SAMPLE_RATE, EmbeddingWindow
from examples.clustering_benchmark import SETS, Row, ours, plain, table
from tests.test_clustering import voices

SECOND = SAMPLE_RATE


def heard(sizes: list[int]) -> list[EmbeddingWindow]:
    """Speakers one after the other, with a window each second."""
    embeddings, who = voices(sizes, 0.3)
    embeddings = embeddings[np.argsort(who, kind="stable")]
    return [
        EmbeddingWindow(i * SECOND, (i + 1) * SECOND, ((i * SECOND, (i + 1) * SECOND),), i, embedding, 1.0)
        for i, embedding in enumerate(embeddings)
    ]


def test_the_plain_tree_is_cut_at_the_threshold() -> None:
    windows = heard([30, 20])
    assert [(turn.start // SECOND, turn.end // SECOND) for turn in plain(windows, 0.6)] == [(0, 30), (30, 50)]
    assert len({turn.speaker for turn in plain(windows, 2.0)}) == 1
    assert len({turn.speaker for turn in plain(windows, 0.0)}) == 50
    assert plain([], 0.6) == []
    assert len(plain(windows[:1], 0.6)) == 1


def test_ours_is_the_pipeline_with_that_algorithm() -> None:
    for name in ALGORITHMS:
        assert [(turn.start // SECOND, turn.end // SECOND) for turn in ours(heard([30, 20]), name)] == [
            (0, 30),
            (30, 50),
        ]


def test_the_table_sets_every_clustering_beside_the_plain_tree() -> None:
    reference = [Turn(0, 50 * SECOND, "a"), Turn(50 * SECOND, 100 * SECOND, "b")]
    halfway = [Turn(0, 40 * SECOND, "x"), Turn(40 * SECOND, 100 * SECOND, "y")]
    rows = [
        Row(of, speech, name, score(reference, [Turn(0, 100 * SECOND, "x")] if name == "plain" else halfway))
        for of in SETS
        for speech in ("own", "oracle")
        for name in ("plain", *ALGORITHMS)
    ]
    lines = table(rows).splitlines()[2:]
    assert len(lines) == 2 * 2 * (1 + len(ALGORITHMS))
    assert lines[0] == "| 20 simulated | own | plain | 50.0 | 50.0 | 0 of 1 | 1.0 | 1.00 |"
    assert lines[1] == "| 20 simulated | own | agglomerative | 10.0 | 10.0 | 1 of 1 | 0.0 | 0.20 |"
