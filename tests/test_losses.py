"""What the speaker encoder is taught by."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from diarize.training.losses import AngularMargin, Distillation


def margin(speakers: int = 5, dimensions: int = 8, centres: int = 1, seed: int = 0) -> AngularMargin:
    torch.manual_seed(seed)
    return AngularMargin(speakers, dimensions, centres)


def drawn(count: int, dimensions: int = 8, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def test_without_a_margin_it_is_the_cross_entropy_of_scaled_cosines() -> None:
    loss, embeddings, speakers = margin(), drawn(7), torch.arange(7) % 5
    cosines = functional.cosine_similarity(embeddings[:, None], loss.directions[None], dim=2)
    expected = functional.cross_entropy(30 * cosines, speakers)
    assert torch.isclose(loss(embeddings, speakers, 0.0, 30.0), expected, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_wider_margin_is_harder_and_length_does_not_matter(seed: int, narrow: float, more: float) -> None:
    loss, embeddings, speakers = margin(seed=seed), drawn(6, seed=seed + 1), torch.arange(6) % 5
    assert loss(embeddings, speakers, narrow, 20.0) < loss(embeddings, speakers, narrow + more, 20.0)
    assert torch.isclose(loss(embeddings, speakers, 0.2, 20.0), loss(3 * embeddings, speakers, 0.2, 20.0), atol=1e-4)


def test_the_margin_is_an_angle() -> None:
    loss = margin(speakers=2, dimensions=2)
    with torch.no_grad():
        loss.directions.copy_(torch.eye(2))
    angle = 0.7
    embedding = torch.tensor([[math.cos(angle), math.sin(angle)]])
    logits = torch.tensor([[10 * math.cos(angle + 0.3), 10 * math.sin(angle)]])
    expected = functional.cross_entropy(logits, torch.tensor([0]))
    assert torch.isclose(loss(embedding, torch.tensor([0]), 0.3, 10.0), expected, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.05, 3.1), st.floats(0.01, 0.5))
def test_nearer_is_better_even_from_behind(angle: float, wide: float) -> None:
    loss = margin(speakers=2, dimensions=3)
    with torch.no_grad():
        loss.directions.copy_(torch.eye(3)[:2])  # the embedding turns about the other speaker
    near, far = (torch.tensor([[math.cos(a), 0.0, math.sin(a)]]) for a in (angle - 0.04, angle))
    right = torch.tensor([0])
    assert loss(near, right, wide, 5.0) < loss(far, right, wide, 5.0)


def test_of_several_centres_the_nearest_counts() -> None:
    loss = margin(speakers=2, dimensions=2, centres=2)
    with torch.no_grad():
        loss.directions.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    cosines = loss.cosines(torch.tensor([[0.0, 2.0], [-3.0, 0.0]]))
    assert torch.allclose(cosines, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), atol=1e-6)


def test_learning_it_tells_speakers_apart() -> None:
    speakers = torch.arange(40) % 4
    heard = drawn(4, 8, seed=3)[speakers] + 0.5 * drawn(40, 8, seed=4)
    torch.manual_seed(0)
    network, loss = torch.nn.Linear(8, 6), AngularMargin(4, 6)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(network(heard), speakers, 0.2, 10.0).backward()
        optimizer.step()
    assert (loss.cosines(network(heard)).argmax(dim=1) == speakers).all()


@pytest.mark.parametrize("sizes", [(0, 8, 1), (3, 0, 1), (3, 8, 0)])
def test_impossible_sizes(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AngularMargin(*sizes)


def test_a_student_can_learn_what_the_teacher_says() -> None:
    torch.manual_seed(0)
    embeddings, taught = drawn(16, 8), drawn(16, 8) @ drawn(8, 12, seed=5)
    loss = Distillation(8, 12)
    before = loss(embeddings, taught).item()
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(embeddings, taught).backward()
        optimizer.step()
    assert 0.5 < before < 1.5
    assert loss(embeddings, taught).item() < 0.05
    assert torch.isclose(loss(embeddings, taught), loss(2 * embeddings, 5 * taught), atol=1e-5)
