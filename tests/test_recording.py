"""The recording of what is heard: whole when it ends, readable when it was cut off, never over another's remains."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diarize.audio import to_float, to_pcm
from diarize.microphone.recording import Recording
from diarize.sources import read
from tests.command import conversation


def test_it_holds_what_was_written_to_the_bit(tmp_path: Path) -> None:
    pcm = to_pcm(conversation(3))
    path = tmp_path / "meeting.flac"
    with closing(Recording(path)) as recording:
        for start in range(0, len(pcm), 317):
            recording.write(pcm[start : start + 317])
        assert [file.name for file in tmp_path.iterdir()] == ["meeting.flac.part"]
    assert [file.name for file in tmp_path.iterdir()] == ["meeting.flac"]
    np.testing.assert_array_equal(read(path), to_float(pcm))
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)


@given(arrays(np.float32, 20, elements=st.floats(-2, 2, width=32)))
@settings(deadline=None, max_examples=50)
def test_samples_are_rounded_to_16_bits_once(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    rounded = to_float(to_pcm(samples))
    assert (abs(rounded - samples.clip(-1, 32767 / 32768)) <= 0.5 / 32768).all()
    np.testing.assert_array_equal(to_pcm(rounded), to_pcm(samples))


KILLED = """
import os, sys
from pathlib import Path
from diarize.audio import to_pcm
from diarize.microphone.recording import Recording
from tests.command import conversation
recording = Recording(Path(sys.argv[1]))
recording.write(to_pcm(conversation(5)))
os.kill(os.getpid(), 9)
"""


def test_a_kill_leaves_what_was_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "meeting.flac"
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    left = read(tmp_path / "meeting.flac.part")
    expected = to_float(to_pcm(conversation(5)))
    assert len(expected) - 4096 <= len(left) <= len(expected)
    np.testing.assert_array_equal(left, expected[: len(left)])
    with pytest.raises(OSError, match="is left from a recording that was cut off; rename it or remove it"):
        Recording(path)
    assert len(read(tmp_path / "meeting.flac.part")) == len(left)
    assert {record.levelname for record in caplog.records} <= {"WARNING"}


def test_a_recording_takes_the_place_of_an_older_one_and_keeps_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.flac").write_bytes(b"old")
    (tmp_path / "link.flac").symlink_to("real.flac")
    with closing(Recording(tmp_path / "link.flac")) as recording:
        recording.write(np.zeros(100, np.int16))
        assert (tmp_path / "real.flac").read_bytes() == b"old"
    assert (tmp_path / "link.flac").is_symlink()
    assert len(read(tmp_path / "real.flac")) == 100


def test_a_recording_of_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old.flac").write_bytes(b"old")
    for name in ("old.flac", "new.flac"):
        Recording(tmp_path / name).close()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("old.flac", b"old")]


@pytest.mark.parametrize("name", ["meeting.wav", "meeting", "flac"])
def test_a_name_that_is_not_flac(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"cannot record to '.*{name}': .* must end in \.flac"):
        Recording(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Recording(tmp_path / "nowhere" / "meeting.flac")
    assert caught.value.filename == str(tmp_path / "nowhere" / "meeting.flac.part")


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from diarize.microphone.recording import Recording
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
recording = Recording(Path(sys.argv[1]))
try:
    while True:
        recording.write(np.random.default_rng(0).integers(-3000, 3000, 1600).astype(np.int16))
except OSError as error:
    print(error.strerror, error.filename)
recording.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes are limited by POSIX's means")
def test_a_full_disk_is_told_and_what_fitted_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "meeting.flac"
    done = subprocess.run([sys.executable, "-c", FULL, path], check=True, capture_output=True, text=True)
    assert done.stdout == f"cannot be written any more; is the disk full? {path}.part\n"
    assert len(read(path)) > 16_000
