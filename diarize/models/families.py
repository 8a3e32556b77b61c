"""The layouts of published speaker encoders: how each is recognised by its parameter names, sized, and fed.

Several are called ECAPA-TDNN, and none may take another's place: padding, normalisation, pooling and front end differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn
from diarize.models.features import FilterBank
from diarize.models.kaldi import KaldiFilterBank
from diarize.models.mel_spectrogram import MelSpectrogram
from diarize.models.resemblyzer import MelEnergies, ResemblyzerLstm
from diarize.models.sound_groove import SoundGrooveEcapa
from diarize.models.unispeech import UniSpeechEcapa

Shapes = tuple[torch.Size, ...]


@dataclass(frozen=True)
class Family:
    """A layout of weights.

    name: what it is called in messages.
    marker: what some of its parameters' names begin with, and none of another family's.
    sizing: the weights whose shapes say how large the network is, with their numbers of axes; the last has one row
        for each number of an embedding.
    network: the network, from the shapes of `sizing`; ValueError where there is no such network.
    features: the front end it was trained with, waveforms (batch, samples) to features (batch, frames, bands).
    threshold: the cosine from which its publisher takes two utterances for one speaker's; None: no such word.
    """

    name: str
    marker: str
    sizing: tuple[tuple[str, int], ...]
    network: Callable[[Shapes], nn.Module]
    features: Callable[[], nn.Module]
    threshold: float | None


def family_of(keys: Iterable[str]) -> Family | None:
    """The family of weights with these names; None where it is unknown."""
    names = list(keys)
    return next((family for family in FAMILIES if any(name.startswith(family.marker) for name in names)), None)


def _speechbrain(shapes: Shapes) -> nn.Module:
    first, chunk, squeeze, mfa, attention, last = shapes
    return EcapaTdnn(
        EcapaConfig(
            channels=first[0],
            mfa_channels=mfa[0],
            attention=attention[1],
            squeeze=squeeze[0],
            scale=first[0] // max(chunk[0], 1),
            embedding=last[0],
        )
    )


def _unispeech(shapes: Shapes) -> nn.Module:
    first, last = shapes
    return UniSpeechEcapa(first[0], last[0])


def _sound_groove(shapes: Shapes) -> nn.Module:
    first, aggregation, last = shapes
    return SoundGrooveEcapa(first[0], last[0], aggregation[1] // max(first[0], 1))


def _resemblyzer(shapes: Shapes) -> nn.Module:
    recurrent, last = shapes
    return ResemblyzerLstm(recurrent[1], last[0])


FAMILIES = (
    Family(
        name="SpeechBrain's ECAPA-TDNN",
        marker="blocks.",
        sizing=(
            ("blocks.0.conv.conv.weight", 3),
            ("blocks.1.res2net_block.blocks.0.conv.conv.weight", 3),
            ("blocks.1.se_block.conv1.conv.weight", 3),
            ("mfa.conv.conv.weight", 3),
            ("asp.conv.conv.weight", 3),
            ("fc.conv.weight", 3),
        ),
        network=_speechbrain,
        features=FilterBank,
        threshold=0.25,  # the default of SpeechBrain's SpeakerRecognition.verify_files
    ),
    Family(
        name="UniSpeech's ECAPA-TDNN (CASE)",
        marker="layer2.Res2Conv1dReluBn.",
        sizing=(("layer1.conv.weight", 3), ("linear.weight", 2)),
        network=_unispeech,
        features=MelSpectrogram,
        threshold=0.5,  # in the usage example of CASE's model card
    ),
    Family(
        name="Sound-Groove's ECAPA-TDNN",
        marker="layer2.1.convs.",
        sizing=(("layer1.conv.weight", 3), ("conv.weight", 3), ("linear.weight", 2)),
        network=_sound_groove,
        features=KaldiFilterBank,
        threshold=None,
    ),
    Family(
        name="Resemblyzer's LSTM",
        marker="lstm.",
        sizing=(("lstm.weight_hh_l0", 2), ("linear.weight", 2)),
        network=_resemblyzer,
        features=MelEnergies,
        threshold=None,
    ),
)
