"""Measure how well each clustering counts speakers and tells them apart, for the README's table.

    python examples/clustering_benchmark.py                   the table, into README.md (part of make bench)
    python examples/clustering_benchmark.py --tune            plain average linkage at each threshold, on dev voices
    python examples/clustering_benchmark.py --recordings 2    a quick try; README.md stays as it is

All cluster the same embeddings of the same windows, and turns are cut alike.  *Plain* is one average-linkage tree, cut
at one threshold, `PLAIN`, the best of --tune.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster

from diarize import PipelineConfig, SpeakerDiarization
from diarize.clustering.agglomerative import average_linkage
from diarize.clustering.offline import ALGORITHMS
from diarize.embedded import EmbeddedRecording
from diarize.formats import write_atomically
from diarize.metrics import Score, score, total
from diarize.pipeline import recluster
from diarize.rttm import Turn, read_rttm, turns_from
from diarize.sources import read
from diarize.training.simulate import SimulationConfig, simulate, write
from diarize.turns import cut_turns
from diarize.types import EmbeddingWindow, SpeakerWindow
from examples.benchmark import FOLDER, ORACLE, OWN, ROOT, embedded_speech, replace_table, simulated, union

PLAIN = 0.66
"""Cosine distance at which the plain tree is cut: the best on 40 simulated conversations of dev voices (--tune)."""

TUNED_ON = 40
TABLE = "clustering"
SETS = {"simulated": "20 simulated", "conversations": "nine real"}
Answer = Callable[[Sequence[EmbeddingWindow]], list[Turn]]


@dataclass(frozen=True)
class Row:
    """One recording clustered in one way: of which set, with whose speech."""

    set: str
    speech: str
    clustering: str
    score: Score


def plain(windows: Sequence[EmbeddingWindow], threshold: float) -> list[Turn]:
    """Plain agglomerative clustering: average linkage on cosine distance, cut once."""
    if not windows:
        return []
    labels = [1]
    if len(windows) > 1:
        tree = average_linkage(np.stack([window.embedding for window in windows]))
        labels = fcluster(tree, threshold, "distance").tolist()
    said = [
        SpeakerWindow(window.start, window.end, window.speech, window.group, label, 1.0)
        for window, label in zip(windows, labels, strict=True)
    ]
    return [Turn(turn.start, turn.end, str(turn.speaker)) for turn in cut_turns(said, PipelineConfig().turns)]


def ours(windows: Sequence[EmbeddingWindow], algorithm: str) -> list[Turn]:
    """The pipeline's own second half with one of its algorithms."""
    config = PipelineConfig()
    config = replace(config, clustering=replace(config.clustering, name=algorithm))
    return turns_from(recluster(EmbeddedRecording("", 0, "", (tuple(windows),)), config).updates)


@cache
def pipeline() -> SpeakerDiarization:
    """Loaded once in each process."""
    return SpeakerDiarization()


def embedded(file: Path) -> tuple[list[Turn], dict[str, Sequence[EmbeddingWindow]]]:
    """A recording's reference, and its embeddings with its own and with oracle speech."""
    import torch

    torch.set_num_threads(1)  # the number of processes must not change a figure
    reference = [turn for turns in read_rttm(file.with_suffix(".rttm")).values() for turn in turns]
    samples = read(file)
    oracle = embedded_speech(pipeline(), samples, union(reference, len(samples)))
    return reference, {OWN: pipeline().embedded(file).channels[0], ORACLE: oracle}


def evaluate(of: str, file: Path) -> list[Row]:
    """One recording in every way."""
    reference, heard = embedded(file)
    rows = []
    for speech, windows in heard.items():
        rows.append(Row(of, speech, "plain", score(reference, plain(windows, PLAIN))))
        rows += [Row(of, speech, name, score(reference, ours(windows, name))) for name in ALGORITHMS]
    return rows


def tune(files: Iterator[Path], jobs: int) -> str:
    """The plain tree's error at each threshold."""
    lines = ["| threshold | speech | strict DER | confusion | right count |", "|---:|---|---:|---:|---:|"]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        heard = list(pool.map(embedded, files))
    for threshold in np.arange(0.4, 0.9, 0.02):
        for speech in (OWN, ORACLE):
            pooled = total(score(reference, plain(windows[speech], threshold)) for reference, windows in heard)
            lines.append(f"| {threshold:.2f} | {speech} | {cells(pooled)} |")
    return "\n".join(lines)


def tuning(speech: Path) -> Iterator[Path]:
    """Conversations of dev voices."""
    for index in range(TUNED_ON):
        file = FOLDER / "dev" / f"dev-1-{index:03d}.flac"
        if not file.with_suffix(".rttm").is_file():  # it is written last
            write(simulate(speech, "dev", 1, SimulationConfig(), index), file.parent)
        yield file


def cells(pooled: Score) -> str:
    """Strict DER, confusion and counts, as cells of a table."""
    der, confusion = (100 * (rate or 0) for rate in (pooled.strict.der, pooled.strict.confusion))
    return f"{der:.1f} | {confusion:.1f} | {pooled.right_counts} of {pooled.recordings}"


def table(rows: Sequence[Row]) -> str:
    """Every clustering on every set, and its confusion beside that of the plain tree, in Markdown."""
    lines = [
        "| recordings | speech | clustering | strict DER | confusion | right count | count error | confusion / plain |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for of, named in SETS.items():
        for speech in (OWN, ORACLE):
            pooled = {
                name: total(row.score for row in rows if (row.set, row.speech, row.clustering) == (of, speech, name))
                for name in ("plain", *ALGORITHMS)
            }
            for name, one in pooled.items():
                ratio = (one.strict.confusion or 0) / (pooled["plain"].strict.confusion or 1)
                wrong = one.count_error / max(one.recordings, 1)
                lines.append(f"| {named} | {speech} | {name} | {cells(one)} | {wrong:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--tune", action="store_true", help="print the plain tree's error at each threshold")
    parser.add_argument("--recordings", type=int, help="of each set, for a quick try: README.md stays as it is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings at a time")
    given = parser.parse_args()
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    if given.tune:
        print(tune(islice(tuning(given.speech), given.recordings), given.jobs))
        return
    work = [("simulated", file) for file in islice(simulated(given.speech), given.recordings)]
    real = sorted((given.speech / "conversations").glob("*.flac"))
    work += [("conversations", file) for file in real[: given.recordings]]
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        rows = [row for done in pool.map(evaluate, *zip(*work, strict=True)) for row in done]
    result = table(rows)
    print(result)
    if given.recordings is None:
        readme = ROOT / "README.md"
        write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), TABLE, result))


if __name__ == "__main__":
    main()
