"""Segmentation: who of a few local voices talks when, found by one network in the place of voice activity detection.

A network hears ten seconds at once and says of every frame which of up to three voices talk.  Its voices have no names
beyond these ten seconds, so each becomes a window to be embedded, and clustering tells who it is, as it does of windows
of speech.  That voices at the same time are different people is what `group` says (cannot-link).

Bredin, "pyannote.audio 2.1 speaker diarization pipeline" (2023), does so with every step of a sliding look, and embeds
a voice from the frames where it is alone; diart (Coria et al., 2021) does it live.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import runs
from diarize.powerset import marginals
from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, AudioChunk, Held, Samples, SpeechWindow, position

BUNDLED_SEGMENTATION = "powerset"
"""The name of the network that comes with the package."""

FRAME = position(0.02)
"""The length of a frame of that network in samples."""


class Segmenter(Protocol):
    """What says who talks in every frame of a piece of audio; `diarize.models.segmenter.SpeakerSegmenter` is one."""

    @property
    def length(self) -> int:
        """The samples heard at once, a whole number of frames."""

    @property
    def frame(self) -> int:
        """The length of a frame in samples."""

    def __call__(self, samples: Samples, /) -> NDArray[np.float32]:
        """(length,) to (length / frame, 7): the probability of each of `powerset.CLASSES` in each frame."""


@dataclass(frozen=True)
class SegmentationConfig:
    """How voices are found where a segmentation network does it.

    model: the network, a bundled one's name or the path of a checkpoint; empty: there is none, and the VAD finds
        speech, one voice at a time.
    step: seconds from one look of the network to the next, a multiple of `share`; the network costs 1 / step.
    ahead: seconds, a multiple of `share`; so much of what follows the network hears of all that it decides for good.
    share: seconds, whole frames of the network; each voice that talks in such a share of time has a window of it.
    length: seconds, 0.1..10; so much of a voice is embedded for a window, where the audio nearby has as much of it.
    onset: probability at which a voice starts to talk, 0..1.
    offset: probability below which it stops, 0..onset.
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
    length: float = 2.4
    onset: float = 0.5
    offset: float = 0.4
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


def load_segmenter(config: SegmentationConfig, compute: str = "cpu") -> Segmenter | None:
    """The network that the settings name; None where they name none."""
    if not config.model:
        return None
    from diarize.models.segmenter import SpeakerSegmenter

    return SpeakerSegmenter.from_pretrained(config.model, compute=compute)


def talking(probabilities: NDArray[np.float32], config: SegmentationConfig, frame: int = FRAME) -> NDArray[np.bool_]:
    """Who talks: (frames, 7), the probability of each class, to (frames, 3), of each voice.

    frame: its length in samples.
    A voice talks from where it is as likely as `onset` to where it is less likely than `offset`; then its gaps shorter
    than `min_off` are filled, and what is still shorter than `min_on` is dropped.
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


@dataclass
class SegmentationState:
    """How far a stream has been heard and said.  Positions in samples.

    audio: the samples still needed.
    settled: before it all has been said for good.
    said: up to where it has been said, be it for good or for now.
    """

    audio: Held = field(default_factory=Held)
    settled: int = 0
    said: int = 0


class Segmentation(Stage[AudioChunk, SpeechWindow]):
    """From audio to windows, one for every voice that talks in a share of time.

    Shares of time follow each other from the stream's start; all windows of a share are of one group, which has its
    number, the surest voice first.  Every `step` the network hears the last ten seconds, silence before the start, and
    decides for good what lies up to `ahead` before their end; at the stream's end, all.  So windows do not depend on
    how the audio was cut, and every frame in which a voice talks is in one window of it.  No more audio than the
    network hears at once is held.

    What is embedded of a voice are the frames nearest to the share in which it is alone, in order of time, up to
    `length`.  The audio is heard as it is: how loud it is makes no difference to the network.

    Raises ValueError where `share` is not a whole number of frames, `step` or `ahead` not of shares, or both together
    longer than the network hears; and for a chunk that does not follow the one before.
    """

    state: SegmentationState

    def __init__(self, config: SegmentationConfig, segmenter: Segmenter) -> None:
        share = position(config.share)
        if share % segmenter.frame:
            raise ValueError(
                f"segmentation.share is {config.share} s: give a multiple of the network's frame, "
                f"{segmenter.frame / SAMPLE_RATE} s"
            )
        for name in ("step", "ahead"):
            if position(getattr(config, name)) % share:
                raise ValueError(
                    f"segmentation.{name} is {getattr(config, name)} s: give a multiple of segmentation.share, "
                    f"{config.share} s"
                )
        if position(config.step) + position(config.ahead) > segmenter.length:
            raise ValueError(
                f"segmentation.step and ahead are {config.step} and {config.ahead} s: together, give at most the "
                f"{segmenter.length / SAMPLE_RATE} s that the network hears"
            )
        self.config, self.segmenter = config, segmenter
        self._share, self._most = share, config.samples // segmenter.frame
        self._step, self._ahead = position(config.step), position(config.ahead)
        self.state = SegmentationState()

    @property
    def delay(self) -> int:
        """In samples: what is said for good is behind the audio by at most this."""
        return self._step + self._ahead

    @property
    def lag(self) -> int:
        """In samples: what can be said, for good or for now, is behind the audio by at most this."""
        return self.segmenter.frame

    @property
    def settled(self) -> int:
        """In samples: before it all has been said for good."""
        return self.state.settled

    @property
    def unsaid(self) -> int | None:
        """Where the audio begins that has not been said, for good or for now; None where no whole frame has not."""
        return self.state.said if self.state.said < self._whole else None

    @property
    def _whole(self) -> int:
        """Where the last whole frame of the audio ends."""
        end = self.state.audio.end
        return end - end % self.segmenter.frame

    def push(self, item: AudioChunk, /) -> list[SpeechWindow]:
        state, audio = self.state, self.state.audio
        if item.position != audio.end:
            raise ValueError(
                f"audio chunk at {item.position} does not follow the audio before it, which ends at {audio.end}"
            )
        audio.append(item.samples)
        out = []
        while state.settled + self.delay <= audio.end:
            until = state.settled + self._step
            out += self._windows(state.settled, until, until + self._ahead)
            state.settled = until
        state.said = max(state.said, state.settled)
        audio.forget(self._whole - self.segmenter.length)
        return out

    def flush(self) -> list[SpeechWindow]:
        state, end = self.state, self.state.audio.end
        begin, state.settled, state.said = state.settled, end, end
        return self._windows(begin, end, -(-end // self.segmenter.frame) * self.segmenter.frame)

    def grow(self) -> list[SpeechWindow]:
        """What has not been said yet, for now: its shares up to the last whole frame, provisional."""
        if self.unsaid is None:
            return []
        begin, self.state.said = self.unsaid, self._whole
        return self._windows(begin - begin % self._share, self._whole, self._whole, provisional=True)

    def _windows(self, start: int, end: int, heard: int, *, provisional: bool = False) -> list[SpeechWindow]:
        """The windows of the shares in [start, end), when the network hears what lies before `heard`."""
        if start == end:
            return []
        frame, audio = self.segmenter.frame, self.state.audio
        begin = heard - self.segmenter.length
        samples = np.zeros(self.segmenter.length, np.float32)
        known = audio.cut(max(begin, audio.start), min(heard, audio.end))
        samples[max(begin, audio.start) - begin :][: len(known)] = known
        probabilities = self.segmenter(samples)
        talks = audible(talking(probabilities, self.config, frame), samples, self.config)
        talks[: max(0, -begin) // frame] = False  # before the start nobody does
        sources = self._sources(talks)
        likely = marginals(probabilities)
        out = []
        for at in range(start, end, self._share):
            until = min(at + self._share, end)
            first, last = (at - begin) // frame, -(-(until - begin) // frame)
            present = np.flatnonzero(talks[first:last].any(axis=0))
            sureness = likely[first:last].mean(axis=0)[present]
            for voice in present[np.argsort(-sureness, kind="stable")].tolist():
                speech = tuple((at + a * frame, min(at + b * frame, until)) for a, b in runs(talks[first:last, voice]))
                frames = _nearest(sources[voice], first + last - 1, self._most)
                own = samples.reshape(-1, frame)[frames].ravel()
                beyond = begin + (int(frames[-1]) + 1) * frame - audio.end  # the last frame of a stream may not be full
                own = own[: len(own) - max(0, beyond)]
                out.append(SpeechWindow(at, until, speech, at // self._share, own, provisional))
        return out

    def _sources(self, talks: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
        """The frames of each voice that it can be embedded from: those where it is alone, if they are enough."""
        alone = talks & (talks.sum(axis=1, keepdims=True) == 1)
        enough = alone.any(axis=0) & (alone.sum(axis=0) * self.segmenter.frame >= position(self.config.alone))
        return [np.flatnonzero(own) for own in np.where(enough, alone, talks).T]


def _nearest(frames: NDArray[np.intp], middle: int, most: int) -> NDArray[np.intp]:
    """Of some frames, in order, those nearest to a place, given as twice its number; of two as near the first."""
    away = np.abs(2 * frames - middle)
    return np.sort(frames[np.argsort(away, kind="stable")[:most]])
