"""The command that takes recordings: `diarize file`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import (
    Changes,
    Clustering,
    Compute,
    Exclusive,
    MaxSpeakers,
    MinSpeakers,
    Model,
    NoProfiles,
    NumSpeakers,
    Profiles,
    Recipe,
    Segmentation,
    Vad,
    configured,
    name_people,
)
from diarize.terminal import exit_code, say, say_written, stderr, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diarize.orders import Outcome

written = partial(typer.Option, rich_help_panel="What is written")
many = partial(typer.Option, rich_help_panel="Many recordings")
pcm = partial(typer.Option, rich_help_panel="Raw PCM on standard input")


def file(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Recordings, folders of them, patterns ('talks/**/*.mp3'); - is raw PCM."),
    ],
    output: Annotated[
        str | None, written("--output", "-o", metavar="FILE|DIR", help="Where to write; several inputs need a folder.")
    ] = None,
    format: Annotated[  # noqa: A002  # the option's name
        list[str] | None,
        written(
            metavar="NAME",
            help="rttm, json, csv, srt, vtt, textgrid or audacity; may repeat. By default what the ending of --output "
            "says, or RTTM.",
        ),
    ] = None,
    save_embeddings: Annotated[
        str | None, written(metavar="FILE|DIR", help="Keep the embeddings, for diarize recluster and correct.")
    ] = None,
    plot: Annotated[Path | None, written(metavar="PNG|SVG", help="Draw the timeline of one input.")] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="Each channel has speakers of its own, as in a call in stereo.")
    ] = False,
    pipeline: Recipe = None,
    set_: Changes = None,
    vad: Vad = None,
    segmentation: Segmentation = False,
    exclusive: Exclusive = False,
    clustering: Clustering = None,
    model: Model = None,
    compute: Compute = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
    jobs: Annotated[int, many(metavar="N", min=1, help="Files done at the same time.")] = 1,
    resume: Annotated[
        bool, many("--resume", help="Skip what is done: its outputs are there, none older than it.")
    ] = False,
    link: Annotated[bool, many("--link", help="One label for a person in all of them.")] = False,
    summary: Annotated[Path | None, many(metavar="CSV", help="Write what became of each.")] = None,
    engine: Annotated[str, many(metavar="local|ray", help="On this machine, or on a Ray cluster.")] = "local",
    address: Annotated[
        str | None, many(metavar="HOST:PORT", help="The cluster's; this machine's if not given.")
    ] = None,
    rate: Annotated[int, pcm(metavar="HZ", help="Sample rate.")] = 16_000,
    channels: Annotated[int, pcm(metavar="N", help="Channels.")] = 1,
    encoding: Annotated[str, pcm(metavar="NAME", help="s16le, f32le or mulaw.")] = "s16le",
) -> None:
    """Say who spoke when in recordings.

    One input without --output prints to standard output, and nothing else goes there.
    """
    from diarize.engines.local import beside
    from diarize.engines.ray import cluster
    from diarize.jobs import linking, run
    from diarize.orders import RawAudio, plan
    from diarize.pipeline import SpeakerDiarization
    from diarize.summary import MANY, Summary

    with exit_code(2):
        config = configured(
            pipeline,
            set_,
            vad,
            clustering,
            model,
            compute,
            num_speakers,
            min_speakers,
            max_speakers,
            segmentation=segmentation,
            exclusive=exclusive,
        )
        orders = plan(
            inputs,
            output,
            format or (),
            plot,
            RawAudio(rate, channels, encoding),
            embeddings=save_embeddings,
            per_channel=per_channel,
            linked=link,
            summary=summary,
        )
        skipped = {order.input for order in orders if resume and order.is_done()}
        if link:
            _check_link(output, save_embeddings, skipped)
        waiting = [order for order in orders if order.input not in skipped]
        _check_engine(engine, address, jobs)
        outcomes: Iterator[Outcome] = iter(())
        people = None
        if waiting or link:  # or there is nothing to load
            where = cluster(address) if waiting and engine == "ray" else None
            diarization = SpeakerDiarization(config, beside=beside())
            name_people(diarization, profiles, no_profiles)
            people = diarization.people
            outcomes = run(waiting, diarization, workers=jobs, console=stderr, engine=where)
    with exit_code(1):
        known = Summary(orders, skipped, summary)
        quiet = stderr.is_terminal and len(orders) > 1  # there are a bar and a table
        told = set(skipped)
        for outcome in linking(orders, outcomes, config.linking, people) if link else outcomes:
            known.add(outcome)
            report(outcome, quiet=quiet or outcome.order.input in told)
            told.add(outcome.order.input)
        known.save()
    if quiet and len(orders) <= MANY:
        stderr.print(known.table(), soft_wrap=False)
    if skipped or len(orders) > 1:
        for line in known.lines():
            say(line)
    sys.exit(1 if known.failed else 0)


def _check_link(output: str | None, embeddings: str | None, skipped: set[str]) -> None:
    if output is None:
        raise ValueError("--link writes the results once more, with the labels of all recordings: add --output")
    if skipped and embeddings is None:
        raise ValueError(
            "--link needs the voices of what --resume skips: add --save-embeddings, or leave one of them out"
        )


def _check_engine(name: str, address: str | None, jobs: int) -> None:
    if name not in ("local", "ray"):
        raise ValueError(f"unknown engine {name!r}: choose one of local, ray")
    if name == "local" and address is not None:
        raise ValueError("--address is that of a Ray cluster: add --engine ray")
    if name == "ray" and jobs != 1:
        raise ValueError("--jobs is for this machine: leave it out with --engine ray, which uses the whole cluster")


def report(outcome: Outcome, *, quiet: bool) -> None:
    """Tell what became of a recording; where it is `quiet`, only what went wrong."""
    if outcome.error is not None:
        say(f"error: {outcome.error}")
    elif None in outcome.order.outputs.values():
        write(outcome.text)
    elif not quiet:
        speed = f"{outcome.seconds:.0f} s of audio in {outcome.took:.1f} s"
        say_written(", ".join(map(str, outcome.order.writes)), outcome.speakers, len(outcome.turns), speed)
