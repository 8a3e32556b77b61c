"""The first half of a session: PCM as a client sends it to windows of speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from diarize.audio import AudioError, Block, Resampler, decode_pcm, first_frame, mended, mixdown
from diarize.pipeline import SpeakerDiarization
from diarize.server.messages import ProtocolError, Start, Warned
from diarize.server.saved import Heard, first_held, with_audio, without_audio
from diarize.types import AudioChunk, Clock, Held, Samples, SpeechWindow

_FULL_SCALE = 0.98
"""mu-law ends at 32,124 of 32,768."""


class Hearing:
    """Decodes, mixes down, brings to 16 kHz, and finds speech.

    position: the frame, at the client's rate, with which the next audio begins.
    heard: how much audio has been heard, in samples at 16 kHz; at other rates less than has come, by a filter's length.
    warn: told once what is wrong with the audio.
    Raises ValueError where the settings do not allow the latency.
    """

    def __init__(self, start: Start, pipeline: SpeakerDiarization, warn: Callable[[Warned, str], object]) -> None:
        self.position = self.heard = 0
        self._start, self._pipeline, self._warn = start, pipeline, warn
        self._resampler = Resampler(start.sample_rate)
        self._front = pipeline.live_front()
        self._absent: tuple[Any, Held] | None = None  # the state of the front, and as much of its audio as has come
        self._clipped = 0.0

    def push(self, data: bytes) -> list[SpeechWindow | Clock]:
        """More audio, in whole frames.  Raises ProtocolError (bad_audio) where they are not."""
        try:
            block = decode_pcm(data, self._start.encoding, self._start.channels)
        except AudioError as error:
            raise ProtocolError("bad_audio", str(error)) from error
        self.position += len(block)
        return self._hear(self._resampler.push(mixdown(self._checked(block))))

    def tail(self) -> list[SpeechWindow]:
        """What a flush would say now, provisional: the stream goes on, and will say its own windows."""
        if self._absent is not None:
            return []
        front = self._pipeline.live_front()
        front.restore(self._front.save())
        return [replace(item, provisional=True) for item in front.flush() if isinstance(item, SpeechWindow)]

    def flush(self) -> list[SpeechWindow | Clock]:
        """The audio is over.  Raises ProtocolError (bad_audio) where it is shorter than what has been heard of it."""
        items = self._hear(self._resampler.flush())
        if self._absent is not None:
            raise ProtocolError("bad_audio", f"the audio ends at frame {self.position}, but more had been heard")
        return items + self._front.flush()

    def save(self) -> Heard:
        """How far it is, and where audio must be sent again from, since none is kept."""
        front = without_audio(self._front.save()) if self._absent is None else self._absent[0]
        held = first_held(front, self.heard)
        return Heard(first_frame(self._start.sample_rate, held), held, self.heard, front)

    def restore(self, saved: Heard) -> None:
        """Go on from what was saved; the next audio must begin at `saved.position`."""
        self.position, self.heard = saved.position, saved.heard
        self._resampler = Resampler(self._start.sample_rate, saved.held)
        self._absent = (saved.front, Held(saved.held))

    def _checked(self, block: Block) -> Block:
        """The block, with silence in place of what is no number."""
        sound, unsound = mended(block)
        if unsound:
            self._warn("not_finite", "samples that are no numbers (NaN, infinite) are taken as silence")
        clipped = np.count_nonzero(np.abs(sound).max(axis=1) >= _FULL_SCALE)
        self._clipped = max(0.0, self._clipped + clipped - len(block) / 100)  # now and then is no harm
        if self._clipped > self._start.sample_rate / 20:
            self._warn("clipped", "the audio is at full scale again and again: turn the microphone down")
        return sound

    def _hear(self, samples: Samples) -> list[SpeechWindow | Clock]:
        """The next samples at 16 kHz; those that had been heard before give the stages back what they held."""
        if self._absent is not None:
            front, audio = self._absent
            audio.append(samples)
            if audio.end < self.heard:
                return []
            self._front.restore(with_audio(front, audio))
            self._absent = None
            samples = audio.cut(self.heard, audio.end)
        if not len(samples):
            return []
        chunk = AudioChunk(self.heard, samples)
        self.heard += len(samples)
        return self._front.push(chunk)
