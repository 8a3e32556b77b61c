"""What a speaker encoder is taught by: who talks, and what a teacher hears in the same voice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AngularMargin(nn.Module):
    """Additive angular margin softmax over speakers (Deng et al., "ArcFace", 2019).

    speakers: how many there are; dimensions: of an embedding.
    centres: directions of each speaker, of which the nearest counts (Deng et al., "Sub-center ArcFace", 2020): where a
        speaker's recordings fall into groups, each may have its own.
    """

    def __init__(self, speakers: int, dimensions: int, centres: int = 1) -> None:
        super().__init__()
        if min(speakers, dimensions, centres) < 1:
            raise ValueError(
                f"speakers, dimensions and centres must be at least 1: {speakers}, {dimensions}, {centres}"
            )
        self.centres = centres
        self.directions = nn.Parameter(torch.empty(speakers * centres, dimensions))
        nn.init.xavier_normal_(self.directions)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Of each embedding, shape (n, dimensions), with each speaker, shape (n, speakers)."""
        all_centres = functional.normalize(embeddings, dim=1) @ functional.normalize(self.directions, dim=1).T
        return all_centres.view(len(embeddings), -1, self.centres).amax(dim=2)

    def forward(self, embeddings: Tensor, speakers: Tensor, margin: float, scale: float) -> Tensor:
        """The mean cross-entropy.

        embeddings: (n, dimensions), of any norm.  speakers: (n,), from 0 on; n must be at least 1.
        margin: radians by which the right angle is made harder.  scale: of the cosines.
        """
        cosines = self.cosines(embeddings)
        rows = torch.arange(len(cosines), device=cosines.device)
        right = cosines[rows, speakers].clamp(-1 + 1e-6, 1 - 1e-6)  # the slope of acos is infinite at the ends
        # beyond pi - margin the cosine of the sum would rise again, and the worst would be pushed to be worse
        harder = torch.where(right.acos() < torch.pi - margin, (right.acos() + margin).cos(), right - margin)
        logits = cosines.index_put((rows, speakers), harder)
        return functional.cross_entropy(scale * logits, speakers)


class Distillation(nn.Module):
    """A small head that says what a teacher would say of the same voice.

    The student hears a degraded crop, the teacher has heard the clean utterance: what the carrier did is to be
    ignored.  No speaker has to be known, so that unlabelled speech teaches too.  The head is thrown away in the end.
    """

    def __init__(self, dimensions: int, teacher_dimensions: int) -> None:
        super().__init__()
        self.head = nn.Linear(dimensions, teacher_dimensions)

    def forward(self, embeddings: Tensor, taught: Tensor) -> Tensor:
        """The mean cosine distance; embeddings (n, dimensions) of any norm, taught (n, teacher_dimensions)."""
        return 1 - functional.cosine_similarity(self.head(functional.normalize(embeddings, dim=1)), taught).mean()
