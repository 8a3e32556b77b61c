"""Segmentation: the laws of streaming, and that what the network says is in the windows, no more and no less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.local_voices import SegmentationConfig, audible, talking
from diarize.powerset import CLASSES, classes
from diarize.segmentation import Segmentation
from diarize.stage import Stage
from diarize.types import AudioChunk, Held, Samples, SpeechChunk, SpeechWindow, position
from tests import laws

FRAME = 320
LENGTH = 50 * FRAME
"""A second: the laws do not depend on it, and what is tested is long in comparison."""

SHARE = 4  # frames
CONFIG = SegmentationConfig(
    "by ear",
    step=0.24,
    ahead=0.16,
    share=0.08,
    length=0.32,
    onset=0.5,
    offset=0.5,
    min_on=0,
    min_off=0,
    alone=0.1,
)
STEP, AHEAD = 12, 8  # frames


@dataclass(frozen=True)
class Ear:
    """A network that hears in the first sample of a frame who talks there.

    turns: its voices have other numbers in every look, as those of a real one may.
    """

    length: int = LENGTH
    frame: int = FRAME
    turns: bool = True

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        numbers = samples[:: self.frame].astype(int)
        shift = int(numbers.sum()) % 3 if self.turns else 0
        heard = [tuple(sorted((voice + shift) % 3 for voice in CLASSES[number])) for number in numbers]
        return np.eye(len(CLASSES), dtype=np.float32)[[CLASSES.index(voices) for voices in heard]]


@dataclass(frozen=True)
class Always(Ear):
    """A network that says the same of every frame."""

    said: tuple[float, ...] = (1, 0, 0, 0, 0, 0, 0)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        return np.tile(np.array(self.said, np.float32), (len(samples) // self.frame, 1))


SPOKEN = 7
"""In a track: the detector finds speech, and the network none of its voices."""


class Marks(Stage[AudioChunk, SpeechChunk]):
    """A detector that finds speech in the frames whose first sample says so."""

    state: Held

    def __init__(self) -> None:
        self.state = Held()

    def push(self, item: AudioChunk, /) -> list[SpeechChunk]:
        audio, out = self.state, []
        audio.append(item.samples)
        while audio.start + FRAME <= audio.end:
            out += self._frame(audio.start + FRAME)
        return out

    def flush(self) -> list[SpeechChunk]:
        return self._frame(self.state.end) if self.state.start < self.state.end else []

    def _frame(self, until: int) -> list[SpeechChunk]:
        start, samples = self.state.start, self.state.cut(self.state.start, until)
        self.state.forget(until)
        return [SpeechChunk(start, samples, closes=True)] if samples[0] == 0.5 else []


def audio_of(track: list[int], rest: int) -> Samples:
    """Audio in which `Ear` hears these classes, and `rest` samples more; the other samples say which frame it is."""
    samples = np.repeat(1000 + np.arange(len(track) + 1, dtype=np.float32), FRAME)[: len(track) * FRAME + rest]
    heard = [0.5 if number == SPOKEN else number for number in (*track, 0)]
    samples[::FRAME] = heard[: len(samples[::FRAME])]
    return samples


def stage(config: SegmentationConfig = CONFIG, ear: Ear = Ear()) -> Segmentation:
    return Segmentation(config, ear, Marks())


class Counting(Ear):
    """A network that counts how often it is asked."""

    asked: ClassVar[int] = 0

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        Counting.asked += 1
        return super().__call__(samples)


def test_the_network_is_not_asked_twice_of_the_same_audio() -> None:
    counting = stage(ear=Counting())
    audio = audio_of([1] * (counting.delay // FRAME), 0)
    before = Counting.asked
    settled = counting.push(AudioChunk(0, audio))
    for_now = counting.grow()
    assert Counting.asked == before + 1
    assert settled[-1].end == for_now[0].start
    counting.restore(stage().save())
    other = audio_of([2] * (counting.delay // FRAME), 0)
    assert laws.plain(counting.push(AudioChunk(0, other))) == laws.plain(stage().push(AudioChunk(0, other)))


def windows_of(samples: Samples, cuts: list[int] | None = None) -> list[SpeechWindow]:
    return laws.run(stage(), laws.chunks(samples, cuts or []))


# Classes in runs, so that voices are alone for long and short, and talk together.
def in_runs(numbers: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.tuples(st.integers(0, numbers - 1), st.integers(1, 25)), max_size=14).map(
        lambda runs: [number for number, length in runs for _ in range(length)]
    )


tracks, spoken_tracks = in_runs(7), in_runs(8)
rests = st.integers(0, FRAME - 1)


@given(spoken_tracks, rests, st.data())
@settings(deadline=None, max_examples=60)
def test_the_laws_of_streaming(track: list[int], rest: int, data: st.DataObject) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=30))
    laws.obeys(stage, samples, cuts, data.draw(st.integers(0, len(samples))))


@given(spoken_tracks, rests)
@settings(deadline=None, max_examples=100)
def test_every_frame_of_every_voice_is_in_one_window(track: list[int], rest: int) -> None:
    """Of a share, or of shares in which one voice talks; speech that is no voice's has a window of one voice, too."""
    samples = audio_of(track, rest)
    heard = [*track, 0] if rest else track
    found, before, until = [0] * len(heard), -1, 0
    for window in windows_of(samples):
        share = SHARE * FRAME
        assert window.start == window.group * share
        assert window.end % share == 0 or window.end == len(samples)
        assert window.group == before or window.start >= until
        before, until = window.group, window.end
        assert window.speech
        assert all(window.start <= start < end <= window.end for start, end in window.speech)
        assert all(a[1] < b[0] for a, b in pairwise(window.speech))
        for start, end in window.speech:
            assert start % FRAME == 0
            assert end % FRAME == 0 or end == len(samples)
            for frame in range(start // FRAME, -(-end // FRAME)):
                found[frame] += 1
    assert found == [1 if number == SPOKEN else len(CLASSES[number]) for number in heard]


@given(tracks, rests)
@settings(deadline=None, max_examples=60)
def test_a_voice_is_embedded_from_where_it_is_alone_if_that_is_enough(track: list[int], rest: int) -> None:
    """Within its stretch of speech where nobody else talks in its share, and else from nearby."""
    samples = audio_of(track, rest)
    numbers = np.array([*track, 0])
    ear, shares = Ear(turns=False), -(-len(samples) // (SHARE * FRAME))
    of_share: dict[int, list[SpeechWindow]] = {group: [] for group in range(shares)}
    for window in laws.run(stage(ear=ear), laws.chunks(samples, [])):
        for group in range(window.group, -(-window.end // (SHARE * FRAME))):
            of_share[group].append(window)
    looks = list(range(STEP + AHEAD, len(samples) // FRAME + 1, STEP))
    for group, windows in of_share.items():
        first = group * SHARE
        heard_to = next((look for look in looks if first < look - AHEAD), -(-len(samples) // FRAME))
        heard = np.arange(max(0, heard_to - 50), heard_to)
        said = [CLASSES[number] for number in numbers[heard]]
        last = min(first + SHARE, -(-len(samples) // FRAME))
        present = {voice for number in numbers[first:last] for voice in CLASSES[number]}
        expected = []
        for voice in sorted(present):
            alone = heard[[one == (voice,) for one in said]]
            if len(present) == 1:
                start = stop = next(one for one in range(first, last) if numbers[one])
                if any(numbers[start:last] == 0):  # of several stretches, that of the middle of its frames
                    talking = [one for one in range(first, last) if numbers[one]]
                    start = stop = talking[len(talking) // 2]
                while start - 1 >= heard[0] and numbers[start - 1]:
                    start -= 1
                while stop < heard[-1] and numbers[stop + 1]:
                    stop += 1
                begins = range(start, max(start, stop + 1 - 16) + 1)
                begin = min(begins, key=lambda one: abs(2 * one + 16 - first - last + (first + last) % 2))
                around = range(begin, min(begin + 16, stop + 1))
                near = [one for one in around if one in alone]
                near = near if len(near) * FRAME >= position(CONFIG.alone) else list(around)
            else:
                own = alone if len(alone) * FRAME >= position(CONFIG.alone) else heard[[voice in one for one in said]]
                # nearest first, of two as near the earlier; then by time
                near = sorted(sorted(own.tolist(), key=lambda one: abs(2 * one - first - last + 1))[:16])
            expected.append(np.concatenate([samples[one * FRAME : (one + 1) * FRAME] for one in near]))
        found = {window.samples.tobytes() for window in windows}
        assert found == {one.tobytes() for one in expected}
        assert len(windows) == len(expected)


@given(tracks, rests, st.data())
@settings(deadline=None, max_examples=60)
def test_what_is_said_for_now_changes_nothing(track: list[int], rest: int, data: st.DataObject) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=30))
    growing, said = stage(), []
    for chunk in laws.chunks(samples, cuts):
        said += growing.push(chunk)
        before, unsaid = growing.settled, growing.unsaid
        whole = growing.state.audio.end // FRAME * FRAME
        assert before <= growing.state.audio.end < before + growing.delay
        assert unsaid is None or before <= unsaid < whole
        if data.draw(st.booleans()):
            provisional = growing.grow()
            assert growing.settled == before
            assert growing.unsaid is None
            assert growing.grow() == []
            for window in provisional:
                assert window.provisional
                assert unsaid is not None
                assert window.start >= unsaid - unsaid % (SHARE * FRAME)
                assert window.start == window.group * SHARE * FRAME
                assert window.end == min(window.start + SHARE * FRAME, whole)
            if unsaid is not None:  # all of who talks there, in what has been heard
                spoken = sum(len(CLASSES[one]) for one in track[unsaid // FRAME // SHARE * SHARE : whole // FRAME])
                assert sum(end - start for window in provisional for start, end in window.speech) == spoken * FRAME
    assert laws.plain(said + growing.flush()) == laws.plain(windows_of(samples))


def test_it_is_decided_with_what_follows_and_little_is_held() -> None:
    samples = audio_of([1] * 500, 0)
    listening, heard = stage(), 0
    for chunk in laws.chunks(samples, list(range(100, len(samples), 100))):
        for window in listening.push(chunk):
            assert window.end + AHEAD * FRAME <= chunk.position + 100
            heard = window.end
        assert listening.settled == heard > chunk.position + 100 - listening.delay
        assert len(listening.state.audio.samples) < LENGTH + FRAME


def test_a_saved_stream_that_had_been_said_for_now_goes_on() -> None:
    samples = audio_of([1] * 20 + [4] * 20 + [2] * 20, 7)
    first, second = stage(), stage()
    first.push(AudioChunk(0, samples[:9000]))
    first.grow()
    second.restore(first.save())
    assert (first.unsaid, second.unsaid) == (None, None)
    rest = AudioChunk(9000, samples[9000:])
    assert laws.plain(first.push(rest) + first.flush()) == laws.plain(second.push(rest) + second.flush())


@pytest.mark.parametrize("track", [[1, 5, 1], [3, 5, 3]])
def test_the_surest_voice_of_a_group_comes_first(track: list[int]) -> None:
    first, second = laws.run(stage(ear=Ear(turns=False)), laws.chunks(audio_of(track, 0), []))
    assert (first.group, second.group) == (0, 0)
    assert (first.speech, second.speech) == (((0, 960),), ((320, 640),))


@pytest.mark.parametrize("alone", [0, 0.1])
def test_a_voice_that_is_never_alone_is_embedded_with_others(alone: float) -> None:
    samples = audio_of([4] * 30, 0)
    config = SegmentationConfig("by ear", step=0.24, ahead=0.16, share=0.08, length=0.32, alone=alone)
    out = laws.run(Segmentation(config, Ear(), Marks()), laws.chunks(samples, []))
    assert len(out) == 2 * 8
    assert {len(window.samples) for window in out} == {CONFIG.samples}


@pytest.mark.parametrize("length", [0, 1, 319, 320, 321, SHARE * FRAME, (STEP + AHEAD) * FRAME, LENGTH - 1, LENGTH])
def test_short_recordings_lose_nothing(length: int) -> None:
    samples = audio_of([4] * 60, 0)[:length]
    out = windows_of(samples)
    assert sum(end - start for window in out for start, end in window.speech) == 2 * length
    for window in out:
        assert 0 < len(window.samples) <= CONFIG.samples
        assert np.isin(window.samples, samples).all()


def test_nobody_talks_in_silence_and_before_the_start() -> None:
    silence = np.zeros(3 * LENGTH, np.float32)
    assert windows_of(silence) == []

    out = laws.run(stage(ear=Always(said=(0, 1, 0, 0, 0, 0, 0))), laws.chunks(np.ones(1000, np.float32), []))
    assert [window.speech for window in out] == [((0, 1000),)]
    np.testing.assert_array_equal(out[0].samples, np.ones(1000))


def test_a_gap_in_the_audio_is_refused() -> None:
    listening = stage()
    listening.push(AudioChunk(0, np.zeros(1000, np.float32)))
    with pytest.raises(ValueError, match="audio chunk at 1001 does not follow the audio before it, which ends at 1000"):
        listening.push(AudioChunk(1001, np.zeros(10, np.float32)))


# Who talks.


def by_hand(likely: list[float], config: SegmentationConfig) -> list[bool]:
    """One voice, frame by frame."""
    talks, on = [], False
    for one in likely:
        on = one >= config.onset or (on and one >= config.offset)
        talks.append(on)

    def runs(value: bool) -> list[tuple[int, int]]:
        out, at = [], 0
        for key, group in groupby(talks):
            length = len(list(group))
            if key is value:
                out.append((at, at + length))
            at += length
        return out

    for start, end in runs(False):
        if start > 0 and end < len(talks) and (end - start) * FRAME < position(config.min_off):
            talks[start:end] = [True] * (end - start)
    for start, end in runs(True):
        if (end - start) * FRAME < position(config.min_on):
            talks[start:end] = [False] * (end - start)
    return talks


hysteresis = st.builds(
    lambda onset, share, on, off: SegmentationConfig(
        onset=onset, offset=onset * share, together=0, min_on=on, min_off=off
    ),
    onset=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    on=st.sampled_from([0.0, 0.05, 0.1]),
    off=st.sampled_from([0.0, 0.05, 0.1]),
)


@given(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), max_size=40), hysteresis)
@settings(deadline=None, max_examples=200)
def test_who_talks_is_what_the_settings_say(counts: list[list[int]], config: SegmentationConfig) -> None:
    weights = np.array(counts, np.float64).reshape(-1, 7) + np.eye(7)[0]
    sixteenths = np.floor(16 * weights / weights.sum(axis=1, keepdims=True)) / 16  # exact, whatever is added to what
    found = talking(sixteenths.astype(np.float32), config)
    assert found.shape == (len(counts), 3)
    for voice in range(3):
        within = [number for number, members in enumerate(CLASSES) if voice in members]
        assert found[:, voice].tolist() == by_hand(sixteenths[:, within].sum(axis=1).tolist(), config)


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), max_size=40), hysteresis, st.sampled_from([0.25, 1])
)
@settings(deadline=None, max_examples=200)
def test_two_talk_at_once_only_where_that_is_likely(
    counts: list[list[int]], config: SegmentationConfig, together: float
) -> None:
    weights = np.array(counts, np.float64).reshape(-1, 7) + np.eye(7)[0]
    said = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    anyhow, found = talking(said, config), talking(said, replace(config, together=together))
    for row, before, after in zip(said, anyhow, found, strict=True):
        if before.sum() > 1 and row[4:].sum() < together:
            voices = np.flatnonzero(before)
            surest = max(voices, key=lambda voice: sum(row[i] for i in range(7) if voice in CLASSES[i]))
            assert np.flatnonzero(after).tolist() == [surest]
        else:
            assert np.array_equal(before, after)


@given(st.lists(st.sampled_from(range(7)), max_size=50))
@settings(deadline=None, max_examples=50)
def test_what_is_certain_is_said(numbers: list[int]) -> None:
    found = talking(np.eye(7, dtype=np.float32)[numbers], CONFIG)
    assert classes(found).tolist() == numbers


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([-90, -66, -64, -20]), st.booleans()), min_size=1, max_size=8)
)
@settings(deadline=None, max_examples=100)
def test_a_stretch_that_is_too_faint_is_not_heard(stretches: list[tuple[int, int, bool]]) -> None:
    """Each stretch, after a pause, is of one level; it is of the first voice, or of the first and the third."""
    levels = [level for frames, level, _ in stretches for level in [-90, *[level] * frames]]
    talks = np.array([[on, False, on and both] for frames, _, both in stretches for on in [False, *[True] * frames]])
    samples = np.repeat(10 ** (np.array(levels) / 20), 16) * np.tile([1, -1], 8 * len(levels))
    heard = audible(talks, samples.astype(np.float32), SegmentationConfig("by ear"))
    assert np.array_equal(heard, talks & (np.array(levels) > -65)[:, None])


def test_a_loud_word_is_heard_with_the_soft_ones_around_it() -> None:
    samples = np.full(10 * FRAME, 1e-5, np.float32)
    samples[:FRAME] = 0.1
    talks = np.ones((10, 1), bool)
    assert audible(talks, samples, SegmentationConfig("by ear")).all()
    assert not audible(talks, samples, SegmentationConfig("by ear", faintest=-20)).any()


# What cannot be.


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (partial(SegmentationConfig, step=0), r"segmentation\.step is 0 s: give more than 0 and at most 10"),
        (partial(SegmentationConfig, step=1e-6), r"segmentation\.step is 1e-06 s"),
        (partial(SegmentationConfig, step=10.5), r"segmentation\.step is 10\.5 s"),
        (partial(SegmentationConfig, step=float("nan")), r"segmentation\.step is nan s"),
        (partial(SegmentationConfig, ahead=-0.1), r"segmentation\.ahead is -0\.1: give 0 to 10"),
        (partial(SegmentationConfig, onset=1.1), r"segmentation\.onset is 1\.1: give 0 to 1"),
        (partial(SegmentationConfig, onset=0.3, offset=0.4), r"segmentation\.offset is 0\.4: give 0 to 0\.3"),
        (partial(SegmentationConfig, together=2), r"segmentation\.together is 2: give 0 to 1"),
        (partial(SegmentationConfig, min_on=11), r"segmentation\.min_on is 11: give 0 to 10"),
        (partial(SegmentationConfig, min_off=-1), r"segmentation\.min_off is -1: give 0 to 10"),
        (
            partial(SegmentationConfig, share=0),
            r"segmentation\.share is 0 s: .* at most the step, 3\.2 s",
        ),
        (partial(SegmentationConfig, share=3.6), r"segmentation\.share is 3\.6 s: give more than 0 and at most"),
        (partial(SegmentationConfig, length=0), r"segmentation\.length is 0 s: give 0\.1 to 10"),
        (partial(SegmentationConfig, faintest=1), r"segmentation\.faintest is 1 dBFS: give -120 to 0"),
        (partial(SegmentationConfig, alone=-1), r"segmentation\.alone is -1: give 0 to 10"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(make: Callable[[], SegmentationConfig], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (SegmentationConfig(share=0.25), r"segmentation\.share is 0\.25 s: .* multiple of .* frame, 0\.02 s"),
        (SegmentationConfig(step=1), r"segmentation\.step is 1 s: .* multiple of segmentation\.share, 0\.4 s"),
        (SegmentationConfig(ahead=0.5), r"segmentation\.ahead is 0\.5 s: .* multiple of segmentation\.share"),
        (SegmentationConfig(step=8, ahead=4), r"step and ahead are 8 and 4 s: .* at most the 10\.0 s"),
    ],
)
def test_steps_that_do_not_fit_are_refused(config: SegmentationConfig, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Segmentation(config, Ear(length=160_000), Marks())
