"""Audacity's labels and Praat's TextGrid, read back by other readers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid
from praatio.data_classes.textgrid import Textgrid

from diarize.labels import Label, format_audacity, format_textgrid, labels, legible
from diarize.rttm import Turn, milliseconds

MILLISECOND = 16
NAMES = [
    "SPEAKER_00",
    "SPEAKER_01",
    'Ana "the <boss>" María',
    "a\tb\r\nc",
    "=1+1",
    "李小龙",
    "\udcff",
    "  ",
    "-->",
    "&amp;",
]
turns = st.lists(
    st.builds(
        lambda start, length, name: Turn(start, start + length, name),
        st.integers(0, 400 * MILLISECOND) | st.integers(0, 10**10),
        st.integers(1, 100 * MILLISECOND),
        st.sampled_from(NAMES),
    ),
    max_size=12,
)


def moments(stretches: list[tuple[int, int]]) -> set[int]:
    return {moment for start, end in stretches for moment in range(start, end)}


def read(folder: Path, text: str, silences: bool = False) -> Textgrid:
    (folder / "x.TextGrid").write_text(text, encoding="utf-8")
    return textgrid.openTextgrid(str(folder / "x.TextGrid"), includeEmptyIntervals=silences, reportingMode="error")


@settings(deadline=None, max_examples=100)
@given(turns)
def test_labels_cover_what_the_turns_do_and_never_overlap(spoken: list[Turn]) -> None:
    found = labels(spoken)
    assert found == sorted(found)
    for name in {legible(turn.speaker) for turn in spoken}:
        own = [label for label in found if label.name == name]
        assert all(label.start < label.end for label in own)
        assert all(one.end <= other.start for one, other in pairwise(own))
        rounded = [
            (milliseconds(turn.start), max(milliseconds(turn.end), milliseconds(turn.start) + 1))
            for turn in spoken
            if legible(turn.speaker) == name
        ]
        assert moments([label[:2] for label in own]) == moments(rounded)
    assert {label.name for label in found} == {legible(turn.speaker) for turn in spoken}


def test_turns_that_meet_stay_two_labels_and_a_long_one_takes_in_short_ones() -> None:
    spoken = [Turn(0, 160, "a"), Turn(160, 320, "a"), Turn(400, 800, "b"), Turn(416, 432, "b"), Turn(500, 520, "b")]
    assert labels(spoken) == [Label(0, 10, "a"), Label(10, 20, "a"), Label(25, 50, "b")]
    assert labels([Turn(8, 9, "a"), Turn(9, 10, "a")]) == [Label(1, 2, "a")]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ana María", "Ana María"),
        ("a\tb\r\nc", "a b c"),
        ("\x00\x1b[1mx\u2028y", "[1mx y"),
        ("caf\udce9", "caf?"),
        ("", "?"),
        (" \n", "?"),
    ],
)
def test_a_name_is_one_legible_line(name: str, written: str) -> None:
    assert legible(name) == written


@settings(deadline=None, max_examples=100)
@given(turns)
def test_audacity_takes_every_line_apart(spoken: list[Turn]) -> None:
    text = format_audacity(spoken)
    fields = [line.split("\t") for line in text.split("\n")[:-1]]
    assert [(round(float(start) * 1000), round(float(end) * 1000), name) for start, end, name in fields] == labels(
        spoken
    )


def test_audacity_as_its_manual_shows_it() -> None:
    assert format_audacity([Turn(34_400, 54_400, "Ana"), Turn(0, 16_000, "Bob")]) == (
        "0.000\t1.000\tBob\n2.150\t3.400\tAna\n"
    )
    assert format_audacity([]) == ""


@settings(deadline=None, max_examples=50)
@given(turns, st.integers(0, 10**9))
def test_praatio_reads_back_every_tier(
    tmp_path_factory: pytest.TempPathFactory, spoken: list[Turn], duration: int
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    text = format_textgrid(spoken, duration)
    grid = read(folder, text)
    expected = labels(spoken)
    found = [
        Label(round(interval.start * 1000), round(interval.end * 1000), interval.label)
        for tier in grid.tiers
        for interval in tier.entries
    ]
    assert sorted(found) == expected
    assert list(grid.tierNames) == (list(dict.fromkeys(label.name for label in expected)) or ["speech"])
    assert all(interval.label == tier.name for tier in grid.tiers for interval in tier.entries)
    end = max([milliseconds(duration), 1, *(label.end for label in expected)])
    for tier in read(folder, text, silences=True).tiers:  # Praat wants every tier filled from 0 to the end
        edges = [(interval.start, interval.end) for interval in tier.entries]
        assert edges[0][0] == 0
        assert round(edges[-1][1] * 1000) == end
        assert all(one[1] == other[0] for one, other in pairwise(edges))


def test_textgrid_as_praat_writes_it() -> None:
    assert format_textgrid([Turn(16_000, 24_000, 'the "boss"')], 32_000).splitlines() == [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0.000",
        "xmax = 2.000",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        '        name = "the ""boss"""',
        "        xmin = 0.000",
        "        xmax = 2.000",
        "        intervals: size = 3",
        "        intervals [1]:",
        "            xmin = 0.000",
        "            xmax = 1.000",
        '            text = ""',
        "        intervals [2]:",
        "            xmin = 1.000",
        "            xmax = 1.500",
        '            text = "the ""boss"""',
        "        intervals [3]:",
        "            xmin = 1.500",
        "            xmax = 2.000",
        '            text = ""',
    ]
