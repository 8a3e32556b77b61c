"""The command that trains a speaker encoder or a segmentation network: `diarize train`."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diarize.commands.options import Changes, Compute
from diarize.config import TRAINING
from diarize.terminal import exit_code, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from diarize.models.ecapa_tdnn import EcapaTdnn
    from diarize.models.powerset import PowersetNetwork
    from diarize.training.corpus import Corpus
    from diarize.training.lessons import AllLessons
    from diarize.training.manifest import Split, Utterance
    from diarize.training.recipe import TrainConfig
    from diarize.training.train import Judge, Training

    _Begin = Callable[[bool, int], tuple[Training[Any], AllLessons, Judge[Any]]]
    """Makes what a run needs, given whether it is resumed and how many processes may prepare speech."""


def train(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Speech of many people; docs/training.md says how.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the run lives.")],
    task: Annotated[
        str, typer.Option(metavar="NAME", help="What is trained: embedding or segmentation.")
    ] = "embedding",
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="A recipe: a TOML file; by default the task's shipped one.")
    ] = None,
    set_: Changes = None,
    corpus: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the decoded speech is or goes: 2 GB an hour or so.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --output stopped.")] = False,
    minutes: Annotated[float, typer.Option(metavar="M", min=0, help="Stop after so long, to be resumed.")] = math.inf,
    compute: Compute = None,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes that prepare speech.")] = 1,
) -> None:
    """Train a speaker encoder: a folder of speech in, weights, training curves and a checkpoint out.

    The weights are for --model of every command.  An interrupted run goes on with --resume from its last checkpoint.
    With --task segmentation, the network that says who of a few voices talks, for --set segmentation.model=PATH.
    """
    until = time.monotonic() + 60 * minutes
    from diarize.models.encoder import device
    from diarize.training.lessons import draw_lessons
    from diarize.training.train import CHECKPOINT
    from diarize.training.train import train as train_on

    with exit_code(2):
        if task not in _TASKS:
            raise ValueError(f"--task {task!r} is not known: choose {' or '.join(_TASKS)}")
        compute = compute or "cpu"
        device(compute)  # refuses one that is not there
        checkpoint = output / CHECKPOINT
        if resume and not checkpoint.is_file():
            raise ValueError(f"{checkpoint} is not there: nothing to resume; start without --resume")
        if checkpoint.is_file() and not resume:
            raise ValueError(f"{output} holds a run: go on with --resume, or give another --output")
        begin = _TASKS[task](data, output, recipe or TRAINING[task], set_ or (), corpus, compute)
        output.mkdir(parents=True, exist_ok=True)
    with exit_code(1):
        work, lessons, judge = begin(resume, workers)
        if resume:
            work.resume(checkpoint)
        steps = work.recipe.optimizer.steps
        train_on(work, draw_lessons(lessons, work.step, steps, workers), judge, output, until, say)
        say(f"{output}: {work.step} of {steps} steps made")


def _embedding(
    data: Path, output: Path, recipe: str, settings: Sequence[str], corpus: Path | None, compute: str
) -> _Begin:
    """The training of a speaker encoder.  ValueError for what cannot be: before hours of decoding."""
    from diarize.evaluation.progress import progress_judge
    from diarize.models.encoder import device
    from diarize.training.batches import check_batches
    from diarize.training.embedder import EmbedderTraining
    from diarize.training.lessons import Lessons, check_speech, sources_of
    from diarize.training.recipe import load_recipe
    from diarize.training.teacher import teach

    config, where = load_recipe(recipe, settings), device(compute)
    _check_models(config, output)
    teaching, judging = _utterances(data, config)

    def begin(resume: bool, workers: int) -> tuple[EmbedderTraining, Lessons, Judge[EcapaTdnn]]:
        decoded = corpus or output / "corpus"
        taught_on = _corpus(data, teaching, decoded / "train", config, "train", workers)
        judged_on = _corpus(data, judging, decoded / "dev", config, "dev", workers)
        check_batches(config.batches, len(taught_on.speakers), len(taught_on.unlabelled))
        check_speech(output, taught_on, resume)
        taught = teach(taught_on, config.loss.teacher, where) if config.loss.distillation else None
        work = EmbedderTraining(config, len(taught_on.speakers), taught, where)
        judge = progress_judge(judged_on, config.carriers, sources_of(data, "dev"), where)
        return work, Lessons(taught_on.folder, data, config), judge

    return begin


def _segmentation(
    data: Path,
    output: Path,  # noqa: ARG001 - the tasks are called alike
    recipe: str,
    settings: Sequence[str],
    corpus: Path | None,
    compute: str,
) -> _Begin:
    """The training of a segmentation network.  ValueError for what cannot be."""
    from diarize.evaluation.local import segmentation_judge
    from diarize.models.encoder import device
    from diarize.training.segmentation.lessons import SegmentationLessons
    from diarize.training.segmentation.recipe import load_segmentation_recipe
    from diarize.training.segmentation.training import SegmentationTraining
    from diarize.training.speech import read_templates, read_voices

    if corpus is not None:
        raise ValueError("--corpus is for --task embedding: conversations are simulated while the network learns")
    config, where = load_segmentation_recipe(recipe, settings), device(compute)
    for split in ("train", "dev"):  # refuses a folder without speech or timings
        read_voices(data, split)
        read_templates(data, split)

    def begin(_: bool, __: int) -> tuple[SegmentationTraining, SegmentationLessons, Judge[PowersetNetwork]]:
        judge = segmentation_judge(data, config, where)
        return SegmentationTraining(config, where), SegmentationLessons(data, config), judge

    return begin


_TASKS = {"embedding": _embedding, "segmentation": _segmentation}


def _check_models(config: TrainConfig, output: Path) -> None:
    """Raise ValueError where a model that the recipe names is not there, or would be overwritten."""
    from diarize.models.encoder import resolve
    from diarize.training.train import WEIGHTS

    if config.loss.distillation:
        resolve(config.loss.teacher)
    if config.start and resolve(config.start).resolve() == (output / WEIGHTS).resolve():
        raise ValueError(f"{config.start} is the start and would be overwritten: give another --output")


def _utterances(data: Path, config: TrainConfig) -> tuple[Sequence[Utterance], Sequence[Utterance]]:
    """What teaches and what is judged on.  ValueError where there is too little of it: before hours of decoding."""
    from diarize.training.batches import check_batches
    from diarize.training.manifest import read_manifest

    teaching, judging = read_manifest(data, "train"), read_manifest(data, "dev")
    known = [utterance.speaker for utterance in teaching if utterance.speaker is not None]
    check_batches(config.batches, len(set(known)) * len(config.corpus.voices), len(teaching) - len(known))
    return teaching, judging


def _corpus(
    data: Path, utterances: Sequence[Utterance], folder: Path, config: TrainConfig, split: Split, workers: int
) -> Corpus:
    """The decoded speech of a split, made where it is not there yet.

    Raises ValueError where what is there was made otherwise, or of other speech.
    """
    from dataclasses import replace

    from diarize.training.carriers import chain
    from diarize.training.corpus import open_corpus, prepare
    from diarize.training.lessons import sources_of
    from diarize.training.manifest import fingerprint

    wanted = config.corpus if split == "train" else replace(config.corpus, speeds=(1.0,), formants=(), takes=2)
    if not folder.exists():
        say(f"decoding {len(utterances)} utterances of {split} into {folder}, once")
        carry = partial(chain, config=config.carriers, sources=sources_of(data, split))
        return prepare(utterances, folder, wanted, carry, workers)
    made = open_corpus(folder)
    if made.config != wanted or made.manifest != fingerprint(utterances):
        raise ValueError(
            f"{folder} was made with other settings or of other speech: remove it, or give another --corpus"
        )
    return made
