"""The command line as its users meet it: what goes where, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diarize import __version__
from diarize.audio import ENCODINGS
from diarize.clustering.offline import ALGORITHMS
from diarize.formats import FORMATS
from diarize.models.encoder import COMPUTE
from diarize.rttm import read_rttm
from tests.command import DIARIZE, Done, conversation, here, process, write_clip

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short recordings: a.wav, b.wav, and broken.wav that is none."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.wav", 7)
    write_clip(folder / "b.wav", 9)
    (folder / "broken.wav").write_text("no audio\n")
    return folder


def as_json(capfd: Capture, *args: str | Path) -> dict[str, Any]:
    """What `diarize file ... --format json` prints."""
    done = here(capfd, "file", *args, "--format", "json")
    assert (done.code, done.err) == (0, "")
    return dict(json.loads(done.out))


def test_one_input_prints_rttm_and_nothing_else(clips: Path, tmp_path: Path) -> None:
    done = process("file", clips / "a.wav")
    assert (done.code, done.err) == (0, "")
    (tmp_path / "printed.rttm").write_text(done.out)
    turns = read_rttm(tmp_path / "printed.rttm")["a"]
    assert turns[0].start < 16_000
    assert 5 * 16_000 < turns[-1].end <= 7 * 16_000


def test_output_goes_to_a_file_or_into_a_folder(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    printed = here(capfd, "file", clips / "a.wav").out
    (tmp_path / "there").mkdir()
    for output, written in [
        ("turns.txt", "turns.txt"),
        ("new/turns.rttm", "new/turns.rttm"),
        ("folder/", "folder/a.rttm"),
        ("there", "there/a.rttm"),
    ]:
        done = here(capfd, "file", clips / "a.wav", "-o", f"{tmp_path}/{output}")
        assert (done.code, done.out) == (0, "")
        assert done.err.startswith(f"{tmp_path / written}: ")
        assert "; 7 s of audio in " in done.err
        assert (tmp_path / written).read_text() == printed


def test_json_is_valid_and_says_the_same_turns(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    said = as_json(capfd, clips / "a.wav")
    here(capfd, "file", clips / "a.wav", "-o", tmp_path / "a.rttm")
    turns = read_rttm(tmp_path / "a.rttm")["a"]
    assert [(turn["start"], turn["speaker"]) for turn in said["turns"]] == [
        (turn.start / 16_000, turn.speaker) for turn in turns
    ]
    assert said["duration"] == 7


def test_options_reach_the_settings(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    recipe = tmp_path / "my recipe.toml"
    recipe.write_text("[vad]\nonset = 0.3\npad = 0.05\n[clustering]\nthreshold = 0.7\n")
    options = ["--set", "vad.pad=0.1", "--set", "clustering.name=none", "--clustering", "agglomerative"]
    options += ["--vad", "webrtc", "--compute", "cpu", "--model", "ecapa-tdnn-c256", "--max-speakers", "5"]
    settings = as_json(capfd, clips / "a.wav", "--pipeline", recipe, *options)["settings"]
    assert settings["vad"]["onset"] == 0.3  # the recipe's
    assert settings["vad"]["pad"] == 0.1  # --set is stronger than the recipe
    assert settings["vad"]["name"] == "webrtc"
    assert settings["clustering"]["name"] == "agglomerative"  # an option of its own is stronger than --set
    assert settings["clustering"]["max_speakers"] == 5
    assert settings["embedding"]["model"] == "ecapa-tdnn-c256"


def test_a_shipped_recipe_goes_by_its_name(clips: Path, capfd: Capture) -> None:
    assert as_json(capfd, clips / "a.wav", "--pipeline", "telephone")["settings"]["clustering"]["max_speakers"] == 2


@pytest.mark.parametrize(
    ("options", "speakers"),
    [
        (["--num-speakers", "1"], 1),
        (["--num-speakers", "3"], 3),
        (["--min-speakers", "4"], 4),
        (["--max-speakers", "1"], 1),
    ],
)
def test_the_number_of_speakers_can_be_given(clips: Path, capfd: Capture, options: list[str], speakers: int) -> None:
    # thresholds by which the clustering alone would find the opposite
    alone = f"clustering.threshold={0 if speakers == 1 else 2}"
    settings = ["--set", alone, "--set", "clustering.smallest=1", "--set", "clustering.switch_penalty=0"]
    found = as_json(capfd, clips / "b.wav", *options, *settings, "--set", "turns.sliver=0")
    assert len(found["speakers"]) == speakers


def test_several_inputs_fail_one_by_one(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    done = here(capfd, "file", clips / "a.wav", clips / "broken.wav", clips / "b.wav", "-o", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    first, second, third, last = done.err.splitlines()
    assert first.startswith(f"{tmp_path}/out/a.rttm: ")
    assert second.startswith(f"error: {clips}/broken.wav: is in no known audio format")
    assert third.startswith(f"{tmp_path}/out/b.rttm: ")
    assert last.startswith("3 recordings: 2 done, 1 failed; 0:00:16 of audio in ")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.rttm", "b.rttm"]


def test_names_of_files_may_be_anything(tmp_path: Path, capfd: Capture) -> None:
    names = ["with space", "line\nbreak", "ünï 😀", "[red]:smile:", os.fsdecode(b"not utf-8 \xff"), "-dash"]
    for name in names:
        write_clip(tmp_path / "clip.wav", 2).rename(tmp_path / f"{name}.wav")
    done = here(capfd, "file", *(tmp_path / f"{name}.wav" for name in names), "-o", tmp_path / "out")
    assert done.code == 0
    assert len(done.err.splitlines()) == len(names) + 1
    assert f"{tmp_path}/out/[red]:smile:.rttm: " in done.err
    assert f"{tmp_path}/out/line\\nbreak.rttm: " in done.err
    for name in names:
        assert list(read_rttm(tmp_path / "out" / f"{name}.rttm")) == [name]


def test_raw_audio_on_standard_input_is_as_good_as_a_file(clips: Path, capfd: Capture) -> None:
    samples = np.round(conversation(7) * 2**15).astype("<i2")
    from_file = here(capfd, "file", clips / "a.wav").out
    done = process("file", "-", stdin=samples.tobytes())
    assert done == Done(0, from_file.replace(" a ", " stdin "), "")


def test_a_picture_is_drawn(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    done = here(capfd, "file", clips / "a.wav", "--plot", tmp_path / "new" / "a.png")
    assert (done.code, done.out[:10]) == (0, "SPEAKER a ")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_terminal_gets_a_progress_bar(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    printed = here(capfd, "file", clips / "b.wav").out
    ours, theirs = pty.openpty()
    with (tmp_path / "out.rttm").open("wb") as out:
        running = subprocess.Popen(
            [*DIARIZE, "file", clips / "b.wav"],
            stdout=out,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
    os.close(theirs)
    shown = b""
    while piece := read(ours):
        shown += piece
    os.close(ours)
    assert running.wait() == 0
    assert "b.wav" in shown.decode()
    assert "× real time" in shown.decode()
    assert "SPEAKER" not in shown.decode()
    assert (tmp_path / "out.rttm").read_text() == printed


def read(terminal: int) -> bytes:
    """The next of what a terminal shows; nothing when its program has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way of saying so
        return b""


def test_a_reader_may_have_seen_enough(clips: Path) -> None:
    running = subprocess.Popen([*DIARIZE, "file", clips / "a.wav"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_told() -> None:
    done = process("--version", program=["sh", "-c", '"$@" > /dev/full', "sh", *DIARIZE])
    assert done.code == 1
    assert done.err == "error: standard output: No space left on device; make room, or choose another place\n"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, jobs: str) -> None:
    inputs = [write_clip(tmp_path / f"{name}.wav", 60) for name in "abc"]
    out = tmp_path / "out"
    running = subprocess.Popen(
        [*DIARIZE, "file", *inputs, "-o", out, "--jobs", jobs], stderr=subprocess.PIPE, start_new_session=True
    )
    while not out.exists():  # it is made just before the work begins
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does: to the workers too
    assert running.stderr is not None
    assert running.stderr.read() == b""  # and with that every worker has ended
    running.stderr.close()
    assert running.wait() == 130
    assert list(out.iterdir()) == []


def test_version_and_help(capfd: Capture) -> None:
    assert here(capfd, "--version") == Done(0, f"diarize {__version__}\n", "")
    assert "doctor" in here(capfd).out
    shown = here(capfd, "file", "--help").out
    for name in [*FORMATS, *ALGORITHMS, *COMPUTE, *ENCODINGS, "silero", "webrtc"]:
        assert name in shown


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Folders of references and hypotheses: of `one` a second of ten is missed, `two` is right."""
    for folder, length in [("ref", 10), ("hyp", 9)]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.rttm").write_text(f"SPEAKER one 1 0 {length} <NA> <NA> x <NA> <NA>\n")
        (tmp_path / folder / "two.rttm").write_text("SPEAKER two 1 0 10 <NA> <NA> y <NA> <NA>\n")
    (tmp_path / "uem").write_text("one 1 0 9\ntwo 1 0 9\n")
    return tmp_path


def test_scores_of_files_and_folders(answers: Path, capfd: Capture) -> None:
    def ders(*args: str | Path) -> dict[str, float]:
        done = here(capfd, "score", *args, "--json")
        assert (done.code, done.err) == (0, "")
        said = json.loads(done.out)
        rates = {name: one["strict"]["der"] for name, one in said["recordings"].items()}
        return {**rates, "total": said["total"]["strict"]["der"]}

    assert ders(answers / "ref/one.rttm", answers / "hyp/one.rttm") == {"one": 0.1, "total": 0.1}
    assert ders(answers / "ref", answers / "hyp") == {"one": 0.1, "two": 0.0, "total": 0.05}
    assert ders(answers / "ref", answers / "hyp", "--uem", answers / "uem") == {"one": 0.0, "two": 0.0, "total": 0.0}


def test_scores_as_a_table(answers: Path, capfd: Capture) -> None:
    done = here(capfd, "score", answers / "ref", answers / "hyp")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["one", "10.0", "10.0", "0.0", "0.0"] in [row[:5] for row in rows]
    assert ["total", "5.0", "5.0", "0.0", "0.0"] in [row[:5] for row in rows]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ref", "nowhere"], "{at}/nowhere: No such file or directory; check the name"),
        (["ref", "hyp", "--uem", "nowhere"], "{at}/nowhere: No such file or directory; check the name"),
        (["ref", "."], "{at}: no file in this folder has a name that ends in .rttm"),
        (["uem", "hyp"], "{at}/uem, line 1: 'one' is not a type of RTTM line; expected SPEAKER"),
    ],
)
def test_what_cannot_be_scored_is_named(answers: Path, capfd: Capture, args: list[str], message: str) -> None:
    done = here(capfd, "score", *(arg if arg.startswith("--") else answers / arg for arg in args))
    assert done == Done(1, "", f"error: {message.format(at=answers)}\n")
