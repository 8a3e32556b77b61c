"""`diarize recluster` and `diarize correct` as their users meet them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from diarize.embedded import read_embedded, write_embedded
from diarize.pipeline import SpeakerDiarization
from diarize.rttm import Turn, format_rttm, read_rttm
from tests.command import here, process, quickly, write_clip

Capture = pytest.CaptureFixture[str]
SECOND = 16_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 seconds of four people: who talks first talks last."""
    return write_clip(tmp_path_factory.mktemp("clip") / "talk.wav", 24)


@pytest.fixture(scope="module")
def kept(clip: Path) -> Path:
    write_embedded(clip.with_suffix(".voices"), SpeakerDiarization().embedded(clip))
    return clip.with_suffix(".voices")


@pytest.fixture
def voices(kept: Path, tmp_path: Path) -> Path:
    (tmp_path / "talk.voices").write_bytes(kept.read_bytes())
    return tmp_path / "talk.voices"


def turns(text: str, folder: Path) -> list[Turn]:
    (folder / "said.rttm").write_text(text)
    return read_rttm(folder / "said.rttm")["talk"]


def test_it_says_what_diarize_file_says(clip: Path, voices: Path, tmp_path: Path, capfd: Capture) -> None:
    for form in ("rttm", "json"):
        expected = here(capfd, "file", clip, "--format", form)
        done = here(capfd, "recluster", voices, "--format", form)
        assert (done.code, done.err) == (0, "")
        assert done.out == expected.out
    done = here(capfd, "recluster", voices, "-o", tmp_path / "new" / "talk.rttm")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(f"{tmp_path / 'new' / 'talk.rttm'}: 4 speakers, ")
    assert (tmp_path / "new" / "talk.rttm").read_text() == here(capfd, "file", clip).out


def test_settings_change_the_answer_and_not_the_file(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    before = voices.read_bytes()
    recipe = tmp_path / "two.toml"
    recipe.write_text("[clustering]\nnum_speakers = 2\n")
    for options in (["--num-speakers", "2"], ["--set", "clustering.num_speakers=2"], ["--pipeline", recipe]):
        done = here(capfd, "recluster", voices, *options)
        assert (done.code, done.err) == (0, "")
        assert len({turn.speaker for turn in turns(done.out, tmp_path)}) == 2
    settings = json.loads(here(capfd, "recluster", voices, "--clustering", "hdbscan", "--format", "json").out)[
        "settings"
    ]
    assert settings["clustering"]["name"] == "hdbscan"
    assert settings["vad"] == read_embedded(voices).settings["vad"]
    assert voices.read_bytes() == before


def test_no_network_is_loaded(voices: Path) -> None:
    for done in (quickly("recluster", voices), quickly("correct", voices, "--set-turn", "1-2=Ana")):
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--set", "vad.onset=0.9"], "vad.onset was 0.3 when the embeddings were made and cannot become 0.9: leave it"),
        (["--set", "windows.step=0.2"], "windows.step was 0.4 when the embeddings were made and cannot become 0.2"),
        (["--set", "embedding.model=other"], "embeddings of another model, the default one, not of other: make them"),
    ],
)
def test_what_comes_too_late_is_refused(voices: Path, capfd: Capture, options: list[str], complaint: str) -> None:
    for command in ("recluster", "correct"):
        done = here(capfd, command, voices, *options)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: {voices}: {complaint}")
        assert done.err.count("\n") == 1


def test_several_files_fail_one_by_one(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "broken.voices").write_bytes(voices.read_bytes()[:1000])
    done = here(
        capfd, "recluster", tmp_path / "broken.voices", tmp_path / "none.voices", voices, "-o", tmp_path / "out"
    )
    assert done.code == 1
    broken, none, well = done.err.splitlines()
    assert broken.startswith(f"error: {tmp_path}/broken.voices: not the embeddings of a recording, or damaged; make it")
    assert none == f"error: {tmp_path}/none.voices: No such file or directory; check the name"
    assert well.startswith(f"{tmp_path}/out/talk.rttm: 4 speakers")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["talk.rttm"]


def test_a_folder_of_embeddings_is_searched(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/talk.voices", "in/deep/other.voices", "in/notes.wav"):
        (tmp_path / name).write_bytes(voices.read_bytes())
    done = here(capfd, "recluster", tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, done.err.count("4 speakers")) == (0, 2)
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.rttm")} == {
        "out/talk.rttm",
        "out/deep/other.rttm",
    }
    (tmp_path / "empty").mkdir()
    done = here(capfd, "recluster", tmp_path / "empty", "-o", tmp_path / "out")
    assert done.code == 2
    assert done.err.startswith(f"error: nothing to do: {tmp_path}/empty holds no .voices files; leave it out")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--num-speakers", "0"], "clustering.num_speakers is 0"),
        (["--set", "clustering.treshold=1"], "unknown setting clustering.treshold: did you mean clustering.threshold?"),
        (["--format", "xml"], "unknown format 'xml'"),
        (["--pipeline", "none"], "no recipe 'none'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    voices: Path, capfd: Capture, arguments: list[str], complaint: str
) -> None:
    for command in ("recluster", "correct"):
        done = here(capfd, command, voices, *arguments)
        assert (done.code, done.out) == (2, "")
        assert complaint in done.err


def test_turns_set_by_hand_are_kept(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    done = here(capfd, "correct", voices, "--set-turn", "0:06-9.5=Ana Maria", "--set-turn", "12-12.75=")
    assert (done.code, done.err) == (0, "")
    for said in (done, here(capfd, "recluster", voices), here(capfd, "recluster", voices, "--min-speakers", "6")):
        found = turns(said.out, tmp_path)
        (ana,) = [turn for turn in found if turn.start <= 6 * SECOND < turn.end]
        assert ana.speaker == "Ana Maria"
        assert ana.end >= 9.5 * SECOND
        assert not [turn for turn in found if turn.start < 12.75 * SECOND and turn.end > 12 * SECOND]
    assert here(capfd, "correct", voices, "--set-turn", "6-7=Bo").out != done.out
    found = turns(here(capfd, "recluster", voices).out, tmp_path)
    assert {turn.speaker for turn in found if turn.start < 9 * SECOND and turn.end > 7 * SECOND} == {"Ana Maria"}
    (bo,) = [turn for turn in found if turn.start <= 6 * SECOND < turn.end]
    assert (bo.speaker, bo.end) == ("Bo", 7 * SECOND)


def test_an_edited_answer_is_kept_and_can_be_taken_back(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    first = here(capfd, "recluster", voices).out
    *found, last = turns(first, tmp_path)
    names = {found[0].speaker: "Ana"}
    edited = [Turn(turn.start, turn.end, names.get(turn.speaker, turn.speaker)) for turn in found]
    (tmp_path / "edited.rttm").write_text(format_rttm(edited, "talk"))  # the last turn is gone
    done = here(capfd, "correct", voices, "--from", tmp_path / "edited.rttm")
    assert (done.code, done.err) == (0, "")
    assert done.out == format_rttm(edited, "talk")
    corrected = read_embedded(voices).corrections
    assert len(corrected) <= 4
    assert Turn(last.start, last.end, "") in corrected
    done = here(capfd, "correct", voices, "--clear", "-o", tmp_path / "again.rttm")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "again.rttm").read_text() == first
    assert read_embedded(voices).corrections == ()


def test_settings_given_with_a_correction_are_kept_too(voices: Path, tmp_path: Path, capfd: Capture) -> None:
    done = here(capfd, "correct", voices, "--num-speakers", "2", "--set-turn", "6-9=Ana")
    assert (done.code, done.err) == (0, "")
    assert here(capfd, "recluster", voices).out == done.out
    assert len({turn.speaker for turn in turns(done.out, tmp_path)}) == 2


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--set-turn", "6-9"], 2, "'6-9' is not of the form START-END=NAME, such as 12.5-15=Ana or 1:02-1:05.5=Ana"),
        (["--set-turn", "9-6=Ana"], 2, "'9-6=Ana' does not end after its start: give START-END=NAME"),
        (
            ["--set-turn", "20-30=Ana"],
            1,
            "the turn from 20.000 to 30.000 s lies outside the recording, which ends at 24",
        ),
        (["--from", "none.rttm"], 1, "none.rttm: No such file or directory; check the name"),
        (["--from", "other.rttm"], 1, "other.rttm: no turns of 'talk', of which the embeddings are: it names 'other'"),
        (["--from", "empty.rttm"], 1, "empty.rttm: no turns of 'talk', of which the embeddings are: it names none"),
        (["--from", "bad.rttm"], 1, "bad.rttm, line 1: 'who' is not a type of RTTM line; expected SPEAKER"),
        (["--from", "long.rttm"], 1, "the turn from 1.000 to 99.000 s lies outside the recording, which ends at 24"),
        (
            ["--set-turn", "6-9=A", "--set-turn", "13-16=B", "--max-speakers", "2"],
            1,
            "are known by hand, and at most 2",
        ),
        (["--set-turn", "6-9=A", "-o", "talk.voices"], 2, "talk.voices is a recording and would be overwritten"),
        (["--set-turn", "6-9=A", "-o", "bad.rttm/x.rttm"], 1, "a file stands where a folder should"),
    ],
)
def test_nothing_is_lost_where_a_correction_cannot_be(
    voices: Path,
    tmp_path: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    here(capfd, "correct", "talk.voices", "--set-turn", "1-2=Cy")
    before = voices.read_bytes()
    Path("other.rttm").write_text("SPEAKER other 1 0 1 <NA> <NA> A <NA> <NA>\n")
    Path("long.rttm").write_text("SPEAKER talk 1 1 98 <NA> <NA> A <NA> <NA>\n")
    Path("empty.rttm").write_text("")
    Path("bad.rttm").write_text("who knows\n")
    done = here(capfd, "correct", "talk.voices", *options)
    assert (done.code, done.out) == (code, "")
    assert complaint in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert voices.read_bytes() == before


def test_a_file_that_cannot_be_written_says_so_and_stays_as_it_was(voices: Path) -> None:
    before = voices.read_bytes()
    full = ["bash", "-c", f'ulimit -f 8; exec {sys.executable} -m diarize.cli "$@"', "bash"]
    done = process("correct", str(voices), "--set-turn", "1-2=Cy", program=full)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {voices}: File too large\n"
    assert voices.read_bytes() == before
    assert list(voices.parent.iterdir()) == [voices]
