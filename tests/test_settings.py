"""docs/settings.md lists every setting, with the default it has."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

from diarize.config import from_mapping, recipes
from diarize.pipeline import PipelineConfig, load_config

DOCUMENT = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
NOT_SET = "not set"


def settings(config: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every setting under its full name, with its value."""
    for field in fields(config):  # type: ignore[arg-type]  # every part is a dataclass
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def written(value: object) -> str:
    """A value as the document shows it."""
    return NOT_SET if value is None else f"`{json.dumps(value)}`"


def test_every_setting_is_there_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", DOCUMENT, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows}), "a setting is listed twice"
    assert dict(rows) == {name: written(value) for name, value in settings(PipelineConfig())}


def test_every_row_says_what_the_setting_is() -> None:
    rows = [line.split(" | ") for line in DOCUMENT.splitlines() if re.match(r"\| `\w+\.\w+` \|", line)]
    assert rows
    assert not [row[0] for row in rows if len(row) < 3 or len(row[2]) < 10]


def test_settings_in_the_text_exist() -> None:
    known = dict(settings(PipelineConfig()))
    groups = "vad|segmentation|windows|embedding|clustering|turns|live|online|crosstalk|linking"
    named = re.findall(rf"\b((?:{groups})\.\w+)=", DOCUMENT)
    assert named
    assert set(named) <= known.keys()


def test_the_recipe_and_the_commands_in_the_text_are_valid() -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert from_mapping(PipelineConfig, tomllib.loads(recipe)).clustering.num_speakers == 2
    for command in re.findall(r"^diarize file .*", DOCUMENT, re.MULTILINE):
        load_config(settings=re.findall(r"--set (\S+)", command))
    assert load_config("telephone", ["turns.gap=1"]).turns.gap == 1


def test_the_shipped_recipes_are_named() -> None:
    (named,) = re.findall(r"Those that come with the package are (.*?)\.\n", DOCUMENT)
    assert set(re.findall(r"`(\w+)`", named)) == set(recipes())
