"""The examples, run as a user would, on the sample conversation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from diarize.training.carriers import MODES
from examples.make_sample import CONVERSATION
from tests.calls import SAID, call
from tests.command import write_clip

EXAMPLES = Path(__file__).parents[1] / "examples"
RECORDING = EXAMPLES / "sample" / "conversation.flac"
SECONDS = 60.0
SMALL = (
    "augment",
    "compare_settings",
    "diarize_file",
    "diarize_folder",
    "enroll",
    "export_onnx",
    "from_array",
    "label_transcript",
    "live_from_array",
    "plot_result",
    "recluster",
    "stereo_call",
    "tune_recipe",
    "verify",
    "with_progress",
)


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


def test_diarize_folder_writes_a_folder_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / "in" / f"{name}.wav", 6)
    (tmp_path / "in" / "bad.wav").write_text("no audio")
    first = run("diarize_folder", tmp_path / "in", tmp_path / "out").stdout.splitlines()
    for line, name in zip(sorted(first), ("a", "b"), strict=False):
        assert re.fullmatch(rf"{tmp_path}/in/{name}\.wav: [12] speakers in 6 s", line)
    assert len(first) == 3
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.rttm", "a.csv", "b.rttm", "b.csv"}
    (again,) = run("diarize_folder", tmp_path / "in", tmp_path / "out").stdout.splitlines()
    assert again == sorted(first)[2]
    assert again.startswith(f"{tmp_path}/in/bad.wav: is in no known audio format")


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


def test_augment_writes_every_carrier(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", 2)
    written = run("augment", clip, tmp_path / "heard").stdout.splitlines()
    assert [Path(line).stem for line in written] == [*MODES, "scene"]
    said, *_ = soundfile.read(clip)
    heard = [soundfile.read(line)[0] for line in written]
    assert all(one.shape == said.shape for one in heard)
    assert [(abs(one - said) < 1e-4).all() for one in heard] == [mode == "clean" for mode in [*MODES, "scene"]]


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


def test_label_transcript_gives_every_line_to_one_voice() -> None:
    lines = run("label_transcript", RECORDING, RECORDING.with_suffix(".json")).stdout.splitlines()
    said = [(label, word) for label, text in (line.split(": ", 1) for line in lines) for word in text.split()]
    told = [(line.speaker, word) for line in CONVERSATION[:5] for word in line.text.split()]
    assert [word for _, word in said] == [word for _, word in told]
    pairs = Counter((label, name) for (label, _), (name, _) in zip(said, told, strict=True))
    usual = dict(pair for pair, _ in reversed(pairs.most_common()))
    assert set(usual.values()) == {"Clara", "Robin", "Angus", "Karl"}
    assert sum(count for (label, name), count in pairs.items() if usual[label] == name) >= 0.9 * len(said)


def test_compare_settings_scores_each_setting() -> None:
    one = "clustering.num_speakers=1"
    defaults, single = run("compare_settings", RECORDING, RECORDING.with_suffix(".rttm"), one).stdout.splitlines()
    assert re.fullmatch(r"defaults: strict DER \d+\.\d%, lenient \d+\.\d%, \d of 4 speakers", defaults)
    assert single.startswith(f"{one}: ")
    assert single.endswith("1 of 4 speakers")
    worse, better = (float(re.findall(r"DER (\d+\.\d)%", line)[0]) for line in (single, defaults))
    assert worse > better  # four voices under one name


def test_plot_result_writes_a_page_and_a_picture(tmp_path: Path) -> None:
    said = run("plot_result", RECORDING, tmp_path / "pictures").stdout
    page, picture = (tmp_path / "pictures" / f"conversation.{suffix}" for suffix in ("html", "png"))
    found = re.fullmatch(r"(.+) and (.+): (\d+) turns, (\d+) windows of speech\n", said)
    assert found
    assert found.groups()[:2] == (str(page), str(picture))
    content = page.read_text(encoding="utf-8")
    assert len(re.findall(r'"name":"SPEAKER_\d\d"', content)) == 4
    assert len(content) > 250_000  # with its audio
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_stereo_call_gives_each_channel_its_voice(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", call().T, 16_000)
    lines = run("stereo_call", tmp_path / "call.wav").stdout.splitlines()
    channels = {line.split()[-1]: line.split()[-2] for line in lines if " channel " in line}
    assert channels == {"SPEAKER_00": "1", "SPEAKER_01": "2"}
    talked = [float(re.findall(r"talks for (\d+\.\d) s", line)[0]) for line in lines if " talks for " in line]
    assert talked == pytest.approx([sum(length for *_, length in said) for said in SAID.values()], abs=1)


def test_tune_recipe_says_what_tuning_is_worth(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_clip(tmp_path / f"{name}.wav", 12)
        lines = RECORDING.with_suffix(".rttm").read_text().splitlines()[:2]
        (tmp_path / f"{name}.rttm").write_text("\n".join(lines).replace("conversation", name) + "\n")
    before, after, *settings = run("tune_recipe", tmp_path).stdout.splitlines()
    for line, when in ((before, "defaults"), (after, "tuned")):
        assert re.fullmatch(rf"{when}: strict DER \d+\.\d% on what was tuned on, \d+\.\d% on the rest", line)
    assert all(re.fullmatch(r"(clustering|turns)\.\w+ = [\d.]+", line) for line in settings)


def test_recluster_hears_the_recording_once(tmp_path: Path) -> None:
    voices = tmp_path / "kept.voices"
    first = run("recluster", RECORDING, voices).stdout
    kept, two, _, ana = first.splitlines()
    assert kept == "as kept: SPEAKER_00, SPEAKER_01, SPEAKER_02, SPEAKER_03"
    assert two == "clustering.num_speakers=2: SPEAKER_00, SPEAKER_01"
    assert int(re.findall(r"Ana talks (\d) times", ana)[0]) > 1  # one turn was set by hand
    before = voices.read_bytes()
    assert run("recluster", "no recording", voices).stdout == first
    assert voices.read_bytes() == before
