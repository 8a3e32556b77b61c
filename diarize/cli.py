"""The command line: the commands of `diarize.commands` under one name.

Exit codes: 0 done, 1 some work failed, 2 the command cannot be done as it was given, 130 interrupted.  An error is
one line on stderr.  The commands import what they need when they run: `diarize doctor` must start where a package is
broken, and `diarize --help` at once.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from diarize import __version__
from diarize.allocation import keep_freed_memory
from diarize.commands.calibrate import calibrate
from diarize.commands.cohort import cohort
from diarize.commands.doctor import doctor
from diarize.commands.embed import embed
from diarize.commands.enroll import enroll
from diarize.commands.evaluate import evaluate
from diarize.commands.export import export
from diarize.commands.file import file
from diarize.commands.label import label
from diarize.commands.live import mic, simulate_live
from diarize.commands.models import models
from diarize.commands.plot import plot
from diarize.commands.profiles import profiles
from diarize.commands.recluster import correct, recluster
from diarize.commands.score import score
from diarize.commands.server import recover, serve
from diarize.commands.train import train
from diarize.commands.tune import tune
from diarize.commands.verify import verify
from diarize.terminal import UsageError, Warnings, exit_code, fail, write

app = typer.Typer(
    name="diarize",
    help="Who spoke when, live and offline, by name.",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; what goes wrong becomes one line on stderr and an exit code."""
    logging.basicConfig(handlers=[Warnings()], level=logging.WARNING)
    keep_freed_memory()
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


for command in (
    file,
    recluster,
    correct,
    label,
    mic,
    serve,
    recover,
    simulate_live,
    plot,
    score,
    tune,
    train,
    verify,
    embed,
    enroll,
    calibrate,
    cohort,
    evaluate,
    export,
    doctor,
):
    app.command()(command)
app.add_typer(profiles, name="profiles")
app.add_typer(models, name="models")


if __name__ == "__main__":
    main()
