"""Local voices: who talks within the ten seconds that a network hears at once, and from where to embed whom.

Voices are columns, frames are rows: `talks`, shape (frames, voices), says which talk when.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import runs
from diarize.powerset import VOICES, at_once, marginals
from diarize.types import Samples, position

FRAME = position(0.02)
"""The length of a frame of the bundled network in samples."""


@dataclass(frozen=True)
class SegmentationConfig:
    """How voices are found where a segmentation network does it.

    model: the network, a bundled one's name or the path of a checkpoint; empty: there is none, and the VAD alone finds
        speech, one voice at a time.
    step: seconds from one look of the network to the next, a multiple of `share`; the network costs 1 / step.
    ahead: seconds, a multiple of `share`; so much of what follows the network hears of all that it decides for good.
    share: seconds, whole frames of the network; each voice that talks in such a share of time has a window of it.
    length: seconds, 0.1..10; so much is embedded for a window, where there is as much.
    onset: probability at which a voice starts to talk, 0..1.
    offset: probability below which it stops, 0..onset.
    together: probability of any two voices at once, 0..1, below which the surer of them talks alone.
    min_on: seconds, 0..10; a shorter stretch of a voice is dropped.
    min_off: seconds, 0..10; a shorter gap within a voice is bridged.
    faintest: dBFS, -120..0; a softer stretch of a voice is dropped, for the network hears what is said next door too.
    alone: seconds, 0..10; a voice that is alone for so long is embedded from the frames where it is, and else from all
        in which it talks.
    """

    model: str = ""
    step: float = 3.2
    ahead: float = 2.0
    share: float = 0.4
    length: float = 1.6
    onset: float = 0.5
    offset: float = 0.4
    together: float = 0.4
    min_on: float = 0.1
    min_off: float = 0.2
    faintest: float = -65.0
    alone: float = 0.4

    def __post_init__(self) -> None:
        if not (self.step <= 10 and position(self.step) > 0):
            raise ValueError(f"segmentation.step is {self.step} s: give more than 0 and at most 10")
        if not (self.share <= self.step and position(self.share) > 0):
            raise ValueError(
                f"segmentation.share is {self.share} s: give more than 0 and at most the step, {self.step} s"
            )
        if not 0.1 <= self.length <= 10:
            raise ValueError(f"segmentation.length is {self.length} s: give 0.1 to 10")
        for name, high in (
            ("ahead", 10),
            ("onset", 1),
            ("offset", self.onset),
            ("together", 1),
            ("min_on", 10),
            ("min_off", 10),
            ("alone", 10),
        ):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"segmentation.{name} is {getattr(self, name)}: give 0 to {high}")
        if not -120 <= self.faintest <= 0:
            raise ValueError(f"segmentation.faintest is {self.faintest} dBFS: give -120 to 0")

    @property
    def samples(self) -> int:
        """The length in samples."""
        return position(self.length)


def talking(probabilities: NDArray[np.float32], config: SegmentationConfig, frame: int = FRAME) -> NDArray[np.bool_]:
    """Who talks: (frames, 7), the probability of each class, to (frames, 3), of each voice.

    frame: its length in samples.
    A voice talks from where it is as likely as `onset` to where it is less likely than `offset`; then its gaps shorter
    than `min_off` are filled, and what is still shorter than `min_on` is dropped.  Where several talk by that, though
    two at once are less likely than `together`, only the likeliest does.
    """
    likely = marginals(probabilities)
    number = np.arange(len(likely))[:, None]
    started = np.maximum.accumulate(np.where(likely >= config.onset, number, -1), axis=0)
    stopped = np.maximum.accumulate(np.where(likely < config.offset, number, -1), axis=0)
    talks = started > stopped
    for voice in talks.T:  # views
        stretches = runs(voice)
        for (_, end), (start, _) in pairwise(stretches):
            if (start - end) * frame < position(config.min_off):
                voice[end:start] = True
        for start, end in runs(voice):
            if (end - start) * frame < position(config.min_on):
                voice[start:end] = False
    alone = (talks.sum(axis=1) > 1) & (at_once(probabilities) < config.together)
    talks[alone] = np.eye(VOICES, dtype=np.bool_)[np.where(talks, likely, -1)[alone].argmax(axis=1)]
    return talks


def audible(talks: NDArray[np.bool_], samples: Samples, config: SegmentationConfig) -> NDArray[np.bool_]:
    """Who talks in the samples, shape (frames, voices), without the stretches of a voice softer than `faintest`."""
    power = np.square(samples.reshape(len(talks), -1), dtype=np.float64).mean(axis=1)
    least = 10 ** (config.faintest / 10)
    heard = talks.copy()
    for voice in heard.T:  # views
        for start, end in runs(voice):
            voice[start:end] = power[start:end].mean() >= least
    return heard


def owned(talks: NDArray[np.bool_], speech: NDArray[np.bool_], likely: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Who talks, where each frame of `speech`, shape (frames,), is somebody's.

    likely: the probability of each voice, as `talks`; a stretch in which none was found is the likeliest's.
    """
    filled = talks.copy()
    for start, end in runs(speech & ~talks.any(axis=1)):
        filled[start:end, int(likely[start:end].mean(axis=0).argmax())] = True
    return filled


def frames_alone(talks: NDArray[np.bool_], voice: int, least: float) -> NDArray[np.intp]:
    """The frames in which a voice is alone; if those are fewer than `least`, all in which it talks."""
    own = talks[:, voice]
    alone = own & (talks.sum(axis=1) == 1)
    return np.flatnonzero(alone if alone.sum() >= max(1, least) else own)


def frames_around(
    talks: NDArray[np.bool_], voice: int, share: tuple[int, int], most: int, least: float
) -> NDArray[np.intp]:
    """What to embed a voice from that nobody else talks beside in a share of time, the frames [start, end).

    The window of `most` frames around the share, moved to lie in the stretch of speech that it is in, as windows of one
    voice at a time do; of that the frames in which the voice is alone, or all if those are fewer than `least`.
    """
    first, last = share
    own = first + np.flatnonzero(talks[first:last, voice])
    inside = own[len(own) // 2]
    start, end = next((a, b) for a, b in runs(talks.sum(axis=1) > 0) if a <= inside < b)
    begin = min(max((first + last - most) // 2, start), max(start, end - most))
    frames = np.arange(begin, min(begin + most, end))
    alone = frames[talks[frames, voice] & (talks[frames].sum(axis=1) == 1)]
    return alone if len(alone) >= max(1, least) else frames


def nearest(frames: NDArray[np.intp], middle: int, most: int) -> NDArray[np.intp]:
    """Of some frames, in order, those nearest to a place, given as twice its number; of two as near the first."""
    away = np.abs(2 * frames - middle)
    return np.sort(frames[np.argsort(away, kind="stable")[:most]])
