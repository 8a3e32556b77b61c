"""Speaker encoders by name: the bundled ones, and published ones that this package was made to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUNDLED = {"ecapa-tdnn-c256": Path(__file__).with_name("ecapa_tdnn.safetensors")}
"""The models inside the package, by name; the first is the default."""


@dataclass(frozen=True)
class Known:
    """A published model.

    id: OWNER/NAME at the hub; a plain name where no id is known, and its file has to be given.
    licence: of the weights, by its SPDX name where it has one.
    dimensions: numbers in an embedding.
    error: the equal error rate that was published, with the condition under which it holds.
    terms: what has to be known before it is used; empty: nothing special.
    package: the Python package that carries its weights, by its name at the package index; empty: none does.
    weights: where in such a package they are.
    """

    id: str
    licence: str
    dimensions: str
    error: str
    terms: str = ""
    package: str = ""
    weights: str = ""


KNOWN = (
    Known(
        id="speechbrain/spkrec-ecapa-voxceleb",
        licence="apache-2.0",
        dimensions="192",
        error="0.80 % on VoxCeleb1 (cleaned) with score normalisation; 0.90 % by plain cosine, as here",
    ),
    Known(
        id="bigstorm/case-speaker-embedding-v2-512",
        licence="apache-2.0",
        dimensions="192",
        error="1.22 % clean, 3.53 % over all carriers of the CASE benchmark; plain cosine",
        terms="its publisher's terms have to be accepted on its page at the hub, and HF_TOKEN set",
    ),
    Known(
        id="Jenthe/ECAPA2",
        licence="cc-by-nc-4.0",
        dimensions="192",
        error="0.17 % on VoxCeleb1, as its paper claims; its card gives none",
        terms="not for commercial use (CC BY-NC 4.0); a program (TorchScript), which runs only with --trust",
    ),
    Known(
        id="Sound-Groove",
        licence="apache-2.0",
        dimensions="192 or 256",
        error="20 to 25 % on sampled trials of CN-Celeb, crops averaged",
        terms="to learn from, says its card, not for commercial systems; give the file of weights",
    ),
    Known(
        id="resemblyzer",
        licence="apache-2.0",
        dimensions="256",
        error="none given by its publisher",
        terms="in a Python package: pip install --no-deps Resemblyzer",
        package="Resemblyzer",
        weights="resemblyzer/pretrained.pt",
    ),
)


def known(model_id: str) -> Known | None:
    """The known model of this id; None: it is not known."""
    return next((model for model in KNOWN if model.id == model_id), None)
