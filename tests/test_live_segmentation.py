"""Live with a segmentation network: what is said for now keeps the latency, and goes where it does not hold."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.live import TICK, LiveConfig, LiveFront
from diarize.local_voices import SegmentationConfig
from diarize.revisions import RevisedTurns
from diarize.rttm import newest
from diarize.segmentation import Segmentation
from diarize.turns import TurnsConfig
from diarize.types import Clock, Samples, SpeakerWindow, SpeechWindow, TurnUpdate, position
from tests import laws
from tests.overlap import FRAME, Deaf, Reader, written

CONFIG = SegmentationConfig("by reading", step=2.0, ahead=1.2, min_on=0, min_off=0, faintest=-120)
SHARE = position(CONFIG.share)
EXACT = TurnsConfig(gap=0, sliver=0)

# Nobody, one or two of three people, in runs of up to 4 s: long enough that much is decided before the end.
tracks = st.lists(
    st.tuples(st.sampled_from([0, 0b1, 0b10, 0b100, 0b11, 0b110]), st.sampled_from([1, 3, 11, 40, 130, 200])),
    min_size=4,
    max_size=8,
).map(lambda runs: [people for people, length in runs for _ in range(length)])
rests = st.integers(0, FRAME - 1)
latencies = st.sampled_from([0.5, 1.0, 2.0, 5.0])


def audio_of(track: list[int], rest: int) -> Samples:
    """Audio in which `Reader` finds these people, and `rest` samples more; every sample is different."""
    samples = np.linspace(0, 0.5, FRAME * len(track) + rest, dtype=np.float32)
    return written(samples, [*track, 0] if rest else track)


def front(latency: float, hasty: int = 0, length: int = 80_000) -> LiveFront:
    return LiveFront(Segmentation(CONFIG, Reader(length, hasty=hasty), Deaf()), LiveConfig(latency))


class Said:
    """How many voices are said of each frame by what holds so far; a group said anew takes the place of the last."""

    def __init__(self) -> None:
        self.groups: dict[int, list[SpeechWindow]] = {}
        self.settled = 0

    def take(self, items: list[SpeechWindow | Clock]) -> None:
        new: dict[tuple[bool, int], list[SpeechWindow]] = {}
        for item in items:
            if isinstance(item, Clock):
                self.settled = item.settled
                self.groups |= {group: windows for (_, group), windows in new.items()}
                gone = [i for i, one in self.groups.items() if one[0].provisional and one[0].start < item.settled]
                for group in gone:
                    del self.groups[group]
                new = {}
            else:
                new.setdefault((item.provisional, item.group), []).append(item)

    def voices(self, frames: int) -> NDArray[np.int64]:
        found = np.zeros(frames, np.int64)
        for window in (window for group in self.groups.values() for window in group):
            for start, end in window.speech:
                found[start // FRAME : -(-end // FRAME)] += 1
        return found


def voices(track: list[int]) -> NDArray[np.int64]:
    return np.array([people.bit_count() for people in track], np.int64)


@given(tracks, rests, latencies, st.data())
@settings(deadline=None, max_examples=15)
def test_the_laws_of_streaming(track: list[int], rest: int, latency: float, data: st.DataObject) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=30))
    laws.obeys(partial(front, latency), samples, cuts, data.draw(st.integers(0, len(samples))))


@given(tracks, rests, latencies)
@settings(deadline=None, max_examples=20)
def test_the_windows_are_those_of_the_front(track: list[int], rest: int, latency: float) -> None:
    samples = audio_of(track, rest)
    items = laws.run(front(latency), laws.chunks(samples, []))
    final = [item for item in items if isinstance(item, SpeechWindow) and not item.provisional]
    stage = Segmentation(CONFIG, Reader(80_000), Deaf())
    assert laws.plain(final) == laws.plain(laws.run(stage, laws.chunks(samples, [])))
    told = [item.position for item in items if isinstance(item, Clock)]
    assert told == [*range(TICK, len(samples), TICK), *([len(samples)] if len(samples) else [])]


@given(tracks, latencies, st.data())
@settings(deadline=None, max_examples=40)
def test_who_talks_is_said_within_the_latency(track: list[int], latency: float, data: st.DataObject) -> None:
    samples = audio_of(track, 0)
    stage, said = front(latency), Said()
    for chunk in laws.chunks(samples, data.draw(laws.cuts(len(samples), most=40))):
        said.take(stage.push(chunk))
        owed = max(0, chunk.position + len(chunk.samples) - position(latency)) // FRAME
        np.testing.assert_array_equal(said.voices(len(track))[:owed], voices(track)[:owed])


@pytest.mark.parametrize("latency", [0.5, 1.0, 2.0])
def test_a_share_is_embedded_as_it_begins_and_whole_and_not_at_every_tick(latency: float) -> None:
    items = laws.run(front(latency), laws.chunks(audio_of([0b11] * 1000, 0), []))
    windows = [item for item in items if isinstance(item, SpeechWindow)]
    embedded = Counter((window.group, window.provisional) for window in windows)
    assert {count for (_, provisional), count in embedded.items() if not provisional} == {2}
    assert {count for (_, provisional), count in embedded.items() if provisional} <= {2, 4}
    assert sum(provisional for _, provisional in embedded) > 20


def test_where_there_is_time_nothing_is_said_for_now() -> None:
    items = laws.run(front(5), laws.chunks(audio_of([0b11] * 1000, 0), []))
    assert not any(item.provisional for item in items if isinstance(item, SpeechWindow))


@given(tracks, st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 40))
@example([0b1] * 50 + [0] * 400, 1.0, 20)
@settings(deadline=None, max_examples=30)
def test_what_is_thought_better_of_is_withdrawn(track: list[int], latency: float, hasty: int) -> None:
    """A network that hears somebody in the last moments until it knows better, and turns that follow it."""
    stage = front(latency, hasty)
    said, turns = Said(), RevisedTurns(EXACT, LiveConfig(latency), 400)
    updates: list[TurnUpdate] = []
    for chunk in laws.chunks(audio_of(track, 0), list(range(0, len(track) * FRAME, 10 * TICK))):
        items = stage.push(chunk)
        said.take(items)
        now = chunk.position + len(chunk.samples)
        assert said.settled > now - TICK - position(CONFIG.step + CONFIG.ahead)
        settled = said.settled // FRAME
        np.testing.assert_array_equal(said.voices(len(track))[:settled], voices(track)[:settled])
        updates += laws.pushed(turns, labelled(items))
        shown = np.zeros(len(track), np.int64)
        for turn in newest(updates):
            shown[turn.start // FRAME : -(-turn.end // FRAME)] += 1
        seen = max(0, min(said.settled, now - position(latency))) // FRAME
        np.testing.assert_array_equal(shown[:seen], voices(track)[:seen])


def labelled(items: list[SpeechWindow | Clock]) -> list[SpeakerWindow | Clock]:
    """Each voice under its place in the group."""
    out: list[SpeakerWindow | Clock] = []
    places: Counter[tuple[bool, int]] = Counter()
    for item in items:
        if isinstance(item, Clock):
            places.clear()
            out.append(item)
            continue
        place = places[item.provisional, item.group]
        places[item.provisional, item.group] += 1
        out.append(
            SpeakerWindow(item.start, item.end, item.speech, item.group, place, 0.5, item.provisional, voice=place)
        )
    return out


def test_what_is_held_does_not_grow_with_the_stream() -> None:
    stage = front(0.5)
    segmentation = stage.front
    assert isinstance(segmentation, Segmentation)
    for chunk in laws.chunks(audio_of([0b11, 0, 0b1] * 1000, 0), list(range(700, 3000 * FRAME, 7_000))):
        stage.push(chunk)
        assert len(stage.state.audio.samples) < TICK
        assert len(segmentation.state.audio.samples) < 80_000 + FRAME
