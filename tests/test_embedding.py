from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.embedding import EmbeddingConfig, alike, average_crops, embed
from diarize.models.encoder import SpeakerEncoder, use_threads
from diarize.types import EmbeddingWindow, SpeechWindow

LENGTH = 9_600
BATCH = EmbeddingConfig().batch


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained()


def window(number: int, samples: int = LENGTH) -> SpeechWindow:
    audio = np.random.default_rng(number).normal(0.0, 0.1, samples).astype(np.float32)
    start = 1000 * number
    return SpeechWindow(start, start + samples, ((start, start + samples),), number, audio)


def by_group(windows: list[EmbeddingWindow]) -> dict[int, NDArray[np.float32]]:
    return {window.group: window.embedding for window in windows}


@pytest.fixture(scope="module")
def windows() -> list[SpeechWindow]:
    """Three batches, the last not full, of full and short windows."""
    generator = np.random.default_rng(0)
    return [window(n, LENGTH if n % 3 else int(generator.integers(400, LENGTH))) for n in range(2 * BATCH + 5)]


@pytest.fixture(scope="module")
def expected(encoder: SpeakerEncoder, windows: list[SpeechWindow]) -> dict[int, NDArray[np.float32]]:
    return by_group(embed(encoder, windows, LENGTH))


@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_neighbours_and_place_in_the_batch_do_not_matter(
    encoder: SpeakerEncoder,
    windows: list[SpeechWindow],
    expected: dict[int, NDArray[np.float32]],
    data: st.DataObject,
) -> None:
    shuffled = data.draw(st.permutations(windows))
    for group, embedding in by_group(embed(encoder, shuffled, LENGTH)).items():
        assert np.array_equal(embedding, expected[group])


@settings(deadline=None, max_examples=5)
@given(cuts=st.lists(st.integers(0, 2 * BATCH + 5), max_size=6))
def test_how_full_the_batch_is_does_not_matter(
    encoder: SpeakerEncoder,
    windows: list[SpeechWindow],
    expected: dict[int, NDArray[np.float32]],
    cuts: list[int],
) -> None:
    edges = [0, *sorted(cuts), len(windows)]
    for start, end in pairwise(edges):
        for group, embedding in by_group(embed(encoder, windows[start:end], LENGTH)).items():
            assert np.array_equal(embedding, expected[group])


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(0, 2 * BATCH + 5), max_size=12), threads=st.sampled_from([1, 2]))
def test_smaller_passes_give_the_same_bits(
    encoder: SpeakerEncoder,
    windows: list[SpeechWindow],
    expected: dict[int, NDArray[np.float32]],
    cuts: list[int],
    threads: int,
) -> None:
    before = torch.get_num_threads()
    use_threads(threads)
    try:
        sizes = alike(encoder, LENGTH, BATCH)
        assert sizes[-1] == BATCH
        for start, end in pairwise([0, *sorted(cuts), len(windows)]):
            for group, embedding in by_group(embed(encoder, windows[start:end], LENGTH, sizes)).items():
                assert np.array_equal(embedding, expected[group])
    finally:
        use_threads(before)


class Fickle:
    """An encoder whose embeddings have other bits in passes of some sizes."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.passes: list[int] = []

    def embed_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.passes.append(len(batch))
        return batch[:, :3] + np.float32(1e-6 if len(batch) in self.sizes else 0)


@pytest.mark.parametrize(
    ("fickle", "batch", "expected"),
    [
        ((), 16, (1, 2, 3, 4, 6, 8, 12, 16)),
        ((1, 3, 6), 16, (2, 4, 8, 12, 16)),
        (range(16), 16, (16,)),
        ((), 5, (1, 2, 3, 5)),
        ((), 1, (1,)),
    ],
)
def test_the_sizes_are_those_that_give_the_bits_of_a_full_pass(
    fickle: Sequence[int], batch: int, expected: tuple[int, ...]
) -> None:
    assert alike(Fickle(*fickle), 100, batch) == expected


def test_windows_go_in_the_smallest_pass_that_holds_them() -> None:
    encoder = Fickle()
    for count in (1, 3, 4, 5, 8, 13):
        embed(encoder, [window(n, 100) for n in range(count)], 100, (2, 3, 4, 8))
    assert encoder.passes == [2, 3, 4, 8, 8, 8, 8]


@pytest.mark.parametrize("row", range(BATCH))
def test_no_row_of_the_batch_is_special(encoder: SpeakerEncoder, row: int) -> None:
    batch = np.random.default_rng(row).normal(0.0, 0.3, (BATCH, LENGTH)).astype(np.float32)
    batch[row] = window(0).samples
    alone = np.zeros((BATCH, LENGTH), np.float32)
    alone[0] = window(0).samples
    assert np.array_equal(encoder.embed_batch(batch)[row], encoder.embed_batch(alone)[0])


def test_a_window_keeps_all_but_its_samples(encoder: SpeakerEncoder) -> None:
    audio = window(0).samples[: LENGTH // 4]  # where its voice is alone, which may be elsewhere
    (embedded,) = embed(encoder, [SpeechWindow(100, 100 + LENGTH, ((200, 500), (900, 1000)), 7, audio)], LENGTH)
    assert (embedded.start, embedded.end, embedded.group) == (100, 100 + LENGTH, 7)
    assert embedded.speech == ((200, 500), (900, 1000))
    assert embedded.embedding.shape == (192,)
    assert embedded.embedding.dtype == np.float32
    assert np.linalg.norm(embedded.embedding) == pytest.approx(1.0, abs=1e-5)
    assert embedded.quality == 0.25


def test_a_short_window_is_repeated(encoder: SpeakerEncoder) -> None:
    short = window(3, LENGTH // 3)
    full = SpeechWindow(0, LENGTH, ((0, LENGTH),), 1, np.tile(short.samples, 3))
    a, b = embed(encoder, [short, full], LENGTH)
    assert np.array_equal(a.embedding, b.embedding)
    assert a.quality == pytest.approx(1 / 3)
    assert b.quality == 1.0


def test_an_embedding_does_not_keep_its_batch_in_memory(encoder: SpeakerEncoder) -> None:
    (embedded,) = embed(encoder, [window(0)], LENGTH)
    assert embedded.embedding.base is None


def test_no_windows_give_no_embeddings(encoder: SpeakerEncoder) -> None:
    assert embed(encoder, [], LENGTH) == []


@pytest.mark.parametrize("samples", [0, LENGTH + 1])
def test_a_window_that_does_not_fit_is_refused(encoder: SpeakerEncoder, samples: int) -> None:
    with pytest.raises(ValueError, match=f"not {samples}"):
        embed(encoder, [window(0), window(1, samples)], LENGTH)


def test_an_empty_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be at least 1 window, not 0"):
        EmbeddingConfig(batch=0)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, diarize.embedding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def unit_crops(crops: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    crop = np.random.default_rng(seed).normal(0.3, 1.0, (crops, dimensions))
    scaled: NDArray[np.float32] = (crop / np.linalg.norm(crop, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@settings(deadline=None)
@given(crops=st.integers(1, 12), dimensions=st.integers(2, 192), seed=st.integers(0, 1000))
def test_the_average_of_crops(crops: int, dimensions: int, seed: int) -> None:
    embeddings = unit_crops(crops, dimensions, seed)
    average, agreement = average_crops(embeddings)
    assert np.linalg.norm(average) == pytest.approx(1.0, abs=1e-5)
    assert 0.0 < agreement <= 1.0
    # the mean cosine over all pairs, and the mean cosine to the average
    assert agreement**2 == pytest.approx(float(np.mean(embeddings @ embeddings.T)), abs=1e-4)
    assert agreement == pytest.approx(float(np.mean(embeddings @ average)), abs=1e-4)
    reordered, same = average_crops(embeddings[::-1])
    assert reordered == pytest.approx(average, abs=1e-6)
    assert same == pytest.approx(agreement)


def test_crops_that_agree_have_quality_one_and_unrelated_ones_less() -> None:
    crop = unit_crops(1, 192, 0)
    average, agreement = average_crops(np.repeat(crop, 5, axis=0))
    assert average == pytest.approx(crop[0], abs=1e-6)
    assert agreement == pytest.approx(1.0, abs=1e-6)
    assert average_crops(np.eye(4, dtype=np.float32))[1] == pytest.approx(0.5)


@pytest.mark.parametrize("embeddings", [np.zeros((0, 192), np.float32), np.zeros(192, np.float32)])
def test_no_crops_have_no_average(embeddings: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="at least one crop"):
        average_crops(embeddings)


def test_crops_that_cancel_out_have_no_average() -> None:
    with pytest.raises(ValueError, match="cancel out"):
        average_crops(np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32))
