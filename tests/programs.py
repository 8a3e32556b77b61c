"""TorchScript programs in the two published forms of ECAPA2, small enough to be made by a test."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Heard(nn.Module):
    """Frames of 25 ms, twelve numbers each: what both programs are made of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(400, 12)

    def forward(self, audio: Tensor) -> Tensor:
        out: Tensor = self.layer(audio.unfold(1, 400, 160)).tanh()
        return out


class Older(nn.Module):
    """The form of `model.pt`: two methods, the embedding without a batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()

    def forward(self, audio: Tensor) -> Tensor:
        return torch.zeros_like(audio)  # its users do not call it

    @torch.jit.export
    def extract_embedding(self, audio: Tensor) -> Tensor:
        out: Tensor = self.heard(audio).mean(dim=1)[0]
        return out

    @torch.jit.export
    def extract_feature(self, audio: Tensor, label: str, type: str) -> Tensor:  # noqa: A002 - its own name
        if label != "gfe1" or type != "mean":
            raise ValueError("no such feature " + label)
        out: Tensor = self.heard(audio).mean(dim=1)[:, :4]
        return out


class Newer(nn.Module):
    """The form of `ecapa2.pt`: called itself, with a label for features."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()

    def forward(self, audio: Tensor, label: str = "embedding") -> Tensor:
        pooled: Tensor = self.heard(audio).mean(dim=1)
        if label == "embedding":
            return pooled
        if label == "gfe1|pool":
            return pooled[:, :7]
        raise ValueError("no such feature " + label)


class Odd(nn.Module):
    """A program that takes something else."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return tokens * mask


def save(program: nn.Module, path: Path, *, freeze: bool = False) -> Path:
    """Compile and save a program as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
        script = torch.jit.script(program.eval())
        if freeze:
            script = torch.jit.freeze(script)
        torch.jit.save(script, path)
    return path
