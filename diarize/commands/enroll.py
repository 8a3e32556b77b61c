"""The command that makes a voice known by name: `diarize enroll`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import Changes, Compute, Model, Recipe, Vad, configured
from diarize.terminal import counted, exit_code, say

if TYPE_CHECKING:
    from diarize.types import Interval

Store = Annotated[
    Path | None,
    typer.Option(
        "--profiles", metavar="FILE", help="Where the people are kept; by default $DIARIZE_PROFILES, or the user's own."
    ),
]


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO...", help="Recordings in which only this person talks, 5 s at least in all."),
    ],
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="RTTM", help="Who spoke when in AUDIO, if others talk there too."),
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Who of the RTTM it is, such as SPEAKER_01.")
    ] = None,
    store: Store = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    vad: Vad = None,
    model: Model = None,
    compute: Compute = None,
) -> None:
    """Make a voice known by name.

    Each recording becomes a reference: an embedding that tells the person from others by the voice. It is kept, the
    recording is not. Ask the person first. A name that is known already gets more references, if the voice agrees.
    """
    from diarize.enrolment import enrolment, hear
    from diarize.inputs import find_recordings
    from diarize.pipeline import SpeakerDiarization
    from diarize.profiles.person import checked_name
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(2):
        name = checked_name(name)
        files = [recording.path for recording in find_recordings(inputs)]
        stretches = _turns(files, from_, speaker)
        config = configured(pipeline, set_, vad, None, model, compute, None, None, None)
        diarization = SpeakerDiarization(config)
        path = store_path(store)
        with ProfileStore(path) as people:
            people.check_model(diarization.encoder.fingerprint)
    with exit_code(1):
        references = enrolment([hear(diarization.embedded, file, stretches) for file in files])
        with ProfileStore(path) as people:
            people.enroll(name, references)
            known = people.show(name).references
    speech = sum(reference.speech for reference in references)
    more = f", {len(known)} in all" if len(known) > len(references) else ""
    say(f"{name}: {counted(len(references), 'reference')} of {speech:.1f} s of speech{more}; kept in {path}")


def _turns(files: list[str], rttm: Path | None, speaker: str | None) -> list[Interval]:
    """What of the recording is heard; nothing: all of it.  Raises ValueError for what does not go together."""
    from diarize.enrolment import turns_alone

    if rttm is None and speaker is None:
        return []
    if rttm is None or speaker is None:
        raise ValueError("--from RTTM and --speaker LABEL go together: give both")
    if len(files) != 1:
        raise ValueError(f"--from says who spoke when in one recording: give one, not {len(files)}")
    return turns_alone(rttm, speaker, Path(files[0]).stem)
