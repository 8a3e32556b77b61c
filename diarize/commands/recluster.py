"""The commands that take embeddings: `diarize recluster` and `diarize correct`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diarize.commands.options import (
    Changes,
    Clustering,
    MaxSpeakers,
    MinSpeakers,
    NoProfiles,
    NumSpeakers,
    Profiles,
    Recipe,
    configured,
    enrolled,
)
from diarize.terminal import exit_code, fail, say, say_written, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from diarize.embedded import EmbeddedRecording
    from diarize.formats import Diarization
    from diarize.orders import Order
    from diarize.pipeline import PipelineConfig
    from diarize.rttm import Turn

    Configure = Callable[[Mapping[str, Any] | None], PipelineConfig]

HEARD = ("vad", "segmentation", "windows", "embedding", "crosstalk")
"""The groups of settings that had their effect when the embeddings were made."""

Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE|DIR", help="Where to write; several inputs need a folder."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="NAME", help="As of diarize file; may repeat. By default RTTM."),
]


def recluster(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="VOICES...", help="What diarize file --save-embeddings has kept; folders too."),
    ],
    output: Output = None,
    formats: Formats = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    clustering: Clustering = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
) -> None:
    """Say again who spoke when, with other settings, in no time.

    Settings that are not given stay as they were.  Corrections hold.  The files of embeddings are left as they are.
    """
    from diarize.embedded import SUFFIX, read_embedded
    from diarize.orders import plan
    from diarize.pipeline import recluster as again

    configure = _configure(pipeline, set_, clustering, num_speakers, min_speakers, max_speakers)
    with exit_code(2):
        configure(None)
        orders = plan(inputs, output, formats or (), suffixes=(SUFFIX,))
    failed = False
    for order in orders:
        try:
            recording = read_embedded(order.input)
            config = _settings(recording, configure)
            people = enrolled(recording.model, config, profiles, no_profiles)
            _write(order, again(recording, config, people))
        except (ValueError, OSError) as error:
            say(f"error: {_about(error, order.input, *order.writes)}")
            failed = True
    sys.exit(1 if failed else 0)


def correct(
    file: Annotated[str, typer.Argument(metavar="VOICES", help="What diarize file --save-embeddings has kept.")],
    set_turn: Annotated[
        list[str] | None,
        typer.Option(metavar="START-END=NAME", help="Here this person talks, as in 12.5-1:04=Ana; no name: nobody."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="RTTM", help="The answer, changed by hand and renamed at will.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take all earlier corrections back first.")] = False,
    output: Output = None,
    formats: Formats = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    clustering: Clustering = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
) -> None:
    """Correct who spoke when by hand, and say it again.

    Corrections and settings are kept in VOICES, and hold whenever it is clustered again.  Later ones override earlier
    ones.  What is corrected is what diarize recluster would say with the same settings.
    """
    from diarize.edits import check_inside, edit, parse_turn, set_turns
    from diarize.embedded import read_embedded, write_embedded
    from diarize.orders import check_writable, plan
    from diarize.pipeline import recluster as again
    from diarize.rttm import turns_from

    configure = _configure(pipeline, set_, clustering, num_speakers, min_speakers, max_speakers)
    with exit_code(2):
        configure(None)
        (order,) = plan([file], output, formats or ())
        typed = [parse_turn(text) for text in set_turn or ()]
    try:
        for path in order.writes:
            check_writable(path)
        recording = read_embedded(file)
        config = _settings(recording, configure)
        recording = replace(recording, settings=asdict(config), corrections=() if clear else recording.corrections)
        people = enrolled(recording.model, config, profiles, no_profiles)
        plain = again(replace(recording, corrections=()), config, people)
        result = again(recording, config, people, plain) if recording.corrections else plain
        if from_ is not None:
            edited = check_inside(_edited(from_, recording), recording.duration)
            recording = _with(recording, edit(turns_from(result.updates), edited, recording.channels))
            result = again(recording, config, people, plain)
        if typed:
            turns = check_inside(typed, recording.duration)
            recording = _with(recording, set_turns(turns_from(result.updates), turns, recording.channels))
            result = again(recording, config, people, plain)
        write_embedded(file, recording)
        _write(order, result)
    except (ValueError, OSError) as error:
        fail(_about(error, file, from_, *order.writes), 1)


def _about(error: Exception, file: str, *others: object) -> str:
    """An error in one line that names the file it is about: `file`, unless it names one of the others."""
    from diarize.orders import explain

    line = explain(error)
    return line if any(str(name) in line for name in (file, *others)) else f"{file}: {line}"


def _with(recording: EmbeddedRecording, corrections: Sequence[Turn]) -> EmbeddedRecording:
    from diarize.corrections import override

    return replace(recording, corrections=override(recording.corrections, corrections))


def _edited(path: Path, recording: EmbeddedRecording) -> list[Turn]:
    """The turns of the recording in an RTTM file."""
    from diarize.rttm import read_rttm

    turns = read_rttm(path)
    if recording.uri not in turns:
        names = ", ".join(repr(name) for name in list(turns)[:5]) or "none"
        raise ValueError(f"{path}: no turns of {recording.uri!r}, of which the embeddings are: it names {names}")
    return turns[recording.uri]


def _configure(
    recipe: str | None,
    changes: list[str] | None,
    clustering: str | None,
    num_speakers: int | None,
    min_speakers: int | None,
    max_speakers: int | None,
) -> Configure:
    return partial(
        configured, recipe, changes, None, clustering, None, None, num_speakers, min_speakers, max_speakers, None
    )


def _settings(recording: EmbeddedRecording, configure: Configure) -> PipelineConfig:
    """The settings a recording has, changed by the options; raises ValueError for what comes too late."""
    from diarize.pipeline import load_config

    was, config = asdict(load_config(base=recording.settings)), configure(recording.settings)
    wanted = asdict(config)
    if was["embedding"]["model"] != wanted["embedding"]["model"]:
        raise ValueError(
            f"embeddings of another model, {_model(was)}, not of {_model(wanted)}: "
            "make them again with diarize file --save-embeddings"
        )
    for group in HEARD:
        for name, value in was[group].items():
            if value != wanted[group][name]:
                raise ValueError(
                    f"{group}.{name} was {value} when the embeddings were made and cannot become "
                    f"{wanted[group][name]}: leave it out, or make them again with diarize file --save-embeddings"
                )
    return config


def _model(settings: Mapping[str, Any]) -> str:
    return settings["embedding"]["model"] or "the default one"


def _write(order: Order, result: Diarization) -> None:
    from diarize.orders import check_writable
    from diarize.rttm import turns_from

    for path in order.writes:
        check_writable(path)
    write(order.write(result))
    turns = turns_from(result.updates)
    if order.writes:
        say_written(", ".join(map(str, order.writes)), len({turn.speaker for turn in turns}), len(turns))
