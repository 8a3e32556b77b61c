"""`diarize enroll` and `diarize profiles` as their users meet them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diarize.models.encoder import SpeakerEncoder
from diarize.profiles.store import ProfileStore
from diarize.rttm import read_rttm
from tests import published
from tests.command import SAMPLE, conversation, here
from tests.voices import references

Capture = pytest.CaptureFixture[str]
RTTM = SAMPLE.with_suffix(".rttm")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clara.wav, again.wav of the same voice and robin.wav, where the commands run; and a store."""
    talk = conversation(60)
    turns = read_rttm(RTTM)["conversation"]
    clara, robin = ([turn for turn in turns if turn.speaker == name] for name in ("Clara", "Robin"))
    for name, some in (("clara", clara[:2]), ("again", clara[3:]), ("robin", robin[:2])):
        soundfile.write(
            tmp_path / f"{name}.wav", np.concatenate([talk[turn.start : turn.end] for turn in some]), 16_000
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIARIZE_PROFILES", str(tmp_path / "state" / "people.db"))
    return tmp_path


@pytest.fixture
def people(folder: Path) -> Path:
    """A store with made-up voices of Ana, two references, and Ben."""
    with ProfileStore(folder / "made-up.db") as store:
        store.enroll("Ana [bold]", references(1))
        store.enroll("Ben", references(2, 1))
    return folder / "made-up.db"


def test_enroll_list_and_show(folder: Path, capfd: Capture, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = folder / "state" / "people.db"
    first = here(capfd, "enroll", "Clara", "clara.wav")
    assert (first.code, first.out) == (0, "")
    assert re.fullmatch(rf"Clara: 1 reference of \d\.\d s of speech; kept in {store}\n", first.err)
    more = here(capfd, "enroll", "Clara", "again.wav", str(SAMPLE), "--from", str(RTTM), "--speaker", "Clara")
    assert (more.code, more.err) == (2, "error: --from says who spoke when in one recording: give one, not 2\n")
    more = here(capfd, "enroll", "Clara", "again.wav")
    assert re.fullmatch(rf"Clara: 1 reference of \d\.\d s of speech, 2 in all; kept in {store}\n", more.err)
    robin = here(capfd, "enroll", "Robin", str(SAMPLE), "--from", str(RTTM), "--speaker", "Robin")
    assert re.fullmatch(rf"Robin: 1 reference of 1\d\.\d s of speech; kept in {store}\n", robin.err)
    listed = here(capfd, "profiles", "list")
    assert (listed.code, listed.err) == (0, "")
    heading, *rows = listed.out.splitlines()
    assert heading == "references  speech  last enrolled  name"
    assert [re.sub(r" +", " ", re.sub(r"[\d.]+ s +\S+", "", row)) for row in rows] == ["2 Clara", "1 Robin"]
    shown = here(capfd, "profiles", "show", "Clara").out
    fingerprint = SpeakerEncoder.from_pretrained().fingerprint
    line = rf" *\d\.\d s +0\.\d\d +20\S+\+00:00  {fingerprint[:12]}  {folder}/"
    assert re.fullmatch(rf"speech .*recording\n{line}clara\.wav\n{line}again\.wav\n", shown)
    assert re.search(
        r"conversation\.flac, \d turns from 5\.4 to \d+\.\d s\n", here(capfd, "profiles", "show", "Robin").out
    )
    assert not [one for one in caplog.records if "Clara" in one.getMessage() or "Robin" in one.getMessage()]

    refused = here(capfd, "enroll", "Clara", "robin.wav")
    assert refused.code == 1
    assert re.fullmatch(r"error: .*robin\.wav: not the voice of Clara: the similarity is -?0\.\d\d, .*\n", refused.err)
    with ProfileStore(store) as kept:
        assert [(one.name, one.references) for one in kept.list()] == [("Clara", 2), ("Robin", 1)]

    before = store.read_bytes()
    case = published.random_state(published.unispeech_shapes(16, 8)) | published.mel_buffers()
    Path("case").mkdir()
    torch.save(case, "case/pytorch_model.bin")
    other = here(capfd, "enroll", "Zoe", "robin.wav", "--model", "case")
    assert other.code == 2
    assert re.fullmatch(r"error: .*people\.db: its voices are of the model .* diarize profiles re-enroll\n", other.err)
    assert store.read_bytes() == before
    (folder / "again.wav").unlink()
    lost = here(capfd, "profiles", "re-enroll", "--model", "case")
    assert lost.code == 1
    assert re.fullmatch(r"error: Clara cannot be enrolled again: .*again\.wav: No such file .* --drop .*\n", lost.err)
    assert store.read_bytes() == before
    done = here(capfd, "profiles", "re-enroll", "--model", "case", "--drop")
    assert (done.code, done.err) == (0, f"{store}: 2 people, 2 references; forgotten: 1 reference, 0 people\n")
    case_print = SpeakerEncoder.from_pretrained("case").fingerprint
    with ProfileStore(store) as kept:
        assert kept.people(case_print).references.shape == (2, 8)


def test_rename_merge_delete(people: Path, capfd: Capture) -> None:
    def do(*args: str) -> tuple[int, str, str]:
        done = here(capfd, "profiles", *args, "--profiles", people)
        return done.code, done.out, done.err

    assert "Ana [bold]" in do("list")[1]
    assert do("rename", "Ana [bold]", "Ana") == (0, "", "")
    assert do("merge", "Ben", "Ana") == (0, "", "")
    assert do("show", "Ben")[1].count("no file") == 3
    assert do("delete", "Ben") == (0, "", "")
    assert do("list") == (0, "", f"nobody is enrolled in {people}\n")


def test_export_and_import(people: Path, folder: Path, capfd: Capture) -> None:
    exported = here(capfd, "profiles", "export", "people.json", "--profiles", people)
    assert (exported.code, exported.out) == (0, "")
    assert exported.err.startswith("people.json: 2 people; it tells them by their voices")
    assert here(capfd, "profiles", "export", "ben.json", "Ben", "--profiles", people).err.startswith(
        "ben.json: 1 person;"
    )
    elsewhere = folder / "state" / "people.db"  # $DIARIZE_PROFILES
    assert here(capfd, "profiles", "import", "people.json").err == f"{elsewhere}: 2 people imported\n"
    again = here(capfd, "profiles", "import", "ben.json")
    assert again.code == 1
    assert re.fullmatch(r"error: Ben: somebody has this name already; .* \(--rename, --replace\)\n", again.err)
    assert here(capfd, "profiles", "import", "ben.json", "--replace").code == 0
    assert here(capfd, "profiles", "import", "ben.json", "--rename").code == 0
    with ProfileStore(elsewhere) as store:
        assert [one.name for one in store.list()] == ["Ana [bold]", "Ben", "Ben (2)"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("enroll Ana", 2, "Missing argument 'AUDIO...'"),
        ("enroll SPEAKER_00 clara.wav", 2, "SPEAKER_00 is what a speaker without a name is called"),
        ("enroll Ana absent.wav", 1, "absent.wav: no such file"),
        ("enroll Ana clara.wav --model absent", 2, "unknown model 'absent'"),
        ("enroll Ana clara.wav --speaker Clara", 2, "--from RTTM and --speaker LABEL go together"),
        ("enroll Ana clara.wav --from absent.rttm --speaker A", 2, "absent.rttm: No such file"),
        ("enroll Ana clara.wav --from clara.wav --speaker A", 2, "clara.wav, line 1: "),
        ("enroll Ana clara.wav --profiles clara.wav", 2, "clara.wav: file is not a database; it was left as it is"),
        ("enroll Ana clara.wav --profiles robin.wav/people.db", 1, "robin.wav: .*choose another place"),
        ("profiles", 2, "Missing command; see diarize profiles --help"),
        ("profiles show Bem --profiles made-up.db", 1, r"nobody is called 'Bem': did you mean Ben\?$"),
        ("profiles delete Zoe --profiles made-up.db", 1, "nobody is called 'Zoe': diarize profiles list says"),
        ("profiles delete Zoe", 1, "nobody is enrolled: there is no store at .*people.db"),
        ("profiles merge Ben Zoe --profiles made-up.db", 1, "nobody is called 'Zoe'"),
        ("profiles list --profiles .", 1, "Is a directory"),
        ("profiles import clara.wav", 1, "clara.wav: no export of people"),
        ("profiles import absent.json", 1, "absent.json: No such file"),
        ("profiles export absent/people.json --profiles made-up.db", 1, "absent/people.json: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(command: str, code: int, said: str, people: Path, capfd: Capture) -> None:
    done = here(capfd, *command.split())
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert re.search(said, line), line
    assert not Path("state").exists()  # what cannot be done leaves nothing behind


def test_what_is_no_enrolment_is_one_line_and_the_store_unharmed(people: Path, folder: Path, capfd: Capture) -> None:
    clips = {
        "noise": np.random.default_rng(0).normal(0, 0.05, 8 * 16_000),
        "short": conversation(2)[16_000:24_000],
        "both": conversation(11),
    }
    for name, samples in clips.items():
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
    before = people.read_bytes()
    for args, said in (
        (["noise.wav"], r"error: noise\.wav: too little speech, 0\.\d s, and 5 s are needed: record more"),
        (["short.wav"], r"error: short\.wav: too little speech, 0\.[45] s, and 5 s are needed: record more"),
        (["both.wav"], r"error: both\.wav: more than one voice: its halves are .*--from RTTM --speaker LABEL"),
        (["clara.wav", "robin.wav"], r"error: robin\.wav: not the voice of clara\.wav: the similarity is .*"),
    ):
        done = here(capfd, "enroll", "Zoe", *args)
        assert (done.code, done.out) == (1, "")
        assert re.fullmatch(f"{said}\n", done.err), done.err
        assert not Path("state").exists()  # not even a store is made
    refused = here(capfd, "enroll", "Ben", "clara.wav", "--profiles", people)  # of a made-up model
    assert refused.code == 2
    assert "voices of different models cannot be compared" in refused.err
    assert people.read_bytes() == before


def test_a_corrupt_store_is_one_line_and_left_as_it_is(people: Path, folder: Path, capfd: Capture) -> None:
    people.write_bytes(people.read_bytes()[:-6000])
    before = people.read_bytes()
    for command, code in (
        ("profiles list", 1),
        ("profiles show Ben", 1),
        ("profiles rename Ben Bo", 1),
        ("profiles delete Ben", 1),
        ("profiles export people.json", 1),
        ("profiles re-enroll", 1),
        ("enroll Clara clara.wav", 2),
        ("calibrate", 2),
        ("file clara.wav", 2),
    ):
        done = here(capfd, *command.split(), "--profiles", people)
        assert (done.code, done.out) == (code, ""), command
        assert re.fullmatch(rf"error: {people}: .*; it was left as it is: move it away, .*\n", done.err), done.err
        assert people.read_bytes() == before
