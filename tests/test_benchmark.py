"""The benchmark's own logic: its tables, the oracle's speech, the bootstrap, the baseline's turns."""

from __future__ import annotations

import csv
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize import SpeakerDiarization
from diarize.metrics import Errors, score
from diarize.rttm import Turn, read_rttm
from diarize.sources import read
from diarize.types import SAMPLE_RATE, Interval, position
from examples import benchmark
from examples.baseline import GAP, STEP, WINDOW, bridge, label, windows_in
from examples.benchmark import Row, accuracy_table, bootstrap, diarize_speech, keep, replace_table, union
from examples.speed import Cost, Speed, machine, run, speed_table

SAMPLE = Path(__file__).parents[1] / "examples" / "sample" / "conversation.flac"
README = "# title\n<!-- bench:one -->\nold\n<!-- /bench:one -->\ntext\n<!-- bench:two -->\n<!-- /bench:two -->\nend\n"

seconds = st.floats(0, 100)
results = st.lists(st.tuples(*[st.builds(Errors, st.floats(1, 100), seconds, seconds, seconds)] * 2), min_size=1)
stretches = st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=2, max_size=16)


def test_a_table_takes_the_place_of_the_old_one_and_of_nothing_else() -> None:
    assert replace_table(README, "one", "| new |") == README.replace("old", "| new |")
    twice = replace_table(replace_table(README, "two", "| a |\n"), "two", "| b |\n")
    assert twice == README.replace("bench:two -->\n<", "bench:two -->\n| b |\n<")


@pytest.mark.parametrize("missing", ["<!-- bench:one -->", "<!-- /bench:one -->"])
def test_a_missing_marker_is_named(missing: str) -> None:
    with pytest.raises(ValueError, match=f"no marker {missing} for the table 'one'"):
        replace_table(README.replace(missing, ""), "one", "")


def test_a_closing_marker_before_its_opening_one_is_missing() -> None:
    with pytest.raises(ValueError, match="no marker <!-- /bench:one -->"):
        replace_table("<!-- /bench:one --> <!-- bench:one -->", "one", "")


def test_a_full_run_refuses_a_readme_without_markers_before_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("# no markers\n", encoding="utf-8")
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--only", "speed", "--speech", str(tmp_path)])
    with pytest.raises(SystemExit, match="<!-- bench:speed -->"):
        benchmark.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# no markers\n"


def test_without_the_folder_of_speech_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--speech", "/nowhere"])
    with pytest.raises(SystemExit, match="no folder /nowhere: give that of real speech with --speech"):
        benchmark.main()


def test_the_oracle_leaves_only_overlap_missing() -> None:
    reference = read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"]
    samples = read(SAMPLE)
    speech = union(reference, len(samples))
    turns = diarize_speech(SpeakerDiarization(), samples, speech)
    found = score(reference, turns)
    talk = sum(turn.end - turn.start for turn in reference)
    overlap = talk - sum(end - start for start, end in speech)
    assert overlap > SAMPLE_RATE
    # turns of one speaker are joined across 0.3 s: a gap may be filled, and with it nothing else
    filled = sum(after[0] - before[1] for before, after in pairwise(speech))
    assert found.strict.miss_s == pytest.approx(overlap / SAMPLE_RATE, abs=0.02)
    assert found.strict.false_alarm_s <= filled / SAMPLE_RATE
    assert union(turns, len(samples))[0][0] == speech[0][0]
    assert union(turns, len(samples))[-1][1] == speech[-1][1]


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20)), max_size=12), st.integers(1, 100))
@settings(deadline=None)
def test_the_union_is_where_anybody_talks(spans: list[tuple[int, int]], end: int) -> None:
    turns = [Turn(start, start + length, str(i % 3)) for i, (start, length) in enumerate(spans)]
    expected = np.zeros(end, dtype=bool)
    for turn in turns:
        expected[turn.start : turn.end] = True
    found = np.zeros(end, dtype=bool)
    joined = union(turns, end)
    for start, stop in joined:
        assert not found[start:stop].any()
        assert start < stop <= end
        found[start:stop] = True
    assert np.array_equal(found, expected)
    assert all(before[1] < after[0] for before, after in pairwise(joined))


@given(results)
@settings(deadline=None, max_examples=20)
def test_the_interval_lies_within_the_differences_and_changes_sign_with_the_order(
    pairs: list[tuple[Errors, Errors]],
) -> None:
    ours = [Errors(b.speech_s, a.miss_s, a.false_alarm_s, a.confusion_s) for a, b in pairs]
    theirs = [b for _, b in pairs]
    middle, low, high = bootstrap(ours, theirs)
    pooled = sum(ours, Errors()).der, sum(theirs, Errors()).der
    assert pooled[0] is not None
    assert pooled[1] is not None
    assert middle == pytest.approx(pooled[0] - pooled[1])
    each = [(a.der or 0) - (b.der or 0) for a, b in zip(ours, theirs, strict=True)]
    assert min(each) - 1e-9 <= low <= high <= max(each) + 1e-9
    assert bootstrap(theirs, ours) == pytest.approx((-middle, -high, -low))


def test_equal_systems_differ_by_nothing() -> None:
    errors = [Errors(10.0, 1.0, 0.5, 2.0), Errors(20.0, 3.0, 0.0, 1.0)]
    assert bootstrap(errors, errors) == (0, 0, 0)


def test_the_interval_is_that_of_the_textbook() -> None:
    """Equal lengths: the mean of differences, whose interval is 1.96 standard errors to each side."""
    rng = np.random.default_rng(5)
    differences = rng.normal(3, 1, 400)
    middle, low, high = bootstrap([Errors(100.0, 10 + value) for value in differences], [Errors(100.0, 10.0)] * 400)
    wide = 1.96 * differences.std() / 20 / 100
    assert middle == pytest.approx(differences.mean() / 100)
    assert low < middle < high
    assert (low, high) == pytest.approx((middle - wide, middle + wide), abs=wide / 10)


def rows(table: str) -> list[Row]:
    reference = [Turn(0, position(10), "a"), Turn(position(10), position(20), "b")]
    answers = {
        ("diarize", "own"): [Turn(0, position(9), "x"), Turn(position(10), position(20), "y")],
        ("baseline", "own"): [Turn(0, position(20), "x")],
        ("diarize", "oracle"): reference,
        ("baseline", "oracle"): [Turn(0, position(20), "x")],
    }
    return [
        Row(table, name, *which, score(reference, turns)) for name in ("r1", "r2") for which, turns in answers.items()
    ]


def test_the_table_of_accuracy() -> None:
    lines = accuracy_table(rows("real")).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert {len(line) for line in cells} == {12}
    assert cells[2] == ["diarize", "own", "5.0", "5.0", "0.0", "0.0", *cells[2][6:10], "2 of 2", "0.0"]
    assert cells[3][:6] == ["baseline", "own", "50.0", "0.0", "0.0", "50.0"]
    assert cells[3][10:] == ["0 of 2", "1.0"]
    assert cells[4][2:10] == ["0.0"] * 8
    assert "-45.0 (-45.0 to -45.0) with own speech, -50.0 (-50.0 to -50.0) with oracle speech" in lines[-1]


def test_results_are_kept_for_each_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "FOLDER", tmp_path)
    keep(rows("real"))
    whole = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    assert len(whole) == len(sheet) == 8
    assert [line["recording"] for line in sheet] == [one["recording"] for one in whole] == ["r1"] * 4 + ["r2"] * 4
    assert [float(line["strict der"]) for line in sheet] == [
        pytest.approx(100 * one["strict"]["der"], abs=0.05) for one in whole
    ]


def test_the_table_of_speed() -> None:
    stages = {"decode": 1.0, "embed": 3.0}
    table = speed_table(Speed(Cost(12.0, 400.0), Cost(24.0, 600.0), stages))
    assert "| diarize | 12.0 s | 50 | 400 MB |" in table
    assert "| baseline | 24.0 s | 25 | 600 MB |" in table
    assert "| baseline / diarize | 2.00 | | 1.50 |" in table
    assert "decode 1.0 s (25%), embed 3.0 s (75%)" in table
    assert machine() in table


def test_peak_memory_is_that_of_the_command_and_not_of_who_starts_it() -> None:
    held = np.ones(300 << 20, dtype=np.uint8)  # 300 MB in this process
    small, large = (
        run([sys.executable, "-c", f"x = bytearray({megabytes} << 20); x[::4096] = b'1' * len(x[::4096])"])
        for megabytes in (1, 200)
    )
    assert len(held) == 300 << 20
    assert small.megabytes < 100
    assert 200 < large.megabytes < 300
    assert small.seconds > 0


@given(stretches)
@settings(deadline=None, max_examples=30)
def test_the_baseline_labels_all_speech_and_nothing_else(lengths: list[int]) -> None:
    edges = np.cumsum(lengths)
    speech: list[Interval] = [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=False)]
    windows = [window for stretch in speech for window in windows_in(stretch)]
    for start, end in speech:
        inside = [window for window in windows if start <= window[0] and window[1] <= end]
        assert inside[0][0] == start
        assert inside[-1][1] == end
        assert all(0 < after[0] - before[0] <= STEP for before, after in pairwise(inside))
        assert all(stop - first == min(WINDOW, end - start) for first, stop in inside)
    turns = label(speech, windows, [i % 2 for i in range(len(windows))])
    for start, end in speech:
        talked = union([turn for turn in turns if turn.start < end and turn.end > start], int(edges[-1]))
        assert any(first <= start and end <= stop for first, stop in talked)


def test_the_baseline_bridges_short_gaps_of_one_voice() -> None:
    turns = [Turn(0, 100, "a"), Turn(100 + GAP, 20_000, "a"), Turn(20_001 + GAP, 30_000, "a"), Turn(50, 150, "b")]
    assert bridge(turns) == [Turn(0, 20_000, "a"), Turn(50, 150, "b"), Turn(20_001 + GAP, 30_000, "a")]
