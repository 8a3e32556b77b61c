"""The benchmark of the segmentation network: its detectors, its settings, its tables, and a tiny run."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize import SpeakerDiarization
from diarize.evaluation.detection import Detection, detection
from diarize.local_voices import SegmentationConfig
from diarize.metrics import Errors, Score
from diarize.models.checkpoints import write_checkpoint
from diarize.models.powerset import PowersetConfig, PowersetNetwork
from diarize.powerset import classes
from diarize.rttm import Turn, format_rttm, read_rttm, talking
from diarize.sources import read
from diarize.types import SAMPLE_RATE, AudioChunk, Interval, Samples
from diarize.vad import VadConfig, VoiceActivityDetection, speech_intervals
from examples import segmentation_benchmark
from examples.local_voices import Looks, decided, local, voices
from examples.segmentation_benchmark import (
    LEVELS,
    brought_to,
    diarized,
    live_cost,
    measure_speech,
    noisy,
    settings_of,
    tune,
)
from examples.segmentation_tables import (
    NETWORK,
    VOICE,
    Diarized,
    Measured,
    diarization_table,
    speech_table,
    speed_table,
)
from examples.segmentation_tables import voices_table as table_of_voices
from examples.speech_detectors import DETECTORS, SMOOTHING, Heard, grid, hear, least, named, speech
from examples.speed import Cost
from tests.command import SAMPLE, write_clip

SECOND = SAMPLE_RATE
FRAME = 320


class Played:
    """A detector of speech that says what it is told to."""

    frame = 512

    def __init__(self, probabilities: NDArray[np.float64]) -> None:
        self.probabilities = probabilities

    def start(self) -> int:
        return 0

    def __call__(self, frames: Samples, state: int) -> tuple[NDArray[np.float64], int]:
        until = state + len(frames)
        return self.probabilities[state:until], until


class Knowing:
    """A segmenter that knows who talks; it hears where it is by samples that are their own position, from 1 on."""

    length, frame = 10 * SECOND, FRAME

    def __init__(self, turns: list[list[Interval]], likely: float = 1.0) -> None:
        self.turns, self.likely = turns, likely

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        newest = int(samples.argmax())
        begin = int(samples[newest]) - 1 - newest
        talks = np.zeros((len(samples) // FRAME, 3), bool)
        for voice, own in zip(talks.T, self.turns, strict=False):
            for start, end in own:
                voice[max(0, (start - begin) // FRAME) : max(0, (end - begin) // FRAME)] = True
        order = np.argsort(-talks.sum(axis=0), kind="stable")  # the one who talks most is the first voice of the piece
        said = np.full((len(talks), 7), (1 - self.likely) / 6, np.float32)
        said[np.arange(len(talks)), classes(talks[:, order])] = self.likely
        return said


class Drawn:
    """A segmenter that says something else of every other piece of audio, and seldom anything clear."""

    length, frame = 2 * SECOND, FRAME

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        rng = np.random.default_rng(int(samples.sum(dtype=np.float64)) % 2**32)
        walk = np.cumsum(rng.normal(0, 0.5, (len(samples) // FRAME, 7)), axis=0)
        odds = np.exp(walk - walk.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)


def positions(length: int) -> Samples:
    return np.arange(1, length + 1, dtype=np.float32)


TURNS: list[list[Interval]] = [
    [(0, 5 * SECOND), (14 * SECOND, 20 * SECOND)],
    [(4 * SECOND, 9 * SECOND), (13 * SECOND, 15 * SECOND)],
    [(9 * SECOND, 12 * SECOND), (21 * SECOND, 23 * SECOND + 96)],
]
REFERENCE = [Turn(start, end, str(n)) for n, own in enumerate(TURNS) for start, end in own]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=120),
    st.sampled_from(grid(VadConfig("silero")) + grid(VadConfig("webrtc"))),
    st.integers(0, 511),
)
@settings(deadline=None, max_examples=60)
def test_speech_by_written_down_probabilities_is_that_of_the_stage(
    probabilities: list[float], config: VadConfig, cut: int
) -> None:
    said = np.round(np.array(probabilities) * 16) / 16  # sums are exact
    end = 512 * len(said) - cut
    stage = VoiceActivityDetection(config, Played(said))
    pieces = stage.push(AudioChunk(0, np.zeros(end, np.float32))) + stage.flush()
    closed = [(piece.position, piece.position + len(piece.samples)) for piece in pieces]
    found: list[Interval] = []
    for (start, stop), fresh in zip(closed, [True, *(piece.closes for piece in pieces)], strict=False):
        found = [*found, (start, stop)] if fresh else [*found[:-1], (found[-1][0], stop)]
    assert speech(Heard(said, 512, end), config) == found


@pytest.mark.parametrize("name", DETECTORS)
def test_a_recording_is_heard_as_the_pipeline_hears_it(name: str) -> None:
    samples = read(SAMPLE)[: 20 * SECOND]
    config = VadConfig(name)
    assert speech(hear(name, samples), config) == speech_intervals([AudioChunk(0, samples)], config)


@pytest.mark.parametrize("name", DETECTORS)
def test_smoothing_is_what_the_detector_needs(name: str) -> None:
    stage = VoiceActivityDetection(VadConfig(name, smoothing=SMOOTHING[name]), Played(np.zeros(1)))
    assert stage.delay == VoiceActivityDetection(VadConfig(name), Played(np.zeros(1))).delay


def test_what_ships_is_near_the_settings_that_are_tried() -> None:
    tried = grid(VadConfig())
    assert VadConfig(onset=0.2, offset=0.2) in tried
    assert len(set(tried)) == len(tried)
    assert {type(one) for one in grid(SegmentationConfig(model="x"))} == {SegmentationConfig}
    assert {one.model for one in grid(SegmentationConfig(model="x"))} == {"x"}


def test_the_setting_with_the_least_errors_of_all_recordings_is_taken() -> None:
    errors = [
        [Errors(1, 2, 0), Errors(1, 1, 1), Errors(1, 0, 1)],
        [Errors(1, 0, 9), Errors(1, 1, 1), Errors(1, 4, 0)],
    ]
    assert least(["first", "second", "third"], errors) == "second"
    assert named(VadConfig()) == "onset 0.3, offset 0.2, min_on 0.1, min_off 0.5"


@given(st.sampled_from(grid(SegmentationConfig())), st.integers(1, 8 * SECOND), st.sampled_from([0.0, 0.4, 0.8]))
@settings(deadline=None, max_examples=30)
def test_voices_by_written_down_probabilities_are_those_of_the_stage(
    config: SegmentationConfig, end: int, ahead: float
) -> None:
    whole = SegmentationConfig(step=0.8, ahead=ahead)
    tried = SegmentationConfig(**asdict(config) | {"step": 0.8, "ahead": ahead})
    looks = Looks(Drawn())
    voices(positions(end), whole, looks)
    found = voices(positions(end), tried, Drawn())
    same = detection(found, decided(looks, tried, end)).talk
    assert (same.miss_s, same.false_alarm_s) == pytest.approx((0, 0))


def test_a_network_that_knows_makes_no_errors() -> None:
    config = SegmentationConfig(min_on=0, min_off=0)
    samples = positions(24 * SECOND)
    found = detection(TURNS, voices(samples, config, Knowing(TURNS)))
    assert (found.talk.miss_s, found.talk.false_alarm_s) == pytest.approx((0.006, 0))  # the last third of a frame
    assert (found.precision, found.recall) == (1, 1)
    errors = local(REFERENCE, samples, config, Knowing(TURNS))
    assert errors.speech_s == pytest.approx(sum(end - start for own in TURNS for start, end in own) / SECOND)
    assert (errors.miss_s, errors.false_alarm_s, errors.confusion_s) == pytest.approx((0.006, 0, 0))


def test_a_network_that_gives_a_voice_to_another_is_blamed_in_that_piece_only() -> None:
    wrong = [TURNS[0], [*TURNS[1], TURNS[2][0]], [TURNS[2][1]]]  # from 9 to 12 s, which two pieces share
    config = SegmentationConfig(min_on=0, min_off=0)
    errors = local(REFERENCE, positions(24 * SECOND), config, Knowing(wrong))
    assert errors.confusion_s == pytest.approx(3)
    rest = [TURNS[0], TURNS[1], [TURNS[2][0]]]
    assert local(REFERENCE, positions(20 * SECOND), config, Knowing(rest)).confusion_s == 0


@pytest.mark.parametrize("level", LEVELS)
def test_a_recording_is_brought_to_a_level(level: float) -> None:
    reference = read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"]
    samples = read(SAMPLE)
    turned = brought_to(level, samples, reference)
    spoken = np.concatenate([turned[start:end] for start, end in talking(reference)[reference[0].speaker]])
    before = np.concatenate([samples[start:end] for start, end in talking(reference)[reference[0].speaker]])
    assert np.array_equal(turned * 32768, np.round(turned * 32768))
    louder = np.sqrt(np.square(spoken).mean() / np.square(before).mean())
    whole = np.concatenate([samples[turn.start : turn.end] for turn in reference])
    off = 0.5 if level == -10 else 0.1  # clipped; and where two talk, samples count twice here
    assert 20 * np.log10(louder * np.sqrt(np.square(whole).mean())) == pytest.approx(level, abs=off + 0.5)
    assert brought_to(level, np.zeros(5, np.float32), []).tolist() == [0] * 5


def test_noise_is_all_that_differs_between_two_ratios(speech: Path, tmp_path: Path) -> None:
    files = [noisy(54, snr, speech, tmp_path) for snr in (30, 5)]
    quiet, loud = (read(file) for file in files)
    assert files[0].with_suffix(".rttm").read_text() == files[1].with_suffix(".rttm").read_text()
    reference = next(iter(read_rttm(files[0].with_suffix(".rttm")).values()))
    spoken = np.zeros(len(quiet), bool)
    for turn in reference:
        spoken[turn.start : turn.end] = True
    pauses = [20 * np.log10(np.sqrt(np.square(one[~spoken]).mean())) for one in (quiet, loud)]
    assert 10 < pauses[1] - pauses[0] < 26
    made = files[0].stat().st_mtime_ns
    assert noisy(54, 30, speech, tmp_path).stat().st_mtime_ns == made


def found(miss_s: float, false_alarm_s: float) -> Detection:
    return Detection(
        Errors(10, miss_s, false_alarm_s), Errors(12, miss_s + 2, false_alarm_s), 2, miss_s, 0, overlap_s=2
    )


def test_the_tables_of_speech_and_voices() -> None:
    one = Measured({"silero": found(1, 1), "webrtc": found(0, 3), NETWORK: found(0.5, 0.5)}, Errors(12, 1, 1, 1))
    lines = speech_table(
        {"simulated": [one, one], "nothing": [Measured(dict.fromkeys(one.found, Detection()), Errors())]}
    )
    assert (
        lines.splitlines()[0] == "| recordings | silero, % | webrtc, % | segmentation, % | segmentation less silero |"
    )
    assert lines.splitlines()[2] == (
        "| simulated | 20.0 (10.0 + 10.0) | 30.0 (0.0 + 30.0) | 10.0 (5.0 + 5.0) | -10.0 (-10.0 to -10.0) |"
    )
    assert "| nothing | - (- + -) |" in lines
    cells = table_of_voices({"simulated": [one]}).splitlines()[2]
    assert cells == "| simulated | - | 0.0 | 25.0 (25.0 to 25.0) | 20.8 | 16.7 | 4.2 | 0.0 | 4.2 |"


def test_the_table_of_diarization_says_what_the_difference_is_worth() -> None:
    def answer(miss_s: float) -> Diarized:
        return Diarized(
            Score(Errors(10, miss_s), Errors(8, 0, 0, miss_s), recordings=1, right_counts=1), found(miss_s, 0)
        )

    rows = [{VOICE: answer(4), NETWORK: answer(2)}, {VOICE: answer(2), NETWORK: answer(1)}]
    lines = diarization_table({"real": rows}).splitlines()
    assert lines[2].startswith("| real | one voice at a time | 30.0 (20.0 to 40.0) |")
    assert lines[3].startswith("| real | segmentation | 15.0 (10.0 to 20.0) |")
    assert lines[3].endswith("| 18.8 (12.5 to 25.0) | 2 of 2 |")
    assert {line.count("|") for line in lines[:4]} == {12}
    assert "real, strict -15.0 (-20.0 to -10.0), which is 0.50 (0.50 to 0.50) times" in lines[-1]


def test_the_table_of_speed() -> None:
    table = speed_table({VOICE: Cost(10, 400), NETWORK: Cost(20, 500)}, {VOICE: 0.04, NETWORK: 0.12})
    assert "| one voice at a time | 10.0 s | 60 | 400 MB | 0.04 |" in table.splitlines()
    assert "| segmentation | 20.0 s | 30 | 500 MB | 0.12 |" in table.splitlines()


class Spinning:
    """A pipeline whose live stream computes for a fifth of the time that it hears, and notes what that is."""

    def __init__(self) -> None:
        self.heard: list[AudioChunk] = []

    def live(self) -> Spinning:
        return self

    def push(self, chunk: AudioChunk) -> None:
        self.heard.append(chunk)
        until = time.process_time() + 0.2 * len(chunk.samples) / SECOND
        while time.process_time() < until:
            pass

    def flush(self) -> None:
        self.push(AudioChunk(self.heard[-1].position, np.zeros(SECOND, np.float32)))


def test_the_cost_of_a_live_session_is_what_computes_for_all_of_it() -> None:
    samples = np.arange(SECOND + 5, dtype=np.float32)
    pipeline = Spinning()
    cost = live_cost(cast(SpeakerDiarization, pipeline), samples)
    *chunks, _ = pipeline.heard
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), samples)
    assert [chunk.position for chunk in chunks] == list(range(0, len(samples), SECOND // 10))
    assert cost >= 0.2 * (2 * SECOND + 5) / (SECOND + 5)  # the flush as well


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that has learnt nothing, as a file."""
    torch.manual_seed(0)
    network = PowersetNetwork(PowersetConfig(channels=8, blocks=1, heads=1, expansion=1, kernel=3))
    file = tmp_path_factory.mktemp("network") / "model.safetensors"
    write_checkpoint(network, file, {"network": json.dumps(asdict(network.config))})
    return str(file)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the sample conversation, with its reference."""
    (turns,) = read_rttm(SAMPLE.with_suffix(".rttm")).values()
    said = [turn for turn in turns if turn.end < 10 * SECOND]
    file = write_clip(tmp_path_factory.mktemp("talk") / "talk.wav", 10)
    file.with_suffix(".rttm").write_text(format_rttm(said, "talk"), encoding="utf-8")
    return file


def test_a_tiny_run(untaught: str, clip: Path) -> None:
    assert settings_of(untaught).segmentation.model == untaught
    with ThreadPoolExecutor(1) as pool:
        printed = measure_speech(pool, [clip], {"simulated": [clip]}, {"30 dB SNR": [clip]}, untaught)
        chosen = tune(pool, [clip], untaught)
    lines = printed.splitlines()
    rows = {line.split("|")[1].strip(): line.partition("|")[2].partition("|")[2] for line in lines[2:9]}
    assert list(rows) == ["simulated", *(f"{level} dBFS" for level in LEVELS), "30 dB SNR"]
    assert rows["simulated"] == rows["30 dB SNR"]
    assert "Tuned on simulated dev: silero: onset 0." in printed
    *wrong, present = (float(line.split("|")[2]) for line in chosen.splitlines()[2:])
    assert wrong == sorted(wrong)
    assert present >= wrong[-1] or present in wrong
    assert chosen.splitlines()[-1].startswith(f"| {named(SegmentationConfig())} |")
    tuned_error = float(rows["simulated"].split("(")[0])
    reference = list(talking(next(iter(read_rttm(clip.with_suffix(".rttm")).values()))).values())
    usual = detection(reference, [speech(hear("silero", read(clip)), VadConfig())]).speech.der
    assert usual is not None
    assert tuned_error <= 100 * usual + 0.05


def test_both_pipelines_answer(untaught: str, clip: Path) -> None:
    answers = diarized(clip, untaught)
    assert list(answers) == [VOICE, NETWORK]
    for answer in answers.values():
        strict = answer.score.strict
        assert answer.found.talk.miss_s == pytest.approx(strict.miss_s)
        assert answer.found.talk.false_alarm_s == pytest.approx(strict.false_alarm_s)
    assert answers[VOICE].score.strict.der != answers[NETWORK].score.strict.der


def test_without_the_folder_of_speech_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["segmentation_benchmark.py", "--speech", "/nowhere"])
    with pytest.raises(SystemExit, match="no folder /nowhere: give that of real speech with --speech"):
        segmentation_benchmark.main()


def test_a_full_run_refuses_a_readme_without_markers_before_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("# no markers\n", encoding="utf-8")
    monkeypatch.setattr(segmentation_benchmark, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["segmentation_benchmark.py", "--real", "--speech", str(tmp_path)])
    with pytest.raises(SystemExit, match="<!-- bench:segmentation -->"):
        segmentation_benchmark.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# no markers\n"
