"""The command that trains a speaker encoder: `diarize train`."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import Changes, Compute
from diarize.config import TRAINING
from diarize.terminal import exit_code, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diarize.training.corpus import Corpus
    from diarize.training.manifest import Split, Utterance
    from diarize.training.recipe import TrainConfig


def train(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Speech of many people; docs/training.md says how.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the run lives.")],
    recipe: Annotated[str, typer.Option(metavar="NAME|PATH", help="A recipe: the shipped one or a TOML file.")] = (
        TRAINING
    ),
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
    """
    until = time.monotonic() + 60 * minutes
    from diarize.evaluation.progress import progress_judge
    from diarize.models.encoder import device
    from diarize.training.batches import check_batches
    from diarize.training.lessons import Lessons, draw_lessons, sources_of
    from diarize.training.recipe import load_recipe
    from diarize.training.teacher import teach
    from diarize.training.train import CHECKPOINT, Training
    from diarize.training.train import train as train_on

    with exit_code(2):
        config = load_recipe(recipe, set_ or ())
        where = device(compute or "cpu")
        checkpoint = output / CHECKPOINT
        if resume and not checkpoint.is_file():
            raise ValueError(f"{checkpoint} is not there: nothing to resume; start without --resume")
        if checkpoint.is_file() and not resume:
            raise ValueError(f"{output} holds a run: go on with --resume, or give another --output")
        _check_models(config, output)
        teaching, judging = _utterances(data, config)
        output.mkdir(parents=True, exist_ok=True)
    with exit_code(1):
        decoded = corpus or output / "corpus"
        taught_on = _corpus(data, teaching, decoded / "train", config, "train", workers)
        judged_on = _corpus(data, judging, decoded / "dev", config, "dev", workers)
        check_batches(config.batches, len(taught_on.speakers), len(taught_on.unlabelled))
        taught = teach(taught_on, config.loss.teacher, where) if config.loss.distillation else None
        work = Training(config, len(taught_on.speakers), taught, where)
        if resume:
            work.resume(checkpoint)
        judge = progress_judge(judged_on, config.carriers, sources_of(data, "dev"), where)
        lessons = draw_lessons(Lessons(taught_on.folder, data, config), work.step, config.optimizer.steps, workers)
        train_on(work, lessons, judge, output, until, say)
        say(f"{output}: {work.step} of {config.optimizer.steps} steps made")


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
    check_batches(config.batches, len(set(known)) * len(config.corpus.speeds), len(teaching) - len(known))
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

    wanted = config.corpus if split == "train" else replace(config.corpus, speeds=(1.0,), takes=2)
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
