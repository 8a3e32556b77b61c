"""The command line: `diarize file`, `mic`, `serve`, `recover`, `simulate-live`, `score`, `doctor`.

Exit codes: 0 done, 1 some work failed, 2 the command cannot be done as it was given, 130 interrupted.  An error is
one line on stderr.  The commands import what they need when they run: `diarize doctor` must start where a package is
broken, and `diarize --help` at once.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from diarize import __version__
from diarize.cli_live import mic, simulate_live
from diarize.cli_server import recover, serve
from diarize.options import (
    Changes,
    Clustering,
    Compute,
    MaxSpeakers,
    MinSpeakers,
    Model,
    NumSpeakers,
    Recipe,
    Vad,
    configured,
)
from diarize.terminal import UsageError, Warnings, exit_code, fail, say, say_written, show, stderr, write

if TYPE_CHECKING:
    from diarize.jobs import Outcome

app = typer.Typer(
    name="diarize",
    help="Who spoke when, live and offline, by name.",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; what goes wrong becomes one line on stderr and an exit code."""
    logging.basicConfig(handlers=[Warnings()], level=logging.WARNING)
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="diarize", standalone_mode=False)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "diarize"
        fail(f"{error.format_message().rstrip('.')}; see {command} --help", code=2)
    except ImportError as error:
        fail(f"{error}; diarize doctor says what is missing", code=1)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        with exit_code(1):
            write(f"diarize {__version__}\n")
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
    format: Annotated[  # noqa: A002  # the option's name
        str | None,
        typer.Option(metavar="rttm|json", help="What to write; by default what the ending of --output says, or RTTM."),
    ] = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    vad: Vad = None,
    clustering: Clustering = None,
    model: Model = None,
    compute: Compute = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Files done at the same time.")] = 1,
    plot: Annotated[Path | None, typer.Option(metavar="PNG|SVG", help="Draw the timeline of one input.")] = None,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sample rate of raw PCM.")] = 16_000,
    channels: Annotated[int, typer.Option(metavar="N", help="Channels of raw PCM.")] = 1,
    encoding: Annotated[str, typer.Option(metavar="NAME", help="Encoding of raw PCM: s16le, f32le, mulaw.")] = "s16le",
) -> None:
    """Say who spoke when in recordings.

    One input without --output prints to standard output, and nothing else goes there.
    """
    from diarize.jobs import run
    from diarize.orders import RawAudio, plan
    from diarize.pipeline import SpeakerDiarization

    with exit_code(2):
        config = configured(pipeline, set_, vad, clustering, model, compute, num_speakers, min_speakers, max_speakers)
        orders = plan(inputs, output, format, plot, RawAudio(rate, channels, encoding))
        diarization = SpeakerDiarization(config)
    with exit_code(1):
        failed = [not report(outcome) for outcome in run(orders, diarization, workers=jobs, console=stderr)]
    sys.exit(1 if any(failed) else 0)


def report(outcome: Outcome) -> bool:
    """Tell what became of a recording; returns whether the work was done."""
    if outcome.error is not None:
        say(f"error: {outcome.error}")
    elif outcome.order.output is None:
        write(outcome.text)
    else:
        speed = f"{outcome.seconds:.0f} s of audio in {outcome.took:.1f} s"
        say_written(outcome.order.output, outcome.speakers, outcome.turns, speed)
    return outcome.error is None


for live in (mic, serve, recover, simulate_live):
    app.command()(live)


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
            recordings = {uri: one.as_dict() for uri, one in scores.items()}
            everything = {"recordings": recordings, "total": total(scores.values()).as_dict()}
            # a lone surrogate, which no UTF-8 holds, is written by `write` as an escape that is JSON's too
            write(json.dumps(everything, indent=2, ensure_ascii=False) + "\n")
        else:
            show(format_scores(scores))


@app.command()
def doctor() -> None:
    """Say what is installed, which models and devices there are, what would fail and how to mend it."""
    from diarize.doctor import examine

    findings = examine()
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark, style = {True: ("ok", "green"), False: ("FAIL", "red"), None: ("no", "yellow")}[finding.ok]
        lines.append(Text.assemble((f"{mark:<4}", style), f" {finding.name:<{width}}  {finding.detail}"))
        if finding.remedy:
            lines.append(Text(f"{'':<{width + 7}}-> {finding.remedy}"))
    with exit_code(1):
        show(*lines)
    if any(finding.ok is False for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    main()
