"""The command that takes recordings: `diarize file`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import (
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
from diarize.terminal import exit_code, say, say_written, stderr, write

if TYPE_CHECKING:
    from diarize.jobs import Outcome


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
