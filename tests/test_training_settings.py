"""docs/training.md lists every setting of a training recipe, with the default it has."""

from __future__ import annotations

import re
from pathlib import Path

from diarize.training.recipe import TrainConfig, load_recipe
from tests.test_settings import settings, written

DOCUMENT = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w.]+)` \| (`[^|]+`|not set) \| (.*) \|$", DOCUMENT, re.MULTILINE)


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
