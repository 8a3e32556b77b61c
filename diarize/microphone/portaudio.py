"""PortAudio, through `sounddevice`: loaded when it is needed, kept quiet, and left behind where it hangs."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import ModuleType
from typing import Any

from diarize.audio import AudioError

NO_LIBRARY = (
    "the microphone needs the PortAudio library, which is not here: install it (Debian, Ubuntu: apt install "
    "libportaudio2; Fedora: dnf install portaudio), or pipe raw PCM into diarize file -"
)

CLOSED = 2.0
"""Seconds that closing a stream may take: it takes milliseconds."""


def portaudio() -> ModuleType:
    """The module `sounddevice`, with PortAudio started.  Raises `AudioError` where its library is not installed."""
    try:
        with messages_hidden():
            import sounddevice
    except OSError as error:
        raise AudioError(NO_LIBRARY) from error
    module: ModuleType = sounddevice
    return module


def reason(error: Exception) -> str:
    """Why PortAudio refused: in the sound system's words, where there are any, else in its own."""
    said, *rest = error.args
    return str(rest[1][2] if len(rest) > 1 else said.rpartition(": ")[2])


def close(stream: Any) -> None:
    """Close a stream; one whose sound system hangs, which would never let go, is left as it is."""
    closing = Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(CLOSED)
    if closing.is_alive():
        with suppress(AttributeError):  # what closes everything at exit, and would wait there, is not public
            atexit.unregister(portaudio()._exit_handler)


@contextmanager
def messages_hidden() -> Iterator[None]:
    """Keep from stderr what PortAudio and ALSA print while they try things; what fails is raised as well."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
