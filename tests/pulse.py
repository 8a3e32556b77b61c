"""A sound system of the tests' own: a private PulseAudio whose microphone hears what is played, and who listens."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from scipy.signal import correlate

from diarize.sources import read
from diarize.types import SAMPLE_RATE
from tests.command import Done, conversation

ALSA = """\
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
# one that is there, but cannot be opened
pcm.broken { type pulse device nowhere }
"""

PATIENCE = 60.0
"""Seconds, only so that nothing waits for ever."""


class Pulse:
    """A PulseAudio daemon.

    environment: what makes a program use it and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        home, run, alsa = folder / "home", folder / "run", folder / "asound.conf"
        home.mkdir()
        run.mkdir(mode=0o700)
        alsa.write_text(ALSA)
        self.environment = os.environ | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(run),
            "PULSE_SERVER": f"unix:{run}/socket",
            "ALSA_CONFIG_PATH": str(alsa),
        }
        with (folder / "log").open("w") as log:
            self._daemon = subprocess.Popen(
                [
                    *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"),
                    *("-L", f"module-native-protocol-unix socket={run}/socket auth-anonymous=1"),
                    *("-L", "module-null-sink sink_name=play rate=48000 channels=1"),
                ],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until(lambda: "play.monitor" in self._pactl("list", "short", "sources"), "PulseAudio to start")
        self._pactl("set-default-source", "play.monitor")

    def play(self, file: Path) -> None:
        """Play an audio file into the speaker, to its end."""
        subprocess.run(["paplay", "--device=play", file], env=self.environment, check=True, timeout=PATIENCE)

    def started(self, *command: str) -> subprocess.Popen[str]:
        """A program that uses it, which writes to a pipe."""
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)

    def run(self, *command: str, **environment: str) -> Done:
        """Run a program that uses it, to its end."""
        changed = self.environment | environment
        done = subprocess.run(command, env=changed, capture_output=True, check=False, text=True, timeout=PATIENCE)
        return Done(done.returncode, done.stdout, done.stderr)

    def wait_for_listeners(self, number: int) -> None:
        """Return when so many programs record."""
        self._wait_until(lambda: self._listeners() == number, f"{number} programs to record")

    def hang(self) -> None:
        """Be there, and do nothing."""
        self._daemon.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """As if every device were unplugged."""
        self._daemon.kill()
        self._daemon.wait()

    def _listeners(self) -> int:
        return len(self._pactl("list", "short", "source-outputs").splitlines())

    def _pactl(self, *args: str) -> str:
        return subprocess.run(["pactl", *args], env=self.environment, capture_output=True, check=False).stdout.decode()

    def _wait_until(self, so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not so():
            assert time.monotonic() < end, f"waited too long for {what}"
            assert self._daemon.poll() is None, "PulseAudio is gone"
            time.sleep(0.1)


@contextmanager
def pulse(folder: Path) -> Iterator[Pulse]:
    """A daemon while it is needed; the test is skipped where what it takes is not installed."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent: install pulseaudio")
    if not list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("ALSA has no way to PulseAudio: install libasound2-plugins")
    if find_library("portaudio") is None:
        pytest.skip("PortAudio is absent: install libportaudio2")
    daemon = Pulse(folder)
    try:
        yield daemon
    finally:
        daemon.kill()


class Listener:
    """A program that listens, in a folder of its own, until it is interrupted.

    terminal: whether its stderr is one.
    """

    def __init__(self, daemon: Pulse, folder: Path, *command: str | Path, terminal: bool = False) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        environment = daemon.environment | {"TMPDIR": str(self.temporary), "TERM": "xterm", "COLUMNS": "100"}
        self._err, stderr = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        )
        os.close(stderr)
        self._said = b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> Done:
        """Wait for its end; what it did."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        self._reader.join(PATIENCE)
        return Done(self.process.returncode, out.decode(), self._said.decode())

    def _read(self) -> None:
        """What nobody reads would fill up, and the program would wait."""
        with suppress(OSError):  # how a terminal ends on Linux
            while data := os.read(self._err, 65_536):
                self._said += data
        os.close(self._err)


def delay(recording: Path, start: float, end: float) -> float:
    """By how many seconds this part of the sample conversation comes later in a recording, which must hold it."""
    recorded = read(recording)
    part = conversation(end)[round(start * SAMPLE_RATE) :]
    found = correlate(recorded, part, mode="valid")
    at = int(found.argmax())
    alike = found[at] / np.linalg.norm(part) / np.linalg.norm(recorded[at : at + len(part)])
    assert alike > 0.9, "what was played is not in the recording"
    return at / SAMPLE_RATE - start
