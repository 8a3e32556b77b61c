"""What became of many recordings, as it is told."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from rich.console import Console

from diarize.formats import Diarization
from diarize.orders import Order, Outcome
from diarize.summary import MANY, Summary
from diarize.types import TurnUpdate

TURNS = (
    TurnUpdate(0, 0, 16_000, "SPEAKER_00", None, 1.0, True),
    TurnUpdate(1, 16_000, 32_000, "SPEAKER_01", None, 1.0, True),
    TurnUpdate(2, 32_000, 48_000, "SPEAKER_00", None, 1.0, True),
)


def order(file: str) -> Order:
    return Order(file, {"rttm": None})


def done(file: str, took: float = 0.5) -> Outcome:
    return Outcome(order(file), result=Diarization(file, 48_000, TURNS), took=took)


def failed(file: str) -> Outcome:
    return Outcome(order(file), error=f"{file}: no such file")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> list[str]:
    return [row[name] for name in ("state", "seconds", "speakers", "turns", "took")]


def test_the_csv_is_up_to_date_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.csv"
    names = ["a.wav", "b, c.wav", "d\n.wav", os.fsdecode(b"\xff.wav")]
    summary = Summary([order(name) for name in names], [], path)
    assert [(row["file"], row["state"]) for row in rows(path)] == [(name, "waiting") for name in names]
    summary.add(done("b, c.wav"))
    summary.add(failed("d\n.wav"))
    assert [row["file"] for row in rows(path)] == names
    assert [row["state"] for row in rows(path)] == ["waiting", "done", "failed", "waiting"]
    assert numbers(rows(path)[1]) == ["done", "3.0", "2", "3", "0.5"]
    assert rows(path)[2]["error"] == "d\n.wav: no such file"
    assert [row.file for row in summary.failed] == ["d\n.wav"]


def test_what_an_earlier_run_found_out_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    orders = [order(name) for name in ("a.wav", "=b.wav", "c.wav")]
    first = Summary(orders, [], path)
    first.add(done("a.wav", 0.25))
    first.add(done("=b.wav"))
    second = Summary(orders, {"a.wav", "=b.wav"}, path)
    assert [numbers(row) for row in rows(path)] == [
        ["skipped", "3.0", "2", "3", "0.25"],
        ["skipped", "3.0", "2", "3", "0.5"],
        ["waiting", "", "", "", ""],
    ]
    assert rows(path)[1]["file"] == "./=b.wav"  # or a spreadsheet would take it for a formula
    second.add(done("c.wav"))
    assert list(second.lines()) == ["3 recordings: 1 done, 2 skipped; 0:00:03 of audio in 0:00:00"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"file,seconds\na.wav,x\n", b'"', b"a,b\n" + b"\0" * 9])
def test_what_is_no_summary_is_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "summary.csv"
    path.write_bytes(content)
    Summary([order("a.wav")], {"a.wav"}, path)
    assert [numbers(row) for row in rows(path)] == [["skipped", "", "", "", ""]]


def test_a_disk_that_fills_up_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = Summary([order("a.wav")], [], tmp_path / "summary.csv")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    summary.add(done("a.wav"))
    with pytest.raises(OSError, match="No space left on device"):
        summary.save()


def test_few_recordings_make_a_table() -> None:
    summary = Summary([order(name) for name in ("a\t.wav", "[b].wav", "c.wav")], ["c.wav"], None)
    summary.add(done("a\t.wav"))
    summary.add(failed("[b].wav"))
    console = Console(width=80)
    with console.capture() as capture:
        console.print(summary.table())
    cells = [line.split() for line in capture.get().splitlines()]
    assert ["a\\t.wav", "0:00:03", "2", "3", "6×", "done"] in cells
    assert ["[b].wav", "failed"] in cells
    assert ["c.wav", "skipped"] in cells
    assert list(summary.lines()) == ["3 recordings: 1 done, 1 skipped, 1 failed; 0:00:03 of audio in 0:00:00"]


def test_of_many_only_those_that_failed_are_listed() -> None:
    names = [f"{number}.wav" for number in range(100)]
    summary = Summary([order(name) for name in names], [], None)
    for name in names[:30]:
        summary.add(failed(name))
    *listed, more, last = summary.lines()
    assert listed == [f"failed: {name}: no such file" for name in names[:MANY]]
    assert (more, last) == ("failed: 10 more", "100 recordings: 70 waiting, 30 failed")
