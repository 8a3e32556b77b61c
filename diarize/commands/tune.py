"""The command that looks for better settings: `diarize tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import Recipe
from diarize.terminal import exit_code, say, show, stderr, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diarize.embedded import EmbeddedRecording
    from diarize.pipeline import PipelineConfig
    from diarize.tuning.annotated import Annotated as AnnotatedRecording
    from diarize.tuning.search import Search, Tuned
    from diarize.tuning.space import Range


def tune(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Recordings, each with an RTTM file of its name beside it.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="TOML", help="Where the recipe goes.")
    ] = None,
    pipeline: Recipe = None,
    trials: Annotated[int, typer.Option(metavar="N", help="So many settings are tried.")] = 100,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="Stop trying after so many seconds.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=LOW..HIGH", help="Search this setting, in place of the usual ones; may repeat."),
    ] = None,
    hold_out: Annotated[float, typer.Option(metavar="SHARE", help="Of the recordings, not tuned on.")] = 0.3,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the split and of the search.")] = 0,
    metric: Annotated[str, typer.Option(metavar="strict|lenient", help="Whose DER is made least.")] = "strict",
) -> None:
    """Look for settings with fewer errors on annotated recordings, and try them on others.

    The recipe goes to standard output or, with --output, a table of error rates.  A NAME.uem says what is annotated.
    """
    from diarize.formats import write_atomically
    from diarize.orders import check_writable
    from diarize.pipeline import load_config
    from diarize.tuning.annotated import find_annotated
    from diarize.tuning.report import as_recipe, format_tuned
    from diarize.tuning.search import Search, check_optuna, split
    from diarize.tuning.space import DEAR, parse_ranges

    with exit_code(2):
        config = load_config(pipeline)
        search = Search(trials=trials, timeout=timeout, hold_out=hold_out, seed=seed, metric=metric)
        space = parse_ranges(param or (), config)
        recordings = find_annotated(folder)
        split(recordings, hold_out, seed)
        if output is not None:
            if any(one.audio.resolve() == output.resolve() for one in recordings):
                raise ValueError(f"{output} is a recording and would be overwritten: choose another output")
            check_writable(output)
        check_optuna()
    if dear := [name for name in space if name.partition(".")[0] in DEAR]:
        say(f"warning: {', '.join(dear)}: every trial listens to all recordings again, which takes long")
    with exit_code(1):
        found = _tuned(recordings, config, space, search)
        recipe, table = as_recipe(found), format_tuned(found)
        if output is None:
            stderr.print(table)
            write(recipe)
        else:
            show(table)
            write_atomically(output, recipe)
            say(f"{output}: {found.trials} trials")
    if found.config == config:
        say("nothing better was found: the recipe is what tuning began with")
    elif found.worse:
        say("warning: what was held out got worse: these settings fit the other recordings, and perhaps no more")


def _tuned(
    recordings: Sequence[AnnotatedRecording], config: PipelineConfig, space: Mapping[str, Range], search: Search
) -> Tuned:
    """Search, with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from diarize.tuning.search import listener
    from diarize.tuning.search import tune as search_for

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=search.trials)
        listen = listener()

        def embed(recording: AnnotatedRecording, settings: PipelineConfig) -> EmbeddedRecording:
            bar.update(task, description=f"listening to {recording.audio.name}")
            return listen(recording, settings)

        def told(done: int) -> None:
            bar.update(task, description="trials", completed=done)

        return search_for(recordings, embed, config, space, search, told)
