"""The loss that does not ask which local voice is which."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

from diarize.powerset import CLASSES, VOICES

_PERMUTATIONS = list(permutations(range(VOICES)))

_RENAMED = torch.tensor(
    [
        [CLASSES.index(tuple(sorted(renaming[voice] for voice in talking))) for talking in CLASSES]
        for renaming in _PERMUTATIONS
    ]
)
"""The class that each class becomes when the voices are renamed, shape (permutations, classes)."""


def permutation_free_cross_entropy(logits: Tensor, said: Tensor) -> Tensor:
    """The mean over pieces of the cross-entropy under the best naming of the voices, each piece having its own.

    logits: (pieces, frames, classes).  said: the right class in each frame, (pieces, frames), under any naming.
    Source: Plaquet and Bredin (2023).
    """
    logarithms = functional.log_softmax(logits, dim=2)
    targets = _RENAMED.to(said.device)[:, said]  # (permutations, pieces, frames)
    chosen = logarithms.expand(len(targets), -1, -1, -1).gather(3, targets[..., None])[..., 0]
    return -chosen.mean(dim=2).amax(dim=0).mean()
