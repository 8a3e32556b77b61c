"""The options of settings, which several commands share, and the settings that they make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diarize.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diarize.pipeline import PipelineConfig, SpeakerDiarization
    from diarize.profiles.people import People

Recipe = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="A recipe: a shipped one or a TOML file.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as vad.onset=0.6.")
]
Vad = Annotated[str | None, typer.Option(metavar="NAME", help="silero or webrtc.")]
Segmentation = Annotated[
    bool, typer.Option("--segmentation", help="A network beside the VAD that hears who talks at once.")
]
Exclusive = Annotated[bool, typer.Option("--exclusive", help="One speaker at a time, as for transcripts.")]
Clustering = Annotated[str | None, typer.Option(metavar="NAME", help="agglomerative, bayesian, hdbscan or spectral.")]
Model = Annotated[str | None, typer.Option(metavar="NAME|PATH|ID", help="The speaker embedding's weights.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run a model that is a program (TorchScript, as ECAPA2 is).")]
Crops = Annotated[int, typer.Option(metavar="N", min=0, help="Average N crops of 4 s; 0: the recording as a whole.")]
Compute = Annotated[str | None, typer.Option(metavar="cpu|cuda|mps", help="Where the network runs.")]
NumSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are exactly so many speakers.")]
MinSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are at least so many.")]
MaxSpeakers = Annotated[int | None, typer.Option(metavar="N", help="There are at most so many.")]
Profiles = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Who is enrolled; by default $DIARIZE_PROFILES, or the user's own."),
]
NoProfiles = Annotated[bool, typer.Option("--no-profiles", help="Name nobody, whoever is enrolled.")]
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
    segmentation: bool | None = None,
    exclusive: bool | None = None,
) -> PipelineConfig:
    """The settings of a recipe, changed by `changes` ("vad.onset=0.6"), and then by the options of their own.

    base: what the recipe changes; None: the defaults.
    segmentation: a flag, for the recipe `overlap` below the others.
    exclusive: a flag; where it is not set the settings stay as they are.

    Raises ValueError as `diarize.pipeline.load_config`.
    """
    from diarize.config import merge, read_recipe
    from diarize.pipeline import load_config

    if segmentation:
        base = merge(base or {}, read_recipe("overlap"))
    own = {
        "vad.name": vad,
        "turns.exclusive": exclusive or None,
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


def enrolled(model: str, config: PipelineConfig, profiles: Path | None, no_profiles: bool) -> People | None:
    """The people to be named where they speak; None: nobody.

    model: the fingerprint of the network.
    profiles: where they are kept; None: in the user's own store, and where its people cannot be named, a warning tells.

    Raises ValueError where those of `profiles` cannot be named.
    """
    from diarize.orders import explain
    from diarize.profiles.identifier import identifier
    from diarize.profiles.store import ProfileStore, store_path

    if no_profiles:
        if profiles is not None:
            raise ValueError("--profiles and --no-profiles contradict each other: leave one of them out")
        return None
    path = store_path(profiles)
    if profiles is not None and not path.is_file():
        raise ValueError(f"{path}: nobody is enrolled here; check the name, or make it with diarize enroll")
    try:
        with ProfileStore(path) as store:
            people = store.people(model)
        identifier(people, model, config.identification)
    except (ValueError, OSError) as error:
        if profiles is not None:
            raise
        say(f"warning: nobody is named: {explain(error)}; --no-profiles leaves it at that")
        return None
    return people


def name_people(diarization: SpeakerDiarization, profiles: Path | None, no_profiles: bool) -> None:
    """Let a pipeline name the enrolled people; see `enrolled`."""
    diarization.people = enrolled(diarization.encoder.fingerprint, diarization.config, profiles, no_profiles)
