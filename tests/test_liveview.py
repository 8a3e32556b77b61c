"""What is seen while the microphone is heard."""

from __future__ import annotations

import io
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from diarize.microphone.view import (
    CLIPPED,
    RECENT,
    PlainView,
    Shown,
    Status,
    TerminalView,
    clock,
    open_view,
    picture,
    talking,
)
from diarize.rttm import newest
from diarize.types import SAMPLE_RATE, Identity, TurnUpdate

QUIET = Status(heard=0, shown=0, level=-60.0)

updates = st.lists(
    st.builds(
        lambda number, start, length, speaker: TurnUpdate(
            number, start, start + length, speaker, None, 0.5, final=False
        ),
        st.integers(0, 15),
        st.integers(0, 1000),
        st.integers(1, 1000),
        st.sampled_from(["SPEAKER_00", "SPEAKER_01", None]),
    ),
    max_size=40,
)


def turn(number: int, start: float, end: float, speaker: int | None, confidence: float = 0.5) -> TurnUpdate:
    label = None if speaker is None else f"SPEAKER_{speaker:02d}"
    return TurnUpdate(number, round(start * 16_000), round(end * 16_000), label, None, confidence, final=False)


def plain(*batches: list[TurnUpdate]) -> list[str]:
    """The lines that the plain view prints."""
    file = io.StringIO()
    with open_view(Console(file=file, width=200)) as view:
        assert isinstance(view, PlainView)
        for batch in batches:
            view.show(batch, QUIET)
    return file.getvalue().splitlines()


def drawn(turns: list[TurnUpdate], status: Status) -> list[str]:
    """The lines of the terminal's picture."""
    shown = Shown()
    for update in turns:
        shown.apply(update)
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(picture(shown, status))
    return [line.rstrip() for line in capture.get().splitlines()]


@given(updates)
@settings(deadline=None)
def test_what_is_shown_is_the_newest_of_each(sequence: list[TurnUpdate]) -> None:
    shown = Shown()
    for update in sequence:
        shown.apply(update)
    answer = newest(sequence)
    assert sorted(shown.turns.values(), key=lambda turn: (turn.start, turn.end, turn.id)) == answer
    spoken = {speaker: length for speaker, length in shown.spoken.items() if length}
    assert spoken == {
        speaker: sum(turn.end - turn.start for turn in answer if turn.speaker == speaker)
        for speaker in {turn.speaker for turn in answer}
    }
    last = shown.newest()
    assert [turn.start for turn in last] == sorted((turn.start for turn in answer), reverse=True)[:RECENT]


def test_lines_tell_what_is_new_and_what_is_corrected() -> None:
    assert plain(
        [turn(0, 0.5, 1.5, 0)],
        [turn(0, 0.5, 3.0, 0), turn(1, 3661.25, 3662, 1, 0.875)],
        [turn(0, 0.5, 3.0, 2), turn(1, 3661.25, 3662, None)],
        [turn(0, 0.5, 3.0, 2)],
    ) == [
        "0:00:00.5 - 0:00:01.5  SPEAKER_00  0.50",
        "1:01:01.2 - 1:01:02.0  SPEAKER_01  0.88",
        "0:00:00.5 - 0:00:03.0  SPEAKER_02  0.50  revised, was SPEAKER_00",
        "1:01:01.2 - 1:01:02.0  -  0.50  withdrawn, was SPEAKER_01",
    ]


def called(update: TurnUpdate, name: str | None) -> TurnUpdate:
    return replace(update, identity=Identity(name, 0.6, None, "near enough"))


def test_lines_tell_who_gets_a_name_and_who_loses_it() -> None:
    first, second = turn(0, 0.5, 1.5, 0), turn(1, 2, 3, 0)
    assert plain(
        [first],
        [called(first, "Ana [María]"), called(second, "Ana [María]")],
        [called(turn(0, 0.5, 1.5, 1), None)],
        [called(second, None)],
    ) == [
        "0:00:00.5 - 0:00:01.5  SPEAKER_00  0.50",
        "SPEAKER_00 is Ana [María]",
        "0:00:02.0 - 0:00:03.0  Ana [María]  0.50",
        "0:00:00.5 - 0:00:01.5  SPEAKER_01  0.50  revised, was Ana [María]",
        "SPEAKER_00 is nobody known",
    ]


def test_the_picture_has_names() -> None:
    turns = [turn(0, 0.5, 6.5, 0, 0.91), called(turn(1, 7, 9, 1, 0.4), "Bo [x]"), called(turn(2, 9, 10, 0), "Ana")]
    lines = drawn(turns, Status(heard=160_000, shown=10 * 16_000, level=-15.0))
    assert lines[0] == "0:00:10.0  ● Ana"
    assert [line.split("  ")[2] for line in lines[3:6]] == ["SPEAKER_00", "Bo [x]", "Ana"]
    assert [line.split("  ")[0] for line in lines[7:9]] == ["Ana", "Bo [x]"]


def test_the_picture() -> None:
    turns = [turn(0, 0.5, 6.5, 0, 0.91), turn(1, 7, 9, 1, 0.4)]
    status = Status(heard=160_000, shown=9 * 16_000, level=-15.0, gaps=2, lost=0.75)
    assert drawn(turns, status) == [
        "0:00:10.0  ● SPEAKER_01",
        "level ███████████████·····  -15 dBFS   delay 1.0 s   lost 0.8 s in 2 gaps",
        "",
        "0:00:00.5  0:00:06.5  SPEAKER_00  0.91",
        "0:00:07.0  0:00:09.0  SPEAKER_01  0.40",
        "",
        "SPEAKER_00   75%  0:00:06.0  ███████████████",
        "SPEAKER_01   25%  0:00:02.0  █████",
        "Ctrl-C ends",
    ]


def test_the_picture_of_nothing() -> None:
    assert drawn([], QUIET) == [
        "0:00:00.0  nobody talks",
        "level ····················  -60 dBFS   delay 0.0 s",
        "Ctrl-C ends",
    ]


def test_the_picture_shows_the_last_turns_and_what_is_too_loud() -> None:
    turns = [turn(number, 2 * number, 2 * number + 1, number % 3) for number in range(30)]
    lines = drawn([*turns, turn(29, 58, 59, None)], Status(heard=60 * 16_000, shown=59 * 16_000, level=CLIPPED))
    assert lines[0].endswith("nobody talks")
    assert lines[1].startswith("level ████████████████████    0 dBFS  too loud")
    assert [line.split()[0] for line in lines[3 : 3 + RECENT]] == [clock(2 * n * SAMPLE_RATE) for n in range(19, 29)]
    assert lines[3 + RECENT] == ""


def test_who_talks_are_those_who_reach_the_edge() -> None:
    turns = [turn(0, 0, 5, 0), turn(1, 4, 6, 1), turn(2, 5.5, 6.5, 2), turn(3, 6, 6.4, 1)]
    assert talking(turns, 6 * SAMPLE_RATE) == ["SPEAKER_01", "SPEAKER_02"]
    assert talking(turns, 7 * SAMPLE_RATE) == []


def test_on_a_terminal_the_picture_is_drawn_and_gone_at_the_end() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=30)
    with open_view(console) as view:
        assert isinstance(view, TerminalView)
        view.show([turn(0, 0.5, 6.5, 0)], Status(heard=112_000, shown=96_000, level=-20.0))
        drawing = file.getvalue()
        assert "● SPEAKER_00" in drawing
        assert "delay 1.0 s" in drawing
    after = file.getvalue().removeprefix(drawing)
    assert after.count("\x1b[2K") >= drawing.count("\n"), "every line is cleared"
