"""Weights from a file: recognised by their names, sized by their shapes, loaded strictly.

The layouts are those of `diarize.models.families`, as safetensors or as a plain PyTorch state_dict.  Nothing in such
a file is ever run: pickles are read with `weights_only=True`.  TorchScript, which is code, is loaded where the caller
trusts it, and refused everywhere else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from diarize.models.families import FAMILIES, Family, family_of
from diarize.models.torchscript import is_torchscript, load_torchscript

FILES = ("embedding_model.ckpt", "pytorch_model.bin", "ecapa2.pt", "model.pt")
"""What the weights are called in the folders of SpeechBrain, CASE, ECAPA2, and (ECAPA2's first) and Sound-Groove."""

FRONT_END = "feature_extract."
"""What the names of a front end's own tensors begin with, where a file holds them."""

CPU = torch.device("cpu")


class CheckpointError(ValueError):
    """A file that is not a checkpoint we can use; the message says, in one line, what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with its weights.

    network: in evaluation mode, float32: features to embeddings (batch, dimensions), not of unit norm.
    features: the front end it was trained with: waveforms (batch, samples) at 16 kHz to features.
    dimensions: numbers in an embedding.
    family: the name of its layout.
    threshold: the cosine from which its publisher takes two utterances for one speaker's; None: no such word.
    fingerprint: SHA-256 of the file, in hexadecimal. Embeddings are comparable only where it is equal.
    """

    network: nn.Module
    features: nn.Module
    dimensions: int
    family: str
    threshold: float | None
    fingerprint: str


def load_checkpoint(path: Path, *, trust: bool = False, device: torch.device = CPU) -> Checkpoint:
    """Load a checkpoint.

    path: a file, or a folder that holds one under a name of `FILES`.
    trust: whether a file that is a program (TorchScript) may be loaded, and so run.
    device: where such a program runs; all else is loaded to the CPU.
    Raises CheckpointError where there is no file, it is damaged, it is no checkpoint, it holds code, or its weights
    are not exactly those of the network.
    """
    file = find(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; give a .safetensors file or a PyTorch state_dict") from None
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from None
    fingerprint = hashlib.sha256(content).hexdigest()
    try:
        if is_torchscript(content):
            if not trust:
                raise CheckpointError(
                    "TorchScript, which is code that runs when it is loaded; only where you trust its source, say so: "
                    "--trust, --set embedding.trust=true, or trust=True"
                )
            program, dimensions = load_torchscript(content, device)
            return Checkpoint(program, nn.Identity(), dimensions, "TorchScript (ECAPA2)", None, fingerprint)
        state = parse(content, is_safetensors=file.suffix == ".safetensors")
        family, network, features = build(state)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from None
    dimensions = state[family.sizing[-1][0]].shape[0]
    return Checkpoint(network.eval(), features.eval(), dimensions, family.name, family.threshold, fingerprint)


def find(path: Path) -> Path:
    """The file that a path means.  Raises CheckpointError for a folder without one."""
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a folder without a model; expected one of {', '.join(FILES)}")


def parse(content: bytes, *, is_safetensors: bool) -> dict[str, Tensor]:
    """The named tensors in the content of a file; of a training state, those under "model".  Raises CheckpointError."""
    try:
        if is_safetensors:
            return safetensors.torch.load(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # torch names the forbidden class or function so
            raise CheckpointError(
                "refused, as it holds Python objects, which could run code; save only its state_dict()"
            ) from None
        raise CheckpointError("not a checkpoint") from None
    except Exception:  # what the parsers raise depends on where the damage is: IndexError, EOFError, SafetensorError...
        raise CheckpointError("not a checkpoint, or damaged; fetch it again") from None
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]  # as Sound-Groove's training writes it
    if not is_state(state):
        raise CheckpointError("not a state_dict (names and tensors, nothing else); save only the model's state_dict()")
    return dict(state)


def is_state(state: Any) -> bool:
    """Whether it is what `state_dict()` gives."""
    return isinstance(state, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())


def build(state: Mapping[str, Tensor]) -> tuple[Family, nn.Module, nn.Module]:
    """The family, network and front end that have exactly these weights.  Raises CheckpointError."""
    family = family_of(state)
    if family is None:
        raise CheckpointError(
            f"unrecognised layout ({', '.join(sorted(state)[:3]) or 'empty'}, ...); "
            f"known: {', '.join(family.name for family in FAMILIES)}"
        )
    try:
        shapes = sizes(state, family)
        with torch.device("meta"):  # no memory and no random numbers spent on weights that are replaced at once
            network = family.network(shapes)
        features = family.features()
        check(state, {**network.state_dict(), **features.state_dict(prefix=FRONT_END)})
    except ValueError as error:
        raise CheckpointError(f"not the weights of {family.name}: {error}") from None
    weights = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    network.load_state_dict({k: v for k, v in weights.items() if not k.startswith(FRONT_END)}, assign=True)
    features.load_state_dict({k.removeprefix(FRONT_END): v for k, v in weights.items() if k.startswith(FRONT_END)})
    return family, network, features


def sizes(state: Mapping[str, Tensor], family: Family) -> tuple[torch.Size, ...]:
    """The shapes that say how large the network is.  Raises ValueError where one is missing or impossible."""
    absent = [key for key, axes in family.sizing if key not in state or state[key].ndim != axes]
    if absent:
        raise ValueError("; ".join(naming("missing", absent)))
    return tuple(state[key].shape for key, _ in family.sizing)


def check(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError that names the keys in which the weights differ from what is expected, or are no numbers."""
    both = expected.keys() & state.keys()
    problems = [
        *naming("missing", expected.keys() - state.keys()),
        *naming("unexpected", state.keys() - expected.keys()),
        *naming("wrong shape for", {k for k in both if expected[k].shape != state[k].shape}),
        *naming("not finite in", {k for k in both if not state[k].isfinite().all()}),
    ]
    if problems:
        raise ValueError("; ".join(problems))


def naming(problem: str, keys: Collection[str], shown: int = 3) -> list[str]:
    """One phrase that counts the keys and names the first few; nothing where there are none."""
    if not keys:
        return []
    more = ", ..." if len(keys) > shown else ""
    return [f"{problem} {len(keys)} key{'s' * (len(keys) > 1)} ({', '.join(sorted(keys)[:shown])}{more})"]
