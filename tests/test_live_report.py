"""The report on a live stream: known answers for logs made by hand, counting by frames as an oracle, real audio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import groupby, pairwise
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from diarize.clustering.memory import EmbeddingFile
from diarize.live import TICK
from diarize.live_report import FRAME, LiveReport, Log, follow, format_reports, provisional, report, simulate
from diarize.metrics import score
from diarize.pipeline import SpeakerDiarization, load_config
from diarize.rttm import Turn, read_rttm, turns_from
from diarize.sources import open_source
from diarize.types import SAMPLE_RATE, AudioChunk, TurnUpdate, position
from tests.command import SAMPLE, conversation

LATENCY = 2 * SAMPLE_RATE


def said(at: float, number: int, start: float, end: float, speaker: str | None) -> tuple[int, TurnUpdate]:
    """An entry of a log; times in seconds."""
    return position(at), TurnUpdate(number, position(start), position(end), speaker, None, 1.0, final=False)


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(position(start), position(end), speaker)


def reported(log: Log, length: float = 20) -> LiveReport:
    return report(log, position(length), LATENCY)


def test_what_is_shown_late_is_missing_at_first() -> None:
    log = [said(6, 0, 0, 6, "A"), said(7, 0, 0, 7, "A"), said(10, 0, 0, 10, "A"), said(20, 0, 0, 10, "A")]
    # of 0 to 4 s nothing was shown at 2 to 6 s, of 7 to 8 s not at 9 to 10 s
    assert provisional(log, LATENCY) == [turn(4, 7, "A"), turn(8, 10, "A")]
    scored = report(log, position(20), LATENCY, [turn(0, 10, "x")])
    assert scored.provisional.strict.miss == pytest.approx(0.5)
    assert scored.provisional.strict.der == pytest.approx(0.5)
    assert scored.final.strict.der == 0
    assert (scored.first_label_s, scored.revised_s, scored.flips) == (6, 0, 0)


def test_a_flip() -> None:
    log = [said(1, 0, 0, 1, "A"), said(4, 0, 0, 4, "A"), said(5, 1, 4, 5, "B"), said(9, 0, 0, 4, "B")]
    log += [said(20, 0, 0, 4, "B"), said(20, 1, 4, 5, "B")]
    assert provisional(log, LATENCY) == [turn(0, 1, "A"), turn(2, 4, "A"), turn(4, 5, "B")]
    told = reported(log)
    assert (told.shown_s, told.revised_s, told.flips, told.false_speakers) == (5, 4, 1, 1)
    assert told.revision_rate == pytest.approx(0.8)
    assert told.flips_per_minute == pytest.approx(3)
    scored = report(log, position(20), LATENCY, [turn(0, 5, "x")])
    assert (scored.provisional.strict.miss_s, scored.provisional.strict.confusion_s) == pytest.approx((1, 1))
    assert scored.final.strict.der == 0


def test_a_withdrawn_turn() -> None:
    log = [said(3, 0, 2, 3, "A"), said(4, 1, 3, 4, "B"), said(4.5, 1, 3, 4, None), said(20, 0, 2, 3, "A")]
    assert provisional(log, LATENCY) == [turn(2, 3, "A")]  # B was gone before it counted
    told = reported(log)
    assert (told.shown_s, told.revised_s, told.flips, told.false_speakers) == (2, 1, 1, 1)
    assert told.first_label_s == 1
    late = [*log[:2], said(7, 1, 3, 4, None), log[-1]]
    assert provisional(late, LATENCY) == [turn(2, 3, "A"), turn(3, 4, "B")]


def test_a_new_speaker_who_was_none() -> None:
    log = [said(2, 0, 0, 2, "A"), said(4, 1, 2, 4, "B"), said(5, 2, 4, 5, "C"), said(8, 1, 2, 4, "A")]
    log += [said(20, 0, 0, 4, "A"), said(20, 1, 2, 4, None), said(20, 2, 4, 5, "C")]
    told = reported(log)
    assert (told.shown_s, told.revised_s, told.flips, told.false_speakers) == (5, 2, 1, 1)


def test_half_a_turn_that_gets_another_label_under_a_new_id_is_revised() -> None:
    told = reported([said(4, 0, 0, 4, "A"), said(6, 0, 0, 2, "A"), said(6, 1, 2, 4, "B")])
    assert (told.shown_s, told.revised_s, told.flips, told.false_speakers) == (4, 2, 1, 0)


def test_another_id_for_the_same_label_is_no_revision() -> None:
    told = reported([said(4, 0, 0, 4, "A"), said(6, 0, 0, 4, None), said(6, 1, 0, 4, "A")])
    assert (told.shown_s, told.revised_s, told.flips, told.false_speakers) == (4, 0, 0, 0)


def test_a_turn_that_comes_back_after_it_was_past() -> None:
    log = [said(2, 0, 0, 2, "A"), said(10, 1, 9, 10, "A"), said(11, 0, 0, 2, "B"), said(20, 1, 9, 10, "A")]
    assert provisional(log, LATENCY) == [turn(0, 2, "A"), turn(9, 10, "A")]
    assert reported(log).revised_s == 2


def test_nothing_said_is_a_valid_report() -> None:
    told = report([], position(20), LATENCY, [])
    assert provisional([], LATENCY) == []
    assert (told.first_label_s, told.revision_rate, told.flips_per_minute, told.final.strict.der) == (
        None,
        None,
        0,
        None,
    )
    assert LiveReport().flips_per_minute is None
    assert reported([]).as_dict()["final"] is None


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A log of updates in time, whose positions are whole frames."""
    log = []
    for at in sorted(draw(st.lists(st.integers(0, 40), max_size=12))):
        start = draw(st.integers(0, 28))
        speaker = draw(st.sampled_from(["A", "B", "C", None]))
        update = TurnUpdate(
            draw(st.integers(0, 4)), FRAME * start, FRAME * draw(st.integers(start + 1, 30)), speaker, None, 1.0, False
        )
        log.append((FRAME * at, update))
    return log


def answers(log: Log) -> Iterator[tuple[int, list[set[str]]]]:
    """For each time of a log, in frames, who was shown in each of 30 frames after it."""
    for at, _ in groupby(log, key=itemgetter(0)):
        turns = turns_from(update for when, update in log if when <= at)
        yield at // FRAME, [{one.speaker for one in turns if one.start <= FRAME * x < one.end} for x in range(30)]


@settings(deadline=None, max_examples=150)
@given(logs(), st.integers(0, 20))
def test_provisional_is_what_was_shown_then(log: Log, latency: int) -> None:
    history = [(0, [set[str]()] * 30), *answers(log)]
    end = history[-1][0]
    found = provisional(log, FRAME * latency)
    for x in range(30):
        shown = [answer for at, answer in history if at <= x + latency][-1] if x + latency < end else history[-1][1]
        assert {one.speaker for one in found if one.start <= FRAME * x < one.end} == shown[x]
    assert all(a.speaker != b.speaker or a.end < b.start or b.end < a.start for a in found for b in found if a != b)


@settings(deadline=None, max_examples=150)
@given(logs())
def test_revisions_are_what_was_shown_before_and_is_not_after(log: Log) -> None:
    history = [[set[str]()] * 30, *(answer for _, answer in answers(log))]
    changed = [
        "".join("x" if old and old != new else " " for old, new in zip(before, after, strict=True))
        for before, after in pairwise(history)
    ]
    told = reported(log)
    assert position(told.shown_s) == FRAME * sum(any(answer[x] for answer in history) for x in range(30))
    assert position(told.revised_s) == FRAME * sum(any(marks[x] == "x" for marks in changed) for x in range(30))
    assert told.flips == sum(len(marks.split()) for marks in changed)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20), st.sampled_from("AB")), max_size=6),
    st.integers(1, 10),
    st.integers(1, 15),
)
def test_without_revisions_only_what_is_late_differs(
    lines: list[tuple[int, int, str]], latency: int, delay: int
) -> None:
    log, final, now = [], [], 0
    for number, (gap, length, speaker) in enumerate(lines):
        start, end = now + gap, now + gap + length
        final.append(Turn(start * TICK, end * TICK, speaker))
        now = end
        for at in range(start + delay, end + delay + 1):  # all that is there of it, from `delay` ticks after it begins
            update = TurnUpdate(number, start * TICK, min(at, end) * TICK, speaker, None, 1.0, False)
            log.append((at * TICK, update))
    log.sort(key=itemgetter(0))
    late = max(0, delay - latency) * TICK
    expected = [Turn(one.start + late, one.end, one.speaker) for one in final if one.start + late < one.end]
    log += [((now + 100) * TICK, update) for _, update in log]  # the flush says them again
    assert provisional(log, latency * TICK) == expected
    told = report(log, (now + 100) * TICK, latency * TICK)
    assert (told.revised_s, told.flips, told.false_speakers) == (0, 0, 0)
    assert turns_from(update for _, update in log) == final


def test_reports_add() -> None:
    one = report([said(4, 0, 0, 4, "A"), said(6, 0, 0, 4, "B")], position(60), LATENCY, [turn(0, 4, "x")])
    two = report([said(3, 0, 2, 3, "A")], position(60), LATENCY, [turn(2, 5, "x")])
    both = sum([one, two, LiveReport()], LiveReport())
    assert both.audio_s == 120
    assert both.first_label_s == 4
    assert (both.shown_s, both.revised_s, both.flips, both.false_speakers) == (5, 4, 1, 1)
    assert both.flips_per_minute == 0.5
    assert both.final == one.final + two.final
    assert both.final.strict.der == pytest.approx(2 / 7)
    assert both.provisional.recordings == 2


def lines(reports: dict[str, LiveReport]) -> list[list[str]]:
    """The words of each line of the table."""
    console = Console(width=120)
    with console.capture() as capture:
        console.print(format_reports(reports, 2.0))
    return [line.split() for line in capture.get().splitlines()]


def test_the_table() -> None:
    log = [said(4, 0, 0, 4, "A"), said(6, 0, 0, 4, "B")]
    one = report(log, position(60), LATENCY, [turn(0, 4, "x")])
    bare = report(log, position(60), LATENCY)
    assert ["[b]one", "4.00", "100.0", "1.0", "1", "50.0", "0.0", "50.0", "0.0"] in lines({"[b]one": one})
    assert ["all", "4.00", "100.0", "1.0", "2", "50.0", "0.0", "50.0", "0.0"] in lines({"one": one, "two": one})
    assert ["one", "4.00", "100.0", "1.0", "1"] in lines({"one": bare})
    assert "DER" not in {word for line in lines({"one": bare}) for word in line}


def test_the_log_is_that_of_a_live_stream_at_every_tick() -> None:
    samples = conversation(7)
    diarization = SpeakerDiarization()
    log = []
    with closing(EmbeddingFile()) as embeddings:
        live = diarization.live(embeddings)
        for start in range(0, len(samples), TICK):
            piece = samples[start : start + TICK]
            log += [(start + len(piece), update) for update in live.push(AudioChunk(start, piece))]
        log += [(len(samples), update) for update in live.flush()]
    assert len(log) > 10
    assert follow(diarization, open_source(samples).chunks()) == log


def test_a_conversation() -> None:
    diarization = SpeakerDiarization(load_config(settings=["live.latency=1.5"]))
    (reference,) = read_rttm(SAMPLE.with_suffix(".rttm")).values()
    heard: list[float] = []
    told = simulate(diarization, open_source(SAMPLE), reference, lambda done, _: heard.append(done))
    offline = score(reference, turns_from(diarization.diarize(SAMPLE).updates))
    assert told.final == offline
    assert told.audio_s == heard[-1] > 59
    assert told.first_label_s is not None
    assert 0.5 < told.first_label_s <= 1.5
    assert told.revised_s <= told.shown_s <= told.audio_s
    assert offline.strict.der is not None
    assert told.provisional.strict.der is not None
    assert abs(told.provisional.strict.der - offline.strict.der) < 0.1
    assert told.provisional.strict.speech_s == offline.strict.speech_s
