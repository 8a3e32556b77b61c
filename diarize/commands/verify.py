"""The command that compares two voices: `diarize verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from diarize.commands.options import Compute, Crops, Model, Trust
from diarize.terminal import exit_code, say, write


def verify(
    first: Annotated[str, typer.Argument(metavar="A", help="A recording of one voice.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    threshold: Annotated[
        float | None,
        typer.Option(metavar="C", min=-1, max=1, help="Cosine from which it is one speaker; by default the model's."),
    ] = None,
    model: Model = None,
    trust: Trust = False,
    crops: Crops = 0,
    compute: Compute = None,
) -> None:
    """Say whether two recordings are of one speaker: the cosine of their voices, and "same" or "different".

    The exit code is 0 either way: 1 would mean that the recordings could not be compared.
    """
    from diarize.models.encoder import SpeakerEncoder

    with exit_code(2):
        encoder = SpeakerEncoder.from_pretrained(model, compute=compute or "cpu", trust=trust)
        least = encoder.least(threshold)
    with exit_code(1):
        score, same = encoder.verify_files(first, second, least, crops=crops)
        write(f"{score:.4f} {'same' if same else 'different'}\n")
    if threshold is None:
        say(f"the threshold is {least:g}, the model's own; on your recordings another may be right (--threshold)")
