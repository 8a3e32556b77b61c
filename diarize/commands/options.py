"""The options of settings, which several commands share, and the settings that they make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diarize.pipeline import PipelineConfig

Recipe = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="A recipe: a shipped one or a TOML file.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as vad.onset=0.6.")
]
Vad = Annotated[str | None, typer.Option(metavar="NAME", help="silero or webrtc.")]
Clustering = Annotated[str | None, typer.Option(metavar="NAME", help="agglomerative or hdbscan.")]
Model = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="The speaker embedding's weights.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run a model that is a program (TorchScript, as ECAPA2 is).")]
Crops = Annotated[int, typer.Option(metavar="N", min=0, help="Average N crops of 4 s; 0: the recording as a whole.")]
Compute = Annotated[str | None, typer.Option(metavar="cpu|cuda|mps", help="Where the network runs.")]
NumSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are exactly so many speakers.")]
MinSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are at least so many.")]
MaxSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are at most so many.")]
Latency = Annotated[float | None, typer.Option(metavar="S", help="Seconds from speech to its label, 0.5 to 5.")]


def configured(
    recipe: str | None,
    changes: list[str] | None,
    vad: str | None,
    clustering: str | None,
    model: str | None,
    compute: str | None,
    num_speakers: int | None,
    min_speakers: int | None,
    max_speakers: int | None,
    latency: float | None = None,
    base: Mapping[str, Any] | None = None,
) -> PipelineConfig:
    """The settings of a recipe, changed by `changes` ("vad.onset=0.6"), and then by the options of their own.

    base: what the recipe changes; None: the defaults.

    Raises ValueError as `diarize.pipeline.load_config`.
    """
    from diarize.pipeline import load_config

    own = {
        "vad.name": vad,
        "clustering.name": clustering,
        "embedding.model": model,
        "embedding.compute": compute,
        "clustering.num_speakers": num_speakers,
        "clustering.min_speakers": min_speakers,
        "clustering.max_speakers": max_speakers,
        "live.latency": latency,
    }
    # JSON's numbers and strings are TOML's, but for its escapes of characters beyond 16 bits
    chosen = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in own.items() if value is not None]
    return load_config(recipe, [*(changes or []), *chosen], base)
