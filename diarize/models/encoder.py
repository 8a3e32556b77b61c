"""The speaker encoder: speech in, one vector of unit norm out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diarize.embedding import average_crops
from diarize.models.checkpoints import Checkpoint, load_checkpoint
from diarize.models.installed import find, is_hub_id, packaged
from diarize.models.known import BUNDLED, known
from diarize.models.torchscript import LABELS, TorchScriptEncoder
from diarize.sources import Audio, read
from diarize.types import SAMPLE_RATE, Samples

BUNDLED_THRESHOLD = 0.44
"""The cosine at which the bundled model makes equally many errors of both kinds (3.2 % of each), on every pair of
different utterances of the 21 `dev` speakers of speechocean762, 3.5 s of clean speech each.  Over telephone lines on
both sides it is 0.34, with 12.4 % errors; between clean and telephone speech 0.31, with 9.6 %.  See
`examples/thresholds_benchmark.py`."""

COMPUTE = ("cpu", "cuda", "mps")
"""Where the network can run."""

SHORTEST = SAMPLE_RATE // 10
"""Samples: a shorter utterance is repeated up to this length, as the network needs a few frames. Not longer, for
repeating makes nothing clearer: utterances of 0.3 s told speakers apart better alone than repeated up to 0.5 s (equal
error rate 24 and 26 %)."""

LONGEST = 60 * SAMPLE_RATE
"""Samples: a longer utterance is cut into equal pieces of at most this length, which bounds the memory."""

CROP = 4 * SAMPLE_RATE
"""Samples in a crop, where crops are averaged, as Sound-Groove does in its evaluation (10 crops of 400 frames)."""


class SpeakerEncoder:
    """A pretrained network and the audio front end it was trained with.

    The cosine of two embeddings is their dot product, for every embedding has unit norm.
    It holds no stream and no other state: one encoder serves everyone.

    family: the name of the network's layout.
    dimensions: numbers in an embedding.
    fingerprint: of the weights; embeddings are comparable only where it is equal.
    threshold: the cosine from which two utterances are taken for one speaker's, as far as anybody has said one for
        this model; None: nobody has.  It moves with microphone, noise and length: on your own recordings, measure it.
    """

    def __init__(self, checkpoint: Checkpoint, *, compute: str = "cpu") -> None:
        self._device = device(compute)
        self._features = checkpoint.features.to(self._device)
        network = _any_batch(checkpoint.network) if self._device.type == "cpu" else checkpoint.network
        self._network = network.to(self._device)
        self.family = checkpoint.family
        self.dimensions = checkpoint.dimensions
        self.fingerprint = checkpoint.fingerprint
        self.threshold = checkpoint.threshold

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, *, compute: str = "cpu", trust: bool = False
    ) -> SpeakerEncoder:
        """Load a model.

        name_or_path: the name of a bundled model, a checkpoint file, or a folder that holds one (SpeechBrain's
            embedding_model.ckpt, CASE's pytorch_model.bin, ECAPA2's ecapa2.pt or model.pt), or the hub id of one
            that `diarize models pull` has fetched, or "resemblyzer" where that package is installed; None: the
            default bundled model.
        compute: cpu, cuda or mps.
        trust: whether a model that is a program (TorchScript, as ECAPA2 is) may run.
        Raises CheckpointError for a file that cannot be used, ValueError for an unknown name or an absent device.
        """
        path = resolve(name_or_path)
        encoder = cls(load_checkpoint(path, trust=trust, device=device(compute)), compute=compute)
        if path in BUNDLED.values():
            encoder.threshold = BUNDLED_THRESHOLD
        return encoder

    def encode(self, audio: Audio, *, crops: int = 0) -> NDArray[np.float32]:
        """The embedding of a whole utterance, shape (dimensions,), unit norm.

        audio: a path, an array at 16 kHz, or (waveform, sample_rate); of any rate and number of channels: it is
            resampled to 16 kHz and mixed down. Samples are in -1..1.
        crops: 0: the utterance as it is; else the average over so many crops of 4 s, evenly spaced, where it is
            longer than one.
        Over a minute of audio counts as the average of equal pieces.  Raises AudioError for audio that cannot be
        read, ValueError where there are no samples.
        """
        if crops < 0:
            raise ValueError(f"crops must be at least 0, not {crops}")
        samples = long_enough(read(audio))
        if crops and len(samples) > CROP:
            starts = np.linspace(0, len(samples) - CROP, crops).astype(int)
            pieces = [samples[start : start + CROP] for start in starts]
        else:
            pieces = np.array_split(samples, -(-len(samples) // LONGEST))
        return average_crops(np.concatenate([self.embed_batch(piece[None]) for piece in pieces]))[0]

    def encode_batch(self, audios: Sequence[Audio], *, crops: int = 0) -> NDArray[np.float32]:
        """The embeddings of whole utterances, as `encode` makes them, shape (utterances, dimensions), unit norm."""
        embeddings = [self.encode(audio, crops=crops) for audio in audios]
        return np.array(embeddings, dtype=np.float32).reshape(len(embeddings), self.dimensions)

    def similarity(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
        """The cosine of two embeddings, -1 to 1.  Raises ValueError where they are not of this model's shape."""
        for embedding in (first, second):
            if np.shape(embedding) != (self.dimensions,):
                raise ValueError(f"an embedding must have shape ({self.dimensions},), not {np.shape(embedding)}")
        return float(np.clip(unit(first) @ unit(second), -1.0, 1.0))

    def least(self, threshold: float | None = None) -> float:
        """The threshold that counts: the one given, else the model's own.

        Raises ValueError where there is neither, and where it is outside -1..1, as no cosine is.
        """
        least = self.threshold if threshold is None else threshold
        if least is None:
            raise ValueError(f"{self.family} has no threshold of its own: measure one on your recordings and give it")
        if not -1.0 <= least <= 1.0:
            raise ValueError(f"threshold must be in -1..1, as a cosine is, not {least}")
        return least

    def verify_files(
        self, first: Audio, second: Audio, threshold: float | None = None, *, crops: int = 0
    ) -> tuple[float, bool]:
        """The cosine of two utterances, and whether it is at least the threshold, in SpeechBrain's order.

        threshold, crops: as in `least` and `encode`.
        """
        least = self.least(threshold)
        score = self.similarity(self.encode(first, crops=crops), self.encode(second, crops=crops))
        return score, score >= least

    def verify(self, first: Audio, second: Audio, threshold: float | None = None, *, crops: int = 0) -> bool:
        """Whether two utterances are one speaker's, as `verify_files` finds."""
        return self.verify_files(first, second, threshold, crops=crops)[1]

    def extract_feature(self, audio: Audio, label: str, type: str = "mean") -> NDArray[np.float32]:  # noqa: A002 - ECAPA2's own name
        """A hierarchical feature of an utterance, as ECAPA2 gives it.

        label: one of lfe1 to lfe4, gfe1 to gfe3, pool and embedding, or several joined by |.
        type: how it is pooled over time; "mean" is all that is published.
        Raises ValueError for another label or type, and where the model is another than ECAPA2.
        """
        if unknown := [part for part in label.split("|") if part not in LABELS]:
            raise ValueError(f"unknown feature {unknown[0]!r}: choose of {', '.join(LABELS)}")
        if type != "mean":
            raise ValueError(f"unknown type {type!r}: there is only mean")
        if not isinstance(self._network, TorchScriptEncoder):
            raise ValueError(f"{self.family} has no hierarchical features: they are ECAPA2's")
        with torch.inference_mode():
            waveform = torch.tensor(long_enough(read(audio))[None], device=self._device)
            feature: NDArray[np.float32] = self._network.feature(waveform, label, type).cpu().numpy()
        return feature

    def embed_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The embeddings of utterances of equal length: (batch, samples) to (batch, dimensions), unit norm.

        Within one shape a row's result depends, bit for bit, on that row alone.  Across batch shapes (and, for some
        shapes, numbers of threads) it differs by about 1e-7, as other kernels add up in another order.
        Raises ValueError where an embedding is not finite.
        """
        with torch.inference_mode():
            waveforms = torch.tensor(batch, dtype=torch.float32, device=self._device)
            embeddings = self._network(self._features(waveforms)).cpu().numpy()
        if not np.isfinite(embeddings).all():
            raise ValueError("an embedding is not finite: the samples must be finite, in -1..1")
        return unit(embeddings)


def _any_batch(network: nn.Module) -> nn.Module:
    """The network, its convolutions of one tap computed in one way whatever the size of a batch.

    In one tap there is nothing to dilate; but without it torch, where it has one thread, computes fewer than 16
    utterances in another way than more, and so to other bits.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d) and module.kernel_size == (1,) and module.stride == (1,):
            module.dilation = (2,)
    return network


def resolve(name_or_path: str | Path | None) -> Path:
    """Where a model lies that is named as for `from_pretrained`; nothing is fetched.

    Raises ValueError for an unknown name, and for a model whose package is not installed.
    """
    if name_or_path is None:
        return next(iter(BUNDLED.values()))
    name = str(name_or_path)
    if (model := known(name)) and model.package:
        return packaged(model)
    path = BUNDLED.get(name, Path(name_or_path))
    if not path.exists() and is_hub_id(name):
        path = find(name) or path
    if not path.exists():
        fetch = f", and not pulled; if it is a model of the hub: diarize models pull {name}" if is_hub_id(name) else ""
        raise ValueError(f"unknown model {name!r}: neither a file or folder nor one of {', '.join(BUNDLED)}{fetch}")
    return path


def long_enough(samples: Samples) -> Samples:
    """The samples, repeated where they are fewer than a network needs.  Raises ValueError where there are none."""
    if len(samples) == 0:
        raise ValueError("no samples to make an embedding of: give at least one")
    return np.resize(samples, max(len(samples), SHORTEST))


def use_threads(count: int) -> None:
    """Let torch use so many threads in this process."""
    torch.set_num_threads(count)


def share_cores(among: int) -> None:
    """Let torch use as many threads in this process as are its share where so many work side by side; at least one."""
    use_threads(max(1, (os.cpu_count() or 1) // among))


def device(compute: str) -> torch.device:
    """The torch device of a name in `COMPUTE`.  Raises ValueError where it is unknown or absent."""
    if compute not in COMPUTE:
        raise ValueError(f"unknown compute {compute!r}: choose one of {', '.join(COMPUTE)}")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[compute]:
        raise ValueError(
            f"compute {compute!r} is not available: torch {torch.__version__} sees no such device; use cpu"
        )
    return torch.device(compute)


def unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The embeddings scaled to unit norm over their last axis."""
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (embeddings / norms).astype(np.float32)
    return scaled
