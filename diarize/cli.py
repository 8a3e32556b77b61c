"""The command line: `diarize file`, `diarize score`, `diarize doctor`.

Exit codes: 0 done, 1 some work failed, 2 the command cannot be done as it was given, 130 interrupted.  An error is
one line on stderr.  The commands import what they need when they run: `diarize doctor` must start where a package is
broken, and `diarize --help` at once.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from diarize import __version__

if TYPE_CHECKING:
    from diarize.jobs import Outcome

app = typer.Typer(
    name="diarize",
    help="Who spoke when, live and offline, by name.",
    pretty_exceptions_enable=False,
    add_completion=False,
)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

UsageError: Any = typer.BadParameter.__mro__[1]
"""Click's; typer imports click or, since 0.22, carries it inside."""


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


def say(message: str) -> None:
    """One line on stderr; what cannot be printed, such as a line break in a file's name, is shown as an escape."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    stderr.print(line)


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, and out."""
    say(f"error: {message}")
    sys.exit(code)


class Warnings(logging.Handler):
    """What the package logs, on stderr, above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def exit_code(code: int) -> Iterator[None]:
    """An error in here ends the command with this code and one line."""
    try:
        yield
    except (ValueError, OSError) as error:
        from diarize.orders import explain

        fail(explain(error), code)


def write(text: str) -> None:
    """Write to standard output, in UTF-8 wherever it goes.

    Raises OSError when it cannot be written; a reader that has seen enough (`diarize file ... | head`) is no error.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    try:
        sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would try to write it again
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from error


def show(*renderables: RenderableType) -> None:
    """Write what rich renders to standard output."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    stdout = Console(highlight=False, soft_wrap=True, width=None if terminal else 120)  # tables need a width
    with stdout.capture() as capture:
        for renderable in renderables:
            stdout.print(renderable)
    write(capture.get())


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
    from diarize.pipeline import SpeakerDiarization, load_config

    shorter = {
        "vad.name": vad,
        "clustering.name": clustering,
        "embedding.model": model,
        "embedding.compute": compute,
        "clustering.num_speakers": num_speakers,
        "clustering.min_speakers": min_speakers,
        "clustering.max_speakers": max_speakers,
    }
    # JSON's numbers and strings are TOML's, but for its escapes of characters beyond 16 bits
    chosen = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in shorter.items() if value is not None]
    with exit_code(2):
        config = load_config(pipeline, [*(set_ or []), *chosen])
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
        speakers, turns = counted(outcome.speakers, "speaker"), counted(outcome.turns, "turn")
        speed = f"{outcome.seconds:.0f} s of audio in {outcome.took:.1f} s"
        say(f"{outcome.order.output}: {speakers}, {turns}; {speed}")
    return outcome.error is None


def counted(number: int, noun: str) -> str:
    """1 turn, 2 turns."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
