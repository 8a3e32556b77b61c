"""From recordings to references: what the gate lets pass, what it refuses and why, and making references again."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from diarize.embedded import EmbeddedRecording
from diarize.enrolment import Heard, enrolment, hear, heard_again, turns_alone
from diarize.pipeline import SpeakerDiarization
from diarize.profiles.gate import Gate, RefusedError, halves, net_speech
from diarize.profiles.person import Person, ProfilesError
from diarize.rttm import read_rttm
from diarize.sources import read
from diarize.types import EmbeddingWindow
from tests.command import SAMPLE, conversation

RTTM = SAMPLE.with_suffix(".rttm")
STEP = 16_000
DIMENSIONS = 16
ANNA, BEN = np.eye(DIMENSIONS, dtype=np.float32)[:2]


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Clara and of Robin a recording with their first turns, and one with later ones."""
    folder = tmp_path_factory.mktemp("voices")
    talk = conversation(60)
    for name in ("Clara", "Robin"):
        turns = [turn for turn in read_rttm(RTTM)["conversation"] if turn.speaker == name]
        for number, some in enumerate((turns[:2], turns[-3:]), start=1):
            pieces = [talk[turn.start : turn.end] for turn in some]
            soundfile.write(folder / f"{name.lower()}{number}.wav", np.concatenate(pieces), STEP)
    return folder


def heard(name: str, voices: NDArray[np.float32], step: int = STEP) -> Heard:
    """A recording in which each voice, shape (n, dimensions), talks for `step` samples."""
    windows = [
        EmbeddingWindow(at * step, (at + 1) * step, ((at * step, (at + 1) * step),), at, voice, 1.0)
        for at, voice in enumerate(voices)
    ]
    return Heard(name, EmbeddedRecording(name, len(voices) * step, "a model", (tuple(windows),)))


def windows_of(voice: NDArray[np.float32], count: int, noise: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """So many windows of a voice."""
    rows = voice + noise * np.random.default_rng(seed).normal(size=(count, DIMENSIONS))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


# The gate, on made-up windows


def test_a_reference_is_the_mean_voice() -> None:
    anna = windows_of(ANNA, 8)
    (reference,) = enrolment([heard("a", anna)])
    assert reference.embedding @ anna.mean(axis=0) == pytest.approx(np.linalg.norm(anna.mean(axis=0)), abs=1e-6)
    assert reference.cohesion == pytest.approx(np.linalg.norm(anna.mean(axis=0)), abs=1e-6)
    assert (reference.speech, reference.model, reference.origin) == (8.0, "a model", None)


def test_speech_is_counted_once_where_windows_overlap() -> None:
    windows = [EmbeddingWindow(at, at + 1600, ((at, at + 1600),), at, ANNA, 1.0) for at in range(0, 16_000, 400)]
    assert net_speech(windows) == pytest.approx((15_600 + 1600) / 16_000)


def test_five_seconds_are_enough_and_less_are_not() -> None:
    assert len(enrolment([heard("a", windows_of(ANNA, 5))])) == 1
    assert len(enrolment([heard("a", windows_of(ANNA, 3)), heard("b", windows_of(ANNA, 2, seed=1))])) == 2
    with pytest.raises(RefusedError, match=r"^a, b: too little speech, 4\.0 s, and 5 s are needed: record more$"):
        enrolment([heard("a", windows_of(ANNA, 2)), heard("b", windows_of(ANNA, 2))])
    with pytest.raises(
        RefusedError, match=r"^b: too little speech, 0\.9 s, and each recording needs 1 s: leave it out$"
    ):
        enrolment([heard("a", windows_of(ANNA, 9)), heard("b", windows_of(ANNA, 1), step=14_400)])
    with pytest.raises(RefusedError, match=r"^a: too little speech, 0\.0 s"):
        enrolment([heard("a", windows_of(ANNA, 0))])
    with pytest.raises(ProfilesError, match="give a recording"):
        enrolment([])


@pytest.mark.parametrize("others", [1, 3, 5, 8])
def test_two_voices_in_one_recording(others: int) -> None:
    mixed = np.concatenate((windows_of(ANNA, 10 - others), windows_of(BEN, others)))
    with pytest.raises(
        RefusedError, match=r"^a: more than one voice: its halves are (0\.[89]|1\.[01])\d apart, and one"
    ):
        enrolment([heard("a", mixed)])


def test_windows_that_have_nothing_in_common_are_no_voice() -> None:
    unrelated = np.random.default_rng(0).normal(size=(12, DIMENSIONS))
    unrelated /= np.linalg.norm(unrelated, axis=1, keepdims=True)
    with pytest.raises(RefusedError, match=r"^a: no clear voice: its windows agree to 0\.\d\d, and 0\.60 are needed"):
        enrolment([heard("a", unrelated.astype(np.float32))], Gate(halves=2.0))
    opposite = np.stack([ANNA, -ANNA] * 4)
    with pytest.raises(RefusedError, match=r"agree to 0\.00"):
        enrolment([heard("a", opposite)], Gate(halves=2.0))


def test_two_recordings_of_two_voices() -> None:
    recordings = [heard("a", windows_of(ANNA, 6)), heard("b", windows_of(BEN, 6)), heard("c", windows_of(ANNA, 6))]
    with pytest.raises(RefusedError, match=r"^b: not the voice of a: the similarity is -?0\.\d\d, and 0\.45 is needed"):
        enrolment(recordings)


def test_long_recordings_are_judged_by_some_of_their_windows() -> None:
    voices = np.concatenate((windows_of(ANNA, 9000), windows_of(BEN, 3000)))
    assert halves(voices) == pytest.approx(halves(voices[::6]), abs=1e-6)
    assert halves(windows_of(ANNA, 1)) == 0


# The gate, on voices


def test_enrolment_of_a_voice(diarization: SpeakerDiarization, folder: Path) -> None:
    one, two = enrolment([hear(diarization.embedded, folder / f"clara{number}.wav") for number in (1, 2)])
    assert one.model == diarization.encoder.fingerprint
    assert one.embedding @ two.embedding > 0.8
    assert 5 < one.speech < soundfile.info(folder / "clara1.wav").duration
    assert one.origin
    assert (one.origin.path, one.origin.stretches) == (str(folder / "clara1.wav"), ())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", one.made)


def test_what_is_no_enrolment(diarization: SpeakerDiarization, folder: Path, tmp_path: Path) -> None:
    clips = {
        "noise": np.random.default_rng(0).normal(0, 0.05, 8 * STEP),
        "short": conversation(2)[STEP : STEP + 8000],
        "both": conversation(11),
    }
    for name, samples in clips.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, STEP)
    for names, says in (
        (["noise"], r"noise\.wav: too little speech, 0\.\d s, and 5 s are needed"),
        (["short"], r"short\.wav: too little speech, 0\.[45] s, and 5 s are needed"),
        (["both"], r"both\.wav: more than one voice: its halves are [01]\.\d\d apart, .*--from RTTM --speaker LABEL"),
        ([folder / "clara1", folder / "robin1"], r"robin1\.wav: not the voice of .*clara1\.wav: the similarity is"),
    ):
        recordings = [hear(diarization.embedded, tmp_path / f"{name}.wav") for name in names]
        with pytest.raises(RefusedError, match=says):
            enrolment(recordings)


def test_a_speaker_of_a_diarized_recording(diarization: SpeakerDiarization, folder: Path) -> None:
    alone = turns_alone(RTTM, "Clara", "conversation")
    others = [turn for turn in read_rttm(RTTM)["conversation"] if turn.speaker != "Clara"]
    assert not any(start < turn.end and turn.start < end for start, end in alone for turn in others)
    (clara,) = enrolment([hear(diarization.embedded, SAMPLE, alone)])
    assert clara.origin
    assert clara.origin.stretches == tuple(alone)
    for name, near in (("clara", True), ("robin", False)):
        (other,) = enrolment([hear(diarization.embedded, folder / f"{name}1.wav")])
        assert (clara.embedding @ other.embedding > 0.7) == near


def test_turns_that_are_nobodys(tmp_path: Path, diarization: SpeakerDiarization, folder: Path) -> None:
    with pytest.raises(ProfilesError, match="nobody is called 'Zoe': it names Clara, Robin, Angus, Karl"):
        turns_alone(RTTM, "Zoe", "conversation")
    with pytest.raises(ProfilesError, match="no turns of 'meeting': it names conversation"):
        turns_alone(RTTM, "Clara", "meeting")
    under = tmp_path / "under.rttm"
    under.write_text(
        "SPEAKER a 1 1.0 2.0 <NA> <NA> A <NA> <NA>\nSPEAKER a 1 0.0 9.0 <NA> <NA> B <NA> <NA>\n", encoding="utf-8"
    )
    with pytest.raises(ProfilesError, match="A never talks alone"):
        turns_alone(under, "A", "a")
    with pytest.raises(ProfilesError, match=r"clara1\.wav: it ends before the first of these turns"):
        hear(diarization.embedded, folder / "clara1.wav", [(STEP * 900, STEP * 910)])


def test_references_are_made_again(diarization: SpeakerDiarization, folder: Path, tmp_path: Path) -> None:
    recording = tmp_path / "clara.wav"
    recording.write_bytes((folder / "clara1.wav").read_bytes())
    turns = turns_alone(RTTM, "Robin", "conversation")
    (whole,), (parts,) = (enrolment([hear(diarization.embedded, *args)]) for args in ((recording, ()), (SAMPLE, turns)))
    people = [Person("Clara", (replace(whole, model="old"),)), Person("Robin", (replace(parts, model="old"),))]
    clara, robin = heard_again(diarization.embedded, people)
    assert [one.model for one in (*clara.references, *robin.references)] == [diarization.encoder.fingerprint] * 2
    assert np.array_equal(clara.references[0].embedding, whole.embedding)
    assert np.array_equal(robin.references[0].embedding, parts.embedding)
    assert robin.references[0].origin == parts.origin

    recording.write_bytes((folder / "robin1.wav").read_bytes())
    with pytest.raises(ProfilesError, match=r"^Clara cannot be .*clara\.wav: is not the recording it was .* --drop"):
        heard_again(diarization.embedded, people)
    recording.unlink()
    with pytest.raises(ProfilesError, match=r"^Clara cannot be .*clara\.wav: No such file or directory; nothing was"):
        heard_again(diarization.embedded, people)
    assert [person.name for person in heard_again(diarization.embedded, people, drop=True)] == ["Robin"]
    with pytest.raises(ProfilesError, match="no reference can be made again: are the recordings where they were"):
        heard_again(diarization.embedded, people[:1], drop=True)
    array = [Person("Ana", (replace(whole, origin=None),))]
    with pytest.raises(ProfilesError, match="Ana cannot be enrolled again: a reference came from no file"):
        heard_again(diarization.embedded, array)


def test_real_voices(diarization: SpeakerDiarization, speech: Path) -> None:
    utterances = defaultdict(list)
    with (speech / "speakers.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["set"], row["split"]) == ("speechocean762", "dev"):
                utterances[row["speaker"]].append(speech / row["file"])
    speakers = sorted(utterances)[:6]

    def together(*groups: list[Path]) -> Heard:
        samples = np.concatenate([read(path) for group in groups for path in group])
        return Heard("recording", diarization.embedded(samples))

    enrolled = []
    for one, other in zip(speakers, speakers[1:] + speakers[:1], strict=True):
        with suppress(RefusedError):  # one in thirty
            enrolled += enrolment([together(utterances[one][:3])])
        with pytest.raises(RefusedError, match="more than one voice"):
            enrolment([together(utterances[one][3:5], utterances[other][3:5])])
    assert len(enrolled) >= 5


def test_the_example(folder: Path, tmp_path: Path) -> None:
    recordings = [str(folder / f"clara{number}.wav") for number in (1, 2)]
    command = [sys.executable, "examples/enroll.py", str(tmp_path / "people.db"), "Clara", *recordings]
    done = subprocess.run(command, cwd=SAMPLE.parents[2], capture_output=True, text=True, check=True)
    first, second, *rest = done.stdout.splitlines()
    for line in (first, second):
        assert re.fullmatch(r"\d+\.\d s of speech, windows agree to 0\.\d\d", line)
    assert rest == ["1 enrolled, 2 references", "0 enrolled"]
