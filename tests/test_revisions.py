"""Turns that are shown live: whoever applies the updates by id always sees what the windows say, and at the end all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.live import TICK, DetectedSpeech, LiveConfig, LiveFront
from diarize.revisions import RevisedTurns
from diarize.rttm import newest
from diarize.turns import SpeakerTurn, TurnsConfig, cut, cut_turns, join, smooth
from diarize.types import Clock, Merge, Named, SpeakerWindow, TurnUpdate, position
from diarize.vad import VadConfig, VoiceActivityDetection
from diarize.windows import SlidingWindows
from tests import laws
from tests.test_vad import Track, audio_of

Item = SpeakerWindow | Clock | Merge
Said = tuple[int, int, str | None]

EXACT = TurnsConfig(gap=0, sliver=0)
SETTINGS = [TurnsConfig(), EXACT, TurnsConfig(gap=1.5, sliver=1), TurnsConfig(gap=0, sliver=2)]


@dataclass(frozen=True)
class Stream:
    """What comes in.

    items: windows, some of them provisional, some said again with another speaker; clocks; what the user merges.
    final: every window as it is said at the end.
    """

    latency: float
    items: list[Item]
    final: list[SpeakerWindow]

    @property
    def live(self) -> LiveConfig:
        return LiveConfig(self.latency)


def labelled(track: list[float], latency: float, buffer: int, seed: int, merges: bool) -> Stream:
    """The windows of a live front with labels drawn at random; of the newest `buffer`, some are labelled anew."""
    vad = VoiceActivityDetection(VadConfig(max_gain=0), Track())
    front = LiveFront(DetectedSpeech(vad, SlidingWindows()), LiveConfig(latency))
    random = np.random.default_rng(seed)
    items: list[Item] = []
    windows: list[SpeakerWindow] = []
    speaker = 0

    def say(window: SpeakerWindow) -> SpeakerWindow:
        said = replace(window, speaker=speaker, confidence=float(random.random()))
        items.append(said)
        return said

    for item in laws.run(front, laws.chunks(audio_of(track, 0), [])):
        if isinstance(item, Clock):
            items.append(item)
            if merges and random.random() < 0.01:
                one, into = random.integers(0, 6, 2).tolist()
                items.append(Merge(one, into))
            continue
        if random.random() < 0.3:
            speaker = int(random.integers(0, 4))
        said = say(SpeakerWindow(item.start, item.end, item.speech, item.group, 0, 0.0, item.provisional))
        if item.provisional:
            continue
        windows.append(said)
        if random.random() < 0.15:
            speaker = int(random.integers(0, 4))
            among = range(len(windows))[-min(len(windows), buffer - 1) :]  # a provisional one counts too
            first, last = sorted(random.choice(among, 2).tolist())
            windows[first : last + 1] = [say(window) for window in windows[first : last + 1]]
    final = [replace(window, speaker=int(random.integers(0, 3))) for window in windows] if seed % 2 else windows
    return Stream(latency, items, final)


def streams(
    buffer: int, *, merges: bool = True, latencies: Sequence[float] = (0.5, 1, 2, 5)
) -> st.SearchStrategy[Stream]:
    tracks = st.lists(st.tuples(st.integers(1, 120), st.integers(1, 700)), min_size=1, max_size=5).map(
        lambda runs: [p for silence, speech in runs for p in [0.0] * silence + [1.0] * speech]
    )
    seeds = st.integers(0, 2**16)
    return st.builds(labelled, tracks, st.sampled_from(latencies), st.just(buffer), seeds, st.just(merges))


class People:
    """Who is who after some merges: sets of numbers, each under one of them."""

    def __init__(self) -> None:
        self.sets = {number: {number} for number in range(10)}

    def merge(self, merge: Merge) -> None:
        one, into = self.number(merge.speaker), self.number(merge.into)
        if one != into:
            self.sets[into] |= self.sets.pop(one)

    def number(self, speaker: int) -> int:
        (number,) = (number for number, known in self.sets.items() if speaker in known)
        return number

    def label(self, speaker: int) -> str:
        return f"SPEAKER_{self.number(speaker):02d}"

    def rename(self, windows: Iterable[SpeakerWindow]) -> list[SpeakerWindow]:
        return [replace(window, speaker=self.number(window.speaker)) for window in windows]


def told(windows: Iterable[SpeakerWindow], clock: int, latency: float) -> list[SpeakerTurn]:
    """The pieces that are to be shown when so much has been heard: those that begin before the next tick - latency."""
    return [piece for piece in cut(windows) if piece.start < clock + TICK - position(latency)]


def plain(turns: Iterable[SpeakerTurn]) -> list[Said]:
    return sorted((turn.start, turn.end, f"SPEAKER_{turn.speaker:02d}") for turn in turns)


def shown(updates: Iterable[TurnUpdate]) -> list[Said]:
    """What a consumer sees who keeps the newest update of each id."""
    return sorted((update.start, update.end, update.speaker) for update in newest(updates))


def as_turns(updates: Iterable[TurnUpdate]) -> list[SpeakerTurn]:
    return [SpeakerTurn(u.start, u.end, int(str(u.speaker)[-2:]), u.confidence) for u in newest(updates)]


def finished(stage: RevisedTurns, stream: Stream) -> list[TurnUpdate]:
    """The end, where the clustering says every window once more."""
    assert laws.pushed(stage, stream.final) == []
    return stage.flush()


# The law.


@given(streams(10_000), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_what_is_shown_is_what_the_windows_say_so_far(stream: Stream, config: TurnsConfig) -> None:
    stage = RevisedTurns(config, stream.live, 10_000)
    updates: list[TurnUpdate] = []
    windows: dict[int, SpeakerWindow] = {}
    people = People()
    expected: list[SpeakerTurn] = []
    for item in stream.items:
        updates += stage.push(item)
        if isinstance(item, SpeakerWindow):
            windows[item.group] = item
        elif isinstance(item, Merge):
            people.merge(item)
            expected = [replace(turn, speaker=people.number(turn.speaker)) for turn in expected]
        else:
            expected = smooth(told(people.rename(windows.values()), item.position, stream.latency), config)
        assert shown(updates) == plain(expected)


@given(streams(20, latencies=(0.5, 1, 2, 5)))
@settings(deadline=None, max_examples=40)
def test_what_is_settled_is_still_what_the_windows_say(stream: Stream) -> None:
    """Without smoothing: with it, what is settled and what is not are smoothed apart."""
    stage = RevisedTurns(EXACT, stream.live, 20)
    updates: list[TurnUpdate] = []
    windows: dict[int, SpeakerWindow] = {}
    people = People()
    for item in stream.items:
        updates += stage.push(item)
        if isinstance(item, SpeakerWindow):
            windows[item.group] = item
        elif isinstance(item, Merge):
            people.merge(item)
        else:
            expected = told(people.rename(windows.values()), item.position, stream.latency)
            assert plain(join(as_turns(updates), 0)) == plain(join(expected, 0))
            assert len(stage.state.windows) <= 25
            assert stage.state.shown.keys() == {update.id for update in newest(updates)}


@given(streams(20), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_the_end_is_what_all_windows_say_with_every_turn_said_once(stream: Stream, config: TurnsConfig) -> None:
    stage = RevisedTurns(config, stream.live, 20)
    before = laws.pushed(stage, stream.items)
    assert not any(update.final for update in before)
    end = finished(stage, stream)
    assert all(update.final for update in end)
    assert len({update.id for update in end}) == len(end)
    assert {update.id for update in newest(before)} <= {update.id for update in end}
    people = People()
    for item in stream.items:
        if isinstance(item, Merge):
            people.merge(item)
    expected = cut_turns(people.rename(stream.final), config)
    assert shown(before + end) == plain(expected)
    found = {(update.start, update.end, update.speaker): update.confidence for update in newest(end)}
    assert found == {said: turn.confidence for turn in expected for said in plain([turn])}


@given(streams(20), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_an_id_is_one_turn(stream: Stream, config: TurnsConfig) -> None:
    """It comes as something new each time, not again after it was withdrawn, and settled it does not change."""
    stage = RevisedTurns(config, stream.live, 20)
    known: dict[int, TurnUpdate] = {}
    for item in stream.items:
        may_change = set(stage.state.open)
        for update in stage.push(item):
            before = known.get(update.id)
            if before is None:
                assert update.speaker is not None
                assert update.id == len(known)
            else:
                assert before.speaker is not None
                changed = (before.start, before.end, before.speaker) != (update.start, update.end, update.speaker)
                assert changed
                assert update.id in may_change or isinstance(item, Merge)
                assert not isinstance(item, Merge) or (before.start, before.end) == (update.start, update.end)
            known[update.id] = update
    for update in finished(stage, stream):
        assert update.id not in known or known[update.id].speaker is not None


@given(streams(20, merges=False), st.sampled_from(SETTINGS))
@settings(deadline=None, max_examples=60)
def test_no_speaker_is_shown_twice_at_once(stream: Stream, config: TurnsConfig) -> None:
    stage = RevisedTurns(config, stream.live, 20)
    updates: list[TurnUpdate] = []
    for item in stream.items:
        updates += stage.push(item)
        if isinstance(item, Clock):
            for speaker in {update.speaker for update in newest(updates)}:
                own = [update for update in newest(updates) if update.speaker == speaker]
                assert all(a.end <= b.start for a, b in pairwise(own))


@given(streams(20), st.sampled_from(SETTINGS), st.data())
@settings(deadline=None, max_examples=20)
def test_a_saved_stage_goes_on_as_if_nothing_had_happened(
    stream: Stream, config: TurnsConfig, data: st.DataObject
) -> None:
    items: list[Item | Named] = [*stream.items, *stream.final]
    at = data.draw(st.integers(0, len(items)))
    laws.save_restore(lambda: RevisedTurns(config, stream.live, 20), items, at)


# By hand.


def window(group: int, speaker: int, start: float, end: float, *, provisional: bool = False) -> SpeakerWindow:
    """Times in seconds."""
    start, end = position(start), position(end)
    return SpeakerWindow(start, end, ((start, end),), group, speaker, 0.5, provisional)


def clock(seconds: float) -> Clock:
    return Clock(position(seconds))


def turns(latency: float = 1.0, buffer: int = 400) -> RevisedTurns:
    return RevisedTurns(TurnsConfig(), LiveConfig(latency), buffer)


def push(stage: RevisedTurns, *items: Item) -> list[TurnUpdate]:
    return laws.pushed(stage, items)


def said(updates: Sequence[TurnUpdate]) -> list[tuple[int, float, float, str | None]]:
    return [(u.id, u.start / 16_000, u.end / 16_000, u.speaker and u.speaker[-2:]) for u in updates]


@pytest.mark.parametrize("latency", [0.5, 1.0, 2.0, 5.0])
def test_a_turn_is_shown_when_the_audio_is_the_latency_beyond_its_start_and_grows(latency: float) -> None:
    stage = turns(latency)
    push(stage, window(0, 7, 10, 11.6), window(1, 7, 10.4, 12))
    for tenth in range(100, 100 + round(10 * latency)):
        assert stage.push(clock(tenth / 10)) == []
    # of the second window the share begins at 11 s
    assert said(stage.push(clock(10 + latency))) == [(0, 10, 11, "07")]
    assert stage.push(clock(10.9 + latency)) == []
    assert said(stage.push(clock(11 + latency))) == [(0, 10, 12, "07")]
    assert stage.push(clock(20)) == []
    assert said(stage.flush()) == [(0, 10, 12, "07")]


def test_a_correction_keeps_the_id_and_what_is_joined_is_withdrawn() -> None:
    stage = turns()
    push(stage, window(0, 0, 0, 2), window(1, 1, 2, 3), window(2, 0, 3, 4.5), window(3, 2, 6, 7))
    assert said(stage.push(clock(8))) == [(0, 0, 2, "00"), (1, 2, 3, "01"), (2, 3, 4.5, "00"), (3, 6, 7, "02")]
    stage.push(window(3, 5, 6, 7))
    assert said(stage.push(clock(8.1))) == [(3, 6, 7, "05")]
    stage.push(window(1, 0, 2, 3))
    assert said(stage.push(clock(8.2))) == [(1, 2, 3, None), (2, 3, 4.5, None), (0, 0, 4.5, "00")]
    stage.push(window(1, 1, 2, 3))
    assert said(stage.push(clock(8.3))) == [(0, 0, 2, "00"), (4, 2, 3, "01"), (5, 3, 4.5, "00")]
    assert stage.push(clock(8.4)) == []
    assert [update.id for update in stage.flush()] == [0, 4, 5, 3]


def test_a_turn_goes_on_as_that_of_its_own_speaker_first() -> None:
    stage = turns()
    push(stage, window(0, 0, 0, 1), window(1, 0, 1, 4), window(2, 1, 4, 5))
    assert said(stage.push(clock(8))) == [(0, 0, 4, "00"), (1, 4, 5, "01")]
    stage.push(window(1, 1, 1, 4))  # most of the second turn was the first
    assert said(stage.push(clock(9))) == [(0, 0, 1, "00"), (1, 1, 5, "01")]


def test_a_growing_window_gives_way_to_the_one_that_follows() -> None:
    stage = turns(0.5)
    growing = [window(0, 3, 0, 0.5, provisional=True), window(0, 4, 0, 1.1, provisional=True), window(0, 4, 0, 1.6)]
    assert [said(push(stage, one, clock(1 + i))) for i, one in enumerate(growing)] == [
        [(0, 0, 0.5, "03")],
        [(0, 0, 1.1, "04")],
        [(0, 0, 1.6, "04")],
    ]
    assert said(push(stage, window(1, 4, 2, 2.4, provisional=True), clock(5))) == [(1, 2, 2.4, "04")]
    assert said(stage.flush()) == [(1, 2, 2.4, None), (0, 0, 1.6, "04")]


def voice(
    group: int, place: int, speaker: int, *speech: tuple[float, float], provisional: bool = False
) -> SpeakerWindow:
    """One of several at the same time, in the share of two seconds that has the group's number."""
    intervals = tuple((position(start), position(end)) for start, end in speech)
    start = position(2 * group)
    return SpeakerWindow(start, start + position(2), intervals, group, speaker, 0.5, provisional, voice=place)


def test_turns_overlap_where_voices_do() -> None:
    stage = turns()
    push(stage, voice(0, 0, 4, (0.2, 2)), voice(0, 1, 7, (1, 1.4), (1.8, 2)), voice(1, 0, 7, (2, 3)))
    assert said(stage.push(clock(8))) == [(0, 0.2, 2, "04"), (1, 1, 1.4, "07"), (2, 1.8, 3, "07")]
    stage.push(voice(0, 1, 5, (1, 1.4), (1.8, 2)))  # the one at the same time stays
    assert said(stage.push(clock(9))) == [(1, 1, 1.4, "05"), (3, 1.8, 2, "05"), (2, 2, 3, "07")]
    stage.push(voice(0, 0, 7, (0.2, 2)))
    assert said(stage.push(clock(10))) == [(0, 0.2, 2, None), (2, 0.2, 3, "07")]
    assert said(stage.flush()) == [(2, 0.2, 3, "07"), (1, 1, 1.4, "05"), (3, 1.8, 2, "05")]


def test_what_is_said_for_good_takes_the_place_of_all_voices_that_grow() -> None:
    stage = turns()
    for length in (0.5, 1.5):
        growing = [voice(0, place, place, (0, length), provisional=True) for place in range(2)]
        updates = push(stage, *growing, clock(4))
        assert said(updates) == [(0, 0, length, "00"), (1, 0, length, "01")]
    assert said(push(stage, voice(0, 0, 0, (0, 0.7), provisional=True), clock(4))) == [
        (1, 0, 1.5, None),
        (0, 0, 0.7, "00"),
    ]
    push(stage, voice(1, 0, 0, (2, 3), provisional=True), voice(1, 1, 1, (2, 3), provisional=True), clock(5))
    assert said(push(stage, voice(1, 0, 1, (2.2, 3)), clock(6))) == [(2, 2, 3, None), (3, 2.2, 3, "01")]
    assert {one.group for group in stage.state.windows.values() for one in group if one.provisional} == {0}


def test_what_nobody_says_for_good_is_withdrawn_when_all_before_is_settled() -> None:
    stage = turns()
    push(
        stage,
        voice(0, 0, 0, (0, 2)),
        *(voice(group, 0, 0, (2 * group, 2 * group + 1), provisional=True) for group in (1, 2)),
    )
    assert said(stage.push(clock(8))) == [(0, 0, 3, "00"), (1, 4, 5, "00")]
    assert stage.push(Clock(position(8.1), position(2))) == []  # the window that begins there is not settled
    assert said(stage.push(Clock(position(8.2), position(4)))) == [(0, 0, 2, "00")]
    assert said(stage.push(Clock(position(8.3), position(8)))) == [(1, 4, 5, None)]
    assert said(stage.flush()) == [(0, 0, 2, "00")]


def test_a_group_leaves_the_buffer_as_one() -> None:
    stage = turns(buffer=8)
    updates = []
    for group in range(20):
        members = [voice(group, place, place, (2 * group, 2 * group + 2)) for place in range(3)]
        updates += push(stage, *members, clock(2 * group + 3))
        assert len(stage.state.windows) <= 10
        assert {len(windows) for windows in stage.state.windows.values()} == {3}
    assert said(newest(updates)) == [(0, 0, 40, "00"), (1, 0, 40, "01"), (2, 0, 40, "02")]


def test_one_speaker_at_a_time_is_shown_where_that_is_asked_for() -> None:
    stage = RevisedTurns(TurnsConfig(exclusive=True), LiveConfig(1), 400)
    push(stage, voice(0, 0, 4, (0.2, 1)), voice(0, 1, 7, (0.5, 2)))
    assert said(stage.push(clock(8))) == [(0, 0.2, 1, "04"), (1, 1, 2, "07")]
    assert said(stage.flush()) == [(0, 0.2, 1, "04"), (1, 1, 2, "07")]


def test_what_leaves_the_buffer_stays_as_it_was_shown_until_the_end() -> None:
    stage = turns(buffer=8)
    for second in range(20):
        push(stage, window(second, second // 4, second, second + 1), clock(second + 1))
    every = [window(second, 9, second, second + 1) for second in range(20)]
    push(stage, *every[-8:])
    changed = stage.push(clock(21))
    assert {update.id for update in changed} >= {3, 4}
    assert {0, 1}.isdisjoint(update.id for update in changed)
    push(stage, *every)
    end = stage.flush()
    assert said([update for update in end if update.speaker is not None]) == [(end[-1].id, 0, 20, "09")]
    assert len({update.id for update in end}) == len(end) >= 3


def test_a_merge_is_said_at_once_of_all_that_is_shown_and_holds_for_what_comes() -> None:
    stage = turns(buffer=8)
    for second in range(0, 40, 2):
        push(stage, window(second, second // 2 % 4, second, second + 1), clock(second + 2))
    stage.push(clock(50))
    assert len(stage.state.open) < 20
    assert said(stage.push(Merge(1, 2))) == [(i, 2 * i, 2 * i + 1, "02") for i in range(1, 20, 4)]
    assert said(stage.push(Merge(2, 3))) == [(i, 2 * i, 2 * i + 1, "03") for i in range(20) if i % 4 in (1, 2)]
    assert stage.push(clock(50.1)) == []
    push(stage, window(99, 1, 51, 52), window(100, 2, 53, 54))
    assert said(stage.push(clock(60))) == [(20, 51, 52, "03"), (21, 53, 54, "03")]
    stage.push(window(99, 0, 51, 52))
    assert said(stage.push(clock(61))) == [(20, 51, 52, "00")]
    stage.push(window(99, 2, 51, 52))
    assert said(stage.push(clock(62))) == [(20, 51, 52, "03")]


def test_merges_follow_one_another() -> None:
    for merges, who in [
        ([(0, 1), (1, 2)], {0: 2, 1: 2, 2: 2, 3: 3}),
        ([(1, 2), (0, 1)], {0: 2, 1: 2, 2: 2, 3: 3}),
        ([(0, 1), (0, 2)], {0: 2, 1: 2, 2: 2, 3: 3}),
        ([(0, 1), (1, 0)], {0: 1, 1: 1, 2: 2, 3: 3}),
        ([(0, 1), (2, 3), (1, 2)], {0: 3, 1: 3, 2: 3, 3: 3}),
        ([(0, 0)], {0: 0, 1: 1, 2: 2, 3: 3}),
    ]:
        windows = [window(i, i, 2 * i, 2 * i + 1) for i in range(4)]
        told = [Merge(one, into) for one, into in merges]
        before, after = turns(), turns()
        updates = [
            push(before, *told, *windows, clock(20)),
            push(after, *windows, clock(20), *told, clock(21)),
        ]
        expected = [(i, 2 * i, 2 * i + 1, f"{who[i]:02d}") for i in range(4)]
        for stage, shown_before in zip((before, after), updates, strict=True):
            assert said(newest(shown_before)) == expected
            assert said(stage.flush()) == expected


def test_two_who_are_merged_into_one_are_joined() -> None:
    stage = turns()
    push(stage, window(0, 0, 0, 2), window(1, 1, 2, 3), clock(8))
    assert said(stage.push(Merge(1, 0))) == [(1, 2, 3, "00")]
    assert said(stage.push(clock(8.1))) == [(1, 2, 3, None), (0, 0, 3, "00")]


def test_nobody_talks() -> None:
    nothing: list[Item] = [clock(1), Merge(0, 1), clock(2)]
    assert laws.run(turns(), nothing) == []
