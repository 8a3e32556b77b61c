"""The examples, run as a user would, on the sample conversation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
RECORDING = EXAMPLES / "sample" / "conversation.flac"
SECONDS = 60.0
SMALL = ("compare_settings", "diarize_file", "from_array", "live_from_array", "with_progress")


def run(example: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{example}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("example", SMALL)
def test_an_example_is_short_and_says_how_to_call_it(example: str) -> None:
    text = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert f"python examples/{example}.py" in text


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """The lines of diarize_file."""
    return run("diarize_file", RECORDING).stdout.splitlines()


def test_diarize_file_prints_turns_and_talk_times(printed: list[str]) -> None:
    lines = [re.fullmatch(r" *(\d+\.\d\d) - +(\d+\.\d\d) s  (SPEAKER_\d\d)", line) for line in printed]
    talks = {match[3]: 0.0 for match in lines if match}
    for match in lines:
        if match:
            assert 0 <= float(match[1]) < float(match[2]) <= SECONDS + 1
            talks[match[3]] += float(match[2]) - float(match[1])
    told = dict(re.findall(r"(SPEAKER_\d\d) talks for (\d+\.\d) s", "\n".join(printed)))
    assert len(talks) >= 2
    assert {speaker: float(seconds) for speaker, seconds in told.items()} == pytest.approx(talks, abs=0.15)


def test_with_progress_tells_how_far_it_is() -> None:
    done = run("with_progress", RECORDING)
    told = [float(line.split(" of ")[0]) for line in done.stderr.splitlines()]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(SECONDS, abs=1)
    assert re.fullmatch(r"[2-9] speakers, \d+ turns\n", done.stdout)


def test_with_progress_ends_early() -> None:
    done = run("with_progress", RECORDING, 20)
    told = [float(line.split(" of ")[0]) for line in done.stderr.splitlines()]
    assert 20 <= told[-1] < 30
    assert done.stdout == "ended after 20 s\n"


def test_from_array_gives_what_the_file_gives(printed: list[str]) -> None:
    turns = [line.split()[-1] for line in printed if " talks for " not in line]
    assert turns
    said = f"{len(turns)} turns of {len(set(turns))} speakers"
    assert run("from_array", RECORDING).stdout.splitlines() == [f"array: {said}", f"tensor: {said}"]


def test_live_from_array_ends_with_what_the_file_gives(printed: list[str]) -> None:
    lines = run("live_from_array", RECORDING).stdout.splitlines()
    live = [line for line in lines if not line.startswith("final: ")]
    heard = [float(line.split(" s: turn ")[0]) for line in live]
    assert len(heard) > 60
    assert heard == sorted(heard)
    assert {line.split()[-1] for line in live} <= {"SPEAKER_00", "SPEAKER_01", "SPEAKER_02", "SPEAKER_03", "withdrawn"}
    final = [line.removeprefix("final: ").split() for line in lines if line.startswith("final: ")]
    offline = [line.split() for line in printed if " talks for " not in line]
    assert [words[:3] for words in final] == [words[:3] for words in offline]
    pairs = {(one[-1], other[-1]) for one, other in zip(final, offline, strict=True)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def test_compare_settings_scores_each_setting() -> None:
    one = "clustering.num_speakers=1"
    defaults, single = run("compare_settings", RECORDING, RECORDING.with_suffix(".rttm"), one).stdout.splitlines()
    assert re.fullmatch(r"defaults: strict DER \d+\.\d%, lenient \d+\.\d%, \d of 4 speakers", defaults)
    assert single.startswith(f"{one}: ")
    assert single.endswith("1 of 4 speakers")
    worse, better = (float(re.findall(r"DER (\d+\.\d)%", line)[0]) for line in (single, defaults))
    assert worse > better  # four voices under one name
