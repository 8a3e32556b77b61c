"""A call with a channel for each of its speakers, from the file to the turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from diarize.audio import AudioError
from diarize.formats import Diarization
from diarize.metrics import Score, score
from diarize.pipeline import SpeakerDiarization, load_config, recluster
from diarize.rttm import turns_from
from diarize.sources import Audio, Source, open_source
from diarize.types import AudioChunk, position
from tests.audio_files import noise
from tests.calls import call, decibels, reference
from tests.command import conversation

RATE = 16_000


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization()


def apart(diarization: SpeakerDiarization, audio: Audio | Source) -> Diarization:
    return recluster(diarization.embedded(audio, per_channel=True), diarization.config)


def scored(result: Diarization) -> Score:
    return score(reference(), turns_from(result.updates))


@pytest.fixture(scope="module")
def expected(diarization: SpeakerDiarization) -> Diarization:
    """What is said of a call as it comes."""
    return apart(diarization, call())


@pytest.mark.parametrize(("leak", "gains"), [(-15, (12, -12)), (-35, (-20, 0))])
def test_nobody_is_counted_twice(diarization: SpeakerDiarization, leak: float, gains: tuple[float, float]) -> None:
    result = apart(diarization, call(leak, gains))
    assert result.channels == {"SPEAKER_00": 1, "SPEAKER_01": 2}
    found = scored(result).strict
    assert (found.der or 0) < 0.08
    both = [position(14), position(16)]  # when both talk, both are heard
    for speaker in result.channels:
        turns = [turn for turn in turns_from(result.updates) if turn.speaker == speaker]
        assert any(turn.start <= both[0] + 3200 and both[1] - 3200 <= turn.end for turn in turns)


def test_what_leaks_is_counted_twice_where_it_is_switched_off(diarization: SpeakerDiarization) -> None:
    off = SpeakerDiarization(load_config(settings=["crosstalk.threshold=0"]))
    assert (scored(apart(off, call())).strict.false_alarm or 0) > 0.5


def test_channels_apart_tell_more_than_mixed_down(diarization: SpeakerDiarization, expected: Diarization) -> None:
    mixed = scored(diarization.diarize(call()))  # of two who talk at once, one is missed
    assert (scored(expected).strict.der or 0) < (mixed.strict.der or 0)


def test_the_channels_swapped_swap_the_answer(diarization: SpeakerDiarization, expected: Diarization) -> None:
    found = apart(diarization, call()[::-1])
    assert found.channels == {"SPEAKER_00": 1, "SPEAKER_01": 2}
    other = {"SPEAKER_00": "SPEAKER_01", "SPEAKER_01": "SPEAKER_00"}
    swapped = {(turn.start, turn.end, other[turn.speaker]) for turn in turns_from(found.updates)}
    assert swapped == {(turn.start, turn.end, turn.speaker) for turn in turns_from(expected.updates)}


def test_a_file_gives_what_the_array_gives(
    diarization: SpeakerDiarization, expected: Diarization, tmp_path: Path
) -> None:
    audio = call()
    soundfile.write(tmp_path / "call.wav", audio.T, RATE, subtype="FLOAT")
    found = apart(diarization, tmp_path / "call.wav")
    assert (found.uri, found.updates, found.channels) == ("call", expected.updates, expected.channels)
    assert found.duration == audio.shape[1]


def test_one_channel_is_the_whole(diarization: SpeakerDiarization) -> None:
    audio = conversation(12)
    assert apart(diarization, audio) == diarization.diarize(audio)
    silence = np.zeros(0, np.float32)
    assert apart(diarization, silence) == diarization.diarize(silence)


@pytest.mark.parametrize(("gain", "channel"), [(0, 1), (-6, 1), (6, 2)])
def test_a_copy_on_the_other_channel_adds_nobody(diarization: SpeakerDiarization, gain: float, channel: int) -> None:
    audio = conversation(12)
    result = apart(diarization, np.stack([audio, audio * decibels(gain)]))
    assert result.channels
    assert set(result.channels.values()) == {channel}
    louder = audio * decibels(max(0, gain))
    expected = turns_from(diarization.diarize(louder).updates)
    assert [(turn.start, turn.end) for turn in turns_from(result.updates)] == [(t.start, t.end) for t in expected]


def test_a_third_channel_that_is_silent_changes_nothing(diarization: SpeakerDiarization, expected: Diarization) -> None:
    audio = call()
    third = np.concatenate([audio, np.zeros((1, audio.shape[1]), np.float32)])
    assert apart(diarization, third) == expected


def test_progress_is_told_once_for_all_channels(diarization: SpeakerDiarization) -> None:
    told: list[float] = []
    diarization.embedded(call()[:, : 3 * RATE], lambda done, _: told.append(done), per_channel=True)
    assert told == [1, 2, 3]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_each_channel_is_what_it_is_alone(rate: int) -> None:
    pcm = noise(rate * 3 * 2).reshape(2, -1)
    chunks = list(open_source((pcm, rate)).apart())
    assert {len(channels) for channels in chunks} == {2}
    for channel in range(2):
        alone = [chunk.samples for chunk in open_source((pcm[channel], rate)).chunks()]
        apart = np.concatenate([channels[channel].samples for channels in chunks])
        np.testing.assert_array_equal(apart, np.concatenate(alone))
    assert all(left.position == right.position for left, right in chunks)


def test_a_source_of_ones_own_has_one_channel() -> None:
    chunk = AudioChunk(0, np.zeros(5, np.float32))
    assert list(Source("mine", None, lambda: iter((chunk,))).apart()) == [(chunk,)]


def test_channels_that_come_and_go_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [np.zeros((100, 2), np.float32), np.zeros((100, 1), np.float32)]
    monkeypatch.setattr("diarize.sources._array_blocks", lambda *_: iter(blocks))
    source = open_source(np.zeros((2, 200), np.float32), uri="call")
    assert sum(len(chunk.samples) for chunk in source.chunks()) == 200
    with pytest.raises(AudioError, match=r"call: its channels change from 2 to 1 on the way; only mixed down"):
        list(source.apart())
