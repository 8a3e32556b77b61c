"""WebRTC's voice activity detector as a function of what was heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diarize.types import SAMPLE_RATE, Samples

MEMORY = 5.0
"""Seconds of audio that a fresh detector is given before its answers count."""


@dataclass(frozen=True, eq=False)
class WebrtcState:
    """The frames heard since the detector was last renewed, and `MEMORY` before: int16, shape (frame,) each."""

    heard: tuple[NDArray[np.int16], ...]


class WebrtcVad:
    """1.0 where WebRTC's detector finds speech in a frame, 0.0 elsewhere.  One per stream is best.

    The detector adapts to the noise, in C, and what it has learnt can neither be read nor put back.  So it is renewed
    every `MEMORY` seconds, by a new one that hears the last `MEMORY` seconds again: the audio of the last ten seconds
    is all its state, and a detector can be rebuilt from it at any time.

    frame_ms: 10, 20 or 30, the length of a frame in milliseconds.
    mode: 0..3, the higher the less is taken for speech.
    Raises ModuleNotFoundError where the webrtcvad package is absent.
    """

    def __init__(self, frame_ms: int, mode: int) -> None:
        try:
            import webrtcvad
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "webrtcvad is absent: pip install webrtcvad-wheels, or use --vad silero"
            ) from error
        self.frame = SAMPLE_RATE * frame_ms // 1000
        self.mode = mode
        self._memory = round(MEMORY * SAMPLE_RATE / self.frame)
        self._make = webrtcvad.Vad
        # The C detector that has heard exactly `_newest`: a state met again is recognised, any other is replayed.
        self._newest = self.start()
        self._detector = self._replay(self._newest)

    def start(self) -> WebrtcState:
        """The state before the first frame."""
        return WebrtcState(())

    def __call__(self, frames: Samples, state: WebrtcState) -> tuple[NDArray[np.float64], WebrtcState]:
        """1.0 for each frame that is speech, else 0.0, (n, frame) to (n,); and the state after the last."""
        said = np.zeros(len(frames))
        for number, pcm in enumerate((np.clip(frames, -1.0, 1.0) * 32767).astype(np.int16)):
            if len(state.heard) == 2 * self._memory:
                state = WebrtcState(state.heard[-self._memory :])
            if state is not self._newest:
                self._detector = self._replay(state)
            said[number] = self._detector.is_speech(pcm.tobytes(), SAMPLE_RATE)
            self._newest = state = WebrtcState((*state.heard, pcm.copy()))
        return said, state

    def _replay(self, state: WebrtcState) -> Any:
        detector = self._make(self.mode)
        for pcm in state.heard:
            detector.is_speech(pcm.tobytes(), SAMPLE_RATE)
        return detector
