"""What a segmentation network says of a recording: its voices, as the stage finds them, and its local errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diarize.evaluation.detection import local_errors
from diarize.intervals import runs
from diarize.local_voices import SegmentationConfig, audible
from diarize.local_voices import talking as voices_talking
from diarize.metrics import Errors
from diarize.rttm import Turn, talking
from diarize.segmentation import Segmentation, Segmenter
from diarize.types import AudioChunk, Interval, Samples, position
from diarize.vad import VoiceActivityDetection


class Looks:
    """A segmenter whose answers are written down, one for each look."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.length, self.frame = segmenter.length, segmenter.frame
        self.said: list[NDArray[np.float32]] = []

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """What the segmenter says."""
        self.said.append(self.segmenter(samples))
        return self.said[-1]


def voices(samples: Samples, config: SegmentationConfig, segmenter: Segmenter) -> list[list[Interval]]:
    """What the stage finds in a recording, the detector beside it: in each share of time the surest voice first."""
    stage = Segmentation(config, segmenter, VoiceActivityDetection())
    found: list[list[Interval]] = []
    group, place = -1, 0
    for window in stage.push(AudioChunk(0, samples)) + stage.flush():
        group, place = window.group, place + 1 if window.group == group else 0
        found += [[]] if place == len(found) else []
        found[place] += window.speech
    return found


def decided(looks: Looks, config: SegmentationConfig, end: int) -> list[list[Interval]]:
    """What the stage would find with other thresholds, by what was said at every look of a stage of the same `step`.

    However faint it is, and without the detector: neither levels nor speech are written down.

    end: of the recording, in samples.
    """
    talks = []
    for number, probabilities in enumerate(looks.said):
        start = number * position(config.step)
        last = number == len(looks.said) - 1
        until = -(-end // looks.frame) * looks.frame if last else start + position(config.step)
        heard = until if last else until + position(config.ahead)
        active = voices_talking(probabilities, config, looks.frame)
        talks.append(active[(start - heard) // looks.frame :][: (until - start) // looks.frame])
    found = [runs(voice, looks.frame) for voice in np.concatenate(talks).T] if talks else []
    return [[(start, min(stop, end)) for start, stop in voice] for voice in found]


def local(reference: Sequence[Turn], samples: Samples, config: SegmentationConfig, segmenter: Segmenter) -> Errors:
    """The local errors in the pieces, one after the other, that the network hears at once."""
    truth, pooled = talking(reference).values(), Errors()
    for start in range(0, len(samples), segmenter.length):
        piece = samples[start : start + segmenter.length]
        heard = np.pad(piece, (0, segmenter.length - len(piece)))
        active = audible(voices_talking(segmenter(heard), config, segmenter.frame), heard, config)
        found = [runs(voice, segmenter.frame, start) for voice in active.T]
        pooled += local_errors(truth, found, (start, start + len(piece)))
    return pooled
