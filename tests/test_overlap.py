"""Two at once, from the audio to the turns: the chains with a segmentation network that is always right."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from diarize.commands.options import configured
from diarize.corrections import told
from diarize.embedded import EmbeddedRecording, read_embedded, write_embedded
from diarize.formats import Diarization
from diarize.intervals import length, union
from diarize.linking import voices_of
from diarize.metrics import score
from diarize.pipeline import PipelineConfig, SpeakerDiarization, load_config, recluster
from diarize.plot.voices import NOBODY, window_speakers
from diarize.rttm import Turn, turns_from
from diarize.types import Interval, Samples, position
from tests import laws
from tests.calls import call, reference
from tests.command import here
from tests.overlap import FRAME, Reader, written

BOTH = (position(14), position(16))
"""When, in the call, both talk."""
EXCLUSIVE = replace(PipelineConfig(), turns=replace(PipelineConfig().turns, exclusive=True))


def marked(samples: Samples, turns: list[Turn]) -> Samples:
    """The audio with what is said in these turns, of whole frames, written into it."""
    people = np.zeros(-(-len(samples) // FRAME), np.int64)
    for number, name in enumerate(dict.fromkeys(turn.speaker for turn in turns)):
        for turn in turns:
            people[turn.start // FRAME : turn.end // FRAME] |= (turn.speaker == name) << number
    return written(samples, people)


@pytest.fixture(scope="module")
def audio() -> Samples:
    return marked(call(leak=-200).sum(axis=0), reference())


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    made = SpeakerDiarization(load_config(settings=["vad.onset=1"]))  # the detector finds nothing: the network knows
    made.segmenter = Reader()
    return made


@pytest.fixture(scope="module")
def recording(diarization: SpeakerDiarization, audio: Samples) -> EmbeddedRecording:
    return diarization.embedded(audio)


@pytest.fixture(scope="module")
def result(diarization: SpeakerDiarization, recording: EmbeddedRecording) -> Diarization:
    return recluster(recording, diarization.config)


def overlaps(turns: list[Turn]) -> list[Interval]:
    return [
        (max(a.start, b.start), min(a.end, b.end))
        for a, b in combinations(turns, 2)
        if min(a.end, b.end) > max(a.start, b.start)
    ]


def spoken(turns: list[Turn]) -> int:
    return length(union((turn.start, turn.end) for turn in turns))


def test_turns_overlap_where_voices_do(result: Diarization, audio: Samples) -> None:
    turns = turns_from(result.updates)
    assert overlaps(turns) == [BOTH]
    strict = score(reference(), turns).strict
    assert (strict.der or 0) < 0.01
    one_at_a_time = score(reference(), turns_from(SpeakerDiarization().diarize(audio).updates)).strict
    assert (one_at_a_time.der or 0) > 0.05


def test_voices_at_the_same_time_are_different_people(recording: EmbeddedRecording) -> None:
    (windows,) = recording.channels
    groups = [window.group for window in windows]
    assert sorted(groups) == groups
    assert {group for group in groups if groups.count(group) == 2} == set(range(35, 40))
    nearest = recluster(recording, load_config(settings=["clustering.switch_penalty=0"]))
    assert overlaps(turns_from(nearest.updates)) == [BOTH]


def test_a_voice_sounds_the_same_in_overlap_as_alone(recording: EmbeddedRecording) -> None:
    (windows,) = recording.channels
    crowded = [window for window in windows if BOTH[0] <= window.start < BOTH[1]]
    alone = {"Clara": position(13.2), "Robin": position(16.8)}
    voices = {name: next(one.embedding for one in windows if one.start == at) for name, at in alone.items()}
    for clara, robin in zip(crowded[::2], crowded[1::2], strict=True):
        if clara.embedding @ voices["Clara"] < robin.embedding @ voices["Clara"]:
            clara, robin = robin, clara
        assert clara.embedding @ voices["Clara"] > 0.5 > clara.embedding @ voices["Robin"]
        assert robin.embedding @ voices["Robin"] > 0.5 > robin.embedding @ voices["Clara"]
    assert {window.quality for window in crowded} == {1.0}


def test_one_speaker_at_a_time(recording: EmbeddedRecording, result: Diarization) -> None:
    turns = turns_from(recluster(recording, EXCLUSIVE).updates)
    assert overlaps(turns) == []
    assert spoken(turns) == spoken(turns_from(result.updates))
    assert {turn.speaker for turn in turns} == {"SPEAKER_00", "SPEAKER_01"}


def test_one_speaker_at_a_time_is_what_the_vad_says_anyway(audio: Samples) -> None:
    plain = SpeakerDiarization().embedded(audio)
    assert recluster(plain, EXCLUSIVE).updates == recluster(plain, PipelineConfig()).updates


def test_how_the_audio_is_cut_makes_no_difference(diarization: SpeakerDiarization, audio: Samples) -> None:
    cuts = sorted(np.random.default_rng(0).integers(0, len(audio), 40).tolist())
    laws.obeys(diarization.front, audio, cuts, at=position(15))


def test_channels_apart_have_groups_of_their_own(diarization: SpeakerDiarization) -> None:
    channels = call(leak=-15)
    said = [[turn for turn in reference() if turn.speaker == name] for name in ("Clara", "Robin")]
    heard = np.stack([marked(one, turns) for one, turns in zip(channels, said, strict=True)])
    found = diarization.embedded(heard, per_channel=True)
    share = position(0.4)
    shares = [{at // share for one in windows for at in range(one.start, one.end, share)} for windows in found.channels]
    assert shares == [{at // share for turn in turns for at in range(turn.start, turn.end, FRAME)} for turns in said]
    turns = turns_from(recluster(found, diarization.config).updates)
    assert overlaps(turns) == [BOTH]
    assert (score(reference(), turns).strict.der or 0) < 0.01


def test_a_kept_recording_is_clustered_again_with_its_groups(
    recording: EmbeddedRecording, result: Diarization, tmp_path: Path
) -> None:
    write_embedded(tmp_path / "call.voices", recording)
    again = read_embedded(tmp_path / "call.voices")
    assert recluster(again, load_config(base=again.settings)).updates == result.updates
    assert recluster(again, EXCLUSIVE).updates == recluster(recording, EXCLUSIVE).updates


def test_a_recording_kept_before_there_was_segmentation_is_read(
    recording: EmbeddedRecording, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = asdict(PipelineConfig())
    del settings["segmentation"], settings["turns"]["exclusive"]
    write_embedded(tmp_path / "old.voices", replace(recording, settings=settings))
    done = here(capfd, "recluster", tmp_path / "old.voices", "--set", "turns.exclusive=true", "--no-profiles")
    assert (done.code, done.out.count("SPEAKER ")) == (0, 6)
    done = here(capfd, "recluster", tmp_path / "old.voices", "--set", "segmentation.step=4")
    assert done.code == 1
    assert "segmentation.step was 3.2 when the embeddings were made and cannot become 4.0" in done.err


# Who is named by hand where voices overlap.


def test_of_a_group_one_voice_is_who_is_named_and_the_other_is_nobody(recording: EmbeddedRecording) -> None:
    (windows,) = recording.channels
    (marked_ones,) = told(recording.channels, [Turn(position(14), position(15.2), "Ana")])
    named = [window for window in marked_ones if window.person == "Ana"]
    assert [window.start for window in named] == [position(14), position(14.4), position(14.8)]
    assert len(marked_ones) == len(windows) - 3
    both = [Turn(*BOTH, "Ana"), Turn(*BOTH, "Bea")]  # whose voice is whose is not said: clustering tells
    assert told(recording.channels, both) == recording.channels


def test_a_correction_holds_where_voices_overlap(recording: EmbeddedRecording, diarization: SpeakerDiarization) -> None:
    for name, left in (("Ana", ["Ana"]), ("", [])):
        corrected = replace(recording, corrections=(Turn(*BOTH, name),))
        turns = turns_from(recluster(corrected, diarization.config).updates)
        assert [turn.speaker for turn in turns if turn.start < BOTH[1] and turn.end > BOTH[0]] == left
    swapped = replace(recording, corrections=(Turn(*BOTH, "Ana"), Turn(position(14), position(18.5), "Bea")))
    assert overlaps(turns_from(recluster(swapped, diarization.config).updates)) == [BOTH]


# Who says what, by the turns alone.


def test_a_window_that_two_talk_in_all_along_is_nobodys(recording: EmbeddedRecording, result: Diarization) -> None:
    (windows,) = recording.channels
    numbers = window_speakers(windows, turns_from(result.updates))
    crowded = np.array([BOTH[0] <= window.start < BOTH[1] for window in windows])
    assert (numbers[crowded] == NOBODY).all()
    assert set(numbers[~crowded].tolist()) == {0, 1}


def test_a_mean_voice_is_not_made_of_anothers(recording: EmbeddedRecording, result: Diarization) -> None:
    (windows,) = recording.channels
    means = voices_of(recording, result).means
    numbers = window_speakers(windows, turns_from(result.updates))
    for number, mean in enumerate(means.values()):
        own = np.sum([one.embedding for one, of in zip(windows, numbers, strict=True) if of == number], axis=0)
        assert mean is not None
        np.testing.assert_allclose(mean, own / np.linalg.norm(own), atol=1e-6)


# The options.


def test_the_options_are_settings() -> None:
    config = partial(configured, None, None, None, None, None, None, None, None, None)
    assert config() == PipelineConfig()
    assert config(segmentation=False, exclusive=False) == PipelineConfig()
    chosen = config(segmentation=True, exclusive=True)
    assert (chosen.segmentation.model, chosen.turns.exclusive) == ("powerset", True)
    assert load_config("overlap") == config(segmentation=True)
    changes, unset = ["segmentation.step=2.0"], (None, None, None, None, None, None)
    above = configured("telephone", changes, "webrtc", *unset, segmentation=True)
    below = load_config("telephone", [*changes, "vad.name=webrtc"], {"clustering": {"averaging": 1.2}})
    assert above == replace(below, segmentation=replace(below.segmentation, model="powerset"))


def test_a_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown segmentation network 'none of ours': give a file or one of"):
        SpeakerDiarization(load_config(settings=["segmentation.model=none of ours"]))
