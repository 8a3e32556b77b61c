"""The committed sample conversation: its reference is what is heard in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from diarize.rttm import Turn, read_rttm
from diarize.types import SAMPLE_RATE, seconds
from examples import make_sample

SAMPLE = Path(__file__).parents[1] / "examples" / "sample"
FRAME = 160
QUIET_ROOM = -45.0  # dBFS: above the swings of the noise (-58), well below what anybody says (-25 to -28)


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float64]:
    samples, rate = soundfile.read(SAMPLE / "conversation.flac", always_2d=True)
    assert rate == SAMPLE_RATE
    assert samples.shape[1] == 1
    mono: NDArray[np.float64] = samples[:, 0]
    return mono


@pytest.fixture(scope="module")
def turns() -> list[Turn]:
    return read_rttm(SAMPLE / "conversation.rttm")["conversation"]


def level(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The level of each frame of 10 ms, in dBFS."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels


def talking(turns: list[Turn], frames: int) -> NDArray[np.int64]:
    """How many talk in each frame."""
    count = np.zeros(frames, dtype=np.int64)
    for turn in turns:
        count[turn.start // FRAME : turn.end // FRAME] += 1
    return count


def test_it_is_a_minute_of_four_voices_that_overlap(audio: NDArray[np.float64], turns: list[Turn]) -> None:
    assert 50 < seconds(len(audio)) < 75
    assert {turn.speaker for turn in turns} == set(make_sample.VOICES)
    assert turns[-1].end < len(audio)
    count = talking(turns, len(audio) // FRAME)
    assert count.max() == 2
    assert 2 < seconds(int(np.sum(count == 2)) * FRAME) < 6
    assert np.abs(audio).max() < 0.99  # nothing is clipped


def test_between_the_turns_it_is_quiet(audio: NDArray[np.float64], turns: list[Turn]) -> None:
    count = talking(turns, len(audio) // FRAME)
    # the room's sound has died away by its own definition (60 dB) 0.3 s after a turn
    tail = np.convolve(count > 0, np.ones(30))[: len(count)] > 0
    assert np.any(~tail)
    assert level(audio)[~tail].max() < QUIET_ROOM


def test_turns_begin_where_the_sound_begins(audio: NDArray[np.float64], turns: list[Turn]) -> None:
    loud, count = level(audio), talking(turns, len(audio) // FRAME)
    begins = [turn.start // FRAME for turn in turns]
    from_silence = [frame for frame in begins if not count[frame - 10 : frame].any()]
    assert len(from_silence) >= 10
    for frame in from_silence:
        before, after = loud[frame - 5 : frame].max(), loud[frame : frame + 10].max()
        assert after > before + 6, f"nothing begins at {frame / 100} s"


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite, which made the sample, is not installed")
def test_the_script_makes_the_same_sample_again(tmp_path: Path, audio: NDArray[np.float64], turns: list[Turn]) -> None:
    make_sample.main(tmp_path)
    assert read_rttm(tmp_path / "conversation.rttm")["conversation"] == turns
    again, _ = soundfile.read(tmp_path / "conversation.flac")
    # the last bits of a Fourier transform may differ between builds of NumPy
    np.testing.assert_allclose(again, audio, atol=2 / 2**15)
