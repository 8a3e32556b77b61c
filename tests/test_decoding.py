"""Real files of many formats, whole and broken, decoded in blocks."""

from __future__ import annotations

import io
import logging
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diarize.audio import AudioError, mixdown
from diarize.decoding import open_audio
from diarize.sources import open_source, read
from tests.audio_files import BURST, burst, encode, noise, onset, silent_film

FULL = np.float32(32768)


def samples_of(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """All of a file at its own rate: (frames, channels)."""
    return np.concatenate(list(open_audio(path).blocks()))


def cut(path: Path, share: float) -> Path:
    """The file with only the first share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("name", "kind", "subtype"),
    [
        ("pcm16.wav", "WAV", "PCM_16"),
        ("pcm24.wav", "WAV", "PCM_24"),
        ("float.wav", "WAV", "FLOAT"),
        ("big.rf64", "RF64", "PCM_16"),
        ("sony.w64", "W64", "PCM_16"),
        ("apple.aiff", "AIFF", "PCM_16"),
        ("apple.caf", "CAF", "PCM_16"),
        ("sun.au", "AU", "PCM_16"),
        ("corpus.sph", "NIST", "PCM_16"),
        ("free.flac", "FLAC", "PCM_16"),
        ("unknown ending é.raw", "WAV", "PCM_16"),
        ("2026-01-02T10:30 %03d.flac", "FLAC", "PCM_16"),
    ],
)
def test_lossless_files_come_out_exactly(tmp_path: Path, name: str, kind: str, subtype: str) -> None:
    samples = noise(60_000).reshape(-1, 2)
    written = samples / FULL if subtype == "FLOAT" else samples
    soundfile.write(tmp_path / "audio", written, 22_050, format=kind, subtype=subtype)
    path = (tmp_path / "audio").rename(tmp_path / name)
    file = open_audio(path)
    assert (file.sample_rate, file.seconds) == (22_050, 30_000 / 22_050)
    np.testing.assert_array_equal(samples_of(path), samples / FULL)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize(
    ("codec", "container", "video"),
    [
        ("aac", "mp4", False),
        ("aac", "mp4", True),
        ("aac", "matroska", False),
        ("libopus", "webm", False),
        ("libmp3lame", "mp3", False),
        ("flac", "matroska", False),
        ("ac3", "ac3", False),
        ("aac", "adts", False),
        ("aac", "mpegts", False),
    ],
)
def test_a_sound_stays_in_its_place(tmp_path: Path, rate: int, codec: str, container: str, video: bool) -> None:
    if (codec == "libopus" and rate == 44_100) or (codec == "ac3" and rate == 16_000):
        rate = 48_000  # the codec has no other
    encode(tmp_path / "audio", burst(rate), rate, codec, container, video=video)
    samples = read(tmp_path / "audio")
    # adts and mpegts have no place to say how long the encoder's delay (1024 frames) is
    delay = 1024 / rate if container in ("adts", "mpegts") else 0
    assert onset(samples) == pytest.approx(BURST + delay, abs=0.01)
    assert len(samples) / 16_000 == pytest.approx(4 + delay, abs=0.05)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_files_of_libsndfile(tmp_path: Path, kind: str, subtype: str) -> None:
    soundfile.write(tmp_path / "audio", burst(48_000), 48_000, format=kind, subtype=subtype)
    samples = read(tmp_path / "audio")
    assert onset(samples) == pytest.approx(BURST, abs=0.01)
    assert len(samples) == 64_000


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_u8", "flac", "alac"])
def test_sample_formats_and_channel_order_of_ffmpeg(tmp_path: Path, codec: str) -> None:
    samples = noise(30_000).reshape(-1, 2)
    encode(tmp_path / "audio", samples, 16_000, codec, "mov" if codec == "alac" else "matroska")
    tolerance = 2.0 / 256 if codec == "pcm_u8" else 0
    np.testing.assert_allclose(samples_of(tmp_path / "audio"), samples / FULL, rtol=0, atol=tolerance)


def test_more_channels_than_ffmpeg_has_places_for(tmp_path: Path) -> None:
    samples = noise(16 * 5_000).reshape(-1, 16)
    encode(tmp_path / "audio.wv", samples, 16_000, "wavpack", "wv")  # it keeps each channel in a plane of its own
    np.testing.assert_array_equal(samples_of(tmp_path / "audio.wv"), samples / FULL)


def test_a_gap_in_the_time_stamps_is_silence(tmp_path: Path) -> None:
    encode(tmp_path / "paused.webm", burst(48_000), 48_000, "libopus", "webm", gap=(1.0, 3.0))
    samples = read(tmp_path / "paused.webm")
    assert onset(samples) == pytest.approx(BURST + 3, abs=0.05)
    assert len(samples) / 16_000 == pytest.approx(7, abs=0.05)


def test_a_clock_that_jumps_by_hours_is_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "clock.mkv", burst(48_000), 48_000, "aac", "matroska", gap=(1.0, 7200.0))
    assert onset(read(tmp_path / "clock.mkv")) == pytest.approx(BURST, abs=0.05)


def test_audio_that_starts_later_than_its_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encode(tmp_path / "film.mkv", burst(48_000), 48_000, "aac", "matroska", late=1.5, video=True)
    assert onset(read(tmp_path / "film.mkv")) == pytest.approx(BURST + 1.5, abs=0.05)
    assert not warnings(caplog)


def test_a_file_whose_clock_does_not_start_at_zero(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encode(tmp_path / "audio.mkv", burst(48_000), 48_000, "aac", "matroska", late=1.5)
    assert onset(read(tmp_path / "audio.mkv")) == pytest.approx(BURST, abs=0.05)
    assert not warnings(caplog)


@pytest.mark.parametrize(("channels", "frames"), [(1, 0), (1, 1), (2, 1), (40, 500), (64, 500), (1, 100_000)])
def test_sizes_at_the_edge(tmp_path: Path, caplog: pytest.LogCaptureFixture, channels: int, frames: int) -> None:
    samples = noise(frames * channels).reshape(frames, channels)
    soundfile.write(tmp_path / "audio.wav", samples, 16_000)
    np.testing.assert_array_equal(read(tmp_path / "audio.wav"), mixdown((samples / FULL).astype(np.float32)))
    assert not warnings(caplog)


def test_silence_clipping_and_over_full_scale_are_audio(tmp_path: Path) -> None:
    for level in (0.0, 1.0, -1.0, 40.0):
        soundfile.write(tmp_path / "audio.wav", np.full(1600, level), 16_000, subtype="FLOAT")
        np.testing.assert_array_equal(read(tmp_path / "audio.wav"), np.float32(level))


# Broken files


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "empty.wav").touch()
    remedies = {
        "missing.wav": "no such file; check the name",
        "": "is a directory; name the audio files in it",
        "pipe.wav": "is no regular file; pipe its audio in as raw PCM",
        "empty.wav": r"is empty \(0 bytes\); record or copy it again",
        "empty.wav/audio.wav": "cannot be read",
        "a\0b.wav": "cannot be read",
        "a" * 300: "cannot be read",
    }
    for name, remedy in remedies.items():
        with pytest.raises(AudioError, match=remedy) as caught:
            open_source(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    soundfile.write(tmp_path / "secret.wav", noise(10), 16_000)
    monkeypatch.setattr(Path, "open", refuse)  # file modes do not stop root
    with pytest.raises(AudioError, match=r"secret.wav: may not be read; change its permissions$"):
        open_source(tmp_path / "secret.wav")


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "m4a", "mp4", "webm", "au", "raw", "txt"])
def test_text_is_no_audio(tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str) -> None:
    path = tmp_path / f"notes.{ending}"
    path.write_text("Minutes of the meeting, which was long.\n" * 100)
    with pytest.raises(AudioError, match=f"notes.{ending}: .*; convert it to WAV, or check what it is$"):
        open_source(path)
    assert capfd.readouterr() == ("", "")


def test_a_film_without_sound(tmp_path: Path) -> None:
    silent_film(tmp_path / "silent.mp4")
    with pytest.raises(AudioError, match=r"silent.mp4: has no audio track"):
        open_source(tmp_path / "silent.mp4")


def test_a_codec_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "audio.mkv"
    encode(path, burst(48_000), 48_000, "aac", "matroska")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with pytest.raises(AudioError, match=r"audio.mkv: has no audio track that can be decoded"):
        open_source(path)


@pytest.mark.parametrize("rate", [8, 999])
def test_a_rate_no_audio_has(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "slow.wav", noise(100), rate)
    with pytest.raises(AudioError, match=f"slow.wav: {rate} Hz is no audio rate"):
        open_source(tmp_path / "slow.wav")


@pytest.mark.parametrize(
    ("codec", "container", "share"),
    [
        ("pcm_s16le", "wav", 0.6),
        ("pcm_s16be", "aiff", 0.6),
        ("flac", "flac", 0.6),
        ("libmp3lame", "mp3", 0.6),
        ("aac", "mp4", 0.8),  # the first part is its index
        ("aac", "matroska", 0.6),
        ("libopus", "webm", 0.6),
    ],
)
def test_what_there_is_of_a_file_cut_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str, container: str, share: float
) -> None:
    whole = noise(16_000 * 10)
    encode(tmp_path / "audio", whole, 16_000 if container != "webm" else 48_000, codec, container)
    complete = samples_of(tmp_path / "audio")
    assert not warnings(caplog)
    partial = samples_of(cut(tmp_path / "audio", share))
    assert 0.4 < len(partial) / len(complete) < 0.9
    np.testing.assert_allclose(partial[:-2048], complete[: len(partial) - 2048], atol=1e-6)
    assert [message.split(";")[0] for message in warnings(caplog)] == [f"{tmp_path}/audio: damaged or cut short"]


def test_a_header_without_its_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "audio.wav", noise(32_000), 16_000)
    for size, reason in ((44, "cut off before its first sample"), (30, "is in no known audio format")):
        path = tmp_path / "cut.wav"
        path.write_bytes((tmp_path / "audio.wav").read_bytes()[:size])
        with pytest.raises(AudioError, match=f"cut.wav: .*{reason}"):
            read(path)


def test_an_index_that_was_cut_off(tmp_path: Path) -> None:
    encode(tmp_path / "audio.mov", burst(48_000), 48_000, "aac", "mov")  # the index comes last
    with pytest.raises(AudioError, match=r"audio.mov: is in no known audio format"):
        open_source(cut(tmp_path / "audio.mov", 0.9))


@pytest.mark.parametrize("container", ["flac", "mp3"])
def test_sound_after_damage_stays_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], container: str
) -> None:
    samples = burst(16_000)
    samples[:24_000] += noise(24_000) / FULL / 10
    path = tmp_path / "audio"
    encode(path, samples, 16_000, "libmp3lame" if container == "mp3" else "flac", container)
    data = bytearray(path.read_bytes())
    at = len(data) // 3
    data[at : at + 300] = noise(150).tobytes()
    path.write_bytes(data)
    assert onset(read(path)) == pytest.approx(BURST, abs=0.2)
    assert len(warnings(caplog)) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_F000])
def test_wav_of_a_pipe_or_a_recorder_that_crashed(tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int) -> None:
    samples = noise(40_000)
    soundfile.write(tmp_path / "audio.wav", samples, 16_000)
    data = bytearray((tmp_path / "audio.wav").read_bytes())
    data[4:8], data[40:44] = struct.pack("<I", min(size + 36, 0xFFFF_FFFF)), struct.pack("<I", size)
    (tmp_path / "audio.wav").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "audio.wav"), samples / FULL)
    assert not warnings(caplog)


def test_flac_that_does_not_say_its_length(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    encode(pipe, noise(40_000), 16_000, "flac", "flac")
    (tmp_path / "audio.flac").write_bytes(pipe.getvalue())
    assert open_audio(tmp_path / "audio.flac").seconds is None
    np.testing.assert_array_equal(read(tmp_path / "audio.flac"), noise(40_000) / FULL)


def test_tags_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "audio.mkv"
    encode(path, burst(48_000), 48_000, "aac", "matroska", tags={"title": "Besprechung ABCDEF"})
    assert b"ABCDEF" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"ABCDEF", b"\xfc\xe4\xf6\xff\xfe\xfd"))
    assert onset(read(path)) == pytest.approx(BURST, abs=0.01)


def test_an_hour_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(60):
            file.write(np.zeros(8_000 * 60, np.int16))
    source = open_source(path)
    assert source.seconds == 3600
    tracemalloc.start()
    try:
        heard = sum(len(chunk.samples) for chunk in source.chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard == 3600 * 16_000
    assert peak < 4e6  # the hour is 230 MB
