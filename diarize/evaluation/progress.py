"""How good a network is on its way, on voices it is not taught with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from diarize.evaluation.error_rates import equal_error_rate, error_curve
from diarize.models.ecapa_tdnn import EcapaTdnn
from diarize.models.features import FilterBank
from diarize.training.carriers import CarrierConfig, Sources, disturb
from diarize.training.corpus import Corpus
from diarize.types import SAMPLE_RATE, Samples

SECONDS = 1.6
"""Of a crop: what the pipeline's windows hold."""

MOST = 2000
"""Utterances that are judged, of more evenly spaced couples: pairs grow with the square."""

_BATCH = 64


def progress_judge(
    corpus: Corpus, carriers: CarrierConfig, sources: Sources, device: torch.device, seed: int = 0
) -> Callable[[EcapaTdnn], dict[str, float]]:
    """What says the equal error rates, in %, of a network on one crop of each utterance of a corpus, `MOST` at most.

    `clean`: as it is; `heard`: its last take, in drawn scenes.  Trials are all pairs of crops of one set, which share
    a language and a way to speak.  The crops are drawn once, so that two networks are judged on the same.
    Raises ValueError for a corpus in which nobody said two things.
    """
    rng = np.random.default_rng(seed)
    length = round(SECONDS * SAMPLE_RATE)
    numbers = np.flatnonzero(corpus.owner >= 0)
    even = np.linspace(0, max(0, len(numbers) - 2), MOST // 2).round().astype(int)
    numbers = numbers[np.unique(np.minimum([even, even + 1], len(numbers) - 1))]  # neighbours are mostly one speaker's
    starts = [int(rng.integers(max(1, int(corpus.lengths[n]) - length + 1))) for n in numbers]

    def crops(take: int) -> NDArray[np.float32]:
        cut = [corpus.crop(int(n), take, start, length) for n, start in zip(numbers, starts, strict=True)]
        return np.stack(cut).astype(np.float32) / np.float32(32768)

    heard = disturb(crops(corpus.takes - 1), rng, carriers, sources)
    kinds = {"clean": crops(0), "heard": heard}
    sets = np.array(corpus.groups)[numbers]
    first, second = np.triu_indices(len(numbers), 1)
    tried = sets[first] == sets[second]
    first, second = first[tried], second[tried]
    same = corpus.owner[numbers][first] == corpus.owner[numbers][second]
    if not same.any() or same.all():
        raise ValueError(f"{corpus.folder}: nobody there said two things, or there is only one speaker; give more")
    front = FilterBank().to(device)

    def judge(network: EcapaTdnn) -> dict[str, float]:
        errors = {}
        for kind, waveforms in kinds.items():
            embeddings = _embed(network, front, waveforms, device)
            scores = np.einsum("nd,nd->n", embeddings[first], embeddings[second])
            errors[kind] = 100 * float(equal_error_rate(error_curve(scores, same)))
        return errors

    return judge


@torch.no_grad()
def _embed(network: EcapaTdnn, front: FilterBank, waveforms: Samples, device: torch.device) -> NDArray[np.float32]:
    parts = torch.split(torch.from_numpy(waveforms), _BATCH)
    embeddings = torch.cat([network(front(part.to(device))).float().cpu() for part in parts])
    return np.asarray(torch.nn.functional.normalize(embeddings, dim=1).numpy(), dtype=np.float32)
