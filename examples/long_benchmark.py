"""Measure what long recordings cost, for the README's table: `diarize file` up to ten hours, and clustering alone.

    python examples/long_benchmark.py                    everything, into README.md (make bench-long)
    python examples/long_benchmark.py --hours 0.1 0.2    a quick try; README.md stays as it is

The recording is made of simulated half-hours of `eval` voices, which come back again and again at another level and in
other noise, with half a minute of somebody else after each.  It is kept in .bench/.  Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
from sklearn.metrics import adjusted_rand_score

from diarize.clustering.offline import ALGORITHMS, ClusteringConfig, cluster_windows
from diarize.embedded import read_embedded
from diarize.formats import write_atomically
from diarize.metrics import Score, score
from diarize.rttm import Turn, format_rttm, read_rttm
from diarize.sources import read
from diarize.training.simulate import SimulationConfig, simulate, write
from diarize.types import SAMPLE_RATE, position
from examples.benchmark import FOLDER, ROOT, replace_table, simulated
from examples.speed import Cost, machine, run

HOURS = (1.0, 3.0, 10.0)
WINDOWS = 50_000
DIRECT = 8_000
"""Windows on which the answer is compared with that of clustering them all at once."""

HALF_HOURS, SPEAKERS, SEED = 3, 5, 2
GUEST = 30.0
"""Seconds of somebody else after each half-hour."""


@dataclass(frozen=True)
class Long:
    """A recording of so many hours: what it cost, and how right the answer was."""

    hours: float
    cost: Cost
    score: Score


@dataclass(frozen=True)
class Clustered:
    """One algorithm on so many windows alone, in a process of its own, start-up included.

    agreement: with clustering the first `DIRECT` windows all at once, as adjusted Rand index.
    """

    name: str
    windows: int
    cost: Cost
    agreement: float


def half_hours(speech: Path, folder: Path) -> list[Path]:
    """The parts that come back, as on a recorder in a quiet room; made when they are not there."""
    files = []
    for index in range(HALF_HOURS):
        file = folder / f"eval-{SEED}-{index:03d}.flac"
        if not file.with_suffix(".rttm").is_file():  # it is written last
            config = SimulationConfig(seconds=(1800, 1800), speakers=SPEAKERS, level=(-30, -20), snr=(25, 40))
            write(simulate(speech, "eval", SEED, config, index), folder)
        files.append(file)
    return files


def assemble(parts: Sequence[Path], guests: Sequence[Path], seconds: float, file: Path) -> None:
    """Write a recording of so many seconds, and its RTTM beside it: the parts in turn, a guest after each.

    Every time a part is up to 6 dB softer, in noise of its own 20 to 40 dB below it.  The same arguments give the same
    samples; a shorter recording is the beginning of a longer one.
    """
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    turns, at, length = [], 0, position(seconds)
    order = (source for pair in zip(cycle(parts), cycle(guests), strict=False) for source in pair)
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, "PCM_16") as out:
        for number, source in enumerate(order):
            samples = read(source)[: position(GUEST) if number % 2 else None]
            softer, noise = (np.float32(10 ** (-rng.uniform(*db) / 20)) for db in ((0, 6), (20, 40)))
            noise *= np.sqrt(np.mean(samples**2, dtype=np.float64))
            heard = softer * (samples + noise * rng.standard_normal(len(samples), dtype=np.float32))
            heard = heard[: length - at]
            out.write(np.clip(heard, -1, 1))
            said = [turn for one in read_rttm(source.with_suffix(".rttm")).values() for turn in one]
            turns += [
                Turn(at + turn.start, at + min(turn.end, len(heard)), turn.speaker)
                for turn in said
                if turn.start < len(heard)
            ]
            at += len(heard)
            if at >= length:
                break
    file.with_suffix(".rttm").write_text(format_rttm(sorted(turns), file.stem), encoding="utf-8")


def measure(file: Path, hours: float) -> Long:
    """`diarize file` on a recording, with its embeddings kept beside it."""
    found, program = file.with_suffix(".found.rttm"), Path(sys.executable).with_name("diarize")
    kept = ["--save-embeddings", str(file.with_suffix(".voices"))]
    cost = run([str(program), "file", str(file), "-o", str(found), *kept])
    reference, answer = (
        [turn for turns in read_rttm(rttm).values() for turn in turns] for rttm in (file.with_suffix(".rttm"), found)
    )
    return Long(hours, cost, score(reference, answer))


def measure_clustering(voices: Path, name: str, direct: int = DIRECT) -> Clustered:
    """One algorithm on the first `WINDOWS` kept embeddings, and on fewer of them beside the direct way."""
    recording = read_embedded(voices)
    windows = recording.channels[0]
    part = windows[:direct]
    configs = (ClusteringConfig(name), ClusteringConfig(name, limit=max(2, len(part))))
    ours, directly = (cluster_windows(part, config)[0] for config in configs)
    cost = run([sys.executable, __file__, "--cluster", str(voices), "--algorithm", name])
    return Clustered(name, min(WINDOWS, len(windows)), cost, float(adjusted_rand_score(directly, ours)))


def cluster_only(voices: Path, name: str) -> None:
    """What is measured in a process of its own."""
    windows = read_embedded(voices).channels[0][:WINDOWS]
    cluster_windows(windows, ClusteringConfig(name))


def table(lengths: Sequence[Long], algorithms: Sequence[Clustered]) -> str:
    """Both in Markdown."""
    lines = [
        "| audio | wall time | times real time | peak memory | strict DER | speakers found |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in lengths:
        der, times = 100 * (one.score.strict.der or 0), one.hours * 3600 / one.cost.seconds
        lines.append(
            f"| {one.hours:g} h | {one.cost.seconds:.0f} s | {times:.0f} | {one.cost.megabytes:.0f} MB | {der:.1f} "
            f"| {one.score.hypothesis_speakers} of {one.score.reference_speakers} |"
        )
    lines += [
        "",
        f"| clustering alone | windows | wall time | peak memory | ARI to the direct way on {DIRECT:,} |",
        "|---|---:|---:|---:|---:|",
    ]
    for alone in algorithms:
        lines.append(
            f"| {alone.name} | {alone.windows:,} | {alone.cost.seconds:.1f} s | {alone.cost.megabytes:.0f} MB "
            f"| {alone.agreement:.3f} |"
        )
    return "\n".join([*lines, "", f"On {machine()}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--hours", type=float, nargs="+", help="how long, for a quick try: README.md stays as it is")
    parser.add_argument("--cluster", type=Path, metavar="VOICES", help=argparse.SUPPRESS)
    parser.add_argument("--algorithm", choices=ALGORITHMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cluster:
        cluster_only(given.cluster, given.algorithm)
        return
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    readme = ROOT / "README.md"
    if given.hours is None:  # a marker that is missing is better known before the work
        try:
            replace_table(readme.read_text(encoding="utf-8"), "long", "")
        except ValueError as error:
            raise SystemExit(str(error)) from None
    lengths = sorted(given.hours or HOURS)
    guests = list(simulated(given.speech))
    parts = half_hours(given.speech, guests[0].parent / "half-hours")  # simulated by the same simulator
    measured, longest = [], FOLDER / "long" / "long.flac"
    for hours in lengths:  # the longest last: it is kept, with its embeddings
        assemble(parts, guests, 3600 * hours, longest)
        measured.append(measure(longest, hours))
        print(measured[-1], flush=True)
    algorithms = [measure_clustering(longest.with_suffix(".voices"), name) for name in ALGORITHMS]
    result = table(measured, algorithms)
    print(f"\n{result}")
    if given.hours is None:
        write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), "long", result))


if __name__ == "__main__":
    main()
