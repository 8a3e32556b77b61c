"""Weights from a file: recognised by their names, sized by their shapes, loaded strictly.

Known so far: ECAPA-TDNN in SpeechBrain's layout, as safetensors or as a plain PyTorch state_dict.  Nothing in a
file is ever run: pickles are read with `weights_only=True`.
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
from torch import Tensor

from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn

SPEECHBRAIN_FILE = "embedding_model.ckpt"
"""The name of the weights in a folder published by SpeechBrain, such as spkrec-ecapa-voxceleb."""

SIZING_KEYS = (
    "blocks.0.conv.conv.weight",
    "blocks.1.res2net_block.blocks.0.conv.conv.weight",
    "blocks.1.se_block.conv1.conv.weight",
    "mfa.conv.conv.weight",
    "asp.conv.conv.weight",
    "fc.conv.weight",
)
"""The weights whose shapes say how wide the network is."""


class CheckpointError(ValueError):
    """A file that is not a checkpoint we can use; the message says, in one line, what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with its weights.

    network: in evaluation mode, on the CPU, float32.
    fingerprint: SHA-256 of the file, in hexadecimal. Embeddings are comparable only where it is equal.
    """

    network: EcapaTdnn
    fingerprint: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint.

    path: a file, or a folder that holds `embedding_model.ckpt`.
    Raises CheckpointError where there is no file, it is damaged, it is no checkpoint, it holds code, or its weights
    are not exactly those of the network.
    """
    file = path / SPEECHBRAIN_FILE if path.is_dir() else path
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; give a .safetensors file or a PyTorch state_dict") from None
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        state = parse(content, is_safetensors=file.suffix == ".safetensors")
        network = build(state)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    return Checkpoint(network.eval(), hashlib.sha256(content).hexdigest())


def parse(content: bytes, *, is_safetensors: bool) -> dict[str, Tensor]:
    """The named tensors in the content of a file.  Raises CheckpointError."""
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
    if not is_state(state):
        raise CheckpointError("not a state_dict (names and tensors, nothing else); save only the model's state_dict()")
    return dict(state)


def is_state(state: Any) -> bool:
    """Whether it is what `state_dict()` gives."""
    return isinstance(state, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())


def build(state: Mapping[str, Tensor]) -> EcapaTdnn:
    """The network that has exactly these weights.  Raises CheckpointError."""
    config = recognise(state)
    with torch.device("meta"):  # no memory and no random numbers spent on weights that are replaced at once
        network = EcapaTdnn(config)
    expected = network.state_dict()
    problems = [
        *naming("missing", expected.keys() - state.keys()),
        *naming("unexpected", state.keys() - expected.keys()),
        *naming("wrong shape for", {k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape}),
        *naming("not finite in", {k for k in expected.keys() & state.keys() if not state[k].isfinite().all()}),
    ]
    if problems:
        raise CheckpointError(f"not the weights of an ECAPA-TDNN: {'; '.join(problems)}")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    return network


def recognise(state: Mapping[str, Tensor]) -> EcapaConfig:
    """The configuration these weights were made with, from their names and shapes.  Raises CheckpointError."""
    if not any(key in state for key in SIZING_KEYS):
        raise CheckpointError(
            f"unrecognised layout ({', '.join(sorted(state)[:3]) or 'empty'}, ...); "
            "known: ECAPA-TDNN with SpeechBrain's parameter names"
        )
    sizing = [state[key] for key in SIZING_KEYS if key in state and state[key].ndim == 3]
    if len(sizing) < len(SIZING_KEYS):
        absent = {key for key in SIZING_KEYS if key not in state or state[key].ndim != 3}
        raise CheckpointError(f"not the weights of an ECAPA-TDNN: {'; '.join(naming('missing', absent))}")
    first, chunk, squeeze, mfa, attention, last = sizing
    try:
        return EcapaConfig(
            channels=first.shape[0],
            mfa_channels=mfa.shape[0],
            attention=attention.shape[1],
            squeeze=squeeze.shape[0],
            scale=first.shape[0] // max(chunk.shape[0], 1),
            embedding=last.shape[0],
        )
    except ValueError as error:
        raise CheckpointError(f"not the weights of an ECAPA-TDNN: {error}") from None


def naming(problem: str, keys: Collection[str], shown: int = 3) -> list[str]:
    """One phrase that counts the keys and names the first few; nothing where there are none."""
    if not keys:
        return []
    more = ", ..." if len(keys) > shown else ""
    return [f"{problem} {len(keys)} key{'s' * (len(keys) > 1)} ({', '.join(sorted(keys)[:shown])}{more})"]
