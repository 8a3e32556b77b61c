"""The command line: `diarize file`, `diarize score`, `diarize doctor`.

Exit codes: 0 done, 1 some work failed, 2 the command was not understood.  An error is one line on stderr.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diarize import __version__, jobs
from diarize.formats import FORMATS
from diarize.pipeline import PipelineConfig, load_config

app = typer.Typer(
    name="diarize",
    help="Who spoke when, live and offline, by name.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)
stdout = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)  # tables need it


def main() -> None:
    """Run the command line; what goes wrong becomes one line on stderr and an exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        app()
    except BrokenPipeError:  # the reader of our output has seen enough (`diarize file ... | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        fail("interrupted", code=130)


def fail(message: object, code: int) -> None:
    """One line on stderr, and out."""
    stderr.print(f"error: {' '.join(str(message).split())}", markup=False)
    sys.exit(code)


@contextmanager
def exit_code(code: int) -> Iterator[None]:
    """An error in here ends the command with this code and one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        fail(error, code)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        stdout.print(f"diarize {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Who spoke when, live and offline, by name."""


@app.command()
def file(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Audio or video files; - is raw PCM on standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE|DIR", help="Where to write; several inputs need a folder."),
    ] = None,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="What to write.")] = "rttm",  # noqa: A002  # the option's name
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="A recipe: a shipped one or a TOML file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as vad.onset=0.6.")
    ] = None,
    vad: Annotated[str | None, typer.Option(metavar="NAME", help="silero or webrtc.")] = None,
    clustering: Annotated[str | None, typer.Option(metavar="NAME", help="agglomerative.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="The speaker embedding's weights.")] = None,
    compute: Annotated[str | None, typer.Option(metavar="cpu|cuda|mps", help="Where the network runs.")] = None,
    num_speakers: Annotated[int | None, typer.Option(metavar="N", help="There are exactly so many speakers.")] = None,
    min_speakers: Annotated[int | None, typer.Option(metavar="N", help="There are at least so many.")] = None,
    max_speakers: Annotated[int | None, typer.Option(metavar="N", help="There are at most so many.")] = None,
    jobs_: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Files done at the same time.")] = 1,
    plot: Annotated[Path | None, typer.Option(metavar="PNG|SVG", help="Draw the timeline of one input.")] = None,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sample rate of raw PCM.")] = 16_000,
    channels: Annotated[int, typer.Option(metavar="N", help="Channels of raw PCM.")] = 1,
    encoding: Annotated[str, typer.Option(metavar="NAME", help="Encoding of raw PCM: s16le, f32le, mulaw.")] = "s16le",
) -> None:
    """Say who spoke when in recordings.

    One input without --output prints to standard output, and nothing else goes there.
    """
    shorter = {
        "vad.name": vad,
        "clustering.name": clustering,
        "embedding.model": model,
        "embedding.compute": compute,
        "clustering.num_speakers": num_speakers,
        "clustering.min_speakers": min_speakers,
        "clustering.max_speakers": max_speakers,
    }
    chosen = [f"{key}={json.dumps(value)}" for key, value in shorter.items() if value is not None]
    with exit_code(2):
        config = load_config(pipeline, [*(set_ or []), *chosen])
        raw = jobs.RawAudio(rate, channels, encoding)
        orders = jobs.plan(inputs, output, format, plot, raw)
    failed = 0
    with exit_code(1):
        for outcome in jobs.run(orders, config, workers=jobs_, console=stderr):
            failed += not outcome.report(stdout, stderr)
    if failed:
        sys.exit(1)


@app.command()
def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="RTTM file, or a folder of them.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="RTTM file, or a folder of them.")],
    uem: Annotated[Path | None, typer.Option(metavar="UEM", help="Which stretches are scored.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare who spoke when with a reference: DER in both conventions, JER, speaker counts."""
    from diarize.metrics import format_scores, score_recordings, total
    from diarize.rttm import read_rttms, read_uem

    with exit_code(1):
        scores = score_recordings(read_rttms(reference), read_rttms(hypothesis), read_uem(uem) if uem else None)
    if as_json:
        everything = {"recordings": {uri: one.as_dict() for uri, one in scores.items()}}
        stdout.print_json(json.dumps({**everything, "total": total(scores.values()).as_dict()}))
    else:
        stdout.print(format_scores(scores))


@app.command()
def doctor() -> None:
    """Say what is installed, which models and devices there are, what would fail and how to mend it."""
    from diarize.doctor import examine

    findings = examine(PipelineConfig())
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = {True: "[green]ok  [/]", False: "[red]FAIL[/]", None: "[yellow]no  [/]"}[finding.ok]
        stdout.print(f"{mark} {finding.name:<{width}}  ", end="")
        stdout.print(finding.detail, markup=False)
        if finding.remedy:
            stdout.print(f"     {'':<{width}}  -> {finding.remedy}", markup=False)
    if any(finding.ok is False for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    main()
