"""Files, arrays and raw streams as chunks of 16 kHz mono."""

from __future__ import annotations

import io
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.audio import AudioError
from diarize.sources import Source, open_source, raw_source, read
from tests.audio_files import noise

FULL = np.float32(32768)
SECOND = noise(16_000) / FULL


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self.size, self.size if size is None or size < 0 else size))


def test_the_name_of_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "the weekly.2.wav", SECOND, 16_000)
    assert open_source(tmp_path / "the weekly.2.wav").uri == "the weekly.2"
    assert open_source(str(tmp_path / "the weekly.2.wav"), uri="mine").uri == "mine"
    assert open_source(SECOND).uri == "audio"
    assert open_source(open_source(SECOND), uri="mine").uri == "mine"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_file_array_tensor_and_pipe_give_the_same(tmp_path: Path, rate: int, channels: int) -> None:
    pcm = noise(rate * 3 * channels).reshape(-1, channels)
    soundfile.write(tmp_path / "audio.wav", pcm, rate)
    waveform = np.ascontiguousarray(pcm.T)
    pipe = io.BytesIO(pcm.astype("<i2").tobytes())
    expected = read(tmp_path / "audio.wav")
    assert len(expected) == 48_000
    for audio in (
        (waveform, rate),
        (waveform / FULL, rate),
        (torch.from_numpy(waveform) / 32768, rate),
        (torch.from_numpy(waveform / FULL).requires_grad_(), rate),
        raw_source(pipe, rate, channels, "s16le"),
    ):
        np.testing.assert_array_equal(read(audio), expected)
    if rate == 16_000:
        np.testing.assert_array_equal(read(waveform), expected)
    if channels == 1:
        np.testing.assert_array_equal(read((waveform[0], rate)), expected)


def test_the_mean_is_taken_before_the_rate_is_changed() -> None:
    waveform = noise(88_200).reshape(2, -1) / FULL
    expected = soxr.resample((waveform[0] + waveform[1]) / 2, 44_100, 16_000, "HQ")
    np.testing.assert_array_equal(read((waveform, 44_100)), expected)


def test_chunks_follow_each_other_and_can_be_had_again(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "audio.flac", noise(44_100 * 5), 44_100)
    for source in (open_source(tmp_path / "audio.flac"), open_source((noise(44_100 * 5), 44_100))):
        chunks = list(source.chunks())
        assert source.seconds == 5
        assert chunks[0].position == 0
        assert all(after.position == chunk.position + len(chunk.samples) for chunk, after in pairwise(chunks))
        assert all(0 < len(chunk.samples) <= 32_000 and chunk.samples.dtype == np.float32 for chunk in chunks)
        again = np.concatenate([chunk.samples for chunk in source.chunks()])
        np.testing.assert_array_equal(again, np.concatenate([chunk.samples for chunk in chunks]))
        assert len(again) == 80_000


@given(st.integers(1, 5000), st.sampled_from([("s16le", 2), ("f32le", 4), ("mulaw", 1)]), st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_a_pipe_may_deliver_any_pieces(size: int, encoding: tuple[str, int], channels: int) -> None:
    name, width = encoding
    data = noise(2_000 * channels * width // 2 + 1).tobytes()[: 2_000 * channels * width]
    if name == "f32le":
        data = (noise(2_000 * channels) / FULL).tobytes()
    whole = read(raw_source(io.BytesIO(data), 22_050, channels, name))
    np.testing.assert_array_equal(read(raw_source(Trickle(data, size), 22_050, channels, name)), whole)
    assert len(whole) == round(2_000 * 16_000 / 22_050)


def test_a_pipe_is_heard_as_it_comes() -> None:
    pipe = io.BytesIO(noise(16_000).astype("<i2").tobytes())
    chunk = next(raw_source(pipe, 16_000, 1, "s16le").chunks())
    assert len(chunk.samples) == 1_600
    assert pipe.tell() == 3_200


def test_a_pipe_that_ends_inside_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    assert len(read(raw_source(io.BytesIO(bytes(4003)), 16_000, 2, "s16le", uri="stdin"))) == 1000
    (record,) = caplog.records
    assert record.getMessage() == "stdin: ends 3 bytes into a frame; is it really s16le, channels 2?"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_silence_and_said_once(caplog: pytest.LogCaptureFixture, value: float) -> None:
    waveform = np.stack([SECOND, SECOND]).astype(np.float64).repeat(3, axis=1)
    waveform[0, 100:200] = waveform[0, 40_000:] = value
    expected = waveform.astype(np.float32).copy() if np.isnan(value) else waveform.copy()
    expected[0, 100:200] = expected[0, 40_000:] = 0
    np.testing.assert_array_equal(read(waveform), read(expected))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("audio: has samples that are no numbers")
    assert np.isfinite(read((waveform, 44_100))).all()


def test_nan_in_a_file_is_said_with_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "audio.wav", np.full(50_000, np.nan), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read(tmp_path / "audio.wav"), np.zeros(50_000))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [str(tmp_path / "audio.wav")]


@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples(samples: int) -> None:
    for rate in (8_000, 16_000):
        source = open_source((SECOND[:samples], rate))
        assert sum(len(chunk.samples) for chunk in source.chunks()) == samples * 16_000 // rate
    assert read(raw_source(io.BytesIO(), 44_100, 2, "f32le")).shape == (0,)


def test_the_array_stays_as_it_was() -> None:
    array = SECOND.copy()
    for chunk in open_source(array).chunks():
        chunk.samples[:] = 0
    np.testing.assert_array_equal(array, SECOND)


@pytest.mark.parametrize(
    ("audio", "problem"),
    [
        ([0.0, 1.0], "list is no audio; give a path, an array, or"),
        (None, "NoneType is no audio"),
        ((16_000, SECOND), "int is no audio"),
        (np.float32(1), "float32 is no audio"),
        (np.zeros((1, 2, 3)), r"shape \(1, 2, 3\) is no audio"),
        (np.zeros(()), r"shape \(\) is no audio"),
        (np.zeros((16_000, 2)), r"16,000 channels are no audio; give 1 to 1,024, as \(channels, samples\)"),
        (np.zeros((0, 100)), "0 channels are no audio"),
        (np.zeros(100, bool), "samples of type bool are no audio"),
        ((SECOND, 8), "8 Hz is no audio rate"),
        ((SECOND, -16_000), "-16000 Hz is no audio rate"),
    ],
)
def test_what_is_no_audio(audio: Any, problem: str) -> None:
    with pytest.raises(AudioError, match=problem) as caught:
        open_source(audio)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "channels", "encoding", "problem"),
    [(8, 1, "s16le", "8 Hz"), (16_000, 0, "s16le", "0 channels"), (16_000, 1, "pcm", "unknown encoding 'pcm'")],
)
def test_raw_audio_that_cannot_be(rate: int, channels: int, encoding: str, problem: str) -> None:
    with pytest.raises(AudioError, match=problem):
        raw_source(io.BytesIO(), rate, channels, encoding)


@pytest.mark.parametrize("start", [b"RIFF", b"fLaC", b"OggS"])
def test_a_file_with_a_header_is_not_taken_for_raw_audio(start: bytes) -> None:
    with pytest.raises(AudioError, match="pipe: begins like a WAV, FLAC or Ogg file, not like raw PCM"):
        read(raw_source(io.BytesIO(start + bytes(100)), 16_000, 1, "s16le", uri="pipe"))
    assert len(read(raw_source(io.BytesIO(bytes(100) + start), 16_000, 1, "s16le"))) == 52


def test_a_source_is_a_source() -> None:
    source = Source("mine", None, lambda: iter(()))
    assert open_source(source) is source
    assert read(source).shape == (0,)
