"""Weights from a file: recognised by their names, sized by their shapes, loaded strictly; and into one.

The layouts are those of `diarize.models.families`, as safetensors or as a plain PyTorch state_dict.  Nothing in such
a file is ever run: pickles are read with `weights_only=True`.  TorchScript, which is code, is loaded where the caller
trusts it, and refused everywhere else.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from diarize.formats import write_atomically
from diarize.models.families import FAMILIES, Family, family_of
from diarize.models.torchscript import is_torchscript, load_torchscript

FILES = ("embedding_model.ckpt", "pytorch_model.bin", "ecapa2.pt", "model.pt", "model.safetensors")
"""What the weights are called in the folders of SpeechBrain, CASE, ECAPA2, (ECAPA2's first) and Sound-Groove, and of
`diarize train`."""

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
    metadata: what else the file says of its weights, such as their licence; empty where it says nothing.
    """

    network: nn.Module
    features: nn.Module
    dimensions: int
    family: str
    threshold: float | None
    fingerprint: str
    metadata: Mapping[str, str] = field(default_factory=dict)


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
        is_safetensors = file.suffix == ".safetensors"
        state = parse(content, is_safetensors=is_safetensors)
        metadata = header(content)[0].get("__metadata__", {}) if is_safetensors else {}
        family, network, features = build(state)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from None
    dimensions = state[family.sizing[-1][0]].shape[0]
    return Checkpoint(network.eval(), features.eval(), dimensions, family.name, family.threshold, fingerprint, metadata)


def write_checkpoint(network: nn.Module, file: Path, metadata: Mapping[str, str]) -> None:
    """Write a network as safetensors, whole or not at all; a speaker encoder as `load_checkpoint` reads it.

    Weights are written in half precision, running statistics in single precision: a variance may be beyond 65504.
    Equal weights and metadata give equal bytes, so equal fingerprints.
    metadata: what is to be known of the weights, such as their recipe and licence; all of it text.
    Raises ValueError where a weight is not finite in half precision or the name has another suffix, OSError where the
    file cannot be written.
    """
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: the name of a checkpoint must end in .safetensors")
    state = {key: stored(key, value.detach().cpu()).contiguous() for key, value in network.state_dict().items()}
    if problems := naming("not finite in half precision:", {k for k, v in state.items() if not v.isfinite().all()}):
        raise ValueError(f"{file}: not written: {problems[0]}")
    write_atomically(file, in_order(safetensors.torch.save(state, metadata=dict(metadata))))


def stored(key: str, value: Tensor) -> Tensor:
    """A tensor as it is written."""
    return value.half() if value.is_floating_point() and "running_" not in key else value


def in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted by name: the library writes them in another order each time."""
    fields, end = header(content)
    fields["__metadata__"] = dict(sorted(fields.get("__metadata__", {}).items()))
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # what follows is aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a whole safetensors file, and where it ends."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def find(path: Path) -> Path:
    """The file that a path means.  Raises CheckpointError for a folder without one."""
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: a folder without a model; expected one of {', '.join(FILES)}")


def parse(content: bytes, *, is_safetensors: bool) -> dict[str, Tensor]:
    """The named tensors in the content of a file; of a training state, those of the model.  Raises CheckpointError."""
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
    for part in ("model", "model_state"):  # as Sound-Groove's training writes it, and Resemblyzer's
        if isinstance(state, Mapping) and isinstance(state.get(part), Mapping):
            state = state[part]
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
