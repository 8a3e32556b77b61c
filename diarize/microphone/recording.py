"""What is heard, kept on disk as it comes: 16-bit FLAC, 16 kHz, mono."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import soundfile

from diarize.audio import Pcm
from diarize.types import SAMPLE_RATE

SUFFIX = ".flac"


class Recording:
    """A FLAC file that grows while audio is heard, beside its place, and is put there by renaming at the end.

    A killed process leaves it as `NAME.part`, readable but for the last quarter of a second.

    Raises ValueError for a name that does not end in .flac, OSError when it cannot be written, and when a `.part`
    lies there already, which may be all that is left of another recording.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != SUFFIX:
            raise ValueError(f"cannot record to {str(path)!r}: the recording is FLAC, its name must end in {SUFFIX}")
        self._path = Path(os.path.realpath(path))  # a link keeps pointing to the file
        self._part = self._path.with_name(self._path.name + ".part")
        try:
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError as error:
            raise OSError(
                errno.EEXIST, "is left from a recording that was cut off; rename it or remove it", str(self._part)
            ) from error
        self._empty = True
        self._file = soundfile.SoundFile(descriptor, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC", closefd=True)

    def write(self, pcm: Pcm) -> None:
        """Add what was heard.  Raises OSError when the disk takes no more."""
        self._empty = False
        try:
            self._file.write(pcm)
        except (AssertionError, RuntimeError) as error:  # soundfile's, which does not say why
            raise OSError(errno.EIO, "cannot be written any more; is the disk full?", str(self._part)) from error

    def close(self) -> None:
        """Finish the file and put it in its place; where nothing was written, leave what was there."""
        self._file.close()
        if self._empty:
            self._part.unlink()
        else:
            self._part.replace(self._path)
