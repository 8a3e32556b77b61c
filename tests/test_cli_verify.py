"""`diarize verify` and `diarize embed` as their users meet them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diarize.models.encoder import BUNDLED_THRESHOLD, SpeakerEncoder
from tests import published
from tests.command import conversation, here, process
from tests.programs import Older, save

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clara.wav, again.wav of the same voice and robin.wav of another, where the commands run."""
    talk = conversation(11)
    for name, start, end in (("clara", 1.0, 2.5), ("again", 2.75, 4.75), ("robin", 6.0, 10.5)):
        soundfile.write(tmp_path / f"{name}.wav", talk[round(16_000 * start) : round(16_000 * end)], 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_speaker_or_two_the_exit_code_is_zero(folder: Path, capfd: Capture) -> None:
    same = here(capfd, "verify", "clara.wav", "again.wav")
    other = here(capfd, "verify", "clara.wav", "robin.wav")
    assert (same.code, other.code) == (0, 0)
    assert re.fullmatch(r"0\.\d{4} same\n", same.out)
    assert re.fullmatch(r"-?0\.\d{4} different\n", other.out)
    said = "the model's own; on your recordings another may be right (--threshold)"
    assert same.err == f"the threshold is {BUNDLED_THRESHOLD}, {said}\n"


def test_the_threshold_crops_and_compute_are_options(folder: Path, capfd: Capture) -> None:
    done = here(capfd, "verify", "clara.wav", "robin.wav", "--threshold", "-1", "--crops", "3", "--compute", "cpu")
    assert (done.code, done.err) == (0, "")
    expected = SpeakerEncoder.from_pretrained().verify_files("clara.wav", "robin.wav", crops=3)[0]
    assert done.out == f"{expected:.4f} same\n"


def test_embeddings_in_one_file_that_numpy_reads(folder: Path, capfd: Capture) -> None:
    done = here(capfd, "embed", "clara.wav", "*.wav", "-o", "voices.npz")
    assert (done.code, done.out, done.err) == (0, "", "voices.npz: 3 embeddings of 192 numbers\n")
    encoder = SpeakerEncoder.from_pretrained()
    with np.load("voices.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == ["clara.wav", "again.wav", "robin.wav"]
        assert str(arrays["model"]) == encoder.fingerprint
        assert np.array_equal(arrays["embeddings"], encoder.encode_batch(arrays["files"].tolist()))


def test_what_fails_is_named_and_the_others_are_kept(folder: Path, capfd: Capture) -> None:
    Path("notes.wav").write_text("no audio")
    done = here(capfd, "embed", "notes.wav", "clara.wav", "absent.wav", "-o", "voices.npz")
    assert (done.code, done.out) == (1, "")
    first, second, last = done.err.splitlines()
    assert first.startswith("error: notes.wav: ")
    assert second.startswith("error: absent.wav: ")
    assert last == "voices.npz: 1 embedding of 192 numbers"
    assert np.load("voices.npz")["files"].tolist() == ["clara.wav"]


def test_nothing_is_written_where_all_fail(folder: Path, capfd: Capture) -> None:
    done = here(capfd, "embed", "absent.wav", "-o", "voices.npz")
    assert done.code == 1
    assert done.err.endswith("error: no embedding could be made\n")
    assert not Path("voices.npz").exists()


def test_a_published_model_by_its_folder(folder: Path, capfd: Capture) -> None:
    case = published.random_state(published.unispeech_shapes(16, 8)) | published.mel_buffers()
    Path("case").mkdir()
    torch.save(case, "case/pytorch_model.bin")
    done = here(capfd, "embed", "clara.wav", "-o", "voices.npz", "--model", "case")
    assert (done.code, done.err) == (0, "voices.npz: 1 embedding of 8 numbers\n")


def test_a_program_is_run_only_on_trust(folder: Path, capfd: Capture) -> None:
    save(Older(), Path("model.pt"))
    command = ("verify", "clara.wav", "again.wav", "--model", "model.pt", "--threshold", "0.2")
    refused = here(capfd, *command)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: model.pt: TorchScript, which is code that runs when it is loaded")
    assert re.fullmatch(r"-?\d\.\d{4} \w+\n", here(capfd, *command, "--trust").out)


def test_the_example_says_who_is_the_first_ones_speaker(folder: Path) -> None:
    example = Path(__file__).parents[1] / "examples" / "verify.py"
    assert f"python examples/{example.name}" in example.read_text(encoding="utf-8")
    done = process("clara.wav", "again.wav", "robin.wav", program=[sys.executable, str(example)])
    assert (done.code, done.err) == (0, "")
    first, second = done.out.splitlines()
    assert re.fullmatch(r"again\.wav: same \(0\.\d\d\)", first)
    assert re.fullmatch(r"robin\.wav: different \(-?0\.\d\d\)", second)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("verify clara.wav absent.wav", 1, r"absent\.wav: no such file"),
        ("verify clara.wav", 2, "Missing argument 'B'"),
        ("verify clara.wav again.wav --threshold 2", 2, "--threshold"),
        ("verify clara.wav again.wav --model absent", 2, "unknown model 'absent'"),
        ("verify clara.wav again.wav --compute abacus", 2, "unknown compute 'abacus'"),
        ("verify clara.wav again.wav --crops -1", 2, "--crops"),
        ("verify clara.wav again.wav --model groove.pt", 2, "has no threshold of its own"),
        ("embed clara.wav", 2, "Missing option '--output' / '-o'"),
        ("embed nothing*.wav -o x.npz", 2, "nothing to do: nothing.* matches no audio"),
        ("embed clara.wav -o folder", 2, "folder: Is a directory; name a file"),
        ("embed *.wav -o ./robin.wav", 2, r"robin\.wav is a recording and would be overwritten"),
    ],
)
def test_what_cannot_be_done_is_one_line(command: str, code: int, said: str, folder: Path, capfd: Capture) -> None:
    torch.save(published.random_state(published.sound_groove_shapes(16, 8)), "groove.pt")
    Path("folder").mkdir()
    done = here(capfd, *command.split())
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert re.search(said, line), line


class Malicious:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import pathlib; pathlib.Path('pwned').touch()",))


def test_a_pickle_with_code_is_refused_by_every_command_and_not_run(folder: Path, capfd: Capture) -> None:
    torch.save({"fc.conv.weight": Malicious()}, "evil.pt")
    for command in (
        "verify clara.wav robin.wav --trust",  # trust is for TorchScript, which says what it is
        "embed clara.wav -o voices.npz",
        "enroll Clara clara.wav --profiles people.db",
        "file clara.wav --no-profiles",
    ):
        done = here(capfd, *command.split(), "--model", "evil.pt")
        assert (done.code, done.out) == (2, ""), command
        assert re.fullmatch(r"error: evil\.pt: .*could run code.*\n", done.err), done.err
    shown = here(capfd, "models", "show", "evil.pt")
    assert (shown.code, shown.out) == (2, "")
    assert not {"pwned", "people.db", "voices.npz"} & {path.name for path in folder.iterdir()}
