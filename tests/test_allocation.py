"""What the C library does with freed memory, by the page faults of a process that asks for the same again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from diarize.allocation import keep_freed_memory
if sys.argv[1] == "keep":
    print(keep_freed_memory())
for _ in range(3):
    np.ones(40_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(40_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back so eagerly")
def test_freed_memory_is_not_mapped_and_cleared_anew() -> None:
    kept, few = faults("keep")
    (many,) = faults("leave")
    assert kept == "True", "this test expects glibc"
    assert int(few) < 100 < 20 * 40_000_000 // 2**21 < int(many), "pages of up to 2 MB, 20 times"
