"""The chains as a whole: the laws of streaming for every recipe, and what a user of the package calls."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pyannote.core import Annotation

import diarize
from diarize.audio import AudioError
from diarize.config import recipes
from diarize.drive import drive
from diarize.embedding import EmbeddingConfig
from diarize.formats import as_rttm
from diarize.pipeline import PipelineConfig, SpeakerDiarization, back, load_config
from diarize.rttm import turns_from
from diarize.sources import open_source, read
from diarize.stage import Stage
from diarize.types import EmbeddingWindow, Samples, SpeechWindow, TurnUpdate
from tests import laws
from tests.command import SAMPLE, conversation, write_clip

RATE = 16_000
RECIPES = sorted(recipes())


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization()


@pytest.fixture(scope="module", params=["sample", "meeting", "telephone"])
def audio(request: pytest.FixtureRequest) -> Samples:
    """Ten seconds of a conversation: of the sample, and of real ones where they are."""
    if request.param == "sample":
        return conversation(10)
    name = {"meeting": "ami_ES2003a_0-30s_mixheadset", "telephone": "pyannote_sample_telephone"}[request.param]
    return read(request.getfixturevalue("speech") / "conversations" / f"{name}.flac")[: 10 * RATE]


def turns(diarization: SpeakerDiarization, audio: Samples, cuts: list[int]) -> list[TurnUpdate]:
    """What the chains say to audio that comes cut at these positions."""
    chunks = laws.chunks(audio, cuts)
    windows = drive(diarization.front(), diarization.embed, chunks, 16)
    return laws.run(back(diarization.config), windows)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_laws_of_streaming_hold_for_a_recipe(recipe: str, audio: Samples) -> None:
    diarization = SpeakerDiarization(load_config(recipe))
    random = np.random.default_rng(0)
    cuts = sorted(random.integers(0, len(audio), 40).tolist())
    expected = laws.plain(turns(diarization, audio, []))
    assert expected
    assert laws.plain(turns(diarization, audio, cuts)) == expected
    laws.obeys(diarization.front, audio, cuts, at=6 * RATE)
    windows = diarization.embed(laws.run(diarization.front(), laws.chunks(audio, [])))
    laws.save_restore(partial(back, diarization.config), windows, at=len(windows) // 2)
    laws.prefix(partial(back, diarization.config), windows, windows[: len(windows) // 2])


def test_a_stream_restored_halfway_gives_the_same_turns(diarization: SpeakerDiarization, audio: Samples) -> None:
    first, second = laws.chunks(audio, [5 * RATE])
    front, half = diarization.front(), back(diarization.config)
    before = [update for window in diarization.embed(front.push(first)) for update in half.push(window)]
    restored_front, restored_half = diarization.front(), back(diarization.config)
    restored_front.restore(front.save())
    restored_half.restore(half.save())
    rest = laws.run(restored_half, drive(restored_front, diarization.embed, [second], 16))
    assert laws.plain(before + rest) == laws.plain(turns(diarization, audio, []))


def test_how_many_are_embedded_at_once_changes_nothing(diarization: SpeakerDiarization) -> None:
    audio = conversation(10)
    asked: list[int] = []

    def embed(windows: Sequence[SpeechWindow]) -> list[EmbeddingWindow]:
        asked.append(len(windows))
        return diarization.embed(windows)

    said = {}
    for batch in (1, 5, 16):
        chunks = laws.chunks(audio, list(range(0, len(audio), RATE)))
        said[batch] = laws.plain(list(drive(diarization.front(), embed, chunks, batch)))
    assert said[1] == said[5] == said[16]
    assert {1, 5, 16} <= set(asked)
    assert max(asked) <= 2 * 16  # what is left at the end may come on top


def test_a_thread_beside_changes_nothing() -> None:
    config, audio = PipelineConfig(embedding=EmbeddingConfig(batch=4)), conversation(20)
    expected = SpeakerDiarization(config).embedded(audio)
    with ThreadPoolExecutor(1) as beside:
        found = SpeakerDiarization(config, beside=beside).embedded(audio)
    assert len(found.channels[0]) > 5 * 4
    assert laws.plain(found.channels) == laws.plain(expected.channels)


class Numbers(Stage[int, int]):
    """A front whose windows are numbers, the last of which comes at the end."""

    state: int = -1

    def push(self, item: int, /) -> list[int]:
        before, self.state = self.state, item
        return [] if before < 0 else [before]

    def flush(self) -> list[int]:
        return [self.state]


@pytest.mark.parametrize("batch", [1, 3])
def test_what_is_slow_beside_is_done_here_and_comes_in_its_place(batch: int) -> None:
    """The thread is held up in its first batch, with one more waiting: all others are done by the caller."""
    caller, go = threading.current_thread(), threading.Event()
    begun: dict[threading.Thread, list[int]] = {}

    def embed(numbers: Sequence[int]) -> list[int]:
        begun.setdefault(threading.current_thread(), []).extend(numbers)
        if threading.current_thread() is not caller:
            assert go.wait(60)
        return [10 * number for number in numbers]

    def heard() -> Iterator[int]:
        yield from range(20)
        go.set()

    with ThreadPoolExecutor(1) as beside:
        assert list(drive(Numbers(), embed, heard(), batch, beside)) == list(range(0, 200, 10))
    (other,) = begun.keys() - {caller}
    assert begun[other] == list(range(2 * batch))
    assert begun[caller] == list(range(2 * batch, 20))


def test_what_fails_beside_fails_for_the_caller() -> None:
    def embed(numbers: Sequence[int]) -> list[int]:
        raise ValueError(f"not {numbers}")

    with ThreadPoolExecutor(1) as beside, pytest.raises(ValueError, match=r"not \[0\]"):
        list(drive(Numbers(), embed, range(20), 1, beside))


def test_a_recording_becomes_an_annotation(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "my meeting.wav", 8)
    diarization = diarize.SpeakerDiarization()
    annotation = diarization(path)
    assert isinstance(annotation, Annotation)
    assert annotation.uri == "my meeting"
    result = diarization.diarize(path)
    assert isinstance(result, diarize.Diarization)
    assert result.duration == 8 * RATE
    found = [(segment.start, segment.end, label) for segment, _, label in annotation.itertracks(yield_label=True)]
    assert found == [(turn.start / RATE, turn.end / RATE, turn.speaker) for turn in turns_from(result.updates)]
    assert all(0 <= start < end <= 8 for start, end, _ in found)
    assert all(update.final for update in result.updates)


def test_audio_may_come_in_any_form(diarization: SpeakerDiarization, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "audio.wav", 8)
    samples, _ = soundfile.read(path, dtype="float32")
    expected = diarization.diarize(path)
    assert expected.updates
    stereo = np.stack([samples, samples])
    for audio in (
        str(path),
        samples,
        stereo,
        (samples, RATE),
        (torch.tensor(stereo), RATE),
        np.round(samples * 2**15).astype(np.int16),
        open_source(path),
    ):
        assert diarization.diarize(audio) == expected


def test_a_file_of_another_rate_gives_nearly_the_same(diarization: SpeakerDiarization, tmp_path: Path) -> None:
    samples = conversation(8)
    doubled = np.interp(np.arange(2 * len(samples)) / 2, np.arange(len(samples)), samples).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", doubled, 2 * RATE)
    expected, found = diarization.diarize(samples), diarization.diarize(tmp_path / "a.flac")
    assert found.duration == expected.duration
    frames = range(0, len(samples), 160)

    def talking(updates: tuple[TurnUpdate, ...]) -> list[bool]:
        return [any(update.start <= frame < update.end for update in updates) for frame in frames]

    assert np.mean(np.equal(talking(expected.updates), talking(found.updates))) > 0.98


def test_the_same_again_is_the_same(diarization: SpeakerDiarization) -> None:
    first = diarization.diarize(SAMPLE)
    other = diarization.diarize(conversation(8))
    assert diarization.diarize(SAMPLE) == first
    assert diarization.diarize(conversation(8)) == other
    speakers = [update.speaker for update in first.updates]
    assert list(dict.fromkeys(speakers)) == sorted(set(map(str, speakers)))  # numbered by first appearance


def test_progress_is_told_up_to_the_end(diarization: SpeakerDiarization) -> None:
    told: list[tuple[float, float | None]] = []
    diarization(conversation(8), lambda done, total: told.append((done, total)))
    assert len(told) >= 8
    assert all(before[0] < after[0] for before, after in pairwise(told))
    assert told[-1][0] == 8
    assert {total for _, total in told} == {8}


def test_what_progress_raises_ends_the_run(diarization: SpeakerDiarization) -> None:
    class CancelledError(Exception):
        pass

    told: list[float] = []

    def cancel(done: float, total: float | None) -> None:
        told.append(done)
        if done >= 3:
            raise CancelledError("enough")

    expected = diarization.diarize(conversation(5))
    with pytest.raises(CancelledError, match="enough"):
        diarization(conversation(8), cancel)
    assert told[-1] == 3
    assert diarization.diarize(conversation(5)) == expected  # nothing of the broken run is left


@pytest.mark.parametrize("samples", [0, 1, 3 * RATE])
def test_no_speech_gives_no_turns(diarization: SpeakerDiarization, samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    assert len(diarization(silence)) == 0
    result = diarization.diarize(silence)
    assert (result.updates, result.duration, as_rttm(result)) == ((), samples, "")


def test_what_is_no_audio_is_refused(diarization: SpeakerDiarization, tmp_path: Path) -> None:
    for audio in (tmp_path / "missing.wav", tmp_path, np.zeros((2, 2, 2)), "", [0.0, 0.1]):
        with pytest.raises(AudioError, match="; "):
            diarization(audio)  # type: ignore[arg-type]  # a list is what somebody may try


def test_a_recipe_is_changed_by_settings(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[vad]\nonset = 0.3\n[clustering]\nmax_speakers = 3\n")
    config = load_config(recipe, ["vad.onset=0.4", "turns.gap=1", "turns.gap=0.5"])
    default = PipelineConfig()
    assert config == dataclasses.replace(
        default,
        vad=dataclasses.replace(default.vad, onset=0.4),
        clustering=dataclasses.replace(default.clustering, max_speakers=3),
        turns=dataclasses.replace(default.turns, gap=0.5),
    )
    assert load_config() == default
    assert load_config(str(recipe)) == load_config(recipe)


def test_shipped_recipes_state_only_what_differs() -> None:
    assert {"file", "telephone"} <= set(RECIPES)
    assert load_config("file") == PipelineConfig()
    assert load_config("telephone").clustering.max_speakers == 2


def test_a_pipeline_says_what_it_was_made_with(diarization: SpeakerDiarization) -> None:
    settings = diarization.diarize(np.zeros(0, np.float32)).settings
    assert settings == dataclasses.asdict(PipelineConfig())
