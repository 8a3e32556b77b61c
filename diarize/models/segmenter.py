"""The segmentation of ten seconds of audio: how likely each of a few local voices talks, frame by frame."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diarize.config import from_mapping
from diarize.models.checkpoints import CheckpointError, check, header, parse
from diarize.models.encoder import device
from diarize.models.powerset import FRAME, PowersetConfig, PowersetNetwork
from diarize.types import SAMPLE_RATE, Samples

SEGMENTERS = {"powerset": Path(__file__).with_name("powerset.safetensors")}
"""The segmentation networks inside the package, by name; the first is the default."""


class SpeakerSegmenter:
    """A pretrained segmentation network; it holds no stream and no other state, and serves everyone.

    length: samples it hears at a time.  frame: samples of what it says something of.
    fingerprint: of the weights.
    """

    length = 10 * SAMPLE_RATE
    frame = FRAME

    def __init__(self, network: PowersetNetwork, fingerprint: str, compute: str = "cpu") -> None:
        self._device = device(compute)
        self._network = network.eval().to(self._device)
        self.fingerprint = fingerprint

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, *, compute: str = "cpu") -> SpeakerSegmenter:
        """Load a network.

        name_or_path: the name of a bundled one, or a file or run that `diarize train --task segmentation` has written;
            None: the bundled default.
        compute: cpu, cuda or mps.
        Raises CheckpointError for a file that cannot be used, ValueError for an unknown name or an absent device.
        """
        path = next(iter(SEGMENTERS.values())) if name_or_path is None else SEGMENTERS.get(str(name_or_path))
        path = path or Path(str(name_or_path))
        path = path / "model.safetensors" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(
                f"unknown segmentation network {str(name_or_path)!r}: give a file or one of {', '.join(SEGMENTERS)}"
            )
        content = path.read_bytes()
        try:
            return cls(_network(content), hashlib.sha256(content).hexdigest(), compute)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """The probability of each class of `diarize.powerset` in each frame.

        samples: shape (160000,), float32 at 16 kHz.  Returns shape (500, 7), rows of sum 1.
        Raises ValueError for another shape, and for samples that are not finite.
        """
        if samples.shape != (self.length,):
            raise ValueError(f"samples must have the shape ({self.length},), not {samples.shape}")
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(samples)[None].to(self._device))[0]
            said: NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        if not np.isfinite(said).all():
            raise ValueError("what is said of the samples is not finite: they must be finite, in -1..1")
        return said


def _network(content: bytes) -> PowersetNetwork:
    """The network in a file's content.  Raises CheckpointError for something else."""
    state = parse(content, is_safetensors=True)
    try:
        config = from_mapping(PowersetConfig, json.loads(header(content)[0]["__metadata__"]["network"]))
        network = PowersetNetwork(config)
        check(state, network.state_dict())
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"no segmentation network ({error}); give what diarize train --task segmentation has written"
        ) from None
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    )
    return network
