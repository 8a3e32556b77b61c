"""Segmentation: who of a few local voices talks when, found by one network, with voice activity detection beside it.

A network hears ten seconds at once and says of every frame which of up to three voices talk.  Its voices have no names
beyond these ten seconds, so each becomes a window to be embedded, and clustering tells who it is, as it does of windows
of speech.  That voices at the same time are different people is what `group` says (cannot-link).  Speech that the
detector finds and the network gives to none of its voices is the likeliest voice's: on real meetings the network alone
loses more speech than a detector does.

Bredin, "pyannote.audio 2.1 speaker diarization pipeline" (2023), does so with every step of a sliding look, and embeds
a voice from the frames where it is alone; diart (Coria et al., 2021) does it live.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diarize.intervals import runs, union
from diarize.local_voices import SegmentationConfig, audible, frames_alone, frames_around, nearest, owned, talking
from diarize.powerset import VOICES, marginals
from diarize.stage import Stage
from diarize.types import SAMPLE_RATE, AudioChunk, Held, Interval, Samples, SpeechChunk, SpeechWindow, position


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


def load_segmenter(config: SegmentationConfig, compute: str = "cpu") -> Segmenter | None:
    """The network that the settings name; None where they name none."""
    if not config.model:
        return None
    from diarize.models.segmenter import SpeakerSegmenter

    return SpeakerSegmenter.from_pretrained(config.model, compute=compute)


@dataclass
class SegmentationState:
    """How far a stream has been heard and said.  Positions in samples.

    audio: the samples still needed.
    settled: before it all has been said for good.
    said: up to where it has been said, be it for good or for now.
    listened: up to where the detector has heard.
    speech: what it has found in the last ten seconds.
    """

    audio: Held = field(default_factory=Held)
    settled: int = 0
    said: int = 0
    listened: int = 0
    speech: list[Interval] = field(default_factory=list)


class Segmentation(Stage[AudioChunk, SpeechWindow]):
    """From audio to windows, one for every voice that talks in a share of time.

    Shares of time follow each other from the stream's start; all windows of a share are of one group, which has its
    number, the surest voice first.  Every `step` the network hears the last ten seconds, silence before the start, and
    decides for good what lies up to `ahead` before their end; at the stream's end, all.  The detector has heard as much
    by then.  So windows do not depend on how the audio was cut, and every frame in which a voice talks is in one window
    of it.  No more audio than the network hears at once is held.

    Where one voice talks in a share, it is embedded from the `length` of speech around; shares that follow each other
    and would be embedded from the same audio, as at the start of a stretch, have one window.  Where several do, each is
    embedded from the frames nearest by in which it is alone.  The network hears the audio as it is: how loud it is
    makes no difference to it.

    detector: finds speech; a `VoiceActivityDetection`.
    Raises ValueError where `share` is not a whole number of frames, `step` or `ahead` not of shares, or both together
    longer than the network hears; and for a chunk that does not follow the one before.
    """

    state: SegmentationState

    def __init__(
        self, config: SegmentationConfig, segmenter: Segmenter, detector: Stage[AudioChunk, SpeechChunk]
    ) -> None:
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
        self.config, self.segmenter, self.detector = config, segmenter, detector
        self._share, self._most = share, config.samples // segmenter.frame
        self._least = position(config.alone) / segmenter.frame
        self._step, self._ahead = position(config.step), position(config.ahead)
        self._look: tuple[int, NDArray[np.float32]] | None = None
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
            self._listen(until + self._ahead)
            out += self._windows(state.settled, until, until + self._ahead)
            state.settled = until
        state.said = max(state.said, state.settled)
        audio.forget(self._whole - self.segmenter.length)
        return out

    def flush(self) -> list[SpeechWindow]:
        state, end = self.state, self.state.audio.end
        self._listen(end)
        self._detected(self.detector.flush())
        begin, state.settled, state.said = state.settled, end, end
        return self._windows(begin, end, -(-end // self.segmenter.frame) * self.segmenter.frame)

    def grow(self) -> list[SpeechWindow]:
        """What has not been said yet, for now: its shares up to the last whole frame, provisional."""
        if self.unsaid is None:
            return []
        begin, self.state.said = self.unsaid, self._whole
        self._listen(self._whole)
        return self._windows(begin - begin % self._share, self._whole, self._whole, provisional=True)

    def save(self) -> Any:
        return super().save(), self.detector.save()

    def restore(self, state: Any) -> None:
        own, detector = state
        self._look = None
        super().restore(own)
        self.detector.restore(detector)

    def _listen(self, until: int) -> None:
        """The detector hears up to there."""
        state = self.state
        if state.listened < until:
            heard = AudioChunk(state.listened, state.audio.cut(state.listened, until))
            state.listened = until
            self._detected(self.detector.push(heard))

    def _detected(self, found: list[SpeechChunk]) -> None:
        """More speech has been found; what no look will hear any more is forgotten."""
        state = self.state
        speech = union([*state.speech, *((one.position, one.position + len(one.samples)) for one in found)])
        state.speech = [one for one in speech if one[1] > state.listened - self.segmenter.length]

    def _speech(self, begin: int) -> NDArray[np.bool_]:
        """What the detector has found in a look that begins there, shape (frames,): the frames with any speech."""
        frame = self.segmenter.frame
        speech = np.zeros(self.segmenter.length // frame, np.bool_)
        for start, end in self.state.speech:
            speech[max(0, (start - begin) // frame) : max(0, -(-(end - begin) // frame))] = True
        return speech

    def _samples(self, begin: int) -> Samples:
        """The audio of a look that begins there, as far as there is any."""
        audio, samples = self.state.audio, np.zeros(self.segmenter.length, np.float32)
        known = audio.cut(max(begin, audio.start), min(begin + len(samples), audio.end))
        samples[max(begin, audio.start) - begin :][: len(known)] = known
        return samples

    def _probabilities(self, heard: int, samples: Samples) -> NDArray[np.float32]:
        """What the network says of the look that ends there; of the same look as before it is not asked again."""
        if self._look is None or self._look[0] != heard:
            self._look = heard, self.segmenter(samples)
        return self._look[1]

    def _windows(self, start: int, end: int, heard: int, *, provisional: bool = False) -> list[SpeechWindow]:
        """The windows of the shares in [start, end), when the network hears what lies before `heard`."""
        if start == end:
            return []
        frame, begin = self.segmenter.frame, heard - self.segmenter.length
        samples = self._samples(begin)
        probabilities = self._probabilities(heard, samples)
        likely = marginals(probabilities)
        talks = audible(talking(probabilities, self.config, frame), samples, self.config)
        talks[: max(0, -begin) // frame] = False  # before the start nobody does
        talks = owned(talks, self._speech(begin), likely)
        sources = [frames_alone(talks, voice, self._least) for voice in range(VOICES)]
        out: list[SpeechWindow] = []
        last: tuple[int, bytes] | None = None  # where one voice talks: whose the last window is, and its frames
        for at in range(start, end, self._share):
            until = min(at + self._share, end)
            share = (at - begin) // frame, -(-(until - begin) // frame)
            present = np.flatnonzero(talks[slice(*share)].any(axis=0))
            sureness = likely[slice(*share)].mean(axis=0)[present]
            for voice in present[np.argsort(-sureness, kind="stable")].tolist():
                spoken = runs(talks[slice(*share), voice])
                speech = [(at + a * frame, min(at + b * frame, until)) for a, b in spoken]
                if len(present) > 1:
                    last, frames = None, nearest(sources[voice], sum(share) - 1, self._most)
                else:
                    frames = frames_around(talks, voice, share, self._most, self._least)
                    before, last = last, (voice, frames.tobytes())
                    if last == before and not provisional:  # each of what is said for now can be said anew by itself
                        out[-1] = replace(out[-1], end=until, speech=tuple(union([*out[-1].speech, *speech])))
                        continue
                # the last frame of a stream may not be full
                full = len(frames) * frame - max(0, begin + (int(frames[-1]) + 1) * frame - self.state.audio.end)
                own = samples.reshape(-1, frame)[frames].ravel()[:full]
                out.append(SpeechWindow(at, until, tuple(speech), at // self._share, own, provisional))
        return out
