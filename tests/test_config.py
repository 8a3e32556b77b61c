"""Settings from TOML and from `--set`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from diarize.config import from_mapping, merge, parse_settings


@dataclass(frozen=True)
class Part:
    onset: float = 0.5
    frames: int = 3
    name: str = "silero"
    most: int | None = None
    fast: bool = False


@dataclass(frozen=True)
class Whole:
    vad: Part = field(default_factory=Part)


def test_what_is_not_given_keeps_its_default() -> None:
    assert from_mapping(Whole, {}) == Whole()
    assert from_mapping(Whole, {"vad": {"frames": 5}}) == Whole(Part(frames=5))


def test_settings_are_read_as_toml_and_else_as_text() -> None:
    parsed = parse_settings(["vad.onset=0.6", "vad.name=webrtc", "vad.most = 4", "vad.fast=true", 'vad.name="x=y"'])
    assert parsed == {"vad": {"onset": 0.6, "name": "x=y", "most": 4, "fast": True}}
    assert from_mapping(Whole, parsed) == Whole(Part(0.6, 3, "x=y", 4, True))


def test_a_whole_number_will_do_for_a_fraction() -> None:
    onset = from_mapping(Whole, {"vad": {"onset": 1}}).vad.onset
    assert (onset, type(onset)) == (1.0, float)


def test_merging_goes_into_the_parts() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vda": {}}, r"unknown setting vda: did you mean vad\?"),
        ({"vad": {"onst": 1}}, r"unknown setting vad\.onst: did you mean vad\.onset\?"),
        ({"vad": {"qqq": 1}}, r"unknown setting vad\.qqq: known: vad\.onset, vad\.frames"),
        ({"vad": {"onset": "high"}}, r"vad\.onset is 'high': it must be of type float"),
        ({"vad": {"frames": 1.5}}, r"vad\.frames is 1\.5: it must be of type int"),
        ({"vad": {"frames": True}}, r"vad\.frames is True: it must be of type int"),
        ({"vad": {"most": "x"}}, r"vad\.most is 'x': it must be of type int"),
        ({"vad": 3}, r"vad is a group of settings, not a value: set vad\.onset"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Whole, values)


@pytest.mark.parametrize("setting", ["vad.onset", "=3", "vad..onset=3", ""])
def test_a_setting_without_key_or_value_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form part\.name=value"):
        parse_settings([setting])
