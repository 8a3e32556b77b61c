from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from diarize.rttm import read_rttm
from diarize.training import heard, recording, simulate
from diarize.training.rooms import Room, real_response
from diarize.training.speech import Split, read_noises, read_templates, read_voices
from diarize.training.talker import LEVEL, Talker, utterance_pieces
from diarize.types import SAMPLE_RATE, Samples

SHORT = simulate.SimulationConfig(seconds=(20, 30))
PLAIN = replace(SHORT, snr=None, room=False, line=False, equalise=0.0, level=(-26, -26))


def vowel(seconds: float, rng: np.random.Generator, level: float = 0.1) -> Samples:
    """A hum at 120 Hz with overtones, and a little breath in it."""
    length = round(seconds * SAMPLE_RATE)
    pulses = np.zeros(length)
    pulses[:: SAMPLE_RATE // 120] = 1
    hum = lfilter([1], [1, -1.6, 0.8], pulses) + 0.01 * rng.standard_normal(length)
    return np.asarray(level * hum / np.sqrt(np.mean(hum**2)), dtype=np.float32)


def spans(turns: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(start * heard.FRAME / SAMPLE_RATE, end * heard.FRAME / SAMPLE_RATE) for start, end in turns]


# what is heard


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 40))
@settings(deadline=None, max_examples=200)
def test_exactly_the_longer_pauses_split(active: list[bool], pause: int) -> None:
    frames = np.array(active, dtype=bool)
    found = heard.intervals(frames, pause)
    filled = np.zeros_like(frames)
    for start, end in found:
        assert frames[start]
        assert frames[end - 1]
        filled[start:end] = True
        silences = "".join("x" if frame else "." for frame in frames[start:end]).split("x")
        assert max(map(len, silences)) <= pause
    assert np.all(filled[frames])  # nothing heard is left out
    assert all(later - earlier > pause for (_, earlier), (later, _) in pairwise(found))


@given(st.lists(st.tuples(st.floats(0.3, 1.2), st.floats(0.05, 0.8)), min_size=1, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_a_clean_track_is_split_at_its_pauses_over_300_ms(plan: list[tuple[float, float]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # within 40 ms of the limit the smoothing of the levels decides
    plan = [(speech, pause if abs(pause - 0.3) > 0.04 else 0.4) for speech, pause in plan]
    pieces = [np.zeros(SAMPLE_RATE // 2, dtype=np.float32)]
    expected: list[list[float]] = []
    at, before = 0.5, 1.0
    for speech, pause in plan:
        pieces += [vowel(speech, rng), np.zeros(round(pause * SAMPLE_RATE), dtype=np.float32)]
        if before > 0.3:
            expected.append([at, at])
        expected[-1][1] = at + speech
        at, before = at + speech + pause, pause
    track = np.concatenate(pieces)
    track += 1e-4 * rng.standard_normal(len(track)).astype(np.float32)
    np.testing.assert_allclose(spans(heard.intervals(heard.voice_activity(track))), expected, atol=0.04)


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.003])
@pytest.mark.parametrize("noise", [-70.0, -55.0, -43.0])
def test_neither_level_nor_noise_moves_what_is_heard(gain: float, noise: float) -> None:
    rng = np.random.default_rng(1)
    track = np.pad(vowel(1.0, rng), SAMPLE_RATE // 2)
    track += np.float32(10 ** (noise / 20)) * rng.standard_normal(len(track)).astype(np.float32)
    found = spans(heard.intervals(heard.voice_activity(track * np.float32(gain))))
    np.testing.assert_allclose(found, [(0.5, 1.5)], atol=0.04)


def test_silence_clicks_and_breaths_are_not_heard() -> None:
    rng = np.random.default_rng(2)
    quiet = np.zeros(2 * SAMPLE_RATE, dtype=np.float32)
    assert not heard.voice_activity(quiet).any()
    assert heard.voice_activity(quiet[:0]).size == 0
    track = np.concatenate([quiet, vowel(1, rng), quiet]) + 1e-4 * rng.standard_normal(5 * SAMPLE_RATE)
    track[SAMPLE_RATE : SAMPLE_RATE + 160] += 0.3  # a click
    track[4 * SAMPLE_RATE : 4 * SAMPLE_RATE + 4800] += 0.02 * rng.standard_normal(4800)  # a breath
    found = spans(heard.intervals(heard.voice_activity(track.astype(np.float32))))
    np.testing.assert_allclose(found, [(2, 3)], atol=0.04)


# the material


def test_only_sentences_are_spoken_and_no_voice_is_in_two_splits(speech: Path) -> None:
    splits: tuple[Split, ...] = ("train", "dev", "eval")
    names = [{voice.name for voice in read_voices(speech, split)} for split in splits]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    for split in splits:
        sets = {file.relative_to(speech).parts[1] for voice in read_voices(speech, split) for file in voice.files}
        assert sets <= {"speechocean762", "librispeech"}
        assert {voice.name.partition("-")[0] for voice in read_voices(speech, split)} == sets
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for read in (lambda split: read_noises(speech, split)[0], lambda split: read_templates(speech, split)):
            assert not set(read(splits[one])) & set(read(splits[other]))


def test_a_talker_says_about_as_much_as_asked_at_one_level(speech: Path) -> None:
    voice = read_voices(speech, "dev")[0]
    talker = Talker(voice, np.random.default_rng(3))
    for frames in (20, 100, 1500, 20_000):  # the last is longer than all the voice has
        samples, active = talker.say(frames, frames + 10)
        assert len(samples) == len(active) * heard.FRAME
        assert abs(len(active) - frames) <= 30
        assert len(active) <= frames + 10
        assert active.any()
    level = recording.rms(samples[np.repeat(active, heard.FRAME)])
    assert level == pytest.approx(LEVEL, rel=0.15)


def test_rumble_is_not_speech() -> None:
    rng = np.random.default_rng(8)
    track = np.pad(vowel(1.0, rng), SAMPLE_RATE) + 1e-4 * rng.standard_normal(3 * SAMPLE_RATE)
    steps = 0.3 * np.sin(2 * np.pi * 30 * np.arange(len(track)) / SAMPLE_RATE)
    ((samples, active),) = utterance_pieces((track + steps).astype(np.float32))
    assert np.sum(active) == pytest.approx(100, abs=8)
    assert recording.rms(samples[np.repeat(active, heard.FRAME)]) == pytest.approx(LEVEL, rel=0.02)


def test_a_template_begins_again_when_it_ends(speech: Path) -> None:
    template = read_templates(speech, "dev")[0]
    once = template.stretch(0, template.seconds)
    assert once == list(template.turns)
    twice = template.stretch(0, 2 * template.seconds)
    assert len(twice) == 2 * len(once)
    assert all(0 <= start < end <= 2 * template.seconds for start, end, _ in twice)


# rooms and recordings


@pytest.mark.parametrize("distance", [0.3, 2.0])
def test_a_room_neither_delays_nor_lasts_longer_than_it_should(distance: float) -> None:
    room = Room((6, 5, 3), (3, 2.5, 1), 0.5)
    response = room.impulse_response(distance, np.random.default_rng(4)).astype(np.float64)
    assert response[0] == pytest.approx(1, abs=0.05)
    power = np.cumsum(response[::-1] ** 2)[::-1]  # Schroeder's decay curve
    fall = 10 * np.log10(power[int(0.06 * SAMPLE_RATE)] / power[int(0.31 * SAMPLE_RATE)])
    assert fall == pytest.approx(60 * 0.25 / 0.5, rel=0.25)


@pytest.mark.parametrize("seed", range(5))
def test_a_measured_room_keeps_time_and_is_no_church(seed: int) -> None:
    rng = np.random.default_rng(seed)
    church = np.exp(-np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE) * rng.standard_normal(2 * SAMPLE_RATE)
    church[400] = -5  # the direct sound, upside down, after some silence
    church[:400] = 0
    response = real_response(church.astype(np.float32), rng)
    assert response[0] == 1
    split = SAMPLE_RATE // 20
    assert np.sum(response[:split] ** 2) >= 0.999 * np.sum(response[split:] ** 2)


def test_farther_away_is_more_reverberant() -> None:
    room = Room((6, 5, 3), (3, 2.5, 1), 0.5)
    near, far = (room.impulse_response(distance, np.random.default_rng(5)) for distance in (0.2, 2.0))
    assert np.sum(far[100:] ** 2) > 10 * np.sum(near[100:] ** 2)


@pytest.mark.parametrize("line", recording.LINES)
def test_a_line_keeps_time_and_level(line: str) -> None:
    rng = np.random.default_rng(6)
    sent = np.pad(vowel(2, rng), SAMPLE_RATE)
    sent = np.asarray(lfilter([1, -0.95], [1], sent), dtype=np.float32)  # some of it within the telephone's band
    received = recording.LINES[line][1](sent, rng)
    assert len(received) == len(sent)
    assert received.dtype == np.float32
    levels = [heard.frame_levels(samples).clip(-70) for samples in (sent, received)]
    lags = [np.corrcoef(levels[0][5:-5], np.roll(levels[1], lag)[5:-5])[0, 1] for lag in range(-3, 4)]
    assert np.argmax(lags) == 3
    assert abs(20 * np.log10(recording.rms(received) / recording.rms(sent))) < 12


def test_the_equaliser_brings_two_microphones_closer() -> None:
    rng = np.random.default_rng(7)
    source = lfilter([1], [1, -0.9], rng.standard_normal(10 * SAMPLE_RATE))  # falls towards the treble, as speech does
    bright, dark = (np.asarray(lfilter([1, b], [1], source), dtype=np.float32) for b in (-0.5, 0.5))

    def balance(samples: Samples) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(10 * np.log10(power[len(power) // 4 :].sum() / power[: len(power) // 4].sum()))

    before = balance(bright) - balance(dark)
    after = [balance(recording.centred(samples, recording.equaliser(samples, 0.7))) for samples in (bright, dark)]
    assert before > 5
    assert abs(after[0] - after[1]) < 0.4 * before


# conversations


def test_the_same_seed_gives_the_same_bits_whatever_came_before(speech: Path) -> None:
    first, second = simulate.conversations(speech, "dev", 2, seed=11, config=SHORT)
    again = simulate.simulate(speech, "dev", 11, SHORT, index=1)
    assert second.samples.tobytes() == again.samples.tobytes()
    assert (second.uri, second.turns, second.scene) == (again.uri, again.turns, again.scene)
    assert first.samples.tobytes() != second.samples.tobytes()
    assert first.uri != second.uri


@pytest.mark.parametrize("index", range(4))
def test_a_conversation_is_what_was_asked_for(speech: Path, index: int) -> None:
    conversation = simulate.simulate(speech, "eval", 12, SHORT, index)
    samples, turns, scene = conversation.samples, conversation.turns, conversation.scene
    assert samples.dtype == np.float32
    assert 20 * SAMPLE_RATE <= len(samples) <= 30 * SAMPLE_RATE
    assert np.abs(samples).max() <= 1
    assert turns
    assert turns == sorted(turns)
    assert all(0 <= turn.start < turn.end <= len(samples) for turn in turns)
    assert {turn.speaker for turn in turns} <= set(scene.voices) <= {v.name for v in read_voices(speech, "eval")}
    talking = np.zeros(len(samples), dtype=int)
    for turn in turns:
        talking[turn.start : turn.end] += 1
    assert np.mean(talking > 0) == pytest.approx(scene.speech, abs=0.001)
    assert np.mean(talking[talking > 0] > 1) == pytest.approx(scene.overlap, abs=0.001)
    level = 20 * np.log10(recording.rms(samples[talking > 0]))
    assert level == pytest.approx(scene.level, abs=1)
    for name in scene.voices:
        own = [turn for turn in turns if turn.speaker == name]
        assert all(later.start - earlier.end > 0.3 * SAMPLE_RATE for earlier, later in pairwise(own))


@pytest.mark.parametrize("index", range(3))
def test_the_sound_is_where_the_reference_says(speech: Path, index: int) -> None:
    conversation = simulate.simulate(speech, "dev", 13, PLAIN, index)
    outside = np.ones(len(conversation.samples), dtype=bool)
    for turn in conversation.turns:
        outside[turn.start : turn.end] = False
    power = np.square(conversation.samples, dtype=np.float64)
    assert power[outside].sum() < 0.01 * power.sum()
    for turn in conversation.turns:  # and none of them is silent
        assert power[turn.start : turn.end].mean() > 1e-3 * power[~outside].mean()


@pytest.mark.parametrize("speakers", [1, 3, 7])
def test_as_many_speak_as_asked(speech: Path, speakers: int) -> None:
    config = replace(PLAIN, speakers=speakers, seconds=(120, 120))
    conversation = simulate.simulate(speech, "eval", 14, config)
    assert len({turn.speaker for turn in conversation.turns}) == speakers
    assert len(conversation.samples) == 120 * SAMPLE_RATE


def test_the_timing_is_that_of_the_template(speech: Path) -> None:
    config = replace(PLAIN, seconds=(120, 120))
    for conversation in simulate.conversations(speech, "dev", 3, seed=15, config=config):
        scene = conversation.scene
        template = next(one for one in read_templates(speech, "dev") if one.name == scene.template)
        covered = np.zeros(12_000, dtype=bool)
        for start, end, _ in template.stretch(scene.start, 120):
            covered[round(start * 100) : round(end * 100)] = True
        said = np.zeros(12_000, dtype=bool)
        for turn in conversation.turns:
            said[turn.start // 160 : turn.end // 160] = True
        assert np.mean(said) == pytest.approx(np.mean(covered), abs=0.12)
        assert np.mean(covered[said]) > 0.93


def test_the_command_writes_what_the_function_gives(speech: Path, tmp_path: Path) -> None:
    simulate.main([str(tmp_path), "--speech", str(speech), "--split", "dev", "--count", "1", "--seconds", "20", "25"])
    conversation = simulate.simulate(speech, "dev", 1, simulate.SimulationConfig(seconds=(20, 25)))
    samples, rate = soundfile.read(tmp_path / f"{conversation.uri}.flac", dtype="float32")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(samples, conversation.samples, atol=1e-4)
    assert read_rttm(tmp_path / f"{conversation.uri}.rttm") == {conversation.uri: conversation.turns}


# what cannot be


def test_an_unknown_split(speech: Path) -> None:
    with pytest.raises(ValueError, match=r"'test'.*train, dev, eval"):
        simulate.simulate(speech, "test", 1)  # type: ignore[arg-type]  # that is the point


def test_a_folder_without_speech(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"speakers\.csv"):
        simulate.simulate(tmp_path, "dev", 1)


def test_a_split_in_which_only_words_are_said(tmp_path: Path) -> None:
    header = "set,speaker,split,file,seconds,gender,age,source_files\n"
    row = "dspspeech20,1,dev,speakers/dspspeech20/1/a.opus,1.0,f,,\n"
    (tmp_path / "speakers.csv").write_text(header + row)
    with pytest.raises(ValueError, match="no speaker of the split 'dev'"):
        simulate.simulate(tmp_path, "dev", 1)


@pytest.mark.parametrize("speakers", [0, -1])
def test_too_few_speakers(speakers: int) -> None:
    with pytest.raises(ValueError, match=f"speakers must be at least 1, not {speakers}"):
        simulate.SimulationConfig(speakers=speakers)


@pytest.mark.parametrize("speakers", [22, 500])
def test_too_many_speakers(speech: Path, speakers: int) -> None:
    with pytest.raises(ValueError, match=f"{speakers} speakers cannot be had"):
        simulate.simulate(speech, "dev", 1, simulate.SimulationConfig(speakers=speakers))


@pytest.mark.parametrize("seconds", [(0.0, 10.0), (20.0, 10.0)])
def test_impossible_lengths(seconds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="seconds must be a range"):
        simulate.SimulationConfig(seconds=seconds)
