"""The command that puts speakers onto a transcript: `diarize label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diarize.terminal import counted, exit_code, fail, say, write


def label(
    transcript: Annotated[
        Path, typer.Argument(metavar="TRANSCRIPT", help="What was said: JSON of a Whisper program, .srt or .vtt.")
    ],
    rttm: Annotated[Path, typer.Argument(metavar="RTTM", help="Who spoke when in the same recording.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; TRANSCRIPT itself will do.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(metavar="json|srt|vtt", help="What JSON becomes; by default what --output ends in, or JSON."),
    ] = None,
    nearest: Annotated[
        float, typer.Option(metavar="S", min=0, help="Where nobody talks, whoever does within S seconds; 0: nobody.")
    ] = 1.0,
) -> None:
    """Put speakers onto the words of a transcript, or onto its cues.

    A word belongs to whoever talks most in it, a segment to whoever talks most in its words.
    """
    from diarize.formats import write_atomically
    from diarize.orders import check_writable
    from diarize.rttm import read_rttm
    from diarize.transcripts import FORMS, Talk, form_of, label_transcript, read_transcript, turns_of

    with exit_code(2):
        form = form_of(transcript)
        into = format or (form if output is None else form_of(output))
        if into not in FORMS[form]:
            raise ValueError(f"{transcript} cannot become {into!r}: choose one of {', '.join(FORMS[form])}")
        if output is not None and output.resolve() == rttm.resolve():
            raise ValueError(f"{output} is the RTTM and would be overwritten: choose another output")
    with exit_code(1):
        if output is not None:
            check_writable(output)
        recordings = read_rttm(rttm)
        try:
            talk = Talk(turns_of(transcript, recordings), nearest)
            labelled = label_transcript(read_transcript(transcript), form, talk, into)
        except ValueError as error:
            fail(f"{transcript}: {error}", 1)
        if output is None:
            write(labelled.text)
            return
        write_atomically(output, labelled.text)
    found = [speaker for speaker in labelled.speakers if speaker is not None]
    without = len(labelled.speakers) - len(found)
    rest = f"; {without} of {len(labelled.speakers)} words or cues have none" if without else ""
    say(f"{output}: {counted(len(set(found)), 'speaker')}{rest}")
