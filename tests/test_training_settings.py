"""docs/training.md and docs/segmentation.md list every setting of their training recipes, with its default."""

from __future__ import annotations

import re
from pathlib import Path

from diarize.training.recipe import TrainConfig, load_recipe
from diarize.training.segmentation.recipe import SegmentationRecipe, load_segmentation_recipe
from tests.test_settings import settings, written

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = (DOCS / "training.md").read_text(encoding="utf-8")
SEGMENTATION = (DOCS / "segmentation.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| (`[^|]+`|not set) \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall(DOCUMENT)
ELSEWHERE = ("pieces.scenes.", "optimizer.")


def test_every_setting_is_there_with_its_default() -> None:
    assert len(ROWS) == len({name for name, _, _ in ROWS}), "a setting is listed twice"
    assert {name: default for name, default, _ in ROWS} == {
        name: written(value) for name, value in settings(TrainConfig())
    }


def test_every_row_says_what_the_setting_is() -> None:
    assert ROWS
    assert not [name for name, _, words in ROWS if len(words) < 10]


def test_settings_in_the_text_exist() -> None:
    named = re.findall(r"--set ([\w.]+=\S+?)[`\s]", DOCUMENT)
    assert named
    load_recipe(settings=named)


def test_every_setting_of_a_segmentation_is_there_with_its_default() -> None:
    rows = ROW.findall(SEGMENTATION)
    assert {name: default for name, default, _ in rows} == {
        name: written(value) for name, value in settings(SegmentationRecipe()) if not name.startswith(ELSEWHERE)
    }
    assert not [name for name, _, words in rows if len(words) < 10]


def test_settings_of_a_segmentation_in_the_text_exist() -> None:
    named = re.findall(r"--set ((?!segmentation)[\w.]+=\S+?)[`\s]", SEGMENTATION)
    assert named
    load_segmentation_recipe("train_segmentation", named)
