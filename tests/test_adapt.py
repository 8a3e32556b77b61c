from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, cycle, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from diarize.models.checkpoints import load_checkpoint
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.rttm import Turn
from diarize.training.adapt import Adaptation, AdaptConfig, adapt, mask, write_weights
from diarize.training.excerpts import ExcerptConfig, Talk, draw_batch, excerpt, make_talk, make_talks, pure_windows
from diarize.training.losses import AngularMargin, contrastive_loss
from diarize.training.simulate import Conversation, Scene
from diarize.training.speech import read_voices
from diarize.types import SAMPLE_RATE

LENGTH = 4800
EXCERPTS = ExcerptConfig(conversations=3, voices=3, windows=2, length=LENGTH, speeds=(1.0,))
CONFIG = AdaptConfig(excerpts=EXCERPTS, steps=12, pool=4, start=3, renew=2, rate=2e-3, warm_up=2, average=0.5)
VOICES = ("a", "b", "c")
SCENE = Scene("none", 0.0, VOICES, "none", "none", None, 0.0, "none", -26.0, 1.0, 0.0)

seeds = st.integers(0, 2**32 - 1)


def conversation(seconds: float, turns: list[tuple[float, float, str]]) -> Conversation:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    placed = [Turn(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), who) for start, end, who in turns]
    return Conversation("made", samples, placed, SCENE)


def humming(number: int) -> Talk:
    """Three voices that differ in pitch, behind noise whose colour is the conversation's own."""
    rng = np.random.default_rng(number)
    time = np.arange(4 * LENGTH) / SAMPLE_RATE
    colour = rng.normal(0, 0.3, 6)
    pieces, starts = [], {}
    for place, (name, pitch) in enumerate(zip(VOICES, (110, 170, 260), strict=True)):
        hum = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 20))
        noise = np.convolve(rng.normal(0, 0.5, len(time)), colour, mode="same")
        pieces.append(0.05 * (hum + noise))
        starts[name] = place * len(time) + np.arange(0, 3 * LENGTH, 160)
    return Talk((np.concatenate(pieces) * 32767).astype(np.int16), starts)


def hums(first: int) -> Iterator[Talk]:
    return islice(cycle([humming(number) for number in range(4)]), first, None)


def beginning(config: AdaptConfig = CONFIG) -> Adaptation:
    torch.manual_seed(0)
    return Adaptation(EcapaTdnn(EcapaConfig(16, 32, 8, 8, 4, 12)), VOICES, config)


def weights(work: Adaptation) -> list[torch.Tensor]:
    return list(work.result().state_dict().values())


def equal(left: Adaptation, right: Adaptation) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(left), weights(right), strict=True))


# the losses


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two conversations of three voices (one of whom is in both), with three windows each."""
    rng = torch.Generator().manual_seed(seed)
    embeddings = functional.normalize(torch.randn(18, 8, generator=rng, dtype=torch.float64), dim=1)
    speakers = torch.tensor([0, 1, 2, 2, 3, 4]).repeat_interleave(3)
    return embeddings, torch.arange(2).repeat_interleave(9), speakers


def contrast(embeddings: torch.Tensor, talks: torch.Tensor, speakers: torch.Tensor) -> float:
    return contrastive_loss(embeddings, talks, speakers, 5.0, 0.3).item()


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_contrast_is_the_cross_entropy_pair_by_pair(seed: int) -> None:
    embeddings, talks, speakers = drawn(seed)
    of_one, of_two = [], []
    for i, j in combinations(range(18), 2):
        likely = 1 / (1 + np.exp(-5 * (float(embeddings[i] @ embeddings[j]) - 0.3)))
        if talks[i] == talks[j] and speakers[i] == speakers[j]:
            of_one.append(-np.log(likely))
        elif talks[i] == talks[j]:
            of_two.append(-np.log(1 - likely))
    assert (len(of_one), len(of_two)) == (18, 54)
    assert contrast(embeddings, talks, speakers) == pytest.approx(np.mean(of_one) + np.mean(of_two))


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_contrast_does_not_depend_on_names_or_order(seed: int) -> None:
    embeddings, talks, speakers = drawn(seed)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(seed))
    renamed = torch.tensor([7, 3, 9, 0, 4])[speakers[order]]
    again = contrast(embeddings[order], 1 - talks[order], renamed)
    assert again == pytest.approx(contrast(embeddings, talks, speakers))


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_contrast_is_least_where_the_windows_of_a_voice_agree(seed: int) -> None:
    embeddings, talks, speakers = drawn(seed)
    agreeing = functional.one_hot(speakers, 8).double()
    shuffled = agreeing[torch.randperm(18, generator=torch.Generator().manual_seed(seed))]
    nearly = functional.normalize(agreeing + 0.3 * embeddings, dim=1)
    right, almost = contrast(agreeing, talks, speakers), contrast(nearly, talks, speakers)
    assert max(right, almost) < min(contrast(embeddings, talks, speakers), contrast(shuffled, talks, speakers))


def test_pairs_of_different_conversations_do_not_count() -> None:
    embeddings, talks, speakers = drawn(1)
    apart = [contrast(embeddings[talks == t], talks[talks == t], speakers[talks == t]) for t in (0, 1)]
    assert contrast(embeddings, talks, speakers) == pytest.approx(np.mean(apart))


def test_without_a_margin_the_head_is_a_softmax_over_the_speakers_met() -> None:
    embeddings, _, speakers = drawn(2)
    embeddings = embeddings.float()
    head = AngularMargin(9, 8)
    loss = head(embeddings, speakers, 0.0, 30.0).item()
    first = torch.stack([embeddings[speakers == k][0] for k in range(5)])
    log_total = torch.logsumexp(torch.cat([30 * embeddings @ first.T, torch.full((18, 4), -30.0)], dim=1), dim=1)
    expected = (log_total - 30 * (embeddings * first[speakers]).sum(dim=1)).mean()
    assert loss == pytest.approx(float(expected), abs=1e-3)
    assert head(embeddings, speakers, 0.2, 30.0).item() > loss


# what is drawn


@given(seeds, st.sampled_from([0.9, 1.0, 1.1]))
@settings(deadline=None, max_examples=25)
def test_only_windows_of_one_voice_are_drawn(seed: int, speed: float) -> None:
    rng = np.random.default_rng(seed)
    turns = []
    for name in VOICES:
        at = np.round(rng.uniform(0, 18, 4), 2)
        turns += [(start, start + round(rng.uniform(0.2, 2), 2), name) for start in at]
    made = conversation(20, turns)
    active = np.zeros((3, 20 * SAMPLE_RATE), dtype=bool)
    for turn in made.turns:
        active[VOICES.index(turn.speaker), turn.start : turn.end] = True
    talk = excerpt(made, speed, LENGTH)
    for name, starts in talk.starts.items():
        assert starts.max() + LENGTH <= len(talk.samples)
        for start in (starts * speed).astype(int):
            window = active[:, start : start + round(LENGTH * speed)].mean(axis=1)
            own = VOICES.index(name.removesuffix(f"@{speed}"))
            assert window[own] >= 0.8 - 0.02  # the rounding of a frame
            assert window.sum() - window[own] < 0.1 + 0.02


def test_a_voice_alone_is_found_and_two_at_once_are_not() -> None:
    found = pure_windows(conversation(9, [(0, 3, "a"), (3, 6, "b"), (6, 9, "a"), (6, 9, "c")]), LENGTH)
    assert set(found) == {"a", "b"}
    # a fifth of a window of 0.3 s may be without its voice, but less than a tenth of it with another
    assert found["a"].max() <= 2.75 * SAMPLE_RATE
    assert found["b"].min() >= 2.95 * SAMPLE_RATE


def test_a_batch_is_a_grid_of_conversations_voices_and_windows() -> None:
    batch = draw_batch([humming(1), humming(2)], EXCERPTS, np.random.default_rng(0))
    assert batch.waveforms.shape == (18, LENGTH)
    assert batch.waveforms.dtype == np.float32
    assert [list(batch.talks).count(number) for number in range(3)] == [6, 6, 6]
    for number in range(3):
        names = [name for name, talk in zip(batch.voices, batch.talks, strict=True) if talk == number]
        assert sorted(names) == ["a", "a", "b", "b", "c", "c"]


def test_a_lone_voice_is_no_contrast() -> None:
    lone = excerpt(conversation(5, [(0, 5, "a")]), 1.0, LENGTH)
    with pytest.raises(ValueError, match="none of 1 conversations has windows of two voices"):
        draw_batch([lone], EXCERPTS, np.random.default_rng(0))


def test_masks_hide_at_most_what_they_may() -> None:
    hidden = mask(torch.ones(40, 30, 80), CONFIG, np.random.default_rng(0)) == 0
    assert hidden.all(dim=2).sum(dim=1).max() == CONFIG.mask_frames
    assert hidden.all(dim=1).sum(dim=1).max() == CONFIG.mask_bands


def test_only_voices_of_the_training_split_are_heard(speech: Path) -> None:
    config = replace(EXCERPTS, speakers=(3,), seconds=(40, 50), speeds=(0.9, 1.1))
    talk = make_talk(speech, 5, config, 0)
    allowed = {f"{voice.name}@{speed}" for voice in read_voices(speech, "train") for speed in (0.9, 1.1)}
    assert talk.starts
    assert set(talk.starts) <= allowed


def test_conversations_depend_on_their_number_only(speech: Path) -> None:
    config = replace(EXCERPTS, speakers=(2,), seconds=(20, 25))
    made = make_talks(speech, 3, config, first=1)
    second = next(made)
    made.close()
    assert np.array_equal(second.samples, make_talk(speech, 3, config, 1).samples)
    assert not np.array_equal(second.samples[:16000], make_talk(speech, 3, config, 0).samples[:16000])


# learning


def test_learning_lowers_the_contrast_and_moves_the_result() -> None:
    config = replace(CONFIG, steps=40)
    work = beginning(config)
    before = [weight.clone() for weight in weights(work)]
    losses = adapt(work, hums)
    assert work.step == len(losses) == 40
    first, last = np.mean(losses[:8], axis=0), np.mean(losses[-8:], axis=0)
    assert last[0] < 0.9 * first[0]
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(work), strict=True))


def test_the_result_lies_between_the_first_weights_and_their_average() -> None:
    works = [beginning(replace(CONFIG, share=share)) for share in (0.0, 0.5, 1.0)]
    first = [weight.clone() for weight in works[0].network.parameters()]
    for work in works:
        adapt(work, hums)
    none, half, whole = ([*work.result().parameters()] for work in works)
    for start, a, b, c in zip(first, none, half, whole, strict=True):
        assert torch.equal(a, start)
        assert torch.allclose(b, (a + c) / 2, atol=1e-6)
    assert not torch.equal(whole[0], none[0])


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    works = [beginning(), beginning(), beginning(replace(CONFIG, seed=2))]
    for work in works:
        adapt(work, hums)
    assert equal(works[0], works[1])
    assert not equal(works[0], works[2])


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, first, second = beginning(), beginning(), beginning()
    adapt(whole, hums)
    stop = iter([*range(6), 99])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diarize.training.adapt.time.monotonic", lambda: next(stop))
        adapt(first, hums, until=50)
    assert first.step == 6
    first.save(tmp_path / "run.resume")
    second.resume(tmp_path / "run.resume")
    adapt(second, hums)
    assert second.step == CONFIG.steps
    assert equal(whole, second)


def test_another_configuration_or_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.resume"
    beginning().save(file)
    with pytest.raises(ValueError, match=r"run.resume: of another configuration \(scale was 12.0, now 20.0\)"):
        beginning(replace(CONFIG, scale=20.0)).resume(file)
    torch.save({"weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="not what an interrupted run leaves"):
        beginning().resume(file)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"renew": 0}, {"average": 1.1}, {"share": 1.1}])
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]  # wrong values are the point


def test_a_batch_that_holds_nothing_against_another_is_refused() -> None:
    with pytest.raises(ValueError, match="at least, not 3, 1, 2"):
        replace(EXCERPTS, voices=1)


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    work = beginning(replace(CONFIG, scale=float("nan")))
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan"):
        adapt(work, hums)


def test_written_weights_load_and_are_nearly_the_same(tmp_path: Path) -> None:
    work = beginning()
    adapt(work, hums)
    file = tmp_path / "weights.safetensors"
    write_weights(work.result(), file)
    loaded = load_checkpoint(file).network
    features = torch.randn(2, 40, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        left, right = loaded(features), work.result()(features)
    assert functional.cosine_similarity(left, right).min() > 0.999
