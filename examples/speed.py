"""How fast and how large `diarize file` is on ten minutes of conversation, beside the baseline, in the same run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from diarize import SpeakerDiarization
from diarize.pipeline import back
from diarize.sources import open_source
from diarize.training.simulate import SimulationConfig, simulate, write

SECONDS = 600.0
RUNS = 3

# A small process of its own starts what is measured: on Linux the peak of a process counts what it was started from.
METER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""

Done = TypeVar("Done")


@dataclass(frozen=True)
class Cost:
    """Of one command line: wall seconds, start-up included, and peak resident memory in MB."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Speed:
    """The cost of both command lines (the median of their runs), and seconds in each stage of ours."""

    ours: Cost
    baseline: Cost
    stages: dict[str, float]


def measure_speed(speech: Path, folder: Path) -> Speed:
    """Simulate the conversation, and time it; nothing else should run meanwhile."""
    conversation = simulate(speech, "eval", seed=2, config=SimulationConfig(seconds=(SECONDS, SECONDS)))
    write(conversation, folder / "speed")
    file = folder / "speed" / f"{conversation.uri}.flac"
    command = [str(Path(sys.executable).with_name("diarize")), "file", str(file)]
    other = [sys.executable, str(Path(__file__).with_name("baseline.py")), str(file)]
    ours, baseline = [], []
    for _ in range(RUNS):  # in turns, so that a busy moment does not meet one of them alone
        ours.append(run([*command, "-o", str(folder / "speed" / "ours.rttm")]))
        baseline.append(run([*other, str(folder / "speed" / "baseline.rttm")]))
    return Speed(median(ours), median(baseline), stages(file))


def run(command: list[str]) -> Cost:
    """One run of a command line."""
    meter = [sys.executable, "-c", METER, *command]
    done = subprocess.run(meter, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words
    seconds, peak = json.loads(done.stdout)
    return Cost(seconds, peak / (1024 * 1024 if sys.platform == "darwin" else 1024))  # bytes there, else KiB


def median(costs: list[Cost]) -> Cost:
    """The median of the times and that of the peaks."""
    return Cost(statistics.median(cost.seconds for cost in costs), statistics.median(cost.megabytes for cost in costs))


def stages(file: Path) -> dict[str, float]:
    """Wall seconds in each part of the chain, in this process, the network loaded."""
    spent = {}

    def timed(name: str, work: Callable[[], Done]) -> Done:
        start = time.perf_counter()
        done = work()
        spent[name] = time.perf_counter() - start
        return done

    pipeline = SpeakerDiarization()
    front, half = pipeline.front(), back(pipeline.config)
    chunks = timed("decode", lambda: list(open_source(file).chunks()))
    windows = timed("VAD and windows", lambda: [w for chunk in chunks for w in front.push(chunk)] + front.flush())
    embedded = timed("embed", lambda: pipeline.embed(windows))
    timed("cluster and turns", lambda: [u for window in embedded for u in half.push(window)] + half.flush())
    return spent


def speed_table(speed: Speed) -> str:
    """In Markdown: both command lines, the stages, the machine."""
    lines = ["| | wall time | times real time | peak memory |", "|---|---:|---:|---:|"]
    for name, cost in (("diarize", speed.ours), ("baseline", speed.baseline)):
        times = SECONDS / cost.seconds
        lines.append(f"| {name} | {cost.seconds:.1f} s | {times:.0f} | {cost.megabytes:.0f} MB |")
    ratio = speed.baseline.seconds / speed.ours.seconds
    lines.append(f"| baseline / diarize | {ratio:.2f} | | {speed.baseline.megabytes / speed.ours.megabytes:.2f} |")
    spent = sum(speed.stages.values())
    shares = ", ".join(f"{name} {seconds:.1f} s ({seconds / spent:.0%})" for name, seconds in speed.stages.items())
    return "\n".join([*lines, "", f"The stages of diarize, start-up not counted: {shares}.", "", f"On {machine()}."])


def machine() -> str:
    """What it was measured on."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{cores} cores of {model} ({instructions}), torch {torch.__version__}, Python {platform.python_version()}"
