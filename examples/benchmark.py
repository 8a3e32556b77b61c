"""Measure how good, how fast and how large `diarize` is beside a baseline of public parts, for the README's tables.

    python examples/benchmark.py                                  everything, into README.md (make bench)
    python examples/benchmark.py --only accuracy --recordings 2   a quick try; README.md stays as it is

The real conversations come from DIARIZE_SPEECH (or --speech), the simulated ones are made from its voices and kept in
.bench/, where each recording's results go too.  All figures but times and memory are the same at every run on one
machine: simulation and bootstrap have fixed seeds, and each recording is done by one thread.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import diarize.training
from diarize import SpeakerDiarization
from diarize.corrections import spans
from diarize.formats import write_atomically
from diarize.intervals import common
from diarize.metrics import Errors, Score, score, total
from diarize.pipeline import back
from diarize.rttm import Turn, read_rttm, turns_from
from diarize.sources import read
from diarize.training.simulate import SimulationConfig, simulate, write
from diarize.types import EmbeddingWindow, Interval, Samples, SpeechChunk, position
from diarize.windows import SlidingWindows
from examples.baseline import Baseline
from examples.speed import measure_speed, speed_table

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".bench"
SEED = 2
SIMULATED = 20
OURS, BASELINE = "diarize", "baseline"
OWN, ORACLE = "own", "oracle"
SIMULATOR = ("casting", "heard", "manifest", "recording", "rooms", "simulate", "speech", "talker")
"""The modules that a simulated conversation depends on."""

TABLES = {"accuracy": ("conversations", "simulated"), "speed": ("speed",)}
"""What is measured, and the names of its tables in the README."""


@dataclass(frozen=True)
class Row:
    """One recording done by one system.

    table: the set of recordings, which is the table it belongs to.
    speech: who found the speech, the system's own VAD or an oracle (the reference).
    """

    table: str
    recording: str
    system: str
    speech: str
    score: Score


def union(turns: Sequence[Turn], end: int) -> list[Interval]:
    """When anybody talks, up to sample `end`."""
    return common(spans(turns), [(0, end)])


def bridged(stretches: Sequence[Interval], gap: int) -> list[Interval]:
    """Stretches that overlap or are less than `gap` samples apart become one; in and out by start."""
    joined: list[Interval] = []
    for start, end in stretches:
        if joined and start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def diarize_speech(pipeline: SpeakerDiarization, samples: Samples, speech: Sequence[Interval]) -> list[Turn]:
    """The pipeline with stretches of speech in place of its own VAD."""
    half = back(pipeline.config)
    updates = [update for window in embedded_speech(pipeline, samples, speech) for update in half.push(window)]
    return turns_from(updates + half.flush())


def embedded_speech(
    pipeline: SpeakerDiarization, samples: Samples, speech: Sequence[Interval]
) -> list[EmbeddingWindow]:
    """The embeddings of these stretches of speech.

    Like the VAD's, the stretches that are cut into windows go on over gaps shorter than `vad.min_off`; but nobody
    talks in the gaps.
    """
    cut = SlidingWindows(pipeline.config.windows)
    windows = [
        window
        for start, end in bridged(speech, position(pipeline.config.vad.min_off))
        for window in cut.push(SpeechChunk(start, samples[start:end], closes=True))
    ]
    talked = [
        replace(window, speech=spoken)
        for window in windows
        if (spoken := tuple(_overlap((window.start, window.end), speech)))
    ]
    return pipeline.embed(talked)


def _overlap(window: Interval, stretches: Sequence[Interval]) -> Iterator[Interval]:
    for start, end in stretches:
        if max(start, window[0]) < min(end, window[1]):
            yield max(start, window[0]), min(end, window[1])


@cache
def systems() -> tuple[SpeakerDiarization, Baseline]:
    """Both systems, loaded once in each process."""
    return SpeakerDiarization(), Baseline()


def evaluate(table: str, file: Path) -> list[Row]:
    """One recording (with its RTTM beside it) by both systems, with own and with oracle speech."""
    import torch

    torch.set_num_threads(1)  # the number of processes must not change a figure
    ours, baseline = systems()
    reference = [turn for turns in read_rttm(file.with_suffix(".rttm")).values() for turn in turns]
    samples = read(file)
    oracle = union(reference, len(samples))
    answers = {
        (OURS, OWN): turns_from(ours.diarize(file).updates),
        (BASELINE, OWN): baseline.turns(samples, baseline.speech(samples)),
        (OURS, ORACLE): diarize_speech(ours, samples, oracle),
        (BASELINE, ORACLE): baseline.turns(samples, oracle),
    }
    return [Row(table, file.stem, *which, score(reference, turns)) for which, turns in answers.items()]


def simulated(speech: Path) -> Iterator[Path]:
    """Conversations of `eval` speakers; made when they are wanted, unless the same simulator has made them before."""
    sources = [Path(*diarize.training.__path__) / f"{module}.py" for module in SIMULATOR]
    made_by = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    for index in range(SIMULATED):
        file = FOLDER / f"simulated-{made_by}" / f"eval-{SEED}-{index:03d}.flac"
        if not file.with_suffix(".rttm").is_file():  # it is written last
            write(simulate(speech, "eval", SEED, SimulationConfig(), index), file.parent)
        yield file


def measure_accuracy(speech: Path, recordings: int | None, jobs: int) -> list[Row]:
    """Every recording of both sets, or the first few of each."""
    real = sorted((speech / "conversations").glob("*.flac"))
    if not real:
        raise SystemExit(f"no conversations in {speech}: give the folder of real speech with --speech")
    work = [("conversations", file) for file in real[:recordings]]
    work += [("simulated", file) for file in islice(simulated(speech), recordings)]
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        rows = []
        for (table, file), done in zip(work, pool.map(evaluate, *zip(*work, strict=True)), strict=True):
            print(f"{table} {file.stem}", flush=True)
            rows += done
    return rows


def bootstrap(ours: Sequence[Errors], theirs: Sequence[Errors]) -> tuple[float, float, float]:
    """The difference of two pooled DERs over the same recordings, and the bounds of its 95 % interval.

    Recordings are drawn with replacement 10,000 times, each with both its results (a paired bootstrap: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
    """
    speech = np.array([errors.speech_s for errors in ours])
    wrong = np.array(
        [
            a.miss_s + a.false_alarm_s + a.confusion_s - b.miss_s - b.false_alarm_s - b.confusion_s
            for a, b in zip(ours, theirs, strict=True)
        ]
    )
    drawn = np.random.default_rng(0).integers(len(wrong), size=(10_000, len(wrong)))
    spoken = speech[drawn].sum(axis=1)
    differences = wrong[drawn].sum(axis=1)[spoken > 0] / spoken[spoken > 0]
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(wrong.sum() / speech.sum()), float(low), float(high)


def accuracy_table(rows: Sequence[Row]) -> str:
    """The pooled scores of one set in Markdown, with what the difference is worth."""

    def scores(system: str, speech: str) -> list[Score]:
        return [row.score for row in rows if (row.system, row.speech) == (system, speech)]

    lines = [
        "| | speech | strict DER | miss | false alarm | confusion "
        "| lenient DER | miss | false alarm | confusion | right count | count error |",
        "|---|---|" + "---:|" * 10,
    ]
    for speech in (OWN, ORACLE):
        for system in (OURS, BASELINE):
            pooled = total(scores(system, speech))
            rates = [
                "-" if rate is None else f"{100 * rate:.1f}"
                for errors in (pooled.strict, pooled.lenient)
                for rate in (errors.der, errors.miss, errors.false_alarm, errors.confusion)
            ]
            counts = [f"{pooled.right_counts} of {pooled.recordings}", f"{pooled.count_error / pooled.recordings:.1f}"]
            lines.append("| " + " | ".join([system, speech, *rates, *counts]) + " |")
    worth = []
    for speech in (OWN, ORACLE):
        both = ([one.strict for one in scores(system, speech)] for system in (OURS, BASELINE))
        middle, low, high = (100 * bound for bound in bootstrap(*both))
        worth.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f}) with {speech} speech")
    return "\n".join([*lines, "", f"Strict DER of diarize less that of the baseline: {', '.join(worth)}."])


def replace_table(text: str, name: str, table: str) -> str:
    """The text with the table between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; ValueError without these."""
    before, opening, rest = text.partition(f"<!-- bench:{name} -->")
    _, closing, after = rest.partition(f"<!-- /bench:{name} -->")
    missing = f"<!-- bench:{name} -->" if not opening else f"<!-- /bench:{name} -->"
    if not closing:
        raise ValueError(f"the README has no marker {missing} for the table {name!r}")
    return f"{before}{opening}\n{table.strip()}\n{closing}{after}"


def keep(rows: Sequence[Row]) -> None:
    """Each recording's results, as JSON and as CSV, rates in percent there."""
    whole = [
        {"set": row.table, "recording": row.recording, "system": row.system, "speech": row.speech} | row.score.as_dict()
        for row in rows
    ]
    write_atomically(FOLDER / "results.json", json.dumps(whole, indent=1))
    with (FOLDER / "results.csv").open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        rates = ("der", "miss", "false_alarm", "confusion")
        heads = [f"{convention} {rate}" for convention in ("strict", "lenient") for rate in rates]
        sheet.writerow(["set", "recording", "system", "speech", *heads, "speakers", "found"])
        for row in rows:
            shares = [getattr(errors, rate) for errors in (row.score.strict, row.score.lenient) for rate in rates]
            percent = ["" if share is None else round(100 * share, 1) for share in shares]
            counts = (row.score.reference_speakers, row.score.hypothesis_speakers)
            sheet.writerow([row.table, row.recording, row.system, row.speech, *percent, *counts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--only", choices=sorted(TABLES), help="measure one thing")
    parser.add_argument("--recordings", type=int, help="of each set, for a quick try: README.md stays as it is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings at a time, for accuracy")
    given = parser.parse_args()
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    wanted = [given.only] if given.only else list(TABLES)
    readme, full = ROOT / "README.md", given.recordings is None
    if full:  # a marker that is missing is better known before the work
        try:
            for name in [name for part in wanted for name in TABLES[part]]:
                replace_table(readme.read_text(encoding="utf-8"), name, "")
        except ValueError as error:
            raise SystemExit(str(error)) from None
    FOLDER.mkdir(exist_ok=True)
    tables: dict[str, str] = {}
    if "accuracy" in wanted:
        rows = measure_accuracy(given.speech, given.recordings, given.jobs)
        keep(rows)
        for name in TABLES["accuracy"]:
            tables[name] = accuracy_table([row for row in rows if row.table == name])
    if "speed" in wanted:
        tables["speed"] = speed_table(measure_speed(given.speech, FOLDER))
    for name, table in tables.items():
        print(f"\n## {name}\n\n{table}")
        if full:
            write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), name, table))


if __name__ == "__main__":
    main()
