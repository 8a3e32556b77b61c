"""The judge of a network on its way: which crops are compared."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from diarize.evaluation import progress
from diarize.evaluation.error_rates import ErrorCurve, error_curve
from diarize.evaluation.progress import progress_judge
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.training.carriers import CarrierConfig, Sources
from diarize.training.corpus import Corpus, CorpusConfig, prepare
from diarize.training.manifest import read_manifest
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation


def as_it_is(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two sets whose names begin alike, two people in each, two files of each."""
    folder, talk, at = tmp_path_factory.mktemp("speech"), conversation(40), 0
    for person in ("en-us/ann", "en-us/ben", "en-gb/cat", "en-gb/dan"):
        (folder / person).mkdir(parents=True)
        for part in range(2):
            soundfile.write(folder / person / f"{part}.wav", talk[at : at + 2 * SAMPLE_RATE], SAMPLE_RATE)
            at += 2 * SAMPLE_RATE
    return prepare(read_manifest(folder), folder / "made", CorpusConfig((1.0,), takes=2), as_it_is)


def test_only_crops_of_one_set_are_compared(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def curve(scores: NDArray[np.float32], same: NDArray[np.bool_]) -> ErrorCurve:
        tried.append(len(scores))
        return error_curve(scores, same)

    monkeypatch.setattr(progress, "error_curve", curve)
    network = EcapaTdnn(EcapaConfig(channels=16, mfa_channels=48, embedding=12)).eval()
    progress_judge(corpus, CarrierConfig(), Sources.computed(), torch.device("cpu"))(network)
    assert tried == [12, 12], "4 * 3 / 2 of each set, clean and heard"
