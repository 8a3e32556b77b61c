"""How the C library of a process deals with memory that is given back to it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Keep up to a gigabyte of freed memory in this process, for what is computed next; whether that could be said.

    A network makes and frees the same large tensors again and again.  glibc hands each back to the system at once, and
    to have all its pages mapped and cleared anew took a third of the time of `diarize file`: of ten minutes 9 s instead
    of 13, and with `--segmentation` 16 instead of 26.  The peak hardly grows (2 %): what is kept was in use before.  It
    is for programs, not for libraries: the command line says it for itself and its workers.  False where there is no
    glibc, and then nothing has changed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(name, _KEPT) == 1 for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
