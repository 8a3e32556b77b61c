"""The command that makes embeddings: `diarize embed`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from diarize.commands.options import Compute, Crops, Model, Trust
from diarize.terminal import counted, exit_code, fail, say


def embed(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Recordings of one voice each, folders of them, patterns.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="NPZ", help="Where to write.")],
    model: Model = None,
    trust: Trust = False,
    crops: Crops = 0,
    compute: Compute = None,
) -> None:
    """Make one speaker embedding of each recording.

    The file is NumPy's .npz, without pickle: `embeddings` (recordings, dimensions) float32 of unit norm, `files`
    their names, `model` the fingerprint of the weights. Only embeddings of one model can be compared.
    """
    import numpy as np

    from diarize.formats import write_atomically
    from diarize.inputs import find_recordings
    from diarize.models.encoder import SpeakerEncoder
    from diarize.orders import check_writable, explain

    with exit_code(2):
        names = [recording.path for recording in find_recordings(inputs)]
        if output.resolve() in {Path(name).resolve() for name in names}:
            raise ValueError(f"{output} is a recording and would be overwritten: choose another output")
        check_writable(output)
        encoder = SpeakerEncoder.from_pretrained(model, compute=compute or "cpu", trust=trust)
    embeddings = {}
    for name in names:
        try:
            embeddings[name] = encoder.encode(name, crops=crops)
        except (ValueError, OSError) as error:
            say(f"error: {explain(error)}")
    if not embeddings:
        fail("no embedding could be made", 1)
    with exit_code(1):
        content = io.BytesIO()
        vectors = np.stack(list(embeddings.values()))
        np.savez(content, embeddings=vectors, files=np.array(list(embeddings)), model=np.array(encoder.fingerprint))
        write_atomically(output, content.getvalue())
    say(f"{output}: {counted(len(embeddings), 'embedding')} of {encoder.dimensions} numbers")
    if len(embeddings) < len(names):
        raise typer.Exit(1)
