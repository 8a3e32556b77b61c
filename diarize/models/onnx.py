"""A speaker encoder as one ONNX graph: waveforms in, embeddings out, the front end inside.

PyTorch's exporter of captured graphs makes it (`dynamo=True`, with onnxscript): the older one, of TorchScript, is
deprecated and cannot express complex spectra.  The graph is made from the very modules that are trained and used; only
their Fourier transforms become matrix products.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from diarize.formats import write_atomically
from diarize.models.checkpoints import Checkpoint, find, load_checkpoint
from diarize.models.encoder import SHORTEST, SpeakerEncoder
from diarize.models.fourier import MatrixTransforms
from diarize.models.torchscript import is_torchscript
from diarize.types import SAMPLE_RATE, Samples

OPSET = 18
"""Of the operators: what the exporter speaks without a translation; onnxruntime has known it since 1.14 (2023)."""

TOLERANCE = 1e-4
"""How far a number of an embedding may be from PyTorch's; float32 gives about 1e-6."""

LENGTHS = (SHORTEST, SAMPLE_RATE, 8 * SAMPLE_RATE // 5, 4 * SAMPLE_RATE + 77, 10 * SAMPLE_RATE)
"""Samples of the utterances that are compared; one is no whole number of frames."""
BATCHES = (1, 3)
"""Utterances at a time in the comparison."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class WaveformEncoder(nn.Module):
    """Waveforms (batch, samples) at 16 kHz, in -1..1, to embeddings (batch, dimensions) of unit norm."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.features = checkpoint.features
        self.network = checkpoint.network

    def forward(self, waveforms: Tensor) -> Tensor:
        with MatrixTransforms():
            features = self.features(waveforms)
        return functional.normalize(self.network(features), dim=1)


def check_packages() -> None:
    """Raise ValueError where a package is absent that exporting needs."""
    if absent := [package for package in PACKAGES if find_spec(package) is None]:
        raise ValueError(f'{", ".join(absent)} not installed: pip install "diarize-live[onnx]"')


def load_exportable(path: Path) -> Checkpoint:
    """Load a checkpoint that can be exported.

    Raises CheckpointError as `load_checkpoint` does, ValueError for TorchScript: its operations are hidden in it.
    """
    file = find(path)
    if file.is_file() and is_torchscript(file.read_bytes()):
        raise ValueError(f"{file}: TorchScript, a program that only PyTorch can run: it cannot be exported")
    return load_checkpoint(file)


def export_onnx(
    checkpoint: Checkpoint, file: Path, metadata: Mapping[str, str], speech: Sequence[Samples] = ()
) -> float:
    """Write a speaker encoder as ONNX, once onnxruntime has given PyTorch's embeddings with it.

    The graph has an input `waveforms` (batch, samples), float32 at 16 kHz in -1..1, at least 1600 samples, and an
    output `embeddings` (batch, dimensions) of unit norm; both axes of the input may have any length.
    metadata: what the file is to say of itself.
    speech: recordings, shape (samples,), with which the two are compared too, beside noise.
    Returns the largest difference of a number in an embedding.  Raises ValueError where the network does not fit
    into one graph, or the difference is above `TOLERANCE`, OSError where the file cannot be written; what stood under
    its name is then untouched.
    """
    check_packages()
    graph = as_onnx(checkpoint, metadata)
    difference = largest_difference(graph, SpeakerEncoder(checkpoint), [noise(), *speech])
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{file}: not written, as onnxruntime's embeddings differ by {difference:.1e} from PyTorch's, "
            f"and {TOLERANCE:g} is the most that may be"
        )
    write_atomically(file, graph)
    return difference


def as_onnx(checkpoint: Checkpoint, metadata: Mapping[str, str]) -> bytes:
    """The graph of `export_onnx`, unchecked; the same weights and metadata always give the same bytes.

    Raises ValueError where there is none that works for every length.
    """
    import onnx

    axes = ({0: Dim("batch", min=1), 1: Dim("samples", min=SHORTEST)},)
    module, example = WaveformEncoder(checkpoint).eval(), (torch.zeros(2, SAMPLE_RATE),)
    names: dict[str, Any] = {"input_names": ["waveforms"], "output_names": ["embeddings"], "verbose": False}
    try:
        with _quietly():
            # captured here: the exporter would try other ways, which silently fix what depends on the length
            captured = torch.export.export(module, example, dynamic_shapes=axes)
            program = torch.onnx.export(captured, opset_version=OPSET, dynamo=True, dynamic_shapes=axes, **names)
    except (RuntimeError, ValueError) as error:  # of many classes, with long explanations of the graph
        raise ValueError(
            f"{checkpoint.family} cannot be exported: it is no single graph for utterances of every length"
        ) from error
    if program is None:
        raise ValueError(f"{checkpoint.family} cannot be exported by torch {torch.__version__}")
    model = program.model_proto
    # the exporter notes at every node which lines of which files on this machine it came from
    for node in model.graph.node:
        node.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    onnx.helper.set_model_props(model, dict(metadata))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def largest_difference(graph: bytes, encoder: SpeakerEncoder, recordings: Sequence[Samples]) -> float:
    """How far onnxruntime's embeddings are from an encoder's, in the number that differs most.

    recordings: of each, utterances of `LENGTHS` are compared, so many at a time as `BATCHES` say.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return max(
        float(np.abs(session.run(None, {"waveforms": batch})[0] - encoder.embed_batch(batch)).max())
        for recording in recordings
        for length in LENGTHS
        for batch in (pieces(recording, length, rows) for rows in BATCHES)
    )


def pieces(recording: Samples, length: int, rows: int) -> NDArray[np.float32]:
    """Evenly spaced pieces of a recording, shape (rows, length); a shorter one is repeated."""
    long = np.resize(recording, max(length, len(recording)))
    starts = np.linspace(0, len(long) - length, rows).astype(int)
    return np.stack([long[start : start + length] for start in starts])


def noise(seconds: float = 12.0) -> Samples:
    """White noise whose level rises and falls over 60 dB; always the same."""
    size = round(seconds * SAMPLE_RATE)
    level = 10 ** (1.5 * np.sin(np.linspace(0, 40, size)) - 2.0)
    return (np.random.default_rng(0).standard_normal(size) * level).astype(np.float32).clip(-1.0, 1.0)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of other packages, and what its parts warn each other of."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells at every export that torchvision is absent, which nothing here needs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
