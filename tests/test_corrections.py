"""Corrections by hand: what becomes of them in the windows, in the turns, and when clustering is run again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.clustering.offline import ClusteringConfig
from diarize.corrections import MARGIN, lay_over, override, told
from diarize.edits import ANCHOR, RESOLUTION, check_inside, edit, parse_turn, set_turns
from diarize.embedded import EmbeddedRecording
from diarize.intervals import common, length, shared, union, without
from diarize.metrics import pair_speakers
from diarize.pipeline import PipelineConfig, recluster
from diarize.rttm import Turn, talking, turns_from
from diarize.types import EmbeddingWindow, Interval, TurnUpdate

SECOND = 16_000
NAMES = ("SPEAKER_00", "SPEAKER_01", "Ana")


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(round(start * SECOND), round(end * SECOND), speaker)


def said(turns: Sequence[Turn]) -> list[tuple[float, float, str]]:
    return [(one.start / SECOND, one.end / SECOND, one.speaker) for one in sorted(turns)]


# -- sets of moments


stretches = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))), max_size=8
)


def moments(intervals: Sequence[Interval]) -> set[int]:
    return {at for start, end in intervals for at in range(start, end)}


@given(stretches, stretches)
def test_sets_of_moments(one: list[Interval], other: list[Interval]) -> None:
    a, b = union(one), union(other)
    assert moments(a) == moments(one)
    assert all(start < end for start, end in a)
    assert all(before[1] < after[0] for before, after in pairwise(a))
    assert moments(without(a, b)) == moments(one) - moments(other)
    assert moments(common(a, b)) == moments(one) & moments(other)
    assert length(a) == len(moments(one))


@given(st.lists(stretches, max_size=3), st.lists(stretches, max_size=3))
@settings(deadline=None, max_examples=50)
def test_what_sets_of_moments_share(some: list[list[Interval]], others: list[list[Interval]]) -> None:
    found = shared([union(one) for one in some], [union(other) for other in others])
    assert found.shape == (len(some), len(others))
    assert found.tolist() == [[len(moments(one) & moments(other)) for other in others] for one in some]


# -- how a turn is typed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5-15=Ana", (12.5, 15, "Ana")),
        ("0-.5=Ana Maria", (0, 0.5, "Ana Maria")),
        ("1:02.5-1:05=a=b-c", (62.5, 65, "a=b-c")),
        ("1:00:00 - 1:00:02.25 = Ana ", (3600, 3602.25, "Ana")),
        ("7-8=", (7, 8, "")),
    ],
)
def test_a_turn_that_is_typed(text: str, expected: tuple[float, float, str]) -> None:
    assert said([parse_turn(text)]) == [expected]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("12.5-15", "'12.5-15' is not of the form START-END=NAME, such as 12.5-15=Ana or 1:02-1:05.5=Ana"),
        ("12.5=Ana", "is not of the form"),
        ("-1-5=Ana", "is not of the form"),
        ("nan-inf=Ana", "is not of the form"),
        ("1.2.3-5=Ana", "'1.2.3' in '1.2.3-5=Ana' is no time: give seconds, m:ss or h:mm:ss"),
        ("1:2:3:4-5=Ana", "is no time"),
        (f"1-{'9' * 400}=Ana", "is no time"),
        ("15-12.5=Ana", "'15-12.5=Ana' does not end after its start: give START-END=NAME"),
        ("5-5=Ana", "does not end after its start"),
    ],
)
def test_what_is_no_turn_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as refused:
        parse_turn(text)
    assert "\n" not in str(refused.value)


def test_turns_must_lie_inside_the_recording() -> None:
    assert said(check_inside([turn(5, 10.01, "Ana")], 10 * SECOND)) == [(5, 10, "Ana")]
    for outside in (turn(5, 11, "Ana"), turn(10, 10.01, "Ana")):
        with pytest.raises(ValueError, match=r"lies outside the recording, which ends at 10\.000 s"):
            check_inside([turn(0, 1, "Bo"), outside], 10 * SECOND)


# -- what an edit says


@st.composite
def answers(draw: st.DrawFn) -> list[Turn]:
    """Turns of up to three people, on whole seconds; those of different people may overlap."""
    found = []
    for name in NAMES:
        at = 0
        for _ in range(draw(st.integers(0, 3))):
            at += draw(st.integers(1, 30))
            end = at + draw(st.integers(1, 40))
            found.append(turn(at, end, name))
            at = end
    return sorted(found)


def as_updates(turns: Sequence[Turn]) -> list[TurnUpdate]:
    return [TurnUpdate(i, one.start, one.end, one.speaker, None, 0.5, True) for i, one in enumerate(turns)]


@given(answers(), answers())
@settings(deadline=None)
def test_an_edit_laid_over_the_renamed_answer_is_the_edit(answer: list[Turn], edited: list[Turn]) -> None:
    corrections = edit(answer, edited, ())
    # who was renamed goes by the new name, as after clustering; who has gone has nothing left outside the corrections
    pairs = pair_speakers(edited, answer)
    renamed = [replace(one, speaker=pairs.get(one.speaker, "gone")) for one in answer]
    held = turns_from(lay_over(as_updates(renamed), corrections))
    assert talking(held) == talking(edited)


@given(answers(), st.lists(answers(), max_size=3))
@settings(deadline=None)
def test_turns_set_by_hand_hold_to_the_sample_the_later_where_they_overlap(
    answer: list[Turn], given_turns: list[list[Turn]]
) -> None:
    corrections: tuple[Turn, ...] = ()
    turns = answer
    for now in given_turns:
        corrections = override(corrections, set_turns(turns, now, ()))
        turns = turns_from(lay_over(as_updates(turns), corrections))
    held = turns_from(lay_over(as_updates(answer), corrections))
    flat = [one for now in given_turns for one in now]
    for i, one in enumerate(flat):
        later = union((other.start, other.end) for other in flat[i + 1 :])
        for start, end in without([(one.start, one.end)], later):
            talk = {name for name, own in talking(held).items() if common(own, [(start, end)])}
            assert talk == {one.speaker}
            assert common(talking(held)[one.speaker], [(start, end)]) == [(start, end)]


ANSWER = [turn(0, 30, "SPEAKER_00"), turn(30, 50, "SPEAKER_01"), turn(50, 60, "SPEAKER_00"), turn(60, 62, "SPEAKER_02")]


def test_a_pure_rename_is_a_name_and_not_many_corrections() -> None:
    renamed = [replace(one, speaker="Ana") if one.speaker == "SPEAKER_00" else one for one in ANSWER]
    (name,) = edit(ANSWER, renamed, ())
    assert name.speaker == "Ana"
    assert name.end - name.start == ANCHOR
    assert any(one.start <= name.start < name.end <= one.end for one in renamed if one.speaker == "Ana")


def test_nothing_changed_is_no_correction_nor_are_times_with_two_decimals() -> None:
    assert edit(ANSWER, ANSWER, ()) == ()
    rounded = [turn(one.start / SECOND + 0.005, one.end / SECOND - 0.004, one.speaker) for one in ANSWER]
    assert edit(ANSWER, rounded, ()) == ()


def test_a_turn_set_inside_another_keeps_its_edges_and_anchors_both_speakers() -> None:
    voices = [0] * 12 + [1] * 2 + [3] * 8 + [0] * 8 + [1] * 20 + [0] * 10 + [2] * 2
    corrections = set_turns(ANSWER, [turn(12, 14, "SPEAKER_01")], (windows(voices),))
    anchor = ANCHOR / SECOND
    # not the part in which there is another voice
    assert said(corrections)[:2] == [(0, 6, "SPEAKER_00"), (12, 14, "SPEAKER_01")]
    (other,) = said(corrections)[2:]
    assert other in [(30, 30 + anchor, "SPEAKER_01"), (30 + anchor, 50, "SPEAKER_01")]


def test_a_turn_that_is_made_longer_by_hand_is_kept_with_its_old_end() -> None:
    longer = [
        *ANSWER[:1],
        replace(ANSWER[1], end=ANSWER[1].end + SECOND),
        replace(ANSWER[2], start=51 * SECOND),
        ANSWER[3],
    ]
    assert (50 - MARGIN / SECOND, 51, "SPEAKER_01") in said(edit(ANSWER, longer, ()))


def test_a_boundary_set_by_hand_is_where_it_was_set() -> None:
    by_hand = turn(10, 12, "Ana")
    for carried in (0.1, 0.7):
        windows_say = [
            turn(0, 10 - carried, "Bo"),
            turn(10 - carried, 12 + carried, "Ana"),
            turn(12 + carried, 20, "Cy"),
        ]
        held = turns_from(lay_over(as_updates(windows_say), [by_hand]))
        assert said(held) == [(0, 10, "Bo"), (10, 12, "Ana"), (12, 20, "Cy")]
    goes_on = [turn(0, 9, "Bo"), turn(9, 13, "Ana"), turn(14, 15, "Bo")]
    assert turns_from(lay_over(as_updates(goes_on), [by_hand])) == goes_on
    before_silence = [turn(0, 12.5, "Ana"), turn(13, 15, "Bo")]
    assert turns_from(lay_over(as_updates(before_silence), [by_hand])) == before_silence


def test_what_was_deleted_stays_deleted_and_what_was_added_stays() -> None:
    edited = [*ANSWER[:3], turn(70, 71, "SPEAKER_01")]
    corrections = edit(ANSWER, edited, ())
    assert (60, 62, "") in said(corrections)
    assert (70, 71, "SPEAKER_01") in said(corrections)
    assert turns_from(lay_over(as_updates(ANSWER), corrections)) == edited


def test_two_people_may_talk_at_once_by_hand() -> None:
    edited = sorted([*ANSWER, turn(28, 32, "Ana")])
    assert turns_from(lay_over(as_updates(ANSWER), edit(ANSWER, edited, ()))) == edited


def test_a_later_correction_takes_the_place_of_an_earlier_one() -> None:
    old = (turn(0, 10, "Ana"), turn(20, 30, "Bo"))
    assert said(override(old, [turn(5, 22, "Cy")])) == [(0, 5, "Ana"), (5, 22, "Cy"), (22, 30, "Bo")]


# -- what it says of the windows


def windows(voices: Sequence[int], spread: float = 0.0) -> tuple[EmbeddingWindow, ...]:
    """A window around each second, of these orthogonal voices; -1 is silence."""
    rng = np.random.default_rng(0)
    found = []
    for i, voice in enumerate(voices):
        start, end = max(0, i * SECOND - MARGIN // 2), min(len(voices) * SECOND, (i + 1) * SECOND + MARGIN // 2)
        embedding = np.eye(8)[voice] + spread * rng.standard_normal(8)
        embedding /= np.linalg.norm(embedding)
        if voice >= 0:
            found.append(EmbeddingWindow(start, end, ((start, end),), i, embedding.astype(np.float32), 1.0))
    return tuple(found)


def test_a_person_is_known_where_most_of_the_speech_is_theirs_by_hand() -> None:
    (marked,) = told((windows([0] * 8),), [turn(2, 4, "Ana"), turn(4, 4.5, "Bo"), turn(6, 7, "")])
    assert [window.person for window in marked] == [None, None, "Ana", "Ana", None, None, None]
    assert [window.group for window in marked] == [0, 1, 2, 3, 4, 5, 7]  # in the seventh, nobody talks


def test_where_two_talk_nobody_is_known_and_without_corrections_nothing_changes() -> None:
    channels = (windows([0] * 4),)
    assert told(channels, ()) is channels
    (marked,) = told(channels, [turn(0, 4, "Ana"), turn(0, 4, "Bo")])
    assert [window.person for window in marked] == [None] * 4


def test_what_is_said_twice_counts_once() -> None:
    (marked,) = told((windows([0] * 4),), [turn(1, 1.8, "Ana"), turn(1, 1.8, "Ana")])
    assert [window.person for window in marked] == [None] * 4


def test_a_person_talks_on_one_channel() -> None:
    left, right = windows([0] * 20), windows([1] * 3)
    first, second = told((left, right), [turn(0, 15, "Ana")])
    assert [window.person for window in first][:15] == ["Ana"] * 15
    assert [window.person for window in second] == [None] * 3


# -- clustered again


def config(**clustering: object) -> PipelineConfig:
    return PipelineConfig(clustering=ClusteringConfig(smallest=2, **clustering))  # type: ignore[arg-type]  # by name


def recording(*voices: Sequence[int], spread: float = 0.1) -> EmbeddedRecording:
    return EmbeddedRecording("talk", len(voices[0]) * SECOND, "model", tuple(windows(one, spread) for one in voices))


def answer(kept: EmbeddedRecording, settings: PipelineConfig) -> list[Turn]:
    return turns_from(recluster(kept, settings).updates)


VOICES = [0] * 12 + [1] * 12 + [2] * 12 + [0] * 12 + [1] * 6


def test_a_rename_holds_and_the_others_keep_their_labels() -> None:
    kept = recording(VOICES)
    before = answer(kept, config())
    assert [one.speaker for one in before] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02", "SPEAKER_00", "SPEAKER_01"]
    names = {"SPEAKER_00": "Ana", "SPEAKER_01": "SPEAKER_00"}
    edited = [replace(one, speaker=names.get(one.speaker, one.speaker)) for one in before]
    kept = replace(kept, corrections=edit(before, edited, kept.channels))
    assert answer(kept, config()) == edited
    assert answer(kept, config(threshold=0.2)) == edited


@pytest.mark.parametrize("ana", [0, 1])
@pytest.mark.parametrize("share", [12, 20, 28])
def test_one_turn_by_hand_tells_two_voices_apart_in_all_of_the_recording(ana: int, share: int) -> None:
    voices = [0] * share + [1] * (40 - share) + [0] * share + [1] * (40 - share)
    kept, merged = recording(voices, spread=0.2), config(threshold=2.0)
    before = answer(kept, merged)
    assert {one.speaker for one in before} == {"SPEAKER_00"}
    start = voices.index(ana) + 3
    corrections = set_turns(before, [turn(start, start + 5, "Ana")], kept.channels)
    found = answer(replace(kept, corrections=corrections), merged)
    names = ["SPEAKER_00", "SPEAKER_00"]
    names[ana] = "Ana"
    assert said(found) == [
        (0, share, names[0]),
        (share, 40, names[1]),
        (40, 40 + share, names[0]),
        (40 + share, 80, names[1]),
    ]


def test_corrections_hold_whatever_the_settings() -> None:
    kept = recording(VOICES)
    before = answer(kept, config())
    turns = [turn(3, 4.2, "Ana"), turn(30.1, 33.3, "SPEAKER_01"), turn(40, 41, "")]
    kept = replace(kept, corrections=set_turns(before, turns, kept.channels))
    for tried in (config(), config(threshold=0.05), config(threshold=2.0), config(name="hdbscan")):
        found = talking(answer(kept, tried))
        for one in turns:
            here = {name for name, own in found.items() if common(own, [(one.start, one.end)])}
            assert here == ({one.speaker} if one.speaker else set())
            assert one.speaker == "" or common(found[one.speaker], [(one.start, one.end)]) == [(one.start, one.end)]


def test_nobody_else_gets_a_label_that_is_somebodys() -> None:
    kept = recording(VOICES)
    corrections = (turn(26, 34, "SPEAKER_00"), turn(1, 10, "SPEAKER_05"))
    found = answer(replace(kept, corrections=corrections), config())
    assert [one.speaker for one in found] == ["SPEAKER_05", "SPEAKER_01", "SPEAKER_00", "SPEAKER_05", "SPEAKER_01"]


def test_more_people_than_speakers_is_an_error_that_says_what_to_do() -> None:
    corrections = (turn(1, 10, "Ana"), turn(13, 20, "Bo"), turn(26, 34, "Cy"))
    with pytest.raises(ValueError, match="3 people are known by hand, and at most 2 speakers are allowed"):
        answer(replace(recording(VOICES), corrections=corrections), config(num_speakers=2))


def test_each_channel_has_people_of_its_own() -> None:
    kept = recording([0] * 10 + [-1] * 25, [-1] * 10 + [1] * 10 + [2] * 15)
    plain = recluster(kept, config())
    assert plain.channels == {"SPEAKER_00": 1, "SPEAKER_01": 2, "SPEAKER_02": 2}
    before = turns_from(plain.updates)
    edited = [replace(one, speaker="Bo") if one.speaker == "SPEAKER_01" else one for one in before]
    result = recluster(replace(kept, corrections=edit(before, edited, kept.channels)), config())
    assert turns_from(result.updates) == edited
    assert result.channels == {"SPEAKER_00": 1, "Bo": 2, "SPEAKER_02": 2}


def test_a_name_holds_where_all_talk_at_once() -> None:
    kept = recording([0] * 20, [1] * 10 + [2] * 10)
    before = answer(kept, config())
    edited = [replace(one, speaker="Bo") if one.speaker == "SPEAKER_01" else one for one in before]
    assert answer(replace(kept, corrections=edit(before, edited, kept.channels)), config()) == edited


def test_a_moved_boundary_is_kept_beyond_the_resolution() -> None:
    moved = [*ANSWER[:1], replace(ANSWER[1], end=ANSWER[1].end - 2 * RESOLUTION), *ANSWER[2:]]
    moved[2] = replace(moved[2], start=moved[1].end)
    assert turns_from(lay_over(as_updates(ANSWER), edit(ANSWER, moved, ()))) == moved
