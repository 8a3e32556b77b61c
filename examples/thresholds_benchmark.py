"""Measure what the limits of the bundled model are worth: of `verify`, and of the gate before enrolment.

    python examples/thresholds_benchmark.py                 into docs/models.md and docs/people.md
    python examples/thresholds_benchmark.py --speakers 4    a quick try; the pages stay as they are
    python examples/thresholds_benchmark.py --model FILE    of another model, likewise

The speakers are those of speechocean762, whom the network has not met.  The threshold that ships is read off the `dev`
row of clean speech, and the gate's limits were chosen on the tables printed here.  All figures are the same at every
run on one machine.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diarize import SpeakerDiarization
from diarize.clustering.agglomerative import Embeddings
from diarize.embedding import average_crops
from diarize.evaluation.error_rates import equal_error_rate, equal_error_threshold, error_curve
from diarize.formats import write_atomically
from diarize.models.encoder import BUNDLED_THRESHOLD, SpeakerEncoder, use_threads
from diarize.pipeline import load_config
from diarize.profiles.gate import Gate, cohesion, halves
from diarize.training.carriers import carried
from diarize.training.speech import Split, Voice, read_audio, read_voices
from diarize.types import SAMPLE_RATE, Samples
from examples.benchmark import ROOT, replace_table

CORPUS = ("speechocean762",)
SPLITS: tuple[Split, ...] = ("dev", "eval")
CROP = round(3.5 * SAMPLE_RATE)
"""Samples of an utterance that `verify` is asked about."""

PAIRS = {
    "clean and clean": ("clean", "clean"),
    "telephone and telephone": ("telephone", "telephone"),
    "clean and telephone": ("clean", "telephone"),
}
ALONE = ((0, 3, "clean"), (3, 8, "clean"), (11, 8, "telephone"), (3, 8, "noise"), (0, 3, "telephone"))
"""Recordings of one voice: the first utterance, how many of them, and the carrier."""

TOGETHER = ((3, 3, "clean"), (4, 4, "telephone"), (5, 2, "noise"), (6, 2, "clean"))
"""Recordings of two: how many utterances of each, and the carrier."""


@dataclass(frozen=True)
class Rates:
    """The errors of one kind of pairs: where both are equally many, and at the threshold that ships."""

    equal: float
    threshold: float
    missed: float
    accepted: float


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording of somebody, or of two people: the embeddings of its windows, (windows, dimensions)."""

    speaker: str
    voices: int
    embeddings: Embeddings


def embed_crops(encoder: SpeakerEncoder, voices: Sequence[Voice], speech: Path, split: Split) -> dict[str, Embeddings]:
    """By carrier, the start of every utterance, in the order of `voices`: shape (utterances, dimensions)."""
    found: dict[str, list[Embeddings]] = {"clean": [], "telephone": []}
    for file in (file for voice in voices for file in voice.files):
        samples = read_audio(file)[:CROP]
        for carrier, embeddings in found.items():
            heard = carried(samples, carrier, speech, split, _drawing(file, carrier))
            embeddings.append(encoder.embed_batch(heard[None])[0])
    return {carrier: np.stack(embeddings) for carrier, embeddings in found.items()}


def verification(embeddings: Mapping[str, Embeddings], speaker: NDArray[np.str_], least: float) -> dict[str, Rates]:
    """The errors in all pairs of different utterances, and what a threshold `least` is worth."""
    different = ~np.eye(len(speaker), dtype=bool)  # the utterances, not the speakers
    same = (speaker[:, None] == speaker)[different]
    found = {}
    for pair, (one, other) in PAIRS.items():
        scores = (embeddings[one] @ embeddings[other].T)[different]
        curve = error_curve(scores, same)
        found[pair] = Rates(
            equal_error_rate(curve).item(),
            equal_error_threshold(curve),
            float((scores[same] < least).mean()),
            float((scores[~same] >= least).mean()),
        )
    return found


def verification_table(dev: Mapping[str, Rates], evaluated: Mapping[str, Rates], least: float) -> str:
    lines = [
        f"| trials | EER, `dev` | at | EER, `eval` | at | at {least:g}, `eval`: missed | taken for another |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for pair in PAIRS:
        cells = [f"{100 * dev[pair].equal:.1f} %", f"{dev[pair].threshold:.2f}"]
        one = evaluated[pair]
        cells += [f"{100 * one.equal:.1f} %", f"{one.threshold:.2f}"]
        cells += [f"{100 * one.missed:.1f} %", f"{100 * one.accepted:.1f} %"]
        lines.append(f"| {pair} | {' | '.join(cells)} |")
    return "\n".join(lines)


def recordings(pipeline: SpeakerDiarization, voices: Sequence[Voice], speech: Path) -> Iterator[Recording]:
    """Recordings of each voice alone, and of each with another, as the pipeline hears them."""
    for number, voice in enumerate(voices):
        other = voices[(number + len(voices) // 3) % len(voices)]
        for first, count, carrier in ALONE:
            files = [voice.files[(first + i) % len(voice.files)] for i in range(count)]
            yield Recording(voice.name, 1, _windows(pipeline, files, carrier, speech))
        for own, others, carrier in TOGETHER:
            files = [*voice.files[:own], *other.files[:others]]
            yield Recording(voice.name, 2, _windows(pipeline, files, carrier, speech))


def gate_table(heard: Sequence[Recording], gate: Gate) -> str:
    """What each limit of the gate refuses of one voice, and lets pass of two."""
    alone, together = ([one for one in heard if one.voices == voices] for voices in (1, 2))
    apart = [np.array([halves(one.embeddings) for one in kind]) for kind in (alone, together)]
    agree = [np.array([cohesion(one.embeddings) for one in kind]) for kind in (alone, together)]
    said = [(one.speaker, average_crops(one.embeddings)[0]) for one in alone]
    pairs = [(a == b, float(x @ y)) for (a, x), (b, y) in combinations(said, 2)]
    alike = [np.array([score for same, score in pairs if same is kind]) for kind in (True, False)]
    lines = [
        "| limit | refused of one voice | passed of two voices | one voice | two voices |",
        "|---|---:|---:|---|---|",
        _row(f"halves at most {gate.halves:g} apart", [apart[0] > gate.halves, apart[1] <= gate.halves], apart),
        _row(f"windows agree to {gate.cohesion:g}", [agree[0] < gate.cohesion, agree[1] >= gate.cohesion], agree),
        _row(f"recordings agree to {gate.agreement:g}", [alike[0] < gate.agreement, alike[1] >= gate.agreement], alike),
    ]
    return "\n".join(lines)


def _row(limit: str, wrong: Sequence[NDArray[np.bool_]], values: Sequence[NDArray[np.floating]]) -> str:
    counts = [f"{one.sum()} of {len(one):,}" for one in wrong]
    ranges = ["{:.2f} ({:.2f} to {:.2f})".format(*np.percentile(one, [50, 0, 100])) for one in values]
    return f"| {limit} | {' | '.join(counts + ranges)} |"


def _windows(pipeline: SpeakerDiarization, files: Sequence[Path], carrier: str, speech: Path) -> Embeddings:
    """The embeddings of some utterances, one after the other, over a carrier."""
    samples: Samples = np.concatenate([read_audio(file) for file in files])
    heard = carried(samples, carrier, speech, "dev", _drawing(files[0], f"{carrier} {len(files)}"))
    recording = pipeline.embedded(heard.astype(np.float32))
    return np.stack([window.embedding for window in recording.channels[0]])


def _drawing(file: Path, use: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{file.parent.name}/{file.name} {use}".encode()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--speakers", type=int, help="of each split, for a quick try: the pages stay as they are")
    parser.add_argument("--model", help="another model, by name or path: the pages stay as they are")
    given = parser.parse_args()
    use_threads(1)  # results differ by a little with their number
    pages = {name: ROOT / "docs" / f"{page}.md" for name, page in (("verify", "models"), ("gate", "people"))}
    full = given.speakers is None and given.model is None
    try:
        if full:  # a marker that is missing is better known before the work
            for name, page in pages.items():
                replace_table(page.read_text(encoding="utf-8"), name, "")
        tables = measure(given.speech, given.speakers, given.model)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for name, table in tables.items():
        print(f"{table}\n")
        if full:
            write_atomically(pages[name], replace_table(pages[name].read_text(encoding="utf-8"), name, table))


def measure(speech: Path, limit: int | None, model: str | None) -> dict[str, str]:
    """Both tables, by the name of their markers.  ValueError for a folder without this speech, or an unknown model."""
    pipeline = SpeakerDiarization(load_config(settings=[f"embedding.model={model}"] if model else []))
    encoder = pipeline.encoder
    least = BUNDLED_THRESHOLD if encoder.threshold is None else encoder.threshold
    people = {split: read_voices(speech, split, CORPUS)[:limit] for split in SPLITS}
    rates = {}
    for split, voices in people.items():
        speaker = np.array([voice.name for voice in voices for _ in voice.files])
        rates[split] = verification(embed_crops(encoder, voices, speech, split), speaker, least)
    heard = list(recordings(pipeline, people["dev"], speech))
    return {
        "verify": verification_table(rates["dev"], rates["eval"], least),
        "gate": gate_table(heard, Gate()),
    }


if __name__ == "__main__":
    main()
