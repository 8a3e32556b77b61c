"""The baseline of the benchmark, of public parts: silero-vad, Resemblyzer, average linkage.

    python examples/baseline.py recording.wav turns.rttm

Everything is at its authors' defaults: silero-vad's `get_speech_timestamps` with its threshold of 0.5, Resemblyzer's
volume and windows of 1.6 s (here every 0.4 s, inside the stretches of speech).  The tree is cut at a cosine distance
of 0.40, overlapping windows are cut at the middle, and gaps of up to 0.3 s in one voice are bridged.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from diarize.rttm import Turn, format_rttm
from diarize.sources import read
from diarize.types import Interval, Samples, position

WINDOW, STEP, GAP = position(1.6), position(0.4), position(0.3)
THRESHOLD = 0.40
FRAMES = 160
"""Of 10 ms each, in a window of Resemblyzer's."""


class Baseline:
    """silero-vad and Resemblyzer, loaded once.  Both run on the CPU, with as many threads as torch has."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Resemblyzer imports from where scipy has left
            import resemblyzer
        import silero_vad

        torch.set_num_threads(threads)  # importing silero-vad leaves one, which would slow Resemblyzer down
        self._silero = silero_vad
        self._resemblyzer = resemblyzer
        self.detector = silero_vad.load_silero_vad()
        self.encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def speech(self, samples: Samples) -> list[Interval]:
        """The stretches of speech, by time."""
        stretches = self._silero.get_speech_timestamps(torch.from_numpy(samples), self.detector)
        return [(stretch["start"], stretch["end"]) for stretch in stretches]

    def turns(self, samples: Samples, speech: Sequence[Interval]) -> list[Turn]:
        """Who talks in the stretches of speech."""
        windows = [window for stretch in speech for window in windows_in(stretch)]
        if not windows:
            return []
        return label(speech, windows, cluster(self.embed(samples, windows)))

    def embed(self, samples: Samples, windows: Sequence[Interval]) -> NDArray[np.float32]:
        """Shape (windows, 256), unit norm.  A window that is shorter takes in what the recording goes on with."""
        loud = self._resemblyzer.normalize_volume(samples, -30, increase_only=True).astype(np.float32)
        loud = np.pad(loud, (0, max(0, WINDOW - len(loud))))
        starts = [min(start, len(loud) - WINDOW) for start, _ in windows]
        mels = [self._resemblyzer.wav_to_mel_spectrogram(loud[start : start + WINDOW])[:FRAMES] for start in starts]
        with torch.no_grad():
            batches = [self.encoder(torch.from_numpy(np.stack(mels[i : i + 64]))) for i in range(0, len(mels), 64)]
        return np.concatenate([batch.numpy() for batch in batches])


def windows_in(stretch: Interval) -> list[Interval]:
    """Windows from the stretch's start on, the last one at its end; a stretch shorter than that is one window."""
    start, end = stretch
    starts = [*range(start, end - WINDOW, STEP), max(start, end - WINDOW)]
    return [(first, min(first + WINDOW, end)) for first in starts]


def cluster(embeddings: NDArray[np.float32]) -> list[int]:
    """A number for the speaker of each window."""
    if len(embeddings) == 1:
        return [1]
    tree = linkage(embeddings.astype(np.float64), "average", metric="cosine")
    return [int(speaker) for speaker in fcluster(tree, THRESHOLD, "distance")]


def label(speech: Sequence[Interval], windows: Sequence[Interval], speakers: Sequence[int]) -> list[Turn]:
    """The turns: within a stretch of speech, neighbouring windows meet at the middle of their overlap."""
    pieces = []
    for start, end in speech:
        inside = [i for i, window in enumerate(windows) if start <= window[0] and window[1] <= end]
        middles = [(windows[left][1] + windows[left + 1][0]) // 2 for left in inside[:-1]]
        for i, first, last in zip(inside, [start, *middles], [*middles, end], strict=True):
            pieces.append(Turn(first, last, str(speakers[i])))
    return bridge(pieces)


def bridge(turns: Iterable[Turn]) -> list[Turn]:
    """Turns of one speaker at most `GAP` apart become one."""
    joined: dict[str, list[Turn]] = {}
    for turn in sorted(turns):
        own = joined.setdefault(turn.speaker, [])
        if own and turn.start - own[-1].end <= GAP:
            own[-1] = Turn(own[-1].start, max(own[-1].end, turn.end), turn.speaker)
        else:
            own.append(turn)
    return sorted(turn for own in joined.values() for turn in own)


def main() -> None:
    recording, output = (Path(argument) for argument in sys.argv[1:])
    baseline, samples = Baseline(), read(recording)
    turns = baseline.turns(samples, baseline.speech(samples))
    output.write_text(format_rttm(turns, recording.stem), encoding="utf-8")


if __name__ == "__main__":
    main()
