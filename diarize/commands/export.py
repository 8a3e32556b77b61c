"""The command that makes a model usable elsewhere: `diarize export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.terminal import exit_code, say

if TYPE_CHECKING:
    from diarize.models.checkpoints import Checkpoint


def export(
    model: Annotated[str, typer.Argument(metavar="NAME|PATH|ID", help="A model, as --model takes it.")],
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="Where the ONNX graph goes.")],
    audio: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recording of speech to compare with, beside noise.")
    ] = None,
) -> None:
    """Write a speaker encoder as one ONNX graph, from samples to embeddings.

    Its input is `waveforms` (batch, samples), float32 at 16 kHz in -1..1, its output `embeddings` (batch, dimensions)
    of unit norm. The file is written only when onnxruntime has given the same embeddings with it as PyTorch, on
    utterances of several lengths, alone and together.
    """
    with exit_code(2):
        from diarize.models.checkpoints import find
        from diarize.models.encoder import resolve
        from diarize.models.onnx import check_packages, export_onnx, load_exportable
        from diarize.orders import check_writable
        from diarize.sources import read

        check_packages()
        path = find(resolve(model))
        if any(onnx.resolve() == other.resolve() for other in (path, audio) if other):
            raise ValueError(f"{onnx} is read and would be overwritten: choose another file")
        checkpoint = load_exportable(path)
        check_writable(onnx)
        speech = [read(audio)] if audio else []
    with exit_code(1):
        difference = export_onnx(checkpoint, onnx, _metadata(model, path, checkpoint), speech)
        size = onnx.stat().st_size / 1e6
        say(f"{onnx}: {size:.1f} MB; onnxruntime's embeddings differ from PyTorch's by at most {difference:.1e}")


def _metadata(model: str, path: Path, checkpoint: Checkpoint) -> dict[str, str]:
    """What is known of a model."""
    from diarize.models.encoder import BUNDLED_THRESHOLD, SHORTEST
    from diarize.models.installed import read_manifest
    from diarize.models.known import BUNDLED, known
    from diarize.types import SAMPLE_RATE

    bundled, pulled, published = path in BUNDLED.values(), read_manifest(model), known(model)
    threshold = BUNDLED_THRESHOLD if bundled else checkpoint.threshold
    licence = "apache-2.0" if bundled else published.licence if published else "not said"
    return {
        "licence": (pulled and pulled.licence) or licence,
        **checkpoint.metadata,
        "family": checkpoint.family,
        "fingerprint": checkpoint.fingerprint,
        "dimensions": str(checkpoint.dimensions),
        "sample_rate": str(SAMPLE_RATE),
        "least_samples": str(SHORTEST),
        **({} if threshold is None else {"threshold": f"{threshold:g}"}),
    }
