"""Which settings are searched, between which values, and what a setting is set to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from diarize.config import from_mapping, merge, parse_settings
from diarize.pipeline import PipelineConfig

CHEAP, DEAR = ("clustering", "turns"), ("vad", "windows")
"""The groups of settings that are tuned: from the embeddings alone, and by making them anew, which takes minutes."""


@dataclass(frozen=True)
class Range:
    """Where the value of a setting is searched: from low to high, whole numbers if `whole`."""

    low: float
    high: float
    whole: bool = False


SPACE: Mapping[str, Range] = {
    "clustering.threshold": Range(0.15, 0.6),
    "clustering.switch_penalty": Range(0.0, 0.4),
    "turns.gap": Range(0.0, 1.0),
    "turns.sliver": Range(0.0, 0.6),
}
"""What is searched unless told: few, since few recordings say little."""


def parse_ranges(ranges: Sequence[str], config: PipelineConfig) -> dict[str, Range]:
    """`["clustering.threshold=0.2..0.5", ...]` as ranges; `SPACE` where there are none.

    config: all lows together, and all highs, must be possible in it.

    Raises ValueError for what is not of this form, an empty range, a setting that does not exist, is no number or has
    no effect on a file, and a value that it refuses.
    """
    ends = dict(map(_ends, ranges))
    changed(config, {name: high for name, (_, high) in ends.items()})
    kinds = present(changed(config, {name: low for name, (low, _) in ends.items()}), ends)
    return {name: Range(low, high, isinstance(kinds[name], int)) for name, (low, high) in ends.items()} or dict(SPACE)


def _ends(text: str) -> tuple[str, tuple[float, float]]:
    name, _, values = (part.strip() for part in text.partition("="))
    low, _, high = values.partition("..")
    try:
        ends = _number(low), _number(high)
    except ValueError:
        wanted = "part.name=low..high, such as clustering.threshold=0.2..0.5"
        raise ValueError(f"range {text!r} is not of the form {wanted}") from None
    if not ends[0] < ends[1]:
        raise ValueError(f"range {text!r} is empty: {low} is not below {high}")
    known = {field.name for field in fields(PipelineConfig)}
    if name.partition(".")[0] in known - {*CHEAP, *DEAR}:
        raise ValueError(f"{name} cannot be tuned: give settings of {', '.join(CHEAP + DEAR)}")
    return name, ends


def _number(text: str) -> float:
    """Whole numbers stay whole, as TOML has it.  Raises ValueError for what is no finite number."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number):
            raise
        return number


def present(config: PipelineConfig, names: Iterable[str]) -> dict[str, float]:
    """The values that settings have; what is not set has none."""
    pairs = [(name, *name.split(".")) for name in names]
    values = {name: getattr(getattr(config, part), key) for name, part, key in pairs}
    return {name: value for name, value in values.items() if value is not None}


def changed(config: PipelineConfig, values: Mapping[str, float]) -> PipelineConfig:
    """The settings with these values.  Raises ValueError as they do."""
    changes = parse_settings([f"{name}={json.dumps(value)}" for name, value in values.items()])
    return from_mapping(PipelineConfig, merge(stated(config), changes))


def stated(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """What differs from the defaults, as a recipe states it."""
    defaults = asdict(PipelineConfig())
    differing = {
        part: {key: value for key, value in values.items() if value != defaults[part][key]}
        for part, values in asdict(config).items()
    }
    return {part: values for part, values in differing.items() if values}
