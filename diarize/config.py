"""Settings from TOML into frozen dataclasses, with errors that name what is wrong and what would be right."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")

TRAINING = {"embedding": "train", "segmentation": "train_segmentation"}
"""The shipped recipes that say how the bundled networks are trained, by what is trained."""


def from_mapping(kind: type[Config], values: Mapping[str, Any], prefix: str = "") -> Config:
    """Make a (nested) frozen dataclass from a (nested) mapping; what is not given keeps its default.

    Raises ValueError for a key that does not exist, naming the known ones, for a value of the wrong type, and
    whatever the dataclass itself refuses.
    """
    types = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every `kind` is a dataclass
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(prefix + k for k in known)}"
            raise ValueError(f"unknown setting {prefix}{key}: {hint}")
    return kind(**{key: _value(types[key], value, prefix + key) for key, value in values.items()})


def recipes() -> dict[str, Path]:
    """The shipped recipes of pipelines by name; those of `TRAINING` lie beside them."""
    return {file.stem: file for file in sorted(_shipped().glob("*.toml")) if file.stem not in TRAINING.values()}


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """What a recipe sets: the name of a shipped one, or the path of a TOML file.

    Raises ValueError for an unknown recipe and for what is not TOML.
    """
    named = _shipped() / f"{recipe}.toml"
    path = named if named.is_file() else Path(recipe)
    if not path.is_file():
        known = ", ".join(recipes())
        raise ValueError(f"no recipe {str(recipe)!r}: give the path of a TOML file or one of {known}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {path} is not TOML: {error}") from error


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["vad.onset=0.6", ...]` as a nested mapping.  A value is read as TOML; what is not TOML is text.

    Raises ValueError for a setting without a key or "=".
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        parts = [part.strip() for part in path.split(".")]
        if not equals or not all(parts):
            raise ValueError(f"setting {setting!r} is not of the form part.name=value, such as vad.onset=0.6")
        parsed = merge(parsed, _nested(parts, _toml_value(text.strip())))
    return parsed


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one, where both have a value that of `over`; mappings inside are merged in the same way."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]  # `both` says so
    return merged


def _shipped() -> Path:
    """The folder of the shipped recipes: in the package once installed, beside it in the repository."""
    inside = Path(str(files("diarize"))) / "pipelines"
    return inside if inside.is_dir() else inside.parents[1] / "pipelines"


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _value(expected: Any, value: Any, name: str) -> Any:
    if is_dataclass(expected):
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is a group of settings, not a value: set {name}.{fields(expected)[0].name}")
        return from_mapping(expected, value, name + ".")  # type: ignore[arg-type]  # a dataclass type, not an instance
    if get_origin(expected) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {value!r}: it must be a list")
        return tuple(_value(get_args(expected)[0], item, f"{name}[{place}]") for place, item in enumerate(value))
    kinds = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise ValueError(f"{name} is {value!r}: it must be of type {wanted}")
    return value
