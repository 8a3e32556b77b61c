"""Measure what a speaker embedder is worth to diarization, several of them side by side.

    python examples/embedder_benchmark.py --real               everything, into README.md (make bench-embedder)
    python examples/embedder_benchmark.py --models bundled PATH resemblyzer      a candidate, on simulated talk only
    python examples/embedder_benchmark.py --recordings 2       a quick try

*EER* is the equal error rate on pairs of windows of one recording, each 1.6 s of one voice alone and without sound that
both hold, with a threshold for every recording.  *Confusion* (strict) is that of the file pipeline with the reference
in place of its VAD.  Models differ in how far apart they put voices, so the distances of the clustering are scaled to
each, as is best on simulated conversations of `dev` voices and nowhere else (`examples/embedder_settings.py`).
Intervals of 95 %, those of ratios too, are of a bootstrap over recordings, the same for all models.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from diarize import PipelineConfig, SpeakerDiarization
from diarize.embedded import EmbeddedRecording, read_embedded, write_embedded
from diarize.embedding import EmbeddingConfig
from diarize.evaluation.bootstrap import Estimate, draw_speakers
from diarize.evaluation.error_rates import equal_error_rate, error_curve
from diarize.formats import write_atomically
from diarize.metrics import Score
from diarize.rttm import Turn, read_rttm
from diarize.sources import read
from diarize.types import EmbeddingWindow
from examples.benchmark import FOLDER, ROOT, embedded_speech, replace_table, simulated, union
from examples.clustering_benchmark import tuning
from examples.embedder_settings import Setting, clustered, tune

Done = TypeVar("Done")

YARDSTICK = "resemblyzer"
FEWEST = 2
"""Windows of one voice in a recording: who has fewer takes no part in its equal error rate."""


@dataclass(frozen=True)
class Result:
    """What a model made of one recording.

    error: the equal error rate; None: the recording has not two voices with enough windows.
    scores: of each clustering.
    """

    error: float | None
    scores: Mapping[str, Score]


@cache
def pipeline(model: str) -> SpeakerDiarization:
    """Loaded once in each process; one thread, as the number of processes must not change a figure."""
    import torch

    torch.set_num_threads(1)
    return SpeakerDiarization(PipelineConfig(embedding=EmbeddingConfig(None if model == "bundled" else model)))


def heard(model: str, file: Path, folder: Path) -> tuple[list[Turn], Sequence[EmbeddingWindow]]:
    """A recording's reference, and its windows of oracle speech; their embeddings are kept in a folder."""
    answer = file.with_suffix(".rttm")
    reference = [turn for turns in read_rttm(answer).values() for turn in turns]
    ready = pipeline(model)
    content = hashlib.sha256(file.read_bytes() + answer.read_bytes()).hexdigest()
    kept = folder / ready.encoder.fingerprint[:12] / f"{file.stem}-{content[:12]}.voices"
    if not kept.is_file():
        samples = read(file)
        windows = embedded_speech(ready, samples, union(reference, len(samples)))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_embedded(kept, EmbeddedRecording(file.stem, len(samples), ready.encoder.fingerprint, (tuple(windows),)))
    return reference, read_embedded(kept).channels[0]


def voices_alone(reference: Sequence[Turn], windows: Sequence[EmbeddingWindow]) -> dict[str, list[EmbeddingWindow]]:
    """The full windows in which one person talks throughout and nobody else does, by person."""
    full = max((window.end - window.start for window in windows), default=0)
    found: dict[str, list[EmbeddingWindow]] = {}
    for window in windows:
        talking = {turn.speaker for turn in reference if turn.start < window.end and window.start < turn.end}
        throughout = window.speech == ((window.start, window.end),) and window.end - window.start == full
        if len(talking) == 1 and throughout:
            found.setdefault(talking.pop(), []).append(window)
    return found


def within_error(reference: Sequence[Turn], windows: Sequence[EmbeddingWindow]) -> float | None:
    """The equal error rate on the pairs of windows, of one voice each, that hold no sound in common.

    None where there are not two voices with `FEWEST` windows, or no pair of one voice.
    """
    voices = [own for own in voices_alone(reference, windows).values() if len(own) >= FEWEST]
    if len(voices) < 2:
        return None
    who = np.repeat(np.arange(len(voices)), [len(own) for own in voices])
    embeddings = np.stack([window.embedding for own in voices for window in own])
    starts, ends = np.array([(window.start, window.end) for own in voices for window in own]).T
    first, second = np.triu_indices(len(who), 1)
    apart = (ends[first] <= starts[second]) | (ends[second] <= starts[first])
    same = (who[first] == who[second])[apart]
    if same.all() or not same.any():
        return None
    return float(equal_error_rate(error_curve((embeddings @ embeddings.T)[first, second][apart], same)))


def tried(model: str, file: Path, folder: Path, settings: Sequence[Setting]) -> list[Score]:
    """One recording with every setting."""
    reference, windows = heard(model, file, folder)
    return [clustered(reference, windows, setting) for setting in settings]


def measured(model: str, file: Path, folder: Path, settings: Sequence[Setting]) -> Result:
    """One recording with one setting for each clustering."""
    reference, windows = heard(model, file, folder)
    scores = {setting.clustering: clustered(reference, windows, setting) for setting in settings}
    return Result(within_error(reference, windows), scores)


def figures(results: Sequence[Result]) -> dict[str, Estimate]:
    """The mean equal error rate in percent, and the pooled confusion of each clustering."""
    drawn = draw_speakers(np.zeros(len(results), np.int64), seed=0)  # here recordings are what is drawn

    def rate(above: Sequence[float], below: Sequence[float]) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without speech
            value, draws = np.divide(sum(above), sum(below)), np.divide(np.dot(above, drawn), np.dot(below, drawn))
        return Estimate(100 * float(value), 100 * draws)

    found = {"EER": rate([one.error or 0.0 for one in results], [float(one.error is not None) for one in results])}
    for name in results[0].scores:
        errors = [one.scores[name].strict for one in results]
        found[f"confusion, {name}"] = rate([e.confusion_s for e in errors], [e.speech_s for e in errors])
    return found


def table(results: Mapping[tuple[str, str], Sequence[Result]]) -> str:
    """Every model on every set, and by how much it is better than the yardstick, in Markdown.

    results: of a set and a model; the yardstick is Resemblyzer, or the last model where it is not among them.
    """
    models = list(dict.fromkeys(model for _, model in results))
    yardstick = YARDSTICK if YARDSTICK in models else models[-1]
    found = {key: figures(ones) for key, ones in results.items()}
    columns = list(next(iter(found.values())))
    heads = [cell for name in columns for cell in (f"{name}, %", f"/ {yardstick}")]
    lines = ["| recordings | model | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for (of, model), rates in found.items():
        cells = [
            cell
            for name in columns
            for cell in (
                shown(rates[name], 1),
                "-" if model == yardstick else shown(rates[name] / found[of, yardstick][name], 2),
            )
        ]
        lines.append(f"| {of} | {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(estimate: Estimate, digits: int) -> str:
    """A figure with its interval."""
    low, high = estimate.interval
    return f"{estimate.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def run(models: Sequence[str], sets: Mapping[str, Sequence[Path]], folder: Path, jobs: int) -> str:
    """The table, and the settings it holds for.

    sets: recordings with their RTTM beside them, by the name of the set; the first is the one the settings are
        chosen on.
    """
    results: dict[tuple[str, str], list[Result]] = {}
    chosen = []
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:

        def on(work: Callable[..., Done], files: Sequence[Path], model: str, settings: Sequence[Setting]) -> list[Done]:
            return list(pool.map(work, repeat(model), files, repeat(folder), repeat(settings)))

        for model in models:
            best = tune(partial(on, tried, next(iter(sets.values())), model))
            chosen.append(f"{model}: {', '.join(map(str, best))}")
            results |= {(of, model): on(measured, files, model, best) for of, files in sets.items()}
    ordered = {(of, model): results[of, model] for of in sets for model in models}
    return f"{table(ordered)}\n\nThe scale of distances: {'; '.join(chosen)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--models", nargs="+", default=["bundled", YARDSTICK], help="bundled, or as --model takes them")
    parser.add_argument("--real", action="store_true", help="the real conversations too: for the one that was chosen")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--recordings", type=int, help="of each set, for a quick try")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings at a time")
    given = parser.parse_args()
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    sets = {
        "simulated, dev": list(islice(tuning(given.speech), given.recordings)),
        "simulated, eval": list(islice(simulated(given.speech), given.recordings)),
    }
    if given.real:
        sets["real"] = sorted((given.speech / "conversations").glob("*.flac"))[: given.recordings]
    found = run(given.models, sets, FOLDER / "embedded", given.jobs)
    print(found)
    if given.real and given.recordings is None and given.models == parser.get_default("models"):
        readme = ROOT / "README.md"
        write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), "embedder", found))


if __name__ == "__main__":
    main()
