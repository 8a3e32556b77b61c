"""Measure how well enrolled people are named and strangers are not, for the README's table.

    python examples/identification_benchmark.py                everything, into README.md
    python examples/identification_benchmark.py --speakers 6   a quick try; README.md stays as it is

Open-set identification over different channels: in each of several rounds half of the speakers are enrolled, with three
utterances over one carrier, and everybody is then heard over another.  The threshold is the one that 1 % of strangers
reach among the `dev` speakers, the result that of the `eval` speakers.  Beside `diarize` stands the plain cosine of the
same embeddings.  All figures but the time are the same at every run on one machine.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from diarize.formats import write_atomically
from diarize.models.encoder import SpeakerEncoder, use_threads
from diarize.profiles.cohort import SHIPPED, read_cohort
from diarize.profiles.matching import IdentificationConfig, identify
from diarize.profiles.people import People
from diarize.training.carriers import CARRIERS, carried
from diarize.training.cohort import LONGEST, embed_utterance
from diarize.training.speech import CONNECTED, WORDS, Split, Voice, read_audio, read_voices
from diarize.types import seconds
from examples.benchmark import ROOT, replace_table

ROWS = {"clean": ("clean",), "telephone codec": ("telephone",), "noise": ("noise", "room")}
"""The rows of the table, each with the carriers of which one is drawn for an utterance."""

POOLED = "pooled"
ROUNDS = 20
REFERENCES = 3
"""Utterances by which somebody is enrolled."""

TOGETHER = 2
"""Utterances of one speaker that are heard in one recording, and make one cluster."""

FALSE_ACCEPTS = 0.01
OURS, COSINE = "diarize", "cosine"
SYSTEMS = {
    OURS: IdentificationConfig(threshold=-100),
    COSINE: IdentificationConfig(normalise=False, threshold=-1, margin=0),
}
"""With a threshold that everybody passes: it is applied to their scores."""


@dataclass(frozen=True, eq=False)
class Heard:
    """An utterance over one carrier: the sum and the unit mean of its windows' embeddings, and its length."""

    total: NDArray[np.float32]
    mean: NDArray[np.float32]
    seconds: float


Speakers = Mapping[str, Sequence[Mapping[str, Heard]]]
"""By speaker, each utterance by carrier."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A speaker who is heard over the carriers of a row, when some people are enrolled."""

    row: str
    speaker: str
    people: People
    voice: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True, eq=False)
class Answers:
    """What one system says to all trials, each array of shape (trials,).

    score: of the nearest person, minus infinity where nobody would be named at any threshold.
    right: whether that is who speaks; enrolled: whether the one who speaks is among the people at all.
    """

    row: NDArray[np.str_]
    speaker: NDArray[np.str_]
    enrolled: NDArray[np.bool_]
    right: NDArray[np.bool_]
    score: NDArray[np.float64]


@cache
def encoder() -> SpeakerEncoder:
    """The bundled model, loaded once in each process, on one thread: their number must not change a figure."""
    use_threads(1)
    return SpeakerEncoder.from_pretrained()


def hear(voice: Voice, speech: Path, split: Split) -> list[dict[str, Heard]]:
    """Every utterance of a speaker over every carrier, with the noises and rooms of the split."""
    heard: list[dict[str, Heard]] = []
    for file in voice.files:
        samples, name = read_audio(file)[:LONGEST], str(file.relative_to(speech))
        over = {}
        for index, carrier in enumerate(CARRIERS):
            rng = np.random.default_rng([zlib.crc32(name.encode()), index])
            total, mean = embed_utterance(encoder(), carried(samples, carrier, speech, split, rng))
            over[carrier] = Heard(total, mean, seconds(len(samples)))
        heard.append(over)
    return heard


def hear_split(speech: Path, split: Split, limit: int | None, jobs: int) -> Speakers:
    """All speakers of a split, or the first few."""
    voices = read_voices(speech, split, CONNECTED + WORDS)[:limit]
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        heard = pool.map(partial(hear, speech=speech, split=split), voices)
        return {voice.name: one for voice, one in zip(voices, heard, strict=True)}


def trials(speakers: Speakers, fingerprint: str) -> Iterator[Trial]:
    """For every row and round half of the speakers, drawn, are enrolled, and everybody is heard."""
    names = sorted(speakers)
    for row, carriers in ROWS.items():
        others = [ROWS[other] for other in ROWS if other != row]
        for number in range(ROUNDS):
            rng = np.random.default_rng([number, list(ROWS).index(row)])
            enrolled = sorted(rng.permutation(names)[: len(names) // 2])
            references, probes = [], []
            for name in names:
                said = [speakers[name][index] for index in rng.permutation(len(speakers[name]))]
                carrier = str(rng.choice(others[rng.integers(len(others))]))
                if name in enrolled:
                    references += [utterance[carrier].mean for utterance in said[:REFERENCES]]
                rest = said[REFERENCES:]
                for first in range(0, len(rest) - TOGETHER + 1, TOGETHER):
                    cluster = [utterance[str(rng.choice(carriers))] for utterance in rest[first : first + TOGETHER]]
                    total = np.sum([utterance.total for utterance in cluster], axis=0)
                    voice = (total / np.linalg.norm(total)).astype(np.float32)
                    probes.append((name, voice, sum(utterance.seconds for utterance in cluster)))
            owner = np.repeat(np.arange(len(enrolled)), REFERENCES)
            people = People(tuple(enrolled), np.array(references), owner, fingerprint)
            for name, voice, length in probes:
                yield Trial(row, name, people, voice, length)


def answer(asked: Sequence[Trial], config: IdentificationConfig) -> Answers:
    """Who is named in each trial, and how surely."""
    said = [identify(trial.voice[None], [trial.seconds], trial.people, config)[0] for trial in asked]
    return Answers(
        np.array([trial.row for trial in asked]),
        np.array([trial.speaker for trial in asked]),
        np.array([trial.speaker in trial.people.names for trial in asked]),
        np.array([identity.name == trial.speaker for trial, identity in zip(asked, said, strict=True)]),
        np.array([-np.inf if identity.name is None else identity.score for identity in said]),
    )


def threshold(answers: Answers, share: float = FALSE_ACCEPTS) -> float:
    """The least threshold that at most this share of the strangers' trials reach."""
    strangers = np.sort(answers.score[~answers.enrolled])
    return float(np.nextafter(strangers[len(strangers) - 1 - int(share * len(strangers))], np.inf))


def rates(answers: Answers, least: float) -> dict[str, NDArray[np.float64]]:
    """The rates at a threshold with their 95 % intervals, each shape (3,): (rate, low, high), by row and rate.

    The keys are "row/rate"; of those enrolled, "named" rightly, "misnamed" and "unknown" add up to 1, "accepted" are
    the strangers who were given a name.  Speakers are drawn with replacement 2,000 times, each with all their trials.
    """
    drawn = draws(answers)
    found = {}
    for row in (*ROWS, POOLED):
        inside = np.ones(len(answers.row), bool) if row == POOLED else answers.row == row
        known, named = inside & answers.enrolled, answers.score >= least
        for rate, (hits, of) in {
            "named": (known & named & answers.right, known),
            "misnamed": (known & named & ~answers.right, known),
            "unknown": (known & ~named, known),
            "accepted": (inside & ~answers.enrolled & named, inside & ~answers.enrolled),
        }.items():
            found[f"{row}/{rate}"] = interval(share(answers, hits, of, drawn))
    return found


def draws(answers: Answers) -> NDArray[np.int64]:
    """How often each speaker counts, shape (1 + draws, speakers): once each, and then as drawn."""
    count = len(np.unique(answers.speaker))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), 2000)
    return np.concatenate([np.ones((1, count), np.int64), drawn])


def share(
    answers: Answers, hits: NDArray[np.bool_], of: NDArray[np.bool_], drawn: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The share of some trials that are hits, for every draw of speakers."""
    speakers = np.unique(answers.speaker, return_inverse=True)[1]
    counted, all_ = (np.bincount(speakers, which, drawn.shape[1]) for which in (hits, of))
    return np.asarray((drawn @ counted) / np.maximum(drawn @ all_, 1))


def interval(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of all speakers, which is the first, and the bounds of the middle 95 % of the others."""
    return np.array([shares[0], *np.percentile(shares[1:], [2.5, 97.5])])


def difference(
    answers: Mapping[str, Answers], least: Mapping[str, float], row: str, *, enrolled: bool
) -> NDArray[np.float64]:
    """How much more `diarize` names rightly of those enrolled, or names of strangers, than the cosine does.

    With a paired interval, shape (3,).
    """
    shares = []
    for system in (OURS, COSINE):
        said = answers[system]
        inside = (said.enrolled == enrolled) & (np.ones(len(said.row), bool) if row == POOLED else said.row == row)
        hits = inside & (said.score >= least[system]) & (said.right | (not enrolled))
        shares.append(share(said, hits, inside, draws(said)))
    return interval(shares[0] - shares[1])


def table(answers: Mapping[str, Answers], least: Mapping[str, float]) -> str:
    """All rates in Markdown, with what the differences are worth."""
    lines = [
        "| heard over | | named rightly | unknown | named wrongly | strangers named |",
        "|---|---|" + "---:|" * 4,
    ]
    found = {system: rates(answers[system], least[system]) for system in SYSTEMS}
    for row in (*ROWS, POOLED):
        for system in SYSTEMS:
            shown = [
                "{:.1f} ({:.1f} to {:.1f})".format(*(100 * found[system][f"{row}/{rate}"]))
                for rate in ("named", "unknown", "misnamed", "accepted")
            ]
            lines.append("| " + " | ".join([row, system, *shown]) + " |")

    def more(enrolled: bool) -> str:
        return ", ".join(
            "{} {:+.1f} ({:+.1f} to {:+.1f})".format(row, *(100 * difference(answers, least, row, enrolled=enrolled)))
            for row in (*ROWS, POOLED)
        )

    said = answers[OURS]
    equal = {system: threshold(answers[system]) for system in SYSTEMS}
    named = {system: 100 * rates(answers[system], equal[system])[f"{POOLED}/named"][0] for system in SYSTEMS}
    words = [
        f"In %, of {len(said.row)} trials with {len(np.unique(said.speaker))} speakers; intervals of 95 %, by drawing "
        f"speakers. Thresholds from the `dev` speakers: {least[OURS]:.2f} (diarize), {least[COSINE]:.2f} (cosine).",
        f"Named rightly by diarize more than by cosine: {more(True)}.",
        f"Strangers named by diarize more than by cosine: {more(False)}.",
        f"At thresholds that 1 % of these strangers reach, {named[OURS]:.1f} are named rightly by diarize and "
        f"{named[COSINE]:.1f} by cosine.",
    ]
    return "\n".join([*lines, "", *words])


def matching_time(references: int = 100_000, clusters: int = 4, runs: int = 20) -> float:
    """Milliseconds, the median, for the speakers of one recording against so many references, on one core."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it publishes no types

    cohort = read_cohort(SHIPPED)
    rng = np.random.default_rng(0)
    # people like those of the cohort, three references each
    owner = np.arange(references) // 3
    middles = cohort.voices[rng.integers(len(cohort.voices), size=owner[-1] + 1)]
    drawn = middles[owner] + rng.normal(0, 0.05, (references, middles.shape[1])).astype(np.float32)
    drawn = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    people = People(tuple(f"P{number}" for number in range(len(middles))), drawn, owner, cohort.fingerprint)
    voices, spoken = drawn[rng.integers(references, size=clusters)], np.full(clusters, 10.0)
    times = []
    with threadpool_limits(1):
        for _ in range(runs + 1):
            start = perf_counter()
            identify(voices, spoken, people, IdentificationConfig())
            times.append(1000 * (perf_counter() - start))
    return median(times[1:])  # the first reads the cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--speakers", type=int, help="of each split, for a quick try: README.md stays as it is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="speakers at a time")
    given = parser.parse_args()
    readme, full = ROOT / "README.md", given.speakers is None
    try:
        if full:  # a marker that is missing is better known before the work
            replace_table(readme.read_text(encoding="utf-8"), "identification", "")
        dev, eval_ = (hear_split(given.speech, split, given.speakers, given.jobs) for split in ("dev", "eval"))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    result = measure(dev, eval_, encoder().fingerprint)
    result += f"\n\nFour speakers against 100,000 references of 33,334 people: {matching_time():.0f} ms, on one core."
    print(result)
    if full:
        write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), "identification", result))


def measure(dev: Speakers, eval_: Speakers, fingerprint: str) -> str:
    """The table: thresholds from `dev`, rates on `eval`."""
    asked = list(trials(dev, fingerprint))
    least = {system: threshold(answer(asked, config)) for system, config in SYSTEMS.items()}
    asked = list(trials(eval_, fingerprint))
    return table({system: answer(asked, config) for system, config in SYSTEMS.items()}, least)


if __name__ == "__main__":
    main()
