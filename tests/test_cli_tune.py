"""`diarize tune`, run as a user would."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from diarize.pipeline import PipelineConfig, load_config
from diarize.rttm import turns_from
from tests.command import SAMPLE, here, process, write_clip

LINES = SAMPLE.with_suffix(".rttm").read_text(encoding="utf-8").splitlines()
FEW = "recordings: what fits them may fit no other; 10 or more tell"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three annotated recordings, of two voices each."""
    folder = tmp_path_factory.mktemp("annotated")
    for name in ("a", "b", "c"):
        write_clip(folder / f"{name}.wav", 12)
        rttm = "\n".join(LINES[:2]).replace("conversation", name)
        (folder / f"{name}.rttm").write_text(rttm + "\n", encoding="utf-8")
    return folder


def test_a_recipe_is_written_and_both_figures_are_told(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "new" / "mine.toml"
    options = ("--trials", "3", "--param", "clustering.smallest=2..4", "--param", "clustering.threshold=0.2..0.4")
    done = here(capfd, "tune", folder, "-o", recipe, *options)
    assert done.code == 0
    header, *rows = [line.split() for line in done.out.splitlines() if line.strip() and "─" not in line][1:]
    assert header == ["part", "recordings", "before", "after", "before", "after"]
    assert [row[:-5] + row[-5:-4] for row in rows] == [["tuned", "on", "2"], ["held", "out", "1"]]
    text = recipe.read_text(encoding="utf-8")
    told = re.findall(r"(\w+) DER (\d+\.\d)% before, (\d+\.\d)% after", text)
    assert [rate for _, *rates in told for rate in rates] == [rate for row in rows for rate in row[-4:]]
    assert "3 trials, seed 0, for the least strict DER" in text
    config = load_config(recipe)
    assert 2 <= config.clustering.smallest <= 4 or config == PipelineConfig()
    assert f"{recipe}: 3 trials" in done.err.splitlines()


def test_without_an_output_the_recipe_is_what_is_printed(folder: Path, tmp_path: Path) -> None:
    done = process("tune", folder, "--trials", "2", "--pipeline", "telephone", "--metric", "lenient", "--seed", "1")
    assert done.code == 0
    recipe = tmp_path / "printed.toml"
    recipe.write_text(done.out, encoding="utf-8")
    config = load_config(recipe)
    assert config.clustering.max_speakers == 2
    assert "2 trials, seed 1, for the least lenient DER" in done.out
    assert done.err.startswith(f"warning: 3 {FEW}\n")
    assert "held out" in done.err


def test_settings_of_the_front_are_searched_with_a_warning(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = here(capfd, "tune", folder, "--trials", "2", "--param", "windows.step=0.4..0.8")
    assert done.code == 0
    assert "warning: windows.step: every trial listens to all recordings again, which takes long" in done.err


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--param", "clustering.treshold=0..1"], "unknown setting clustering.treshold: did you mean"),
        (["--param", "clustering.threshold=0.5..0.1"], "range 'clustering.threshold=0.5..0.1' is empty"),
        (["--trials", "0"], "0 trials find nothing: give 1 or more"),
        (["--timeout", "0"], "a timeout of 0.0 s leaves no time"),
        (["--hold-out", "1"], "the share held out is 1.0: it must be above 0 and below 1"),
        (["--metric", "loose"], "unknown metric 'loose': choose one of strict, lenient"),
        (["--pipeline", "nowhere"], "no recipe 'nowhere'"),
        (["-o", "{folder}"], "{folder}: Is a directory"),
        (["-o", "{folder}/a.wav/mine.toml"], "{folder}/a.wav/mine.toml: "),
        (["-o", "{folder}/a.wav"], "{folder}/a.wav is a recording and would be overwritten"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], args: list[str], complaint: str
) -> None:
    done = here(capfd, "tune", folder, *(arg.format(folder=folder) for arg in args))
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {complaint.format(folder=folder)}")


def test_a_folder_that_does_not_do_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refused(complaint: str, folder: Path = tmp_path) -> None:
        done = here(capfd, "tune", folder)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert complaint in line

    refused("no such folder", tmp_path / "none")
    refused("holds no audio")
    write_clip(tmp_path / "a.wav", 3)
    refused("no recording in it has an RTTM file of its name beside it: annotate some")
    (tmp_path / "a.rttm").write_text(LINES[0] + "\n", encoding="utf-8")
    refused("tuning needs 2 annotated recordings or more, one of them held out: annotate another")
    write_clip(tmp_path / "b.wav", 3)
    refused("b.wav: no b.rttm beside it: annotate it, or take it out")


def test_audio_that_cannot_be_read_ends_it_before_the_search(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_text("no audio")
        (tmp_path / f"{name}.rttm").write_text(LINES[0] + "\n", encoding="utf-8")
    done = here(capfd, "tune", tmp_path, "-o", tmp_path / "mine.toml")
    assert done.code == 1
    assert re.search(r"error: \S+[ab]\.wav: is in no known audio format", done.err.splitlines()[-1])
    assert not (tmp_path / "mine.toml").exists()


def test_without_optuna_the_extra_is_named(folder: Path) -> None:
    absent = "import sys; sys.modules['optuna'] = None; sys.argv[0] = 'diarize'; from diarize.cli import main; main()"
    done = process("tune", folder, program=[sys.executable, "-c", absent])
    assert (done.code, done.out) == (2, "")
    assert done.err == 'error: optuna is not installed: pip install "diarize-live[tune]"\n'


def test_what_is_tuned_is_what_diarize_file_does(folder: Path, tmp_path: Path) -> None:
    """The figures are those that `diarize score` gives for the output of `diarize file` with the recipe."""
    from diarize import SpeakerDiarization
    from diarize.metrics import score
    from diarize.rttm import read_rttm

    recipe = tmp_path / "mine.toml"
    assert process("tune", folder, "--trials", "2", "-o", recipe).code == 0
    diarization = SpeakerDiarization(load_config(recipe))
    (reference,) = read_rttm(folder / "a.rttm").values()
    found = score(reference, turns_from(diarization.diarize(folder / "a.wav").updates))
    # all three recordings are the same
    rates = re.findall(r"strict DER [\d.]+% before, ([\d.]+)% after", recipe.read_text(encoding="utf-8"))
    assert rates == [f"{100 * (found.strict.der or 0):.1f}"] * 2
