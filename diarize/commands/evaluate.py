"""The command that measures how well models tell speakers apart: `diarize evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from diarize.commands.options import Compute, Trust
from diarize.terminal import exit_code, say, show, stderr

if TYPE_CHECKING:
    from diarize.evaluation.trials import Trials
    from diarize.models.encoder import SpeakerEncoder
    from diarize.profiles.cohort import Cohort
    from diarize.training.manifest import Split


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Models, as for --model; beside each other in one run.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Speech of many people; with --trials, where its names begin.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the report goes.")],
    trials: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Lines like "1 a.wav b.wav" (1: one speaker, 0: two).')
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Whose utterances are compared: eval, dev, train.")
    ] = "eval",
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Which the others are compared with; by default the last.")
    ] = None,
    carriers: Annotated[bool, typer.Option("--carriers/--no-carriers", help="Measure codecs, rooms, noises.")] = True,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of trials, cohort and intervals.")] = 0,
    trust: Trust = False,
    compute: Compute = None,
) -> None:
    """Measure how well models tell speakers apart: EER, minDCF, Recall@K, over carriers, with pictures.

    Trials are all pairs of utterances of the split, or those of a list. The folder of the report holds report.md,
    report.json, and the pictures roc.png, det.png, scores.png and tsne.png.
    """
    from rich.progress import track
    from rich.text import Text

    from diarize.evaluation.carrier_table import carriers_of
    from diarize.evaluation.evaluation import evaluate as measure
    from diarize.evaluation.pictures import pictures
    from diarize.evaluation.report import WORDS, as_json, as_markdown, as_rich, tables
    from diarize.evaluation.trials import make_trials, read_trials
    from diarize.formats import write_atomically
    from diarize.models.encoder import SpeakerEncoder
    from diarize.training.manifest import check_split, read_manifest

    with exit_code(2):
        check_split(split)
        if len(set(models)) < len(models):
            raise ValueError(f"a model is named twice: {' '.join(models)}; name each once")
        if against is not None and against not in models:
            raise ValueError(f"--against {against} is none of the models: {' '.join(models)}")
        chosen = cast("Split", split)
        asked = make_trials(read_manifest(data, chosen), seed) if trials is None else read_trials(trials, data)
        encoders = {
            name: SpeakerEncoder.from_pretrained(name, compute=compute or "cpu", trust=trust) for name in models
        }
        output.mkdir(parents=True, exist_ok=True)
    with exit_code(1):
        found = measure(
            encoders,
            asked,
            against=against,
            cohorts=_cohorts(data, asked, encoders, seed),
            carry=carriers_of(data, chosen) if carriers else None,
            seed=seed,
            track=lambda files: track(
                files, "listening", console=stderr, disable=not stderr.is_terminal, transient=True
            ),
        )
        show(*(as_rich(table) for table in tables(found, brief=True)), Text(WORDS))
        write_atomically(output / "report.json", as_json(found))
        write_atomically(output / "report.md", as_markdown(found))
        for name, draw in pictures(found).items():
            draw(output / name)
        say(f"{output}: report.md, report.json, {', '.join(pictures(found))}")


def _cohorts(data: Path, trials: Trials, encoders: dict[str, SpeakerEncoder], seed: int) -> dict[str, Cohort]:
    """Cohorts of the folder's `train` speakers who are in no trial; none, and a warning, where these are too few."""
    from diarize.evaluation.scoring import make_cohorts
    from diarize.training.manifest import read_manifest

    try:
        others = read_manifest(data, "train")
    except ValueError as error:
        say(f"warning: no AS-norm: {error}")
        return {}
    tried = set(trials.files)
    known = {utterance.speaker for utterance in others if utterance.file in tried}
    return make_cohorts([utterance for utterance in others if utterance.speaker not in known], encoders, seed)
