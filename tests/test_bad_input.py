"""Everything that can be wrong with what we are given: one line that names it and the remedy, or a valid result."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
from numpy.typing import NDArray

from diarize.models.known import BUNDLED
from diarize.rttm import read_rttm
from tests.command import Done, conversation, here, write_clip

RATE = 16_000
Capture = pytest.CaptureFixture[str]
Write = Callable[[Path], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one: messages name files as they were given."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sound(samples: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> Write:
    """What writes these samples as a WAV file."""
    return lambda path: soundfile.write(path, samples, rate, subtype)


def beginning(size: int) -> Write:
    """What writes the first bytes of a WAV file."""

    def write(path: Path) -> None:
        write_clip(path, 4)
        path.write_bytes(path.read_bytes()[:size])

    return write


SPEECH = conversation(4)
HOLED = SPEECH.copy()
HOLED[::1000] = np.nan


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (str, "no such file; check the name"),
        (Path.touch, "is empty (0 bytes); record or copy it again"),
        (
            lambda path: path.write_text("hello\n"),
            "is in no known audio format; convert it to WAV, or check what it is",
        ),
        (beginning(20), "is in no known audio format; convert it to WAV, or check what it is"),
        (beginning(44), "is cut off before its first sample; record or copy it again"),
        (sound(SPEECH, 8), "8 Hz is no audio rate; give audio at 1,000 to 1,000,000 Hz"),
    ],
    ids=["missing", "empty", "text", "half a header", "header alone", "8 Hz"],
)
def test_what_is_no_audio_is_named_and_nothing_is_written(
    place: Path, capfd: Capture, write: Write, message: str
) -> None:
    write(place / "bad.wav")
    assert here(capfd, "file", "bad.wav") == Done(1, "", f"error: bad.wav: {message}\n")
    (place / "out.rttm").write_text("of before\n")
    assert here(capfd, "file", "bad.wav", "-o", "out.rttm").code == 1
    assert (place / "out.rttm").read_text() == "of before\n"
    assert {file.name for file in place.iterdir()} <= {"bad.wav", "out.rttm"}


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(SPEECH[:0], RATE), (SPEECH[:1], RATE), (0 * SPEECH, RATE), (SPEECH[:1], 1_000), (0 * SPEECH + 0.5, RATE)],
    ids=["no sample", "one sample", "silence", "one sample at 1 kHz", "constant"],
)
def test_no_speech_is_a_valid_answer(place: Path, capfd: Capture, samples: NDArray[np.float32], rate: int) -> None:
    sound(samples, rate)(place / "quiet.wav")
    assert here(capfd, "file", "quiet.wav") == Done(0, "", "")
    done = here(capfd, "file", "quiet.wav", "-o", "out.rttm", "--plot", "out.svg")
    assert done.code == 0
    assert ": 0 speakers, 0 turns; " in done.err
    assert read_rttm(place / "out.rttm") == {}
    assert json.loads(here(capfd, "file", "quiet.wav", "--format", "json").out)["turns"] == []


@pytest.mark.parametrize(
    ("write", "warning"),
    [
        (sound(np.repeat(SPEECH[:, None], 40, axis=1)), ""),
        (sound(np.clip(100 * SPEECH, -1, 1)), ""),
        (sound(np.float32(0.1) * SPEECH, subtype="FLOAT"), ""),
        (sound(np.float32(1e6) * SPEECH, subtype="FLOAT"), ""),
        (
            sound(HOLED, subtype="FLOAT"),
            "odd.wav: has samples that are no numbers (NaN, infinite); they are taken as silence",
        ),
        (beginning(3 * 2 * RATE), "odd.wav: damaged or cut short; taking the 3.0 s that could be decoded"),
    ],
    ids=["40 channels", "clipping", "20 dB down", "120 dB up", "NaN", "truncated"],
)
def test_odd_audio_is_diarized(
    place: Path, capfd: Capture, caplog: pytest.LogCaptureFixture, write: Write, warning: str
) -> None:
    write(place / "odd.wav")
    done = here(capfd, "file", "odd.wav", "-o", "out.rttm")
    assert done.code == 0
    turns = read_rttm(place / "out.rttm")["odd"]
    assert all(turn.end <= len(SPEECH) for turn in turns)
    assert sum(turn.end - turn.start for turn in turns) > RATE
    assert caplog.messages == ([warning] if warning else [])


def test_a_warning_is_one_line_too(place: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    beginning(3 * 2 * RATE)(place / "line\nbreak.wav")
    done = here(capfd, "file", "line\nbreak.wav")
    assert done.code == 0
    assert done.err == "warning: line\\nbreak.wav: damaged or cut short; taking the 3.0 s that could be decoded\n"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("/proc/out.rttm", "/proc/out.rttm: No such file or directory; check the name"),
        ("a.wav/out.rttm", "a.wav/out.rttm: File exists; a file stands where a folder should; choose another place"),
        ("a.wav/", "a.wav/a.rttm: File exists; a file stands where a folder should; choose another place"),
        (f"{'x' * 300}.rttm", f"{'x' * 300}.rttm: File name too long; choose a shorter name"),
    ],
    ids=["/proc", "below a file", "a file as a folder", "too long"],
)
def test_an_output_that_cannot_be_written_is_named(place: Path, capfd: Capture, output: str, message: str) -> None:
    write_clip(place / "a.wav", 2)
    done = here(capfd, "file", "a.wav", "-o", output)
    assert (done.code in (1, 2), done.out, done.err) == (True, "", f"error: {message}\n")
    assert [file.name for file in place.iterdir()] == ["a.wav"]


SEE = "; see diarize file --help"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "No such command 'nonsense'; see diarize --help"),
        ("file", f"Missing argument 'IN...'{SEE}"),
        ("file a.wav --nonsense", f"No such option: --nonsense*{SEE}"),
        ("score a.rttm", "Missing argument 'HYP'; see diarize score --help"),
        ("file a.wav b.wav", "2 inputs need a folder to write to: add --output DIR"),
        ("file a.wav b.wav -o a.wav", "2 inputs need a folder to write to, and a.wav is a file"),
        ("file a.wav -o a.wav", "a.wav is a recording and would be overwritten: choose another output"),
        ("file a.wav -o ./x/../a.wav", "x/../a.wav is a recording and would be overwritten: choose another output"),
        (
            "file a.wav x/a.mp3 -o out",
            "out/a.rttm would be written twice, for a.wav and for x/a.mp3: rename one, leave one out, or do them apart",
        ),
        ("file a.wav --link", "--link writes the results once more, with the labels of all recordings: add --output"),
        ("file - a.wav -o out", "standard input (-) goes alone: do the other inputs apart"),
        ("file - --rate 8", "raw PCM: 8 Hz is no audio rate; give audio at 1,000 to 1,000,000 Hz"),
        ("file - --encoding mp3", "unknown encoding 'mp3'; the known ones are s16le, f32le, mulaw"),
        ("file a.wav b.wav -o out --plot x.png", "--plot draws one recording: give one input"),
        ("file a.wav --plot x.jpg", "cannot draw 'x.jpg': a picture's name must end in .png or .svg"),
        ("file a.wav --format docx", "unknown format 'docx': choose one of rttm, json, *"),
        ("file a.wav --vad energy", "vad name is 'energy': give 'silero' or 'webrtc'"),
        ("file a.wav --clustering magic", "unknown clustering 'magic': choose one of agglomerative, *"),
        ("file a.wav --num-speakers 0", "clustering.num_speakers is 0: there must be at least 1 speaker"),
        ("file a.wav --max-speakers -1", "clustering.max_speakers is -1: there must be at least 1 speaker"),
        (
            "file a.wav --min-speakers 3 --max-speakers 2",
            "at least 3 and at most 2 speakers is impossible: "
            "min_speakers, num_speakers and max_speakers must not contradict each other",
        ),
        (
            "file a.wav --num-speakers 4 --max-speakers 2",
            "at least 4 and at most 2 speakers is impossible: "
            "min_speakers, num_speakers and max_speakers must not contradict each other",
        ),
        ("file a.wav --set vad.onst=0.5", "unknown setting vad.onst: did you mean vad.onset?"),
        ("file a.wav --set vad.onset", "setting 'vad.onset' is not of the form part.name=value, such as vad.onset=0.6"),
        ("file a.wav --set vad.onset=7", "vad onset is 7.0: give 0 to 1"),
        ("file a.wav --pipeline odd.toml", "unknown setting vda: did you mean vad?"),
        ("file a.wav --pipeline a.wav", "recipe a.wav is not TOML: *"),
        (
            "file a.wav --pipeline trusting.toml",
            "recipe trusting.toml sets embedding.trust, which is yours to say: --set embedding.trust=true",
        ),
        ("file a.wav --pipeline x", "no recipe 'x': give the path of a TOML file or one of file, *telephone"),
        ("file a.wav --compute abacus", "unknown compute 'abacus': choose one of cpu, cuda, mps"),
        ("file a.wav --model x😀", "unknown model 'x😀': neither a file or folder nor one of ecapa-tdnn-c256"),
        ("file a.wav --model a.wav", "a.wav: not a checkpoint*"),
        (
            "file a.wav --model lacking.safetensors",
            "lacking.safetensors: not the weights of SpeechBrain's ECAPA-TDNN: missing 1 key (fc.conv.bias)",
        ),
        (
            "file a.wav --jobs 2 b.wav -o out --model x",
            "unknown model 'x': neither a file or folder nor one of ecapa-tdnn-c256",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(place: Path, capfd: Capture, line: str, message: str) -> None:
    write_clip(place / "a.wav", 2)
    (place / "odd.toml").write_text("[vda]\nonset = 0.5\n")
    (place / "trusting.toml").write_text("[embedding]\ntrust = true\n")
    if "lacking" in line:
        weights = safetensors.torch.load_file(next(iter(BUNDLED.values())))
        del weights["fc.conv.bias"]
        safetensors.torch.save_file(weights, place / "lacking.safetensors")
    before = set(place.iterdir())
    done = here(capfd, *line.split())
    assert (done.code, done.out) == (2, "")
    assert fnmatchcase(done.err, f"error: {message}\n")
    assert done.err.count("\n") == 1
    assert set(place.iterdir()) == before


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(
    place: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    write_clip(place / "a.wav", 2)
    done = here(capfd, "file", "a.wav", "--compute", device)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: compute '{device}' is not available: torch ")
    assert done.err.endswith("sees no such device; use cpu\n")
