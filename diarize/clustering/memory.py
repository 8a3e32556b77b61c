"""Every embedding of a stream, on disk: live labels need only a few of them, the final clustering needs them all."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from os import PathLike
from typing import BinaryIO
from weakref import finalize

import numpy as np

from diarize.types import EmbeddingWindow

_HEAD = struct.Struct("<qqqdII")  # start, end, group, quality, intervals of speech, dimensions


class EmbeddingFile:
    """An append-only file of embedding windows, about 5 MB an hour of speech.

    path: where it lies; what a killed process left half-written at its end is cut off when it is opened.  None: a
        temporary file that is gone when it is closed.
    Raises OSError where the file cannot be made or written.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        if path is None:
            self._file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # held open as long as the stream lasts
        else:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115, PTH123  # the same
        finalize(self, self._file.close)  # who gives a stream no file of their own has none to close
        self._ends: list[int] = []
        at = 0
        while (size := self._size_at(at)) is not None:
            at += size
            self._ends.append(at)
        self.truncate(len(self._ends))

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, window: EmbeddingWindow) -> None:
        """Keep one more.  Raises OSError where the disk is full: then nothing has changed."""
        head = _HEAD.pack(
            window.start, window.end, window.group, window.quality, len(window.speech), len(window.embedding)
        )
        speech = np.array(window.speech, "<i8").tobytes()
        data = head + speech + window.embedding.astype("<f4").tobytes()
        self._file.seek(0, 2)
        if self._file.write(data) < len(data):  # a disk that is nearly full takes a part, and does not complain
            self.truncate(len(self))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._ends.append((self._ends[-1] if self._ends else 0) + len(data))

    def read_all(self) -> list[EmbeddingWindow]:
        """All that is kept, in the order it came."""
        self._file.seek(0)
        data = self._file.read()
        windows, at = [], 0
        for _ in self._ends:
            start, end, group, quality, intervals, dimensions = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            speech = np.frombuffer(data, "<i8", 2 * intervals, at).reshape(-1, 2)
            at += 16 * intervals
            embedding = np.frombuffer(data, "<f4", dimensions, at).astype(np.float32)
            at += 4 * dimensions
            windows.append(
                EmbeddingWindow(start, end, tuple((int(a), int(b)) for a, b in speech), group, embedding, quality)
            )
        return windows

    def truncate(self, count: int) -> None:
        """Forget all but the first `count`."""
        del self._ends[count:]
        self._file.truncate(self._ends[-1] if self._ends else 0)

    def sync(self) -> None:
        """Return when all of it is on the disk itself."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _size_at(self, at: int) -> int | None:
        """The size of the record that begins at byte `at`, or None where there is no whole one."""
        self._file.seek(at)
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        *_, intervals, dimensions = _HEAD.unpack(head)
        size = int(_HEAD.size + 16 * intervals + 4 * dimensions)
        self._file.seek(0, 2)
        return size if at + size <= self._file.tell() else None
