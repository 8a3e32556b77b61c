"""Manifests: what a folder of speech holds, by its table or by its places."""

from __future__ import annotations

import csv
import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile

from diarize.training.manifest import Split, Utterance, fingerprint, read_manifest
from diarize.training.speech import CONNECTED, WORDS, read_voices

SPLITS: tuple[Split, ...] = get_args(Split)


def folder_of(root: Path, *names: str) -> Path:
    """A folder with half a second of noise under each of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.random.default_rng(0).normal(0, 0.1, 4000), 8000)
    return root


def speakers(utterances: tuple[Utterance, ...]) -> dict[str, str | None]:
    """Whose each file is, by its name."""
    return {utterance.name: utterance.speaker for utterance in utterances}


# the table


def test_a_table_is_read_as_it_stands(speech: Path) -> None:
    with (speech / "speakers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labelled = [utterance for utterance in read_manifest(speech) if utterance.speaker]
    assert [utterance.file for utterance in labelled] == [speech / row["file"] for row in rows]
    assert [utterance.seconds for utterance in labelled] == [float(row["seconds"]) for row in rows]
    assert {utterance.speaker for utterance in labelled} == {f"{row['set']}-{row['speaker']}" for row in rows}
    assert {utterance.group for utterance in labelled} == {row["set"] for row in rows}
    assert len({utterance.name for utterance in labelled}) == len(labelled)


def test_splits_share_no_speaker_and_are_all_there_is(speech: Path) -> None:
    parts = [read_manifest(speech, split) for split in SPLITS]
    people = [{utterance.speaker for utterance in part} - {None} for part in parts]
    assert sum(map(len, people)) == len(set().union(*people))
    assert sum(map(len, parts)) == len(read_manifest(speech))


def test_unlabelled_speech_is_nobodys_and_can_only_teach(speech: Path) -> None:
    counts = Counter(
        split for split in SPLITS for utterance in read_manifest(speech, split) if utterance.speaker is None
    )
    files = list((speech / "unlabelled").rglob("*.opus"))
    assert counts == {"train": len(files)}
    nobodys = [utterance for utterance in read_manifest(speech) if utterance.speaker is None]
    assert {utterance.file for utterance in nobodys} == set(files)
    assert {utterance.group for utterance in nobodys} == {"picovoice_s2i"}
    with (speech / "unlabelled" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        told = {speech / row["file"]: float(row["seconds"]) for row in csv.DictReader(file)}
    assert all(utterance.seconds == pytest.approx(told[utterance.file], abs=0.01) for utterance in nobodys)


@pytest.mark.parametrize("split", SPLITS)
def test_voices_are_made_of_the_same_utterances(speech: Path, split: Split) -> None:
    voices = {voice.name: voice for voice in read_voices(speech, split, CONNECTED + WORDS)}
    labelled = [utterance for utterance in read_manifest(speech, split) if utterance.speaker]
    assert {utterance.speaker for utterance in labelled} == set(voices)
    for name in list(voices)[:5]:
        said = [utterance for utterance in labelled if utterance.speaker == name]
        assert voices[name].files == tuple(utterance.file for utterance in said)
        assert voices[name].seconds == sum(utterance.seconds for utterance in said)


# the places


def test_folders_of_sets_and_speakers(tmp_path: Path) -> None:
    folder_of(tmp_path, "read/ann/a.wav", "read/ben/chapter/b.flac", "played/ann/c.wav", "unlabelled/radio/d.wav")
    (tmp_path / "read" / "ann" / "a.txt").write_text("what was said")
    found = read_manifest(tmp_path)
    assert [(utterance.file.relative_to(tmp_path).as_posix(), utterance.speaker) for utterance in found] == [
        ("played/ann/c.wav", "played-ann"),
        ("read/ann/a.wav", "read-ann"),
        ("read/ben/chapter/b.flac", "read-ben"),
        ("unlabelled/radio/d.wav", None),
    ]
    assert [utterance.group for utterance in found] == ["played", "read", "read", "radio"]
    assert {utterance.seconds for utterance in found} == {0.5}


@pytest.mark.parametrize("above", ["", "wav/", "vox/dev/aac/"])
def test_the_layout_of_voxceleb(tmp_path: Path, above: str) -> None:
    folder_of(tmp_path, f"{above}id10001/VIDEO_a-1/00001.wav", f"{above}id10270/VIDEO_b/00001.wav")
    assert speakers(read_manifest(tmp_path)) == {
        "id10001/VIDEO_a-1/00001.wav": "voxceleb-id10001",
        "id10270/VIDEO_b/00001.wav": "voxceleb-id10270",
    }
    assert "voxceleb-id10270" in speakers(read_manifest(tmp_path, "eval")).values(), "VoxCeleb1 tests on it"


def test_the_layout_of_cn_celeb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, "data/id00012/singing-01-002.flac", "data/id00800/drama-01-001.flac", "eval/test/x.flac")
    found = read_manifest(tmp_path)
    assert [utterance.speaker for utterance in found] == ["cnceleb-id00012", "cnceleb-id00800"]
    assert "1 files are not in idXXXXX" in caplog.text, "the trials' copies are no speaker"
    assert "cnceleb-id00800" in speakers(read_manifest(tmp_path, "eval")).values(), "CN-Celeb tests on it"


def test_a_set_may_be_called_as_the_test_sets_are(tmp_path: Path) -> None:
    folder_of(tmp_path, "voxceleb/bob/a.wav")
    assert speakers(read_manifest(tmp_path, "train")) == {"voxceleb/bob/a.wav": "voxceleb-bob"}


def test_drawn_splits_share_no_speaker_and_stay_when_others_come(tmp_path: Path) -> None:
    names = [f"set/{number:03d}/a.wav" for number in range(40)]
    folder_of(tmp_path, *names[:25])
    before = {split: set(speakers(read_manifest(tmp_path, split)).values()) for split in SPLITS}
    folder_of(tmp_path, *names[25:])
    after = {split: set(speakers(read_manifest(tmp_path, split)).values()) for split in SPLITS}
    assert sum(map(len, after.values())) == len(set().union(*after.values())) == 40
    assert len(after["train"]) > 25
    for split in SPLITS:
        assert before[split] <= after[split]
        assert after[split]


def test_files_that_are_no_speakers_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, "set/ann/a.wav", "stray.wav", "set/stray.wav")
    assert len(read_manifest(tmp_path)) == 1
    assert "2 files are not in SET/SPEAKER" in caplog.text


def test_a_damaged_file_is_still_listed(tmp_path: Path) -> None:
    folder_of(tmp_path, "set/ann/a.wav", "set/ann/b.wav")
    (tmp_path / "set" / "ann" / "b.wav").write_bytes(b"RIFF nonsense")
    assert [utterance.seconds for utterance in read_manifest(tmp_path)] == [0.5, 0.0]


# the fingerprint


def test_the_fingerprint_is_of_what_they_are_and_not_of_where(tmp_path: Path) -> None:
    folder_of(tmp_path / "here", "set/ann/a.wav", "set/ben/b.wav")
    here = read_manifest(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    there = read_manifest(tmp_path / "there")
    assert here != there
    assert fingerprint(here) == fingerprint(there)
    others = [here[:1], here[::-1], (replace(here[0], speaker=None), here[1]), (replace(here[0], seconds=9), here[1])]
    assert len({fingerprint(other) for other in (here, *others)}) == 5


# what cannot be


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: no such folder; .*SET/SPEAKER"):
        read_manifest(tmp_path / "nowhere")


def test_a_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no audio"):
        read_manifest(tmp_path)


def test_a_folder_without_speakers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ValueError, match=r"no speech there; .*SET/SPEAKER"):
        read_manifest(folder_of(tmp_path, "a.wav"))


def test_an_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'test'; one of train, dev, eval"):
        read_manifest(tmp_path, "test")  # type: ignore[arg-type]  # that is the point


def test_a_table_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    table = "set,speaker,split,file,seconds\r\nread,zoë,dev,a b/ü.wav,1.5\r\n"
    (tmp_path / "speakers.csv").write_bytes(table.encode("utf-8-sig"))
    assert read_manifest(tmp_path, "dev") == (Utterance(tmp_path / "a b" / "ü.wav", "read-zoë", "read", 1.5),)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("set,speaker,file,seconds\na,1,x.wav,1\n", "no column split; add it"),
        ("", "no column file, seconds, set, speaker, split"),
        ("set,speaker,split,file,seconds\na,1,dev,x.wav,long\n", "'long' are no seconds"),
        ("set,speaker,split,file,seconds\na,1,dev,x.wav,\n", "'' are no seconds"),
        ("set,speaker,split,file,seconds\na,1\n", r"speakers\.csv:2: too short a row, without split; fill it in"),
        ("set,speaker,split,file,seconds\na,1,dev,x.wav,nan\n", "'nan' are no seconds"),
        ("set,speaker,split,file,seconds\na,1,dev,x.wav,-1\n", "'-1' are no seconds"),
        ("set,speaker,split,file,seconds\na,1,dev,\xff.wav,1\n", "speakers.csv is no CSV in UTF-8"),
        ("set,speaker,split,file,seconds\na,1,eval,x.wav,1\n", "no speech of the split 'dev'"),
    ],
)
def test_a_table_that_cannot_be(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "speakers.csv").write_text(table, encoding="latin-1")
    with pytest.raises(ValueError, match=words):
        read_manifest(tmp_path, "dev")
