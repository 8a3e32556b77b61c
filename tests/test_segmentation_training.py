"""The segmentation network: its classes, its loss, what it hears, its run and its file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.evaluation.local import segmentation_judge
from diarize.models.checkpoints import CheckpointError, write_checkpoint
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from diarize.models.powerset import FRAME, PowersetConfig, PowersetNetwork
from diarize.models.segmenter import SpeakerSegmenter
from diarize.powerset import CLASSES, VOICES, classes, marginals
from diarize.training.carriers import Sources
from diarize.training.lessons import draw_lessons
from diarize.training.segmentation.lessons import SegmentationLessons
from diarize.training.segmentation.loss import permutation_free_cross_entropy
from diarize.training.segmentation.pieces import FRAMES, PIECE, Talk, cut_piece, quiet_piece
from diarize.training.segmentation.recipe import (
    PiecesConfig,
    SegmentationRecipe,
    TalkConfig,
    load_segmentation_recipe,
)
from diarize.training.segmentation.training import SegmentationTraining
from diarize.training.train import CHECKPOINT, CURVES, WEIGHTS, train
from diarize.types import Samples
from tests.command import here

CPU = torch.device("cpu")
SMALL = PowersetConfig(channels=12, fine=8, blocks=1, heads=2, expansion=1, kernel=3)
TINY = replace(
    load_segmentation_recipe("train_segmentation"),
    every=2,
    judged=1,
    network=SMALL,
    talk=TalkConfig(seconds=20, held=1, carried=0.5),
    pieces=PiecesConfig(count=3),
)
TINY = replace(TINY, optimizer=replace(TINY.optimizer, steps=4, warm_up=1, average=0.5))
TINY_SETTINGS = [
    *("--set", "every=2", "--set", "judged=1", "--set", "talk.seconds=20", "--set", "talk.held=1"),
    *("--set", "network.channels=12", "--set", "network.blocks=1", "--set", "pieces.count=2"),
    *("--set", "optimizer.steps=2", "--workers", "0"),
]


def noise(seed: int, samples: int = PIECE) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> PowersetNetwork:
    torch.manual_seed(3)
    return PowersetNetwork(SMALL).eval()


# --- classes


def test_classes_are_those_of_two_of_three() -> None:
    everything = np.array(
        [[a, b, c] for a in (False, True) for b in (False, True) for c in (False, True) if a + b + c < 3]
    )
    numbers = classes(everything)
    assert sorted(numbers) == list(range(len(CLASSES)))
    assert [tuple(np.flatnonzero(row)) for row in everything] == [CLASSES[number] for number in numbers]
    with pytest.raises(ValueError, match="more than two of 3 voices"):
        classes(np.ones((4, VOICES), bool))


def test_marginals_are_sums_over_the_classes_a_voice_is_in() -> None:
    said = np.random.default_rng(1).dirichlet(np.ones(7), 20).astype(np.float32)
    by_hand = np.stack([sum(said[:, n] for n, who in enumerate(CLASSES) if v in who) for v in range(VOICES)], axis=1)
    np.testing.assert_allclose(marginals(said), by_hand, rtol=1e-6)


# --- the loss


@given(st.integers(0, 1000), st.permutations(range(VOICES)))
@settings(deadline=None, max_examples=20)
def test_a_loss_that_does_not_ask_who_is_who(seed: int, names: list[int]) -> None:
    rng = np.random.default_rng(seed)
    talking = rng.random((2, 9, VOICES)) < 0.4
    talking[talking.all(axis=2), 0] = False
    logits = torch.from_numpy(rng.normal(size=(2, 9, len(CLASSES))))
    said = permutation_free_cross_entropy(logits, torch.from_numpy(classes(talking)))
    renamed = permutation_free_cross_entropy(logits, torch.from_numpy(classes(talking[..., names])))
    assert said.item() == pytest.approx(renamed.item(), abs=1e-12)
    best = [
        min(
            torch.nn.functional.cross_entropy(one, torch.from_numpy(classes(truth[:, list(order)]))).item()
            for order in permutations(range(VOICES))
        )
        for one, truth in zip(logits, talking, strict=True)
    ]
    assert said.item() == pytest.approx(np.mean(best), abs=1e-12)


def test_a_loss_of_the_truth_is_nothing() -> None:
    said = torch.tensor([[0, 1, 4, 2, 6, 3]])
    logits = torch.nn.functional.one_hot(said, len(CLASSES)).double() * 100
    assert permutation_free_cross_entropy(logits, said).item() < 1e-12


# --- pieces


def talk(frames: int, speakers: int, seed: int = 0) -> Talk:
    return Talk(noise(seed, frames * FRAME), np.random.default_rng(seed).random((frames, speakers)) < 0.3)


def test_a_piece_says_who_talks_where() -> None:
    whole = talk(700, 2)
    samples, talking = cut_piece(whole, 150)
    np.testing.assert_array_equal(samples, whole.samples[150 * FRAME : 650 * FRAME])
    np.testing.assert_array_equal(np.sort(talking[:, :2].sum(0)), np.sort(whole.talking[150:650].sum(0)))
    assert not talking[:, 2].any()


def test_a_piece_that_begins_early_is_silent_before() -> None:
    samples, talking = cut_piece(talk(600, 2), -200)
    assert not samples[: 200 * FRAME].any()
    assert samples[200 * FRAME :].all()
    assert not talking[:200].any()
    assert talking[200:].any()


def test_in_a_quiet_piece_noises_are_heard_and_nobody_talks() -> None:
    pieces = [quiet_piece(Sources.computed(), np.random.default_rng(seed)) for seed in range(5)]
    for samples, talking in pieces:
        assert samples.shape == (PIECE,)
        assert talking.shape == (FRAMES, VOICES)
        assert not talking.any()
        assert (np.square(samples.reshape(10, -1)).mean(axis=1) > 1e-4).all(), "a second without a sound"
    assert len({samples.tobytes() for samples, _ in pieces}) == 5


def test_a_piece_leaves_out_who_says_least() -> None:
    whole = talk(500, 5)
    _, talking = cut_piece(whole, 0)
    assert talking.shape == (FRAMES, VOICES)
    assert talking.sum(axis=1).max() == 2
    most = np.sort(whole.talking.sum(0))[::-1][:VOICES]
    assert list(talking[:, :2].sum(0)) == list(most[:2])
    assert talking[:, 2].sum() < most[2], "where three talk at once, the third is left out"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["talk.seconds=5"], "seconds must be in 20"),
        (["talk.held=0"], "held and renewed must be at least 1"),
        (["talk.speed=[1.2, 0.8]"], "a lowest and a highest factor"),
        (["talk.carried=2"], "carried must be in 0..1"),
        (["pieces.count=0"], "count must be at least 1"),
        (["pieces.early=-1"], "early must be in 0..1"),
        (["pieces.quiet=2"], "quiet must be in 0..1"),
        (["pieces.scenes.babble=0.5"], "other voices would be heard that nobody says"),
        (["judged=0"], "every and judged must be at least 1"),
        (["network.channels=100"], "a multiple of heads"),
        (["network.kernel=4"], "kernel must be odd"),
        (["network.blocks=0"], "blocks must be at least 1"),
        (["network.voices=0"], "voices must be at least 1"),
        (["network.width=3"], "unknown setting network.width"),
    ],
)
def test_recipes_that_cannot_be(settings: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_segmentation_recipe("train_segmentation", settings)


# --- the network


def test_the_bundled_size_is_small() -> None:
    network = PowersetNetwork()
    assert sum(weight.numel() for weight in network.parameters()) < 2_000_000
    with torch.no_grad():
        assert network(torch.zeros(2, 64_000)).shape == (2, 200, 7)


@given(st.floats(-40, 20))
@settings(deadline=None, max_examples=8)
def test_how_loud_it_is_does_not_matter(network: PowersetNetwork, decibels: float) -> None:
    waveform = torch.from_numpy(noise(5, 64_000))[None]
    with torch.no_grad():
        quiet, loud = network(waveform), network(waveform * 10 ** (decibels / 20))
    torch.testing.assert_close(quiet, loud, atol=2e-3, rtol=0)


def test_frames_are_where_they_say(network: PowersetNetwork) -> None:
    """What changes in the audio changes what is said there, and not at all beyond what the attention carries there."""
    before = torch.from_numpy(noise(6, 64_000))[None]
    after = before.clone()
    after[:, 32_000:36_000] *= 30
    with torch.no_grad():
        change = (network(before) - network(after)).abs().sum(dim=2)[0]
    assert abs(int(change.argmax()) - 106) < 12, "samples 32000 to 36000 are frames 100 to 112"


def test_voices_are_heard_as_the_encoder_hears_them() -> None:
    """The first layers are the encoder's, to the bit, and stay so while the rest learns."""
    work = SegmentationTraining(TINY, CPU)
    encoder = SpeakerEncoder.from_pretrained()._network
    assert isinstance(encoder, EcapaTdnn)
    heard, _ = work.network.heard(torch.from_numpy(noise(4, 32_000))[None])
    with torch.no_grad():
        x, outputs = heard, []
        for block in encoder.blocks:
            x = block(x)
            outputs.append(x)
        expected = torch.nn.functional.avg_pool1d(torch.cat(outputs[1:], dim=1), 4)
    theirs = encoder.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in work.network.voices.state_dict().items())
    before = work.network.voices(heard)
    torch.testing.assert_close(before, expected, rtol=1e-5, atol=1e-5)
    work.learn((torch.from_numpy(noise(5))[None], torch.ones((1, FRAMES), dtype=torch.int64)))
    assert torch.equal(work.network.voices(heard), before)
    with pytest.raises(ValueError, match="is no ECAPA-TDNN of 64 channels"):
        SegmentationTraining(replace(TINY, network=replace(SMALL, voices=64)), CPU)


# --- the file


def test_a_network_comes_back_from_its_file(network: PowersetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    metadata = {"network": json.dumps(vars(SMALL))}
    write_checkpoint(network, file, metadata)
    segmenter = SpeakerSegmenter.from_pretrained(tmp_path)
    said = segmenter(noise(7))
    assert said.shape == (500, 7)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    with torch.no_grad():
        expected = network(torch.from_numpy(noise(7))[None])[0].softmax(dim=1).numpy()
    np.testing.assert_allclose(said, expected, atol=5e-3)  # half precision
    again = SpeakerSegmenter.from_pretrained(file)
    assert again.fingerprint == segmenter.fingerprint
    assert again(noise(7)).tobytes() == said.tobytes()


def test_what_a_segmenter_refuses(network: PowersetNetwork, tmp_path: Path) -> None:
    write_checkpoint(network, tmp_path / "model.safetensors", {"network": json.dumps(vars(SMALL))})
    segmenter = SpeakerSegmenter.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"shape \(160000,\), not \(5,\)"):
        segmenter(np.zeros(5, np.float32))
    broken = noise(1)
    broken[9] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        segmenter(broken)


def test_files_that_are_no_segmentation_network(network: PowersetNetwork, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown segmentation network 'nothing'"):
        SpeakerSegmenter.from_pretrained("nothing")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.safetensors: not a checkpoint"):
        SpeakerSegmenter.from_pretrained(tmp_path / "text.safetensors")
    write_checkpoint(network, tmp_path / "bare.safetensors", {})
    with pytest.raises(CheckpointError, match=r"bare\.safetensors: no segmentation network"):
        SpeakerSegmenter.from_pretrained(tmp_path / "bare.safetensors")
    write_checkpoint(network, tmp_path / "other.safetensors", {"network": json.dumps({**vars(SMALL), "blocks": 2})})
    with pytest.raises(CheckpointError, match="missing"):
        SpeakerSegmenter.from_pretrained(tmp_path / "other.safetensors")


# --- a run


def run(speech: Path, folder: Path, config: SegmentationRecipe = TINY, until: float = math.inf) -> SegmentationTraining:
    folder.mkdir(exist_ok=True)
    work = SegmentationTraining(config, CPU)
    if (folder / CHECKPOINT).is_file():
        work.resume(folder / CHECKPOINT)
    lessons = draw_lessons(SegmentationLessons(speech, config), work.step, config.optimizer.steps, 0)
    train(work, lessons, lambda _: {}, folder, until)
    return work


def test_a_resumed_run_is_the_same_to_the_bit(speech: Path, tmp_path: Path) -> None:
    whole = run(speech, tmp_path / "whole")
    run(speech, tmp_path / "parts", until=-math.inf)
    assert run(speech, tmp_path / "parts").step == 4
    for one, other in zip(
        whole.result().state_dict().values(),
        SpeakerSegmenter.from_pretrained(tmp_path / "parts")._network.state_dict().values(),
        strict=True,
    ):
        torch.testing.assert_close(one.float(), other.float(), atol=2e-3, rtol=1e-3)
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    other = SegmentationTraining(replace(TINY, seed=8), CPU)
    with pytest.raises(ValueError, match=r"another configuration \(seed was 1, now 8\)"):
        other.resume(tmp_path / "parts" / CHECKPOINT)


def test_a_lesson_is_its_number(speech: Path) -> None:
    lessons, again = SegmentationLessons(speech, TINY), SegmentationLessons(speech, TINY)
    waveforms, said = lessons[3]
    assert waveforms.shape == (3, PIECE)
    assert said.shape == (3, FRAMES)
    assert waveforms.isfinite().all()
    again[1]
    for one, other in zip((waveforms, said), again[3], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(waveforms, lessons[2][0])


def test_nobody_is_said_to_talk_in_a_quiet_lesson(speech: Path) -> None:
    config = replace(TINY, pieces=replace(TINY.pieces, quiet=1))
    waveforms, said = SegmentationLessons(speech, config)[0]
    assert not said.any()
    assert waveforms.any(dim=1).all()


def test_voices_are_where_the_lesson_says(speech: Path) -> None:
    """On clean, undisturbed conversations the frames said to be silent are much softer than the others."""
    config = replace(
        TINY, talk=TalkConfig(seconds=30, held=2, carried=0), pieces=PiecesConfig(count=8, quiet=0, early=0)
    )
    config = replace(config, pieces=replace(config.pieces, scenes=replace(config.pieces.scenes, noise=0)))
    waveforms, said = SegmentationLessons(speech, config)[0]
    levels = waveforms.reshape(8, FRAMES, FRAME).square().mean(dim=2)
    louder = [
        levels[i][said[i] > 0].median() / levels[i][said[i] == 0].median() for i in range(8) if (said[i] == 0).any()
    ]
    assert np.median(louder) > 10


def test_a_judge_of_segmentations(speech: Path) -> None:
    judge = segmentation_judge(speech, replace(TINY, judged=2), CPU)
    torch.manual_seed(0)
    network = PowersetNetwork(SMALL).eval()
    with torch.no_grad():
        torch.nn.init.zeros_(network.classes.weight)
        network.classes.get_parameter("bias").copy_(torch.tensor([9.0, 0, 0, 0, 0, 0, 0]))
    assert judge(network) == pytest.approx({"speech": 100.0, "local": 100.0}), "who says nothing misses everything"


def test_training_on_the_command_line(speech: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = here(capfd, "train", speech, "-o", tmp_path / "run", "--task", "segmentation", *TINY_SETTINGS)
    assert done.code == 0, done.err
    assert "step 2 of 2: powerset" in done.err
    assert "local" in (tmp_path / "run" / CURVES).read_text()
    assert SpeakerSegmenter.from_pretrained(tmp_path / "run")(noise(1)).shape == (500, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "vad"], "--task 'vad' is not known: choose embedding or segmentation"),
        (["--task", "segmentation", "--corpus", "x"], "--corpus is for --task embedding"),
        (["--task", "segmentation", "--set", "channels=8"], "unknown setting channels"),
        (["--task", "segmentation"], "speakers.csv"),
    ],
)
def test_commands_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = here(capfd, "train", tmp_path / "empty", "-o", tmp_path / "run", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err
    assert not (tmp_path / "run").exists()
