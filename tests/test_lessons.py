"""What training hears: noises and rooms of the folder or computed ones, and speech that a run does not mix up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diarize.evaluation.carrier_table import carriers_of, carry_to
from diarize.training.carriers import Sources
from diarize.training.corpus import Corpus, CorpusConfig, prepare
from diarize.training.lessons import SPEECH, check_speech, sources_of
from diarize.training.manifest import read_manifest
from diarize.training.train import CHECKPOINT
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation, here


def as_it_is(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples


def people(folder: Path, start: int = 0) -> Path:
    """Ten speakers with two files each, who are pieces of a conversation from a second on."""
    talk = np.roll(conversation(40), -start * SAMPLE_RATE)
    for person in range(10):
        (folder / "pieces" / f"p{person}").mkdir(parents=True)
        for part in range(2):
            at = (4 * person + 2 * part) * SAMPLE_RATE
            file = folder / "pieces" / f"p{person}" / f"{part}{'x' if start else ''}.wav"
            soundfile.write(file, talk[at : at + 2 * SAMPLE_RATE], SAMPLE_RATE)
    return folder


# the speech of a run


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    """Of other speech, by as many speakers of the same names."""
    root = tmp_path_factory.mktemp("corpora")
    one, other = (
        prepare(read_manifest(people(root / name, start)), root / f"made-{name}", CorpusConfig((1.0,), 1), as_it_is)
        for name, start in (("one", 0), ("other", 1))
    )
    assert one.speakers == other.speakers
    return one, other


def test_a_resumed_run_must_have_the_speech_it_began_with(corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    one, other = corpora
    check_speech(tmp_path, one, resumed=False)
    check_speech(tmp_path, one, resumed=True)
    before = (tmp_path / SPEECH).read_text()
    with pytest.raises(ValueError, match=r"was taught with other speech than .*made-other: give that"):
        check_speech(tmp_path, other, resumed=True)
    assert (tmp_path / SPEECH).read_text() == before
    check_speech(tmp_path, other, resumed=False)  # what is begun anew is taught with what it is given
    check_speech(tmp_path, other, resumed=True)


def test_files_that_could_not_be_read_count(corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    check_speech(tmp_path, corpora[0], resumed=False)
    with pytest.raises(ValueError, match="other speech"):
        check_speech(tmp_path, replace(corpora[0], left_out={"unreadable": 1}), resumed=True)


def test_a_run_of_before_there_were_notes_goes_on_with_a_warning(
    corpora: tuple[Corpus, Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_speech(tmp_path, corpora[0], resumed=True)
    assert "does not say which speech it was taught with" in caplog.text
    with pytest.raises(ValueError, match="other speech"):
        check_speech(tmp_path, corpora[1], resumed=True)


@pytest.mark.parametrize("text", ["{", "\xff", "[]"])
def test_a_damaged_note(corpora: tuple[Corpus, Corpus], tmp_path: Path, text: str) -> None:
    (tmp_path / SPEECH).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"speech\.json is damaged|other speech"):
        check_speech(tmp_path, corpora[0], resumed=True)


def test_resuming_on_other_speech_on_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)  # no compiler: it takes longer than this run
    small = ["channels=16", "embedding=12", "every=1", "optimizer.steps=2", "batches.speakers=3", "start=''"]
    small += ["batches.unlabelled=0", "corpus.speeds=[1.0]", "corpus.takes=2", "loss.distillation=0"]
    options: list[str | Path] = ["-o", tmp_path / "run", "--workers", "0"]
    options += [word for setting in small for word in ("--set", setting)]
    one, other = people(tmp_path / "one"), people(tmp_path / "other", start=1)
    done = here(capfd, "train", one, *options, "--corpus", tmp_path / "of-one")
    assert done.code == 0, done.err
    assert set(json.loads((tmp_path / "run" / SPEECH).read_text())) == {"manifest", "left_out"}
    checkpoint = (tmp_path / "run" / CHECKPOINT).read_bytes()
    resumed = here(capfd, "train", other, *options, "--corpus", tmp_path / "of-other", "--resume")
    assert resumed.code == 1
    assert "was taught with other speech than" in resumed.err
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == checkpoint
    again = here(capfd, "train", one, *options, "--corpus", tmp_path / "of-one", "--resume")
    assert again.code == 0, again.err


# noises and rooms


def sounds(folder: Path, *kinds: str) -> Path:
    """A folder with so many noises or responses of rooms that every split has one."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        rows = ["file,class" if kind == "noise" else "file"]
        for number in range(5):
            name = f"{kind}/{number}.wav"
            sound = np.random.default_rng(number).normal(0, 0.1, SAMPLE_RATE)
            if kind == "rirs":
                sound *= np.exp(-np.arange(SAMPLE_RATE) / 800)
                sound[0] = 0.9
            soundfile.write(folder / name, sound, SAMPLE_RATE)
            rows.append(f"{name},Rain" if kind == "noise" else name)
        (folder / kind / "metadata.csv").write_text("\n".join(rows) + "\n")
    folder.mkdir(exist_ok=True)
    return folder


def test_training_and_evaluation_find_the_same_noises_and_rooms(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    none, both = sounds(tmp_path / "none"), sounds(tmp_path / "both", "noise", "rirs")
    assert sources_of(None, "train") is sources_of(none, "train") is Sources.computed()
    assert sources_of(both, "dev") is Sources.from_folder(both, "dev")
    for folder in (none, both):
        samples, rng = conversation(2), np.random.default_rng(1)
        expected = carry_to("noise", samples, np.random.default_rng(1), sources_of(folder, "eval"))
        assert np.array_equal(carriers_of(folder, "eval")(samples, "noise", rng), expected)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [f"noises and rooms are computed ones: no noise/ and rirs/ in {none}"]


@pytest.mark.parametrize(("kind", "lacking"), [("noise", "rirs"), ("rirs", "noise")])
def test_noises_without_rooms_and_rooms_without_noises_are_refused(tmp_path: Path, kind: str, lacking: str) -> None:
    folder = sounds(tmp_path / "half", kind)
    for find in (sources_of, carriers_of):
        with pytest.raises(ValueError, match=rf"{lacking}: no metadata\.csv there"):
            find(folder, "train")


def test_a_damaged_table_of_noises_is_not_passed_over(tmp_path: Path) -> None:
    folder = sounds(tmp_path / "speech", "noise", "rirs")
    (folder / "noise" / "metadata.csv").write_text("name\na.wav\n")
    for find in (sources_of, carriers_of):
        with pytest.raises(ValueError, match="no column class, file; add it"):
            find(folder, "train")
