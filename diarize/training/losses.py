"""What a speaker encoder is taught by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def contrastive_loss(embeddings: Tensor, talks: Tensor, speakers: Tensor, scale: float, threshold: float) -> Tensor:
    """How badly one threshold on the cosine tells pairs of one voice from pairs of two, both of one conversation.

    The cross-entropy of a logistic function of scale (cosine - threshold): the mean over the pairs of one voice, plus
    that over the pairs of two, which are many more.  The threshold is the same for every conversation, as clustering
    has only one; a softmax over the conversation, which ranks, leaves each its own.

    embeddings: (n, dimensions), unit norm.  talks, speakers: (n,).
    """
    together = (talks[:, None] == talks) & ~torch.eye(len(talks), dtype=torch.bool)
    same = speakers[:, None] == speakers
    logits = scale * (embeddings @ embeddings.T - threshold)
    return functional.softplus(-logits[together & same]).mean() + functional.softplus(logits[together & ~same]).mean()


class AngularMargin(nn.Module):
    """Additive angular margin softmax over speakers, each a direction that starts at its first embedding."""

    directions: Tensor
    met: Tensor

    def __init__(self, speakers: int, dimensions: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.zeros(speakers, dimensions))
        self.register_buffer("met", torch.zeros(speakers, dtype=torch.bool))

    def forward(self, embeddings: Tensor, speakers: Tensor, margin: float, scale: float) -> Tensor:
        with torch.no_grad():
            for embedding, speaker in zip(embeddings, speakers.tolist(), strict=True):
                if not self.met[speaker]:
                    self.directions[speaker], self.met[speaker] = embedding, True
        cosines = embeddings @ functional.normalize(self.directions, dim=1).T
        right = cosines.gather(1, speakers[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        logits = cosines.masked_fill(~self.met, -1.0).scatter(1, speakers[:, None], (right.acos() + margin).cos())
        return functional.cross_entropy(scale * logits, speakers)
