"""The clustering's scale for one speaker embedder: models differ in how far apart they put voices.

`clustering.scale` is chosen on conversations that are not those it is then measured on.
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
SCALES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7)


@dataclass(frozen=True)
class Setting:
    """A clustering for one model; scale: of its distances, 1 for the bundled model, with which they were chosen."""

    clustering: str
    scale: float = 1.0

    def config(self) -> ClusteringConfig:
        """The pipeline's settings."""
        return ClusteringConfig(self.clustering, scale=self.scale)

    def __str__(self) -> str:
        return f"{self.clustering} {self.scale:g}"


def clustered(reference: Sequence[Turn], windows: Sequence[EmbeddingWindow], setting: Setting) -> Score:
    """The score of the pipeline's second half over the windows."""
    config = replace(PipelineConfig(), clustering=setting.config())
    found = recluster(EmbeddedRecording("", 0, "", (tuple(windows),)), config)
    return score(reference, turns_from(found.updates))


def tune(attempt: Callable[[Sequence[Setting]], Sequence[Sequence[Score]]]) -> list[Setting]:
    """The scale for each clustering whose confusion is least together with that of the scales next to it.

    Alone, a scale at which the others fail may win by chance, and fail elsewhere; so the first and the last, which have
    one neighbour only, are not chosen.
    attempt: from settings to their scores, for each recording.
    """
    settings = [Setting(name, scale) for name in CLUSTERINGS for scale in SCALES]
    confusion = [total(ones).strict.confusion or 0.0 for ones in zip(*attempt(settings), strict=True)]
    chosen = []
    for first in range(0, len(settings), len(SCALES)):
        own = confusion[first : first + len(SCALES)]
        around = [sum(own[place : place + 3]) for place in range(len(own) - 2)]
        chosen.append(settings[first + 1 + around.index(min(around))])
    return chosen
