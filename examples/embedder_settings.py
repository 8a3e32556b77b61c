"""The clustering's settings for one speaker embedder: models differ in how far apart they put voices.

Every distance of the clustering is multiplied by a scale of the model's own, and those besides up to which two voices
are one, as is best on conversations that are not those it is then measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from diarize import PipelineConfig
from diarize.clustering.offline import ClusteringConfig
from diarize.embedded import EmbeddedRecording
from diarize.metrics import Score, score, total
from diarize.pipeline import recluster
from diarize.rttm import Turn, turns_from
from diarize.types import EmbeddingWindow

CLUSTERINGS = ("bayesian", "agglomerative")
SCALES = (0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)
MERGINGS = (1.0, 1.2, 0.85, 1.4, 0.7, 0.6, 0.5)
"""Of equals the first is taken, which changes least; below 0.5 nothing changes any more."""


@dataclass(frozen=True)
class Setting:
    """A clustering for one model.

    scale: by which every distance is multiplied; 1 suits the bundled model for which they were chosen.
    merging: by which that is multiplied besides up to which two voices are one.
    """

    clustering: str
    scale: float = 1.0
    merging: float = 1.0

    def config(self) -> ClusteringConfig:
        """The pipeline's settings."""
        usual = ClusteringConfig()
        return replace(usual, name=self.clustering, scale=self.scale, threshold=usual.threshold * self.merging)

    def __str__(self) -> str:
        return f"{self.clustering} {self.scale:g} x {self.merging:g}"


def clustered(reference: Sequence[Turn], windows: Sequence[EmbeddingWindow], setting: Setting) -> Score:
    """The score of the pipeline's second half over the windows."""
    config = replace(PipelineConfig(), clustering=setting.config())
    found = recluster(EmbeddedRecording("", 0, "", (tuple(windows),)), config)
    return score(reference, turns_from(found.updates))


def tune(attempt: Callable[[Sequence[Setting]], Sequence[Sequence[Score]]]) -> list[Setting]:
    """The setting with the least confusion for each clustering: first the best scale, then the best merging at it.

    attempt: from settings to their scores, for each recording.
    """
    scaled = [Setting(name, scale) for name in CLUSTERINGS for scale in SCALES]
    best = _least(scaled, attempt(scaled))
    merging = [replace(setting, merging=merging) for setting in best for merging in MERGINGS]
    return _least(merging, attempt(merging))


def _least(settings: Sequence[Setting], scores: Sequence[Sequence[Score]]) -> list[Setting]:
    """The best setting of each clustering, by the confusion over all recordings; of equals the first."""
    confusion = [total(ones).strict.confusion or 0.0 for ones in zip(*scores, strict=True)]
    ranked = [settings[place] for place in sorted(range(len(settings)), key=confusion.__getitem__)]
    return [next(setting for setting in ranked if setting.clustering == name) for name in CLUSTERINGS]
