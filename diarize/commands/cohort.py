"""The command that makes a cohort, against which scores are normalised: `diarize cohort`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diarize.commands.options import Changes, Compute, Model, Recipe, configured
from diarize.terminal import exit_code, say


def cohort(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder for each person, with recordings of nobody else.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the cohort goes.")],
    extend: Annotated[
        bool, typer.Option("--extend", help="Add them to the cohort that is used now, by default the shipped one.")
    ] = False,
    pipeline: Recipe = None,
    set_: Changes = None,
    model: Model = None,
    compute: Compute = None,
) -> None:
    """Make a cohort: voices of strangers, by which the scores of enrolled people are normalised.

    The bundled model has one. Another model needs one of its own; voices of another kind can be added. Take clean
    recordings of many people, none of them enrolled: telephone lines, noises and rooms are added by computation.
    """
    from rich.progress import track

    from diarize.inputs import find_recordings
    from diarize.models.encoder import SpeakerEncoder
    from diarize.orders import check_writable
    from diarize.profiles.cohort import FEWEST, cohort_for, write_cohort
    from diarize.profiles.database import check_no_store
    from diarize.terminal import stderr
    from diarize.training.cohort import make_cohort

    with exit_code(2):
        config = configured(pipeline, set_, None, None, model, compute, None, None, None)
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: give one that holds a folder for each person")
        persons = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        people = [[Path(one.path) for one in find_recordings([str(path)])] for path in persons]
        if output.resolve() in {file.resolve() for files in people for file in files}:
            raise ValueError(f"{output} is a recording and would be overwritten: choose another output")
        check_no_store(output)
        check_writable(output)
        least = 1 if extend else FEWEST
        if len(people) < least:
            needed = "somebody" if extend else f"at least {least} people"
            raise ValueError(f"{folder}: a cohort needs {needed}, and here are folders of {len(people)}")
        embedding = config.embedding
        encoder = SpeakerEncoder.from_pretrained(embedding.model, compute=embedding.compute, trust=embedding.trust)
        base = cohort_for(encoder.fingerprint, config.identification.cohort) if extend else None
    with exit_code(1):
        shown = track(people, "listening", console=stderr, disable=not stderr.is_terminal, transient=True)
        made = make_cohort(encoder, shown, folder, base=base)
        write_cohort(output, made)
        say(f"{output}: {len(made.voices)} voices; use it with --set identification.cohort={output}")
