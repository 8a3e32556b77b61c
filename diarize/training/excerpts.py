"""Windows of one voice each, drawn from simulated conversations, in batches that hold several voices of each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from diarize.training.heard import FRAME
from diarize.training.simulate import Conversation, SimulationConfig, simulate
from diarize.types import SAMPLE_RATE, Samples

_GRID = 10  # frames between the starts of windows that are looked at: 0.1 s
_PURE, _FOREIGN = 0.8, 0.1  # shares of a window: its own voice at least, all others together less
_AHEAD = 8  # conversations made before they are wanted


@dataclass(frozen=True)
class ExcerptConfig:
    """What is drawn.

    speakers: in a conversation, one of these; seconds: its shortest and longest.
    speeds: factors by which whole conversations are sped up; a voice at another speed is another voice.
    conversations, voices, windows: in a batch: conversations, voices of each (or all it has), windows of each voice.
    length: of a window, in samples.
    short: how often less than that is heard, down to half, and repeated up to it.
    """

    speakers: tuple[int, ...] = (5, 6, 7, 8)
    seconds: tuple[float, float] = (90.0, 150.0)
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    conversations: int = 8
    voices: int = 6
    windows: int = 3
    length: int = 25600
    short: float = 0.3

    def __post_init__(self) -> None:
        if self.conversations < 1 or self.voices < 2 or self.windows < 2:
            raise ValueError(
                "a batch must have a conversation, with 2 voices, with 2 windows each, at least, not "
                f"{self.conversations}, {self.voices}, {self.windows}"
            )
        if self.length < FRAME:
            raise ValueError(f"length must be at least {FRAME} samples, not {self.length}")


@dataclass(frozen=True, eq=False)
class Talk:
    """A conversation to draw windows from.

    samples: int16, to halve the memory.
    starts: where windows of one voice start, in samples, by the voice's name; only voices that have any.
    """

    samples: NDArray[np.int16]
    starts: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows, shape (n, samples), with the number of the conversation and the name of the voice of each, n long."""

    waveforms: Samples
    talks: NDArray[np.int64]
    voices: tuple[str, ...]


def pure_windows(conversation: Conversation, length: int) -> dict[str, NDArray[np.int64]]:
    """Where windows of `length` samples start that hold one voice, all but alone, by the voice's name."""
    frames, width = len(conversation.samples) // FRAME, length // FRAME
    names = sorted({turn.speaker for turn in conversation.turns})
    heard = np.zeros((len(names), frames + 1))
    for turn in conversation.turns:
        heard[names.index(turn.speaker), turn.start // FRAME + 1 : turn.end // FRAME + 1] = 1
    until = heard.cumsum(axis=1)
    starts = np.arange(0, frames - width + 1, _GRID)
    shares = (until[:, starts + width] - until[:, starts]) / width
    pure = (shares >= _PURE) & (shares.sum(axis=0) - shares < _FOREIGN)
    return {name: starts[row] * FRAME for name, row in zip(names, pure, strict=True) if row.any()}


def excerpt(conversation: Conversation, speed: float, length: int) -> Talk:
    """The conversation at another speed, with its windows of `length` samples; its voices become NAME@SPEED."""
    # found before the speed changes, so that no turn has to be moved
    pure = pure_windows(conversation, math.ceil(length * speed))
    samples = soxr.resample(conversation.samples, SAMPLE_RATE * speed, SAMPLE_RATE)
    last = len(samples) - length
    starts = {f"{name}@{speed}": np.minimum((at / speed).astype(np.int64), last) for name, at in pure.items()}
    return Talk((samples.clip(-1, 1) * 32767).astype(np.int16), starts)


def make_talk(speech: Path, seed: int, config: ExcerptConfig, index: int) -> Talk:
    """Conversation number `index` of `seed`, of voices of the training split: the same arguments, the same bits."""
    rng = np.random.default_rng([seed, index, 1])
    count, speed = int(rng.choice(config.speakers)), float(rng.choice(config.speeds))
    scene = SimulationConfig(seconds=config.seconds, speakers=count)
    return excerpt(simulate(speech, "train", seed, scene, index), speed, config.length)


def make_talks(speech: Path, seed: int, config: ExcerptConfig, first: int = 0) -> Generator[Talk]:
    """The conversations from number `first` on, without end, made in a process of their own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        try:
            made = deque(executor.submit(make_talk, speech, seed, config, first + n) for n in range(_AHEAD))
            while True:
                yield made.popleft().result()
                first += 1
                made.append(executor.submit(make_talk, speech, seed, config, first + _AHEAD - 1))
        finally:
            executor.shutdown(cancel_futures=True)


def draw_batch(talks: Sequence[Talk], config: ExcerptConfig, rng: np.random.Generator) -> Batch:
    """Windows of several voices of each of several conversations.  ValueError where none has two voices."""
    usable = [talk for talk in talks if len(talk.starts) > 1]
    if not usable:
        raise ValueError(f"none of {len(talks)} conversations has windows of two voices; make them longer")
    windows, numbers, voices = [], [], []
    for number in range(config.conversations):
        talk = usable[int(rng.integers(len(usable)))]
        for name in rng.permutation(sorted(talk.starts))[: config.voices]:
            for start in rng.choice(talk.starts[name], config.windows):
                windows.append(_shortened(talk.samples[start : start + config.length], config, rng))
                numbers.append(number)
                voices.append(str(name))
    return Batch(np.stack(windows).astype(np.float32) / np.float32(32768), np.array(numbers), tuple(voices))


def _shortened(window: NDArray[np.int16], config: ExcerptConfig, rng: np.random.Generator) -> NDArray[np.int16]:
    if rng.random() >= config.short:
        return window
    length = int(rng.integers(config.length // 2, config.length))
    start = int(rng.integers(config.length - length))
    return np.resize(window[start : start + length], config.length)  # repeated, as `embed` does
