"""The speaker encoder: speech in, one vector of unit norm out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diarize.models.checkpoints import Checkpoint, load_checkpoint
from diarize.models.features import FilterBank
from diarize.sources import Audio, read
from diarize.types import SAMPLE_RATE

BUNDLED = {"ecapa-tdnn-c256": Path(__file__).with_name("ecapa_tdnn.safetensors")}
"""The models inside the package, by name; the first is the default."""

COMPUTE = ("cpu", "cuda", "mps")
"""Where the network can run."""

SHORTEST = SAMPLE_RATE // 10
"""Samples: a shorter utterance is repeated up to this length, as the network needs a few frames. Not longer, for
repeating makes nothing clearer: utterances of 0.3 s told speakers apart better alone than repeated up to 0.5 s (equal
error rate 24 and 26 %)."""

LONGEST = 60 * SAMPLE_RATE
"""Samples: a longer utterance is cut into equal pieces of at most this length, which bounds the memory."""


class SpeakerEncoder:
    """A pretrained network and the audio front end it was trained with.

    The cosine of two embeddings is their dot product, for every embedding has unit norm.
    It holds no stream and no other state: one encoder serves everyone.

    dimensions: numbers in an embedding.
    fingerprint: of the weights; embeddings are comparable only where it is equal.
    """

    def __init__(self, checkpoint: Checkpoint, *, compute: str = "cpu") -> None:
        self._device = device(compute)
        self._features = FilterBank().to(self._device)
        self._network = checkpoint.network.to(self._device).eval()
        self.dimensions = checkpoint.network.config.embedding
        self.fingerprint = checkpoint.fingerprint

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path | None = None, *, compute: str = "cpu") -> SpeakerEncoder:
        """Load a model.

        name_or_path: the name of a bundled model, a checkpoint file, or a folder that holds `embedding_model.ckpt`;
            None: the default bundled model.
        compute: cpu, cuda or mps.
        Raises CheckpointError for a file that cannot be used, ValueError for an unknown name or an absent device.
        """
        if name_or_path is None:
            path = next(iter(BUNDLED.values()))
        else:
            path = BUNDLED.get(str(name_or_path), Path(name_or_path))
        if not path.exists():
            raise ValueError(
                f"unknown model {str(name_or_path)!r}: neither a file or folder nor one of {', '.join(BUNDLED)}"
            )
        return cls(load_checkpoint(path), compute=compute)

    def encode(self, audio: Audio) -> NDArray[np.float32]:
        """The embedding of a whole utterance, shape (dimensions,), unit norm.

        audio: a path, an array at 16 kHz, or (waveform, sample_rate).
        Over a minute of audio counts as the average of equal pieces.  Raises AudioError for audio that cannot be
        read, ValueError where there are no samples.
        """
        samples = read(audio)
        if len(samples) == 0:
            raise ValueError("no samples to make an embedding of: give at least one")
        pieces = np.array_split(samples, -(-len(samples) // LONGEST))
        pieces = [np.resize(piece, max(len(piece), SHORTEST)) for piece in pieces]
        embeddings = [self.embed_batch(piece[None])[0] for piece in pieces]
        return unit(np.mean(embeddings, axis=0))

    def encode_batch(self, audios: Sequence[Audio]) -> NDArray[np.float32]:
        """The embeddings of whole utterances, as `encode` makes them, shape (utterances, dimensions), unit norm."""
        embeddings = [self.encode(audio) for audio in audios]
        return np.array(embeddings, dtype=np.float32).reshape(len(embeddings), self.dimensions)

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


def use_threads(count: int) -> None:
    """Let torch use so many threads in this process: several processes side by side share the cores."""
    torch.set_num_threads(count)


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
