"""The commands that hear one stream live: `diarize mic`, `simulate-live`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import (
    Changes,
    Clustering,
    Compute,
    Latency,
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
from diarize.terminal import exit_code, fail, say, say_written, show, stderr, write

if TYPE_CHECKING:
    from rich.progress import TaskID

    from diarize.live_report import LiveReport
    from diarize.pipeline import SpeakerDiarization
    from diarize.rttm import Turn


def mic(
    device: Annotated[
        str | None, typer.Option(metavar="NAME|N", help="Which one: its number, its name or a part of it.")
    ] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="Say which there are, and leave.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the result goes: RTTM, or .json.")
    ] = None,
    record: Annotated[Path | None, typer.Option(metavar="FLAC", help="Keep what is heard in this file.")] = None,
    latency: Latency = None,
    pipeline: Recipe = "microphone",
    set_: Changes = None,
    vad: Vad = None,
    segmentation: Segmentation = False,
    clustering: Clustering = None,
    model: Model = None,
    compute: Compute = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
) -> None:
    """Say who speaks at the microphone, as they speak.

    Ctrl-C ends it; then the final turns go to --output, or to standard output.
    """
    from diarize.microphone.device import choose, devices
    from diarize.microphone.listening import listen
    from diarize.models.encoder import use_threads
    from diarize.orders import format_of
    from diarize.pipeline import SpeakerDiarization
    from diarize.rttm import turns_from

    with exit_code(2):
        available = devices()
        chosen = choose(available, device)
        if list_devices:
            lines = [f"{one.number:>3} {one.full_name}{' (default)' if one.default else ''}\n" for one in available]
            write("".join(lines))
            return
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
            latency,
            segmentation=segmentation,
        )
        # A session needs a fifth of a core; two threads that wait for each other take half as much again.
        use_threads(1)
        diarization = SpeakerDiarization(config)
        diarization.live_front()  # refuses a latency that cannot be kept
        name_people(diarization, profiles, no_profiles)
    with exit_code(1):
        session = listen(diarization, chosen, output=output, form=format_of(output), record=record, console=stderr)
        write(session.text)
    if output is not None and not session.text:
        turns = turns_from(session.result.updates)
        say_written(output, len({turn.speaker for turn in turns}), len(turns))
    if session.error is not None:
        fail(session.error, 1)


def simulate_live(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio or video files.")],
    reference: Annotated[
        Path | None, typer.Option(metavar="RTTM", help="Who really spoke when: a file, or a folder of them.")
    ] = None,
    latency: Latency = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pipeline: Recipe = None,
    set_: Changes = None,
    vad: Vad = None,
    segmentation: Segmentation = False,
    clustering: Clustering = None,
    model: Model = None,
    compute: Compute = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
) -> None:
    """Hear recordings as if they were live, and say what that costs.

    When labels come, which are taken back, and the error of what is shown first beside that of the final answer.
    """
    from diarize.live_report import LiveReport, format_reports
    from diarize.pipeline import SpeakerDiarization
    from diarize.rttm import read_rttms

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
            latency,
            segmentation=segmentation,
        )
        references = None if reference is None else read_rttms(reference)
        diarization = SpeakerDiarization(config)
        diarization.live_front()  # refuses a latency that cannot be kept
    reports = dict(_simulated(inputs, diarization, references))
    with exit_code(1):
        if as_json:
            everything = {
                "latency": config.live.latency,
                "recordings": {name: report.as_dict() for name, report in reports.items()},
                "total": sum(reports.values(), LiveReport()).as_dict(),
            }
            write(json.dumps(everything, indent=2, ensure_ascii=False) + "\n")
        elif reports:
            show(format_reports(reports, config.live.latency))
    sys.exit(0 if len(reports) == len(set(inputs)) else 1)


def _simulated(
    inputs: Sequence[str], diarization: SpeakerDiarization, references: Mapping[str, list[Turn]] | None
) -> Iterator[tuple[str, LiveReport]]:
    """The report on each recording, with a progress bar; what cannot be heard is told and left out."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from diarize.live_report import simulate
    from diarize.orders import explain
    from diarize.sources import open_source

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal, transient=True) as bar:
        for name in inputs:
            task = bar.add_task(Path(name).name, total=None)

            def told(done: float, whole: float | None, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=whole)

            try:
                source = open_source(name)
                truth = None if references is None else _reference(source.uri, references, alone=len(inputs) == 1)
                yield name, simulate(diarization, source, truth, told)
            except (ValueError, OSError) as error:
                say(f"error: {explain(error)}")
            bar.remove_task(task)


def _reference(uri: str, references: Mapping[str, list[Turn]], *, alone: bool) -> list[Turn]:
    """The turns of a recording; where there is one of each, they belong together whatever their names."""
    if alone and len(references) == 1:
        return next(iter(references.values()))
    if uri not in references:
        raise ValueError(f"no reference for {uri!r}: the names inside the RTTM files must be those of the recordings")
    return references[uri]
