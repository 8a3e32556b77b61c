"""The benchmark of live use: its tables, and one short run of its load on the real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from diarize.live_report import LiveReport
from diarize.metrics import Score, score
from diarize.rttm import Turn
from examples.benchmark import replace_table
from examples.live_benchmark import TABLES, load, pcm
from examples.live_tables import Load, corrections_table, hour_table, load_table

ROOT = Path(__file__).parents[1]


def cells(table: str, row: int) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[2 + row].strip("|").split("|")]


def test_the_readme_has_a_place_for_every_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in TABLES.values():
        assert f"<!-- bench:{name} -->\nfigures\n" in replace_table(readme, name, "figures")


def test_the_limit_is_the_most_sessions_whose_labels_came_in_time() -> None:
    loads = [
        Load(1, 0.5, 0.9, 1.1, 0.02, 1.0),
        Load(40, 0.6, 2.0, 1.2, 0.03, 2.0),
        Load(80, 4, 9, 2, 0.01, 3),
    ]
    table = load_table(loads)
    assert cells(table, 1) == ["40", "0.60 s", "2.00 s", "1.20 s", "0.030", "1.50", "2.0"]
    assert "95 % of the labels came within 2 s up to 40 sessions" in table
    assert "not even one session" in load_table(loads[2:])


def test_an_hour_is_a_row_of_sizes() -> None:
    table = hour_table([400.4, 401.6], 1.25)
    assert cells(table, 0) == ["memory of the server", "400 MB", "402 MB"]
    assert table.endswith("1.2 s.")


def test_reports_are_rows_of_their_set_and_latency() -> None:
    turns = [Turn(0, 16_000, "a"), Turn(16_000, 32_000, "b")]
    both = LiveReport(60.0, 1.0, 20.0, 5.0, 6, 1, score(turns, turns[:1]), score(turns, turns)) + LiveReport(
        60.0, 2.0, 20.0, 5.0, 6, 0, Score(), Score()
    )
    assert cells(corrections_table({"two": {2.0: both}}), 0) == [
        *("two", "2 s", "2.00 s", "25.0 %", "6.0", "1.0", "50.0", "0.0")
    ]


def test_a_session_is_measured_on_the_real_server() -> None:
    audio = pcm(ROOT / "examples" / "sample" / "conversation.flac")
    measured = asyncio.run(load([audio], 1, 8.0))
    assert measured.sessions == 1
    assert 0 < measured.median <= measured.p95
    assert measured.cores > 0


def test_a_folder_without_speech_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from examples import live_benchmark

    monkeypatch.setattr("sys.argv", ["live_benchmark.py", "--speech", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="give that of real speech"):
        live_benchmark.main()
