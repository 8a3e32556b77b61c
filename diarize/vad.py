"""Voice activity detection: where someone speaks, as audio that flows on while it is still being spoken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diarize import levels
from diarize.levels import Levels
from diarize.stage import Stage
from diarize.types import AudioChunk, Held, Interval, Samples, SpeechChunk, position


class SpeechDetector(Protocol):
    """What says how likely speech is in each frame.  What it remembers of a stream is in the state it gives back."""

    @property
    def frame(self) -> int:
        """The length of a frame in samples."""

    def start(self) -> Any:
        """The state before the first frame."""

    def __call__(self, frames: Samples, state: Any, /) -> tuple[NDArray[np.float64], Any]:
        """The probability of speech, 0..1, in frames that follow each other, (n, frame) to (n,); the state after them.

        The same to the bit whether they come one by one or together.
        """


@dataclass(frozen=True)
class VadConfig:
    """How speech is found.

    The defaults, for either detector, are those with the least miss + false alarm on simulated conversations brought to
    -10, -20, ... -50 dBFS; anything near them does nearly as well.

    name: the detector, "silero" or "webrtc".
    onset: probability at which speech starts, 0..1.
    offset: probability below which it ends, 0..onset.
    smoothing: the probability is averaged over this many seconds around each frame, 0..1; None for what the detector
      needs: nothing for silero, 0.24 for webrtc, whose frames are yes or no.
    min_on: seconds; a shorter stretch, padding not counted, is dropped.
    min_off: seconds; a shorter gap, counted after padding, is bridged.
    pad: seconds that a stretch is extended by on either side.
    target_level: dBFS, -60..0, that speech is brought to before the detector hears it (see `levels`).
    max_gain: dB, 0..60, the most it is amplified or turned down for that; 0 turns level control off.
    headroom: dB, 0..60; speech is taken to be this far above the noise floor.
    webrtc_frame: ms, 10, 20 or 30, the length of a frame of webrtc.
    webrtc_mode: 0..3, the higher the less webrtc takes for speech.
    """

    name: str = "silero"
    onset: float = 0.3
    offset: float = 0.2
    smoothing: float | None = None
    min_on: float = 0.1
    min_off: float = 0.5
    pad: float = 0.03
    target_level: float = -25.0
    max_gain: float = 20.0
    headroom: float = 20.0
    webrtc_frame: int = 30
    webrtc_mode: int = 3

    def __post_init__(self) -> None:
        if self.name not in ("silero", "webrtc"):
            raise ValueError(f"vad name is {self.name!r}: give 'silero' or 'webrtc'")
        if self.webrtc_frame not in (10, 20, 30):
            raise ValueError(f"vad webrtc_frame is {self.webrtc_frame} ms: give 10, 20 or 30")
        if self.webrtc_mode not in (0, 1, 2, 3):
            raise ValueError(f"vad webrtc_mode is {self.webrtc_mode}: give 0, 1, 2 or 3")
        for name, low, high in (
            ("onset", 0, 1),
            ("offset", 0, self.onset),
            ("min_on", 0, 10),
            ("min_off", 0, 10),
            ("pad", 0, 10),
            ("smoothing", 0, 1),
            ("target_level", -60, 0),
            ("max_gain", 0, 60),
            ("headroom", 0, 60),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"vad {name} is {value}: give {low} to {high}")


def load_detector(config: VadConfig) -> SpeechDetector:
    """The detector that the settings name."""
    if config.name == "webrtc":
        from diarize.models.webrtc import WebrtcVad

        return WebrtcVad(config.webrtc_frame, config.webrtc_mode)
    from diarize.models.silero import load_silero

    return load_silero()


@dataclass
class VadState:
    """How far a stream has been heard, and the stretch of speech that is open.  Positions in samples.

    detector: the detector's own state.
    levels: of the level control.
    audio: the samples still needed.
    frames: how many frames the detector has heard.
    recent: the probabilities of the last of them, as many as smoothing needs.
    decided: how many frames have been found to be speech or not.
    active: the last of them was speech.
    onset, offset: where the open stretch starts, or None, and where its last speech so far ends; without padding.
    given: up to where the open stretch, with its padding, has been given out.
    """

    detector: Any
    levels: Levels
    audio: Held = field(default_factory=Held)
    frames: int = 0
    recent: list[float] = field(default_factory=list)
    decided: int = 0
    active: bool = False
    onset: int | None = None
    offset: int = 0
    given: int = 0


class VoiceActivityDetection(Stage[AudioChunk, SpeechChunk]):
    """From audio to stretches of speech.

    A frame is speech when its probability reaches `onset`, and after speech for as long as it is not below `offset`
    (hysteresis).  Stretches are extended by `pad` on both sides, joined across gaps shorter than `min_off`, and
    dropped if they are shorter than `min_on`; the last of the stream too.  Everything is decided frame by frame, so
    the pieces do not depend on how the audio was cut.  What is certain is given out at once: a stretch starts flowing
    when it has lasted `min_on`, and is closed at most `min_off + 2 pad` and a frame after its last speech, all of it
    half of `smoothing` later.  No more audio than that is held.

    detector: in place of the one that the settings name.
    Raises ValueError for a chunk that does not follow the one before; the first is at 0.
    """

    state: VadState

    def __init__(self, config: VadConfig | None = None, detector: SpeechDetector | None = None) -> None:
        self.config = config = config or VadConfig()
        self.detector = detector or load_detector(config)
        self._min_on, self._min_off, self._pad = (position(s) for s in (config.min_on, config.min_off, config.pad))
        smoothing = config.smoothing
        if smoothing is None:
            smoothing = 0.24 if config.name == "webrtc" else 0.0
        width = max(1, round(position(smoothing) / self.detector.frame))
        self._before, self._after = (width - 1) // 2, width // 2
        self.state = VadState(self.detector.start(), levels.start(config.target_level))

    @property
    def delay(self) -> int:
        """In samples: so far behind the audio, at most, does speech that goes on begin to flow, and then flow.

        A blip shorter than `min_on`, and the pause that is bridged after it, come later, with the speech that makes
        them count.
        """
        return self._min_on + self._pad + (1 + self._after) * self.detector.frame

    def push(self, item: AudioChunk, /) -> list[SpeechChunk]:
        state, frame = self.state, self.detector.frame
        end = state.audio.end
        if item.position != end:
            raise ValueError(f"audio chunk at {item.position} does not follow the audio before it, which ends at {end}")
        state.audio.append(item.samples)
        end = state.audio.end
        heard = state.frames * frame
        out = []
        for probability in self._hear(state.audio.cut(heard, end - (end - heard) % frame).reshape(-1, frame)):
            self._note(probability)
            if state.frames - state.decided > self._after:
                out += self._decide(end)
        self._forget()
        return out

    def flush(self) -> list[SpeechChunk]:
        state, frame = self.state, self.detector.frame
        end = state.audio.end
        rest = state.audio.cut(state.frames * frame, end)
        if len(rest):
            self._note(*self._hear(np.pad(rest, (0, frame - len(rest)))[None]))
        out = []
        while state.decided < state.frames:
            out += self._decide(end)
        if state.onset is not None:
            out += self._close(end)
        return out

    def _hear(self, frames: Samples) -> list[float]:
        """The probability of speech in the next frames, shape (n, frame)."""
        state, config = self.state, self.config
        if config.max_gain > 0:
            frames, state.levels = levels.control(
                frames, state.levels, config.target_level, config.max_gain, config.headroom
            )
        probabilities, state.detector = self.detector(frames, state.detector)
        said: list[float] = probabilities.tolist()
        return said

    def _note(self, probability: float) -> None:
        """One more frame has its probability."""
        state = self.state
        state.frames += 1
        state.recent = [*state.recent, probability][-(self._before + 1 + self._after) :]

    def _decide(self, end: int) -> list[SpeechChunk]:
        """One more frame is speech or is not: what is certain by that.  The audio so far ends at `end`."""
        state, frame = self.state, self.detector.frame
        behind = state.frames - state.decided
        around = state.recent[max(len(state.recent) - behind - self._before, 0) :][: self._before + 1 + self._after]
        probability = sum(around) / len(around)
        begin, now = state.decided * frame, min((state.decided + 1) * frame, end)
        state.decided += 1
        state.active = probability >= (self.config.offset if state.active else self.config.onset)
        if state.active:
            if state.onset is None:
                state.onset, state.given = begin, max(begin - self._pad, 0)
            state.offset = now
        if state.onset is None:
            return []
        if now - state.offset >= self._min_off + 2 * self._pad and not state.active:
            return self._close(now)
        return self._give(min(state.offset + self._pad, now), closes=False)

    def _close(self, end: int) -> list[SpeechChunk]:
        """The open stretch is over; nothing lies beyond `end`."""
        out = self._give(min(self.state.offset + self._pad, end), closes=True)
        self.state.onset = None
        return out

    def _give(self, until: int, *, closes: bool) -> list[SpeechChunk]:
        """The open stretch up to `until`, as far as not given before, once it is long enough."""
        state = self.state
        if state.onset is None or state.offset - state.onset < self._min_on or (until == state.given and not closes):
            return []
        chunk = SpeechChunk(state.given, state.audio.cut(state.given, until), closes)
        state.given = until
        return [chunk]

    def _forget(self) -> None:
        """Let go of audio that nothing can ask for any more."""
        state = self.state
        needed = state.given if state.onset is not None else state.decided * self.detector.frame - self._pad
        state.audio.forget(needed)


def speech_intervals(chunks: Iterable[AudioChunk], config: VadConfig | None = None) -> list[Interval]:
    """The stretches of speech of a whole recording, in sample positions."""
    stage = VoiceActivityDetection(config)
    pieces = [piece for chunk in chunks for piece in stage.push(chunk)] + stage.flush()
    intervals = []
    start = None
    for piece in pieces:
        start = piece.position if start is None else start
        if piece.closes:
            intervals.append((start, piece.position + len(piece.samples)))
            start = None
    return intervals
