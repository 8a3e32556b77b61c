"""The command line, run by the tests: in this process where it is quick, in one of its own where that matters."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from diarize import cli

SAMPLE = Path(__file__).parents[1] / "examples" / "sample" / "conversation.flac"
DIARIZE = [sys.executable, "-m", "diarize.cli"]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def here(capfd: pytest.CaptureFixture[str], *args: str | Path) -> Done:
    """Run a command in this process."""
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["diarize", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.main()
    out, err = capfd.readouterr()
    return Done(int(left.value.code or 0), out, err)


def process(*args: str | Path, stdin: bytes = b"", program: list[str] = DIARIZE) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run([*program, *args], input=stdin, capture_output=True, check=False)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def quickly(*args: str | Path) -> Done:
    """Run a command in a process of its own, in which it must not load what is slow to load."""
    program = (
        "import sys\nfrom diarize import cli\ntry:\n    cli.main()\nfinally:\n"
        "    print(sorted({'torch', 'pyannote', 'matplotlib', 'ray'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = process(*args, program=[sys.executable, "-c", program])
    assert done.err.endswith("[]\n"), done.err
    return replace(done, err=done.err.removesuffix("[]\n"))


def conversation(seconds: float) -> NDArray[np.float32]:
    """The beginning of the sample conversation, shape (samples,), 16 kHz; somebody else talks after 5 and 11.5 s."""
    samples: NDArray[np.float32] = soundfile.read(SAMPLE, frames=round(16_000 * seconds), dtype="float32")[0]
    return samples


def write_clip(path: Path, seconds: float) -> Path:
    """The beginning of the sample conversation as a file."""
    soundfile.write(path, conversation(seconds), 16_000)
    return path
