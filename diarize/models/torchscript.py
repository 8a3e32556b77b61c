"""ECAPA2 and whatever else comes as TorchScript: a program that turns samples into an embedding.

TorchScript is code, which runs when it is used: it is loaded only where the caller trusts its source.  ECAPA2
(Thienpondt and Demuynck, 2023) has been published in two revisions.  The older `model.pt` has methods,
`extract_embedding(audio)` and `extract_feature(label=..., type='mean')`; the newer `ecapa2.pt` is called itself,
`ecapa2(audio)` and `ecapa2(audio, label=...)`.
"""

from __future__ import annotations

import io
import warnings
import zipfile

import torch
from torch import Tensor, nn

LABELS = ("lfe1", "lfe2", "lfe3", "lfe4", "gfe1", "gfe2", "gfe3", "pool", "embedding")
"""The features of ECAPA2: local and global frame-level features, the pooled ones, and the embedding itself."""


class TorchScriptEncoder(nn.Module):
    """A TorchScript program as a network: waveforms (batch, samples) at 16 kHz to embeddings (batch, dimensions).

    The published call takes one utterance, so rows go through one by one.  The optimiser of TorchScript is off: it
    compiles anew for every shape, which takes longer than it saves.
    """

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, waveforms: Tensor) -> Tensor:
        run = getattr(self.program, "extract_embedding", self.program)
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch exports it untyped
            return torch.stack([run(row[None]).reshape(-1).float() for row in waveforms])

    def feature(self, waveform: Tensor, label: str, kind: str) -> Tensor:
        """A hierarchical feature of one utterance, shape (1, samples), as the program gives it.

        kind: how the older revision pools it over time, "mean"; the newer one has no say in that.
        Raises ValueError where the program has no such feature.
        """
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch exports it untyped
            try:
                if hasattr(self.program, "extract_feature"):
                    out: Tensor = self.program.extract_feature(waveform, label=label, type=kind)
                else:
                    out = self.program(waveform, label=label)
            except (RuntimeError, torch.jit.Error) as error:
                raise ValueError(f"the model gives no feature {label!r}: {last_line(error)}") from None
        return out.float()


def is_torchscript(content: bytes) -> bool:
    """Whether the content of a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def load_torchscript(content: bytes, device: torch.device) -> tuple[TorchScriptEncoder, int]:
    """The program in a file, and how many numbers its embeddings have.  Whatever is in it is run.

    device: where it runs; what is frozen into a program cannot be moved there later.
    Raises ValueError where it is damaged or does not turn samples into an embedding.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself: what is published stays so
            program = torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]  # untyped
    except RuntimeError as error:
        raise ValueError(f"damaged TorchScript: {last_line(error)}") from None
    encoder = TorchScriptEncoder(program)
    noise = torch.linspace(-400.0, 400.0, 16000, device=device).square().sin()[None] * 0.1  # a chirp
    try:
        with torch.inference_mode():
            embedding = encoder(noise)
    except (RuntimeError, torch.jit.Error) as error:
        raise ValueError(f"TorchScript that gives no embedding of samples (1, n): {last_line(error)}") from None
    return encoder, embedding.shape[1]


def last_line(error: Exception) -> str:
    """What an error of TorchScript comes to: its message ends in it, after the trace."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
