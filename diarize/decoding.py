"""Files decoded in blocks: libsndfile for WAV, FLAC, Ogg and their kin, FFmpeg (PyAV) for every other format."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from diarize.audio import AudioError, Block, check_layout, to_float

_SOUNDFILE = (b"RIFF", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"NIST", b"fLaC", b"OggS")
"""How the files begin that go to libsndfile.  MP3 does not: its decoder there tells stderr of any damage."""

_DATA_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile's log says that a header promises more bytes of audio than there are."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""Bytes.  Programs that write WAV into a pipe promise this or more, not knowing what will come."""

_UNKNOWN_FRAMES = 2**63 - 1
"""libsndfile's length of a FLAC stream that does not give it."""

_SHORTEST_GAP, _LONGEST_GAP = 0.1, 3600.0
"""Seconds.  Less is the rounding of a container's time stamps; more is a broken clock."""

_SHORTFALL = 1.0
"""Seconds that a file may be shorter than its header says before it counts as cut short."""

_NUMBERS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""NumPy's names of FFmpeg's types of samples."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioFile:
    """A file that has been found to hold audio.

    sample_rate: Hz, of the file.
    seconds: its length, or None when it cannot be told before decoding; for some formats an estimate.
    blocks: decodes it from its beginning, in blocks of at most about a second.  Of a damaged file it gives what can
        be decoded, with a warning logged at the end, and `AudioError` when that is nothing.
    """

    sample_rate: int
    seconds: float | None
    blocks: Callable[[], Iterator[Block]]


def open_audio(path: str | os.PathLike[str]) -> AudioFile:
    """Look into a file and choose its decoder.

    Raises `AudioError` for what is missing, is no file, may not be read, or holds no audio.
    """
    path = Path(path)
    first_bytes = _first_bytes(path)
    file = _open_soundfile(path) if first_bytes.startswith(_SOUNDFILE) else None
    return file or _open_pyav(path)


def _first_bytes(path: Path) -> bytes:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        first_bytes = b""
        if kind == stat.S_IFREG:  # to open a pipe would wait for its writer
            with path.open("rb") as file:
                first_bytes = file.read(4)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the name") from None
    except PermissionError:
        raise AudioError(f"{path}: may not be read; change its permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{path}: cannot be read ({error}); check the name and the disk") from error
    if kind == stat.S_IFDIR:
        raise AudioError(f"{path}: is a directory; name the audio files in it")
    if kind != stat.S_IFREG:
        raise AudioError(f"{path}: is no regular file; pipe its audio in as raw PCM")
    if not first_bytes:
        raise AudioError(f"{path}: is empty (0 bytes); record or copy it again")
    return first_bytes


def _open_soundfile(path: Path) -> AudioFile | None:
    """None where libsndfile does not know the format or the length: FFmpeg may."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate, channels, frames, cut_short = file.samplerate, file.channels, file.frames, _is_cut_short(file)
    except (soundfile.SoundFileError, TypeError):  # TypeError: it takes a name that ends in .raw for no header
        return None
    check_layout(rate, channels, str(path))
    if not frames and cut_short:
        raise AudioError(f"{path}: is cut off before its first sample; record or copy it again")
    if not 0 < frames < _UNKNOWN_FRAMES:  # a recorder that crashed leaves a header that says 0
        return None
    return AudioFile(rate, frames / rate, partial(_soundfile_blocks, path))


def _soundfile_blocks(path: Path) -> Iterator[Block]:
    decoded = 0
    with soundfile.SoundFile(os.fsencode(path)) as file:
        rate, promised, cut_short = file.samplerate, file.frames, _is_cut_short(file)
        size = min(rate, max(1, 2**18 // file.channels))
        while decoded < promised:
            try:
                block = file.read(size, "float32", always_2d=True)
            except soundfile.LibsndfileError:
                # It gives up at the first damage, and with it on the block: FFmpeg reads on from there.
                yield from _without(decoded, _pyav_blocks(path, rate, damaged=True))
                return
            if not len(block):
                break
            decoded += len(block)
            yield block
    if cut_short or decoded < promised:
        _warn_of_damage(path, decoded / rate)


def _is_cut_short(file: soundfile.SoundFile) -> bool:
    size = _DATA_SIZE.search(file.extra_info)
    return size is not None and int(size[2]) + 1 < int(size[1]) < _UNKNOWN_SIZE  # + 1: the padding of an odd size


def _open_pyav(path: Path) -> AudioFile:
    with _container(path) as container:
        stream = _audio_stream(container, path)
        seconds = _seconds(container, stream)
        # The rate in a header is not always the one that the decoder gives (HE-AAC doubles it).
        first = next((frame for frame in _frames(container, stream) if frame is not None), None)
        rate, channels = (first.rate, first.layout.nb_channels) if first else (stream.rate, stream.channels)
    check_layout(rate, channels, str(path))
    return AudioFile(rate, seconds, lambda: _joined(_pyav_blocks(path, rate), rate))


def _pyav_blocks(path: Path, rate: int, damaged: bool = False) -> Iterator[Block]:
    """damaged: whether something else has already found that the file is."""
    decoded = 0
    with _container(path) as container:
        stream = _audio_stream(container, path)
        alone = len(container.streams) == 1  # or the length may be that of the video
        start = (container.start_time or 0) / av.time_base
        promised = ((alone and _seconds(container, stream)) or 0.0) - start  # some containers count from 0
        for frame in _frames(container, stream):
            if frame is None:
                damaged = True
                continue
            if frame.rate != rate:
                raise AudioError(f"{path}: its sample rate changes from {rate} to {frame.rate} Hz; convert it to one")
            block = _samples(frame)
            for size in _gap(frame, stream, start, decoded):
                decoded += size
                yield np.zeros((size, block.shape[1]), np.float32)
            decoded += len(block)
            yield block
    if damaged and not decoded:
        raise AudioError(f"{path}: nothing in it can be decoded; record or copy it again")
    if damaged or decoded / rate < promised - _SHORTFALL:
        _warn_of_damage(path, decoded / rate)


@contextmanager
def _container(path: Path) -> Iterator[InputContainer]:
    try:
        # Absolute, or FFmpeg takes what stands before a colon in the name for a protocol.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise AudioError(f"{path}: is in no known audio format; convert it to WAV, or check what it is") from error


def _audio_stream(container: InputContainer, path: Path) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream) or stream.codec_context is None:  # None: no decoder for it
        raise AudioError(f"{path}: has no audio track that can be decoded; convert it to WAV, or check what it is")
    return stream


def _seconds(container: InputContainer, stream: AudioStream) -> float | None:
    if container.format.name == "aac":  # guessed from the first frames' bit rate, and often off by half
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame | None]:
    """The frames in their order; None for a packet that cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except av.FFmpegError:
            yield None


def _gap(frame: AudioFrame, stream: AudioStream, start: float, decoded: int) -> Iterator[int]:
    """The silence due before a frame, in frames, a second at a time at most.

    Time stamps jump where a browser recorded nothing (paused, muted, discontinuous Opus), where packets were lost, and
    before the audio of a video that starts late.  Without the silence all later turns would be early.
    """
    if frame.pts is None or stream.time_base is None:
        return
    gap = round((float(frame.pts * stream.time_base) - start) * frame.rate) - decoded
    if _SHORTEST_GAP < gap / frame.rate < _LONGEST_GAP:
        for done in range(0, gap, frame.rate):
            yield min(frame.rate, gap - done)


def _samples(frame: AudioFrame) -> Block:
    # Not frame.to_ndarray(): of more than 8 channels that lie in planes it reads on behind the last, and may crash.
    channels, planar = frame.layout.nb_channels, frame.format.is_planar
    planes, count = (channels, frame.samples) if planar else (1, frame.samples * channels)
    numbers = _NUMBERS[frame.format.name.removesuffix("p")]
    samples = np.stack([np.frombuffer(bytes(plane), numbers, count) for plane in frame.planes[:planes]])
    return to_float(samples.T if planar else samples.reshape(-1, channels))


def _joined(blocks: Iterator[Block], size: int) -> Iterator[Block]:
    """The same samples in blocks of at least `size` frames, or up to where the number of channels changes."""
    waiting: list[Block] = []
    for block in blocks:
        if waiting and block.shape[1] != waiting[0].shape[1]:
            yield np.concatenate(waiting)
            waiting = []
        waiting.append(block)
        if sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _without(frames: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks less their first frames."""
    for block in blocks:
        if frames < len(block):
            yield block[frames:]
        frames = max(0, frames - len(block))


def _warn_of_damage(path: Path, seconds: float) -> None:
    log.warning("%s: damaged or cut short; taking the %.1f s that could be decoded", path, seconds)
