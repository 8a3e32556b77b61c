from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from diarize.training.curves import append_row, draw_curves, read_curves


def row(step: int, **curves: float) -> dict[str, float]:
    return {"step": float(step), **curves}


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    rows = [row(250, softmax=8.25, clean=20.0), row(500, softmax=4.5, clean=12.5)]
    for each in rows:
        append_row(table, each)
    assert read_curves(table) == rows
    assert table.read_text().splitlines() == ["step,softmax,clean", "250,8.25,20", "500,4.5,12.5"]


def test_a_resumed_run_replaces_what_came_after(tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    for step in (250, 500, 750, 1000):
        append_row(table, row(step, softmax=1.0))
    append_row(table, row(750, softmax=2.0))
    assert read_curves(table) == [row(250, softmax=1.0), row(500, softmax=1.0), row(750, softmax=2.0)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_steps_always_rise_and_the_last_row_is_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    table = tmp_path_factory.mktemp("run") / "curves.csv"
    for number, step in enumerate(steps):
        append_row(table, row(step, softmax=float(number)))
    found = [each["step"] for each in read_curves(table)]
    assert found == sorted(set(found))
    assert read_curves(table)[-1] == row(steps[-1], softmax=float(len(steps) - 1))


def test_a_new_column_is_empty_before(tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    append_row(table, row(1, softmax=3.0))
    append_row(table, row(2, softmax=2.0, heard=30.0))
    append_row(table, row(3, heard=29.0))
    with table.open(newline="") as file:
        assert [each["heard"] for each in csv.DictReader(file)] == ["", "30", "29"]
    assert read_curves(table) == [row(1, softmax=3.0), row(2, softmax=2.0, heard=30.0), row(3, heard=29.0)]


def test_a_row_without_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have a step; this has softmax"):
        append_row(tmp_path / "curves.csv", {"softmax": 1.0})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["loss\n1\n", "step,loss\n1,little\n", "step,loss\n1,2,3\n", 'step\n"1\n', "a\xff"])
def test_what_is_no_table_is_refused_and_kept(content: str, tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    table.write_bytes(content.encode("latin-1"))
    before = table.read_bytes()
    with pytest.raises(ValueError, match=r"curves.csv: no table of curves"):
        append_row(table, row(2, loss=1.0))
    assert table.read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_has_every_curve(suffix: str, tmp_path: Path) -> None:
    table, picture = tmp_path / "curves.csv", tmp_path / f"curves{suffix}"
    for step in (1, 2, 3):
        judged = {"clean": 10.0 / step, "heard": 20.0 / step} if step > 1 else {}
        append_row(table, row(step, softmax=9.0 / step, **judged, rate=1e-3, margin=0.0, crops_per_second=50.0))
    draw_curves(table, picture, "a run")
    if suffix == ".svg":
        text = picture.read_text()
        drawn = ("a run", "EER on dev", "clean 3.33", "heard 6.67", "loss", "learning rate", "margin", "crops a second")
        assert [words for words in drawn if words not in text] == []
        assert "distillation" not in text
    else:
        assert imread(picture).std() > 0.01


def test_one_row_and_none_can_be_drawn(tmp_path: Path) -> None:
    table = tmp_path / "curves.csv"
    append_row(table, row(1, softmax=float("nan"), clean=0.0))
    draw_curves(table, tmp_path / "one.png")
    table.write_text("step,softmax\n")
    draw_curves(table, tmp_path / "none.png")
    assert imread(tmp_path / "one.png").shape[0] > imread(tmp_path / "none.png").shape[0]


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    append_row(tmp_path / "curves.csv", row(1))
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        draw_curves(tmp_path / "curves.csv", tmp_path / "curves.jpg")
