"""How good a segmentation network is on its way, on voices it is not taught with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diarize.evaluation.detection import detection, local_errors
from diarize.intervals import runs
from diarize.metrics import Errors
from diarize.models.powerset import FRAME, PowersetNetwork
from diarize.powerset import MEMBERS
from diarize.training.lessons import sources_of
from diarize.training.segmentation.pieces import FRAMES, PIECE, cut_piece, simulate_talk
from diarize.training.segmentation.recipe import SegmentationRecipe
from diarize.types import Interval

_BATCH = 8


def segmentation_judge(
    speech: Path, config: SegmentationRecipe, device: torch.device
) -> Callable[[PowersetNetwork], dict[str, float]]:
    """What says, in % of speech, how a network errs on pieces of simulated conversations of `dev` speakers.

    `speech`: missed and falsely heard speech, whoever talks.  `local`: the diarization error rate within a piece.  A
    frame is of the class that is likeliest.
    """
    sources = sources_of(speech, "dev")
    talks = [simulate_talk(speech, "dev", config.seed, i, config.talk, sources) for i in range(config.judged)]
    pieces = [cut_piece(one, at) for one in talks for at in range(0, len(one.talking) - FRAMES + 1, FRAMES)]
    waveforms = torch.from_numpy(np.stack([samples for samples, _ in pieces]))
    truths = [_voices(talking) for _, talking in pieces]

    def judge(network: PowersetNetwork) -> dict[str, float]:
        with torch.no_grad():
            logits = torch.cat([network(part.to(device)).cpu() for part in torch.split(waveforms, _BATCH)])
        found = [_voices(one) for one in MEMBERS[logits.argmax(dim=2).numpy()] > 0]
        pairs = list(zip(truths, found, strict=True))
        speech = sum((detection(truth, one).speech for truth, one in pairs), Errors())
        local = sum((local_errors(truth, one, (0, PIECE)) for truth, one in pairs), Errors())
        return {"speech": 100 * (speech.der or 0.0), "local": 100 * (local.der or 0.0)}

    return judge


def _voices(talking: NDArray[np.bool_]) -> list[list[Interval]]:
    return [runs(voice, FRAME) for voice in talking.T]
