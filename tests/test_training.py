"""Training: the recipe, a run and its interruption, and the command."""

from __future__ import annotations

import csv
import errno
import math
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.evaluation import progress
from diarize.evaluation.progress import progress_judge
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.encoder import SpeakerEncoder
from diarize.training.batches import BatchConfig
from diarize.training.carriers import CarrierConfig, Sources
from diarize.training.corpus import Corpus, CorpusConfig, prepare
from diarize.training.embedder import EmbedderTraining, mask
from diarize.training.lessons import Lessons, draw_lessons
from diarize.training.manifest import read_manifest
from diarize.training.recipe import LossConfig, MaskConfig, OptimizerConfig, Ramp, TrainConfig, load_recipe
from diarize.training.teacher import teach
from diarize.training.train import CHECKPOINT, CURVES, WEIGHTS, Lesson, mixed_precision, train
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation, here

TAUGHT = ["--set", "loss.teacher=ecapa-tdnn-c256"]
CPU = torch.device("cpu")
TINY = TrainConfig(
    channels=16,
    embedding=12,
    every=2,
    corpus=CorpusConfig(speeds=(1.0,), takes=2),
    batches=BatchConfig(speakers=3, crops=2, seconds=0.8),
    optimizer=OptimizerConfig(steps=6, warm_up=2, average=0.5),
)


def as_it_is(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, as on many a laptop: compiling takes longer than these runs."""
    monkeypatch.setattr("shutil.which", lambda _name: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of speakers, who are pieces of a conversation."""
    folder, talk = tmp_path_factory.mktemp("people"), conversation(40)
    for person in range(10):
        (folder / "pieces" / f"p{person}").mkdir(parents=True)
        for part in range(2):
            at = round((4 * person + 2 * part) * SAMPLE_RATE)
            soundfile.write(
                folder / "pieces" / f"p{person}" / f"{part}.wav", talk[at : at + 2 * SAMPLE_RATE], SAMPLE_RATE
            )
    return folder


@pytest.fixture(scope="module")
def corpus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(read_manifest(data), tmp_path_factory.mktemp("corpus") / "all", TINY.corpus, as_it_is)


def lessons(corpus: Corpus, config: TrainConfig, first: int = 0) -> Iterator[Lesson]:
    return draw_lessons(Lessons(corpus.folder, None, config), first, config.optimizer.steps, 0)


def judge(network: EcapaTdnn) -> Mapping[str, float]:
    return {"clean": float(network.fc.conv.weight.detach().square().sum())}


def taught(corpus: Corpus) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(len(corpus.lengths), 7)).astype(np.float32)


def run(corpus: Corpus, folder: Path, config: TrainConfig = TINY, until: float = math.inf) -> EmbedderTraining:
    folder.mkdir(exist_ok=True)
    work = EmbedderTraining(config, len(corpus.speakers), taught(corpus), CPU)
    if (folder / CHECKPOINT).exists():
        work.resume(folder / CHECKPOINT)
    train(work, draw_lessons(Lessons(corpus.folder, None, config), work.step, 6, 0), judge, folder, until)
    return work


def weights(work: EmbedderTraining) -> list[torch.Tensor]:
    return [value.clone() for value in work.result().state_dict().values()]


# --- the recipe


def test_the_shipped_recipe_is_read_and_can_be_changed() -> None:
    shipped = load_recipe()
    assert shipped != TrainConfig()  # it states what differs
    assert load_recipe(settings=["optimizer.steps=7", "loss.margin.end=0.3"]).loss.margin.end == 0.3
    assert load_recipe(settings=["corpus.speeds=[1.0, 1.1]"]).corpus.speeds == (1.0, 1.1)


@settings(deadline=None)
@given(st.floats(0, 0.5), st.floats(0.51, 1), st.floats(-1, 2))
def test_a_ramp_stays_between_its_ends(begins: float, ends: float, share: float) -> None:
    ramp = Ramp(2.0, 5.0, begins, ends)
    assert 2 <= ramp.at(share) <= 5
    assert ramp.at(begins) == 2
    assert ramp.at(ends) == pytest.approx(5)
    assert ramp.at(share) <= ramp.at(share + 0.1)


def test_the_learning_rate_rises_and_falls() -> None:
    config = OptimizerConfig(steps=100, rate=1e-2, warm_up=10)
    rates = [config.rate_at(step) for step in range(100)]
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert max(rates) == pytest.approx(1e-2)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optimizer.steps=0", "steps must be at least 1"),
        ("optimizer.average=1.0", "average must be in 0..1"),
        ("optimizer.rate=0.0", "rate and clip"),
        ("loss.distillation=-1.0", "distillation"),
        ("loss.margin.begins=0.9", "begins and ends"),
        ("every=0", "every must be"),
        ("channels=20", "divide channels"),
        ("chanels=256", "did you mean channels"),
        ("mask.frames=-1", "frames"),
        ("corpus.speeds=1.0", "must be a list"),
        ("corpus.speeds=['a']", r"speeds\[0\] is 'a'"),
    ],
)
def test_impossible_recipes(setting: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_recipe(settings=[setting])


def test_a_batch_of_one_crop_teaches_nothing() -> None:
    with pytest.raises(ValueError, match="two crops at least"):
        load_recipe(settings=["batches.speakers=1", "batches.crops=1"])


# --- what a step hears


def test_a_lesson_is_the_same_whoever_draws_it(corpus: Corpus) -> None:
    every = list(lessons(corpus, TINY))
    later = list(lessons(corpus, TINY, first=4))
    elsewhere = list(draw_lessons(Lessons(corpus.folder, None, TINY), 4, 6, 1))
    for drawn in (later, elsewhere):
        for one, other in zip(every[4:], drawn, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(every[0][0], every[1][0])


class Deadly(Lessons):
    """Whoever draws these is killed."""

    def __getitem__(self, step: int) -> Lesson:
        os._exit(1)


def test_a_process_that_dies_is_told_of(corpus: Corpus) -> None:
    with pytest.raises(OSError, match="a process that prepares speech died"):
        list(draw_lessons(Deadly(corpus.folder, None, TINY), 0, 2, 1))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 30), st.integers(0, 100), st.integers(0, 2**31))
def test_masks_hide_one_stretch_of_time_and_one_of_bands(frames: int, bands: int, seed: int) -> None:
    features = torch.ones(4, 25, 80)
    masked = mask(features, MaskConfig(frames, bands), torch.Generator().manual_seed(seed))
    for one in masked.bool():
        # not hidden in any frame that is not hidden as a whole
        hidden_frames, hidden_bands = ~one.any(dim=1), ~one.any(dim=0)
        if hidden_frames.all() or hidden_bands.all():
            continue
        assert torch.equal(one, ~hidden_frames[:, None] & ~hidden_bands[None])
        for hidden, widest in ((hidden_frames, frames), (hidden_bands, bands)):
            places = hidden.nonzero()
            assert len(places) <= widest
            assert not len(places) or int(places.max() - places.min()) + 1 == len(places)
    assert torch.equal(masked, mask(features, MaskConfig(frames, bands), torch.Generator().manual_seed(seed)))


def test_a_teacher_is_asked_once_and_says_what_differs(corpus: Corpus) -> None:
    said = teach(corpus, "ecapa-tdnn-c256", CPU)
    assert said.shape == (len(corpus.lengths), 192)
    assert np.allclose(np.linalg.norm(said, axis=1), 1, atol=1e-5)
    (file,) = corpus.folder.glob("taught-*.npy")
    kept = np.load(file)
    encoder = SpeakerEncoder.from_pretrained()
    whole = encoder.encode(corpus.crop(0, 0, 0, int(corpus.lengths[0])).astype(np.float32) / 32768)
    assert kept[0] @ whole > 0.8, "what it makes of the whole utterance"
    apart = kept - kept.mean(axis=0)
    assert np.allclose(said, apart / np.linalg.norm(apart, axis=1, keepdims=True), atol=1e-5)
    np.save(file, kept[::-1])
    assert np.allclose(teach(corpus, "ecapa-tdnn-c256", CPU), said[::-1], atol=1e-5), "read, not asked again"
    file.unlink()
    with pytest.raises(ValueError, match="nobody"):
        teach(corpus, "nobody", CPU)


def test_a_teacher_to_whom_all_voices_are_much_alike_still_tells_them_apart(corpus: Corpus) -> None:
    """Resemblyzer's numbers are never negative; a student who says their mean must be wrong about everybody."""
    said = teach(corpus, "resemblyzer", CPU)
    mean = said.mean(axis=0)
    assert abs((said @ (mean / np.linalg.norm(mean))).mean()) < 0.2


# --- a run


def test_a_run_leaves_weights_that_every_command_can_use(corpus: Corpus, tmp_path: Path) -> None:
    work = run(corpus, tmp_path)
    encoder = SpeakerEncoder.from_pretrained(tmp_path)
    assert encoder.dimensions == 12
    assert encoder.fingerprint == SpeakerEncoder.from_pretrained(tmp_path / WEIGHTS).fingerprint
    features = torch.randn(1, 60, 80)
    with torch.no_grad():
        ours = work.result()(features)
    assert ours.shape == (1, 12)
    assert encoder.encode(conversation(2)).shape == (12,)
    with (tmp_path / CURVES).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [2, 4, 6]
    assert {"softmax", "distillation", "clean", "rate", "margin", "crops_per_second"} <= set(rows[0])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_seed_gives_the_bits_and_a_resumed_run_does_not_differ(corpus: Corpus, tmp_path: Path) -> None:
    whole, again = run(corpus, tmp_path / "whole"), run(corpus, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))
    stopped = run(corpus, tmp_path / "stopped", until=-math.inf)
    assert stopped.step == 1
    resumed = run(corpus, tmp_path / "stopped")
    assert resumed.step == 6
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    other = run(corpus, tmp_path / "other", replace(TINY, seed=2))
    assert not all(torch.equal(a, b) for a, b in zip(weights(whole), weights(other), strict=True))


def test_it_learns_to_tell_the_speakers_apart(corpus: Corpus) -> None:
    plain = replace(TINY, loss=LossConfig(margin=Ramp(0.0, 0.01), distillation=0), mask=MaskConfig(0, 0))
    config = replace(plain, optimizer=OptimizerConfig(steps=25, warm_up=2, rate=5e-3, average=0.5))
    work = EmbedderTraining(config, len(corpus.speakers), None, CPU)
    losses = [work.learn(lesson)["softmax"] for lesson in draw_lessons(Lessons(corpus.folder, None, config), 0, 25, 0)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_speech_of_nobody_knows_whom_teaches_by_the_teacher_only(corpus: Corpus) -> None:
    work = EmbedderTraining(TINY, len(corpus.speakers), taught(corpus), CPU)
    waveforms, speakers, utterances = next(iter(lessons(corpus, TINY)))
    unknown = speakers.clone()
    unknown[2:] = -1
    losses = work.learn((waveforms, unknown, utterances))
    assert all(math.isfinite(loss) for loss in losses.values())


def test_a_run_goes_on_from_a_model_of_the_same_widths(corpus: Corpus, tmp_path: Path) -> None:
    first = run(corpus, tmp_path)
    model = str(tmp_path / WEIGHTS)
    next_one = EmbedderTraining(replace(TINY, start=model), len(corpus.speakers), taught(corpus), CPU)
    for name, value in first.result().state_dict().items():
        assert torch.allclose(value.float(), next_one.network.state_dict()[name].float(), atol=1e-3), name
    before = weights(next_one)
    next_one.learn(next(iter(lessons(corpus, TINY))))
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(next_one), strict=True))
    with pytest.raises(ValueError, match="set its widths"):
        EmbedderTraining(replace(TINY, start=model, channels=24), len(corpus.speakers), None, CPU)


def test_a_checkpoint_of_another_configuration_or_of_something_else(corpus: Corpus, tmp_path: Path) -> None:
    run(corpus, tmp_path)
    config = replace(TINY, seed=9, loss=LossConfig(centres=2))
    other = EmbedderTraining(config, len(corpus.speakers), taught(corpus), CPU)
    with pytest.raises(ValueError, match=r"another configuration \(seed was 1, now 9; loss\.centres was 1, now 2\)"):
        other.resume(tmp_path / CHECKPOINT)
    work = EmbedderTraining(TINY, len(corpus.speakers), taught(corpus), CPU)
    for name, content in (("text", b"hello"), ("half", (tmp_path / CHECKPOINT).read_bytes()[:1000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no checkpoint") as raised:
            work.resume(tmp_path / name)
        assert "weights_only" not in str(raised.value), "no advice to programmers"
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(ValueError, match="no checkpoint"):
        work.resume(tmp_path / "list")


def test_a_checkpoint_of_other_speakers(corpus: Corpus, tmp_path: Path) -> None:
    run(corpus, tmp_path)
    with pytest.raises(ValueError, match="is of other speakers or another network: give the speech it was taught with"):
        EmbedderTraining(TINY, len(corpus.speakers) - 1, taught(corpus), CPU).resume(tmp_path / CHECKPOINT)


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half(corpus: Corpus, tmp_path: Path) -> None:
    work = run(corpus, tmp_path, until=-math.inf)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[CHECKPOINT]) // 2, hard))
    try:
        with pytest.raises(OSError, match=CHECKPOINT) as raised:
            work.save(tmp_path / CHECKPOINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    work = run(corpus, tmp_path, until=-math.inf)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        work.network.fc.conv.weight.fill_(math.nan)
    with pytest.raises(ValueError, match=r"step 1: the loss is nan: lower optimizer\.rate"):
        train(work, draw_lessons(Lessons(corpus.folder, None, TINY), 1, 6, 0), judge, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize(
    ("capabilities", "computed"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({}, torch.float32),
    ],
)
def test_bfloat16_is_for_processors_that_compute_in_it(
    capabilities: dict[str, bool], computed: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with mixed_precision(torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == computed


def test_a_judge_is_just(corpus: Corpus, tmp_path: Path) -> None:
    judged = progress_judge(corpus, CarrierConfig(), Sources.computed(), CPU)
    torch.manual_seed(0)
    network = EcapaTdnn(TINY.network).eval()
    first = judged(network)
    assert first == judged(network)
    assert set(first) == {"clean", "heard"}
    assert all(0 <= error <= 100 for error in first.values())
    one = prepare(read_manifest(corpus_of_one(tmp_path)), tmp_path / "made", TINY.corpus, as_it_is)
    with pytest.raises(ValueError, match="only one speaker"):
        progress_judge(one, CarrierConfig(), Sources.computed(), CPU)


def test_a_judge_of_many_utterances_hears_some(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = EcapaTdnn(TINY.network).eval()
    heard: list[int] = []
    network.register_forward_hook(lambda _network, _inputs, embeddings: heard.append(len(embeddings)))
    monkeypatch.setattr(progress, "MOST", 6)
    progress_judge(corpus, CarrierConfig(), Sources.computed(), CPU)(network)
    assert heard == [6, 6], "once clean, once in a scene"


def corpus_of_one(folder: Path) -> Path:
    (folder / "one" / "set" / "p").mkdir(parents=True)
    for part in range(2):
        soundfile.write(folder / "one" / "set" / "p" / f"{part}.wav", conversation(2), SAMPLE_RATE)
    return folder / "one"


# --- the command


def test_training_on_the_command_line(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small: list[str | Path] = [
        *("--set", "channels=16", "--set", "embedding=12", "--set", "every=1", "--set", "optimizer.steps=2"),
        *("--set", "batches.speakers=3", "--set", "batches.unlabelled=0", "--set", "corpus.speeds=[1.0]"),
        *(
            "--set",
            "start=''",
            "--set",
            "loss.teacher=ecapa-tdnn-c256",
            "--workers",
            "0",
            "--corpus",
            tmp_path / "corpus",
        ),
    ]
    done = here(capfd, "train", data, "-o", tmp_path / "run", *small)
    assert done.code == 0, done.err
    assert "step 1 of 2: softmax" in done.err
    assert "2 of 2 steps" in done.err
    assert (tmp_path / "run" / WEIGHTS).is_file()
    again = here(capfd, "train", data, "-o", tmp_path / "run", *small)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "go on with --resume" in again.err
    resumed = here(capfd, "train", data, "-o", tmp_path / "run", *small, "--resume")
    assert resumed.code == 0, resumed.err
    other = here(capfd, "train", data, "-o", tmp_path / "run", *small, "--resume", "--set", "seed=5")
    assert other.code == 1
    assert "another configuration (seed was 1, now 5)" in other.err
    stale = here(capfd, "train", data, "-o", tmp_path / "new", *small, "--set", "corpus.takes=3")
    assert stale.code == 1
    assert "made with other settings" in stale.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "nothing to resume"),
        (["--recipe", "nothing.toml"], "no recipe 'nothing.toml'"),
        (["--set", "optimizer.stepps=3"], "did you mean optimizer.steps"),
        (["--compute", "tpu"], "unknown compute 'tpu'"),
        (["--set", "start=''", "--set", "loss.teacher=nobody"], "unknown model 'nobody'"),
        (["--set", "start=nobody", *TAUGHT], "unknown model 'nobody'"),
        (["--set", "batches.speakers=300", *TAUGHT], "300 speakers a batch, and "),
        (["--set", "batches.speakers=3", "--set", "batches.unlabelled=2", *TAUGHT], "set batches.unlabelled=0"),
    ],
)
def test_commands_that_cannot_be(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    done = here(capfd, "train", data, "-o", tmp_path / "run", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_speech(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    done = here(capfd, "train", tmp_path / "empty", "-o", tmp_path / "run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert str(tmp_path / "empty") in done.err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_dev_speakers_is_refused_before_it_is_decoded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus_of_one(tmp_path)
    done = here(capfd, "train", tmp_path / "one", "-o", tmp_path / "run", *TAUGHT)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no speech of the split 'dev' there" in done.err
    assert not (tmp_path / "run").exists()


def test_the_model_that_training_starts_from_is_not_overwritten(
    corpus: Corpus, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(corpus, tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    done = here(capfd, "train", data, "-o", tmp_path, "--set", f"start={tmp_path / WEIGHTS}", *TAUGHT)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is the start and would be overwritten" in done.err
