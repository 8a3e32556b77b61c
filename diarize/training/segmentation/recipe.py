"""The recipe of a segmentation network; `pipelines/train_segmentation.toml` holds the one in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diarize.config import from_mapping, merge, parse_settings, read_recipe
from diarize.models.powerset import PowersetConfig
from diarize.training.carriers.config import ModeShares, SceneConfig
from diarize.training.recipe import OptimizerConfig

_MODES = ModeShares(clean=0, codec=0.4, microphone=0.2, codec_microphone=0.2, reverb_codec=0.1, playback=0.1)

_SCENES = SceneConfig(
    together=1, equaliser=2.5, slope=1.0, band=0.15, room=0.0, open=0.0, bleed=0.0, babble=0.0, noise=0.3,
    snr=(5.0, 30.0), level=(-60.0, -8.0), clipping=0.03,
)  # fmt: skip


@dataclass(frozen=True)
class TalkConfig:
    """The simulated conversations that teach.

    seconds: of each.
    held: so many are held at a time, out of which a batch's pieces are cut.
    renewed: steps after which the oldest makes room for a new one.
    speed: 0.5..2, the range of a drawn factor by which a conversation is played faster, so that there are more voices.
    carried: 0..1, how many have then gone through a drawn codec, microphone, or loudspeaker in a room.
    """

    seconds: float = 60.0
    held: int = 64
    renewed: int = 1
    speed: tuple[float, float] = (0.85, 1.18)
    carried: float = 0.4
    modes: ModeShares = field(default_factory=lambda: _MODES)

    def __post_init__(self) -> None:
        if not 20 <= self.seconds <= 600:
            raise ValueError(f"seconds must be in 20..600, not {self.seconds}")
        if self.held < 1 or self.renewed < 1:
            raise ValueError(f"held and renewed must be at least 1, not {self.held} and {self.renewed}")
        if len(self.speed) != 2 or not 0.5 <= self.speed[0] <= self.speed[1] <= 2:
            raise ValueError(f"speed must be a lowest and a highest factor in 0.5..2, not {self.speed}")
        if not 0 <= self.carried <= 1:
            raise ValueError(f"carried must be in 0..1, not {self.carried}")


@dataclass(frozen=True)
class PiecesConfig:
    """The pieces of ten seconds in a batch.

    count: how many.
    quiet: 0..1, in how many nobody talks, and noises alone are heard.
    early: 0..1, how many of the others begin before their recording does, with digital silence.
    scenes: what disturbs each further; there are no other voices in it, for those would have to be said.
    """

    count: int = 32
    quiet: float = 0.2
    early: float = 0.1
    scenes: SceneConfig = field(default_factory=lambda: _SCENES)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1 piece, not {self.count}")
        for name in ("quiet", "early"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        if self.scenes.bleed or self.scenes.babble:
            raise ValueError("scenes.bleed and scenes.babble must be 0: other voices would be heard that nobody says")


@dataclass(frozen=True)
class SegmentationRecipe:
    """A training run.

    seed: of all that is drawn.
    encoder: the speaker encoder through whose first layers the network hears, an ECAPA-TDNN of `network.voices`
        channels, as `SpeakerEncoder.from_pretrained` knows it.
    every: steps between two checkpoints, each judged on conversations of `dev` speakers.
    judged: so many of them.
    """

    seed: int = 1
    encoder: str = "ecapa-tdnn-c256"
    every: int = 250
    judged: int = 40
    network: PowersetConfig = field(default_factory=PowersetConfig)
    talk: TalkConfig = field(default_factory=TalkConfig)
    pieces: PiecesConfig = field(default_factory=PiecesConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(steps=5000))

    def __post_init__(self) -> None:
        if self.every < 1 or self.judged < 1:
            raise ValueError(f"every and judged must be at least 1, not {self.every} and {self.judged}")


def load_segmentation_recipe(recipe: str | Path, settings: Sequence[str] = ()) -> SegmentationRecipe:
    """The settings of a recipe (the name of a shipped one, or a path), changed by `settings`, as `load_recipe`."""
    return from_mapping(SegmentationRecipe, merge(read_recipe(recipe), parse_settings(settings)))
