"""The tables of the segmentation benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diarize.evaluation.bootstrap import Estimate, draw_speakers
from diarize.evaluation.detection import Detection
from diarize.metrics import Errors, Score, total
from examples.speech_detectors import DETECTORS, wrong
from examples.speed import SECONDS, Cost, machine

NETWORK, VOICE = "segmentation", "one voice at a time"
SPLIT = ("second voice", "bridged pause", "single speaker")
"""What is missed of the talk; see `diarize.evaluation.detection.Detection`."""


@dataclass(frozen=True)
class Measured:
    """What each system found in a recording, and the local errors of the network."""

    found: Mapping[str, Detection]
    local: Errors


@dataclass(frozen=True)
class Diarized:
    """A pipeline's answer about a recording."""

    score: Score
    found: Detection


def speech_table(results: Mapping[str, Sequence[Measured]]) -> str:
    """Miss + false alarm of speech by every system on every set, and the network less silero."""
    rows = []
    for of, ones in results.items():
        cells = [of]
        for system in (*DETECTORS, NETWORK):
            errors = sum((one.found[system].speech for one in ones), Errors())
            cells.append(f"{percent(errors.der)} ({percent(errors.miss)} + {percent(errors.false_alarm)})")
        ours, theirs = (rate([one.found[system].speech for one in ones]) for system in (NETWORK, DETECTORS[0]))
        rows.append([*cells, shown(ours - theirs, "+.1f")])
    heads = ["recordings", *(f"{system}, %" for system in (*DETECTORS, NETWORK)), f"{NETWORK} less {DETECTORS[0]}"]
    return markdown(heads, rows, 1)


def voices_table(results: Mapping[str, Sequence[Measured]]) -> str:
    """Overlap and voices as the network finds them on every set, and what of the talk is missed."""
    heads = ["recordings", "overlap precision, %", "recall", "local DER, %", "miss of talk, %", *SPLIT, "false alarm"]
    rows = []
    for of, ones in results.items():
        found = sum((one.found[NETWORK] for one in ones), Detection())
        local = shown(rate([one.local for one in ones]))
        rows.append([of, percent(found.precision), percent(found.recall), local, *talk_cells(found)])
    return markdown(heads, rows, 1)


def diarization_table(results: Mapping[str, Sequence[Mapping[str, Diarized]]]) -> str:
    """Both pipelines on every set, and what the difference is worth."""
    heads = ["recordings", "pipeline", "strict DER, %", "miss", *SPLIT, "false alarm", "confusion", "lenient DER, %"]
    rows, worth = [], []
    for of, ones in results.items():
        rates = {
            (name, kind): rate([getattr(one[name].score, kind) for one in ones])
            for name in (VOICE, NETWORK)
            for kind in ("strict", "lenient")
        }
        for name in (VOICE, NETWORK):
            pooled = total(one[name].score for one in ones)
            found = sum((one[name].found for one in ones), Detection())
            strict, lenient = (shown(rates[name, kind]) for kind in ("strict", "lenient"))
            cells = [of, name, strict, *talk_cells(found), percent(pooled.strict.confusion), lenient]
            rows.append([*cells, f"{pooled.right_counts} of {pooled.recordings}"])
        for kind in ("strict", "lenient"):
            ours, theirs = rates[NETWORK, kind], rates[VOICE, kind]
            worth.append(f"{of}, {kind} {shown(ours - theirs, '+.1f')}, which is {shown(ours / theirs, '.2f')} times")
    table = markdown([*heads, "right count"], rows, 2)
    return f"{table}\n\nDER with the network less that of one voice at a time: {'; '.join(worth)}."


def speed_table(costs: Mapping[str, Cost], live: Mapping[str, float]) -> str:
    """The command line of each pipeline on ten minutes of conversation, and the share of a core of a live one."""
    rows = [
        [
            name,
            f"{cost.seconds:.1f} s",
            f"{SECONDS / cost.seconds:.0f}",
            f"{cost.megabytes:.0f} MB",
            f"{live[name]:.2f}",
        ]
        for name, cost in costs.items()
    ]
    heads = ["pipeline", "wall time", "times real time", "peak memory", "live, of a core"]
    return f"{markdown(heads, rows, 1)}\n\nOn {machine()}."


def rate(errors: Sequence[Errors]) -> Estimate:
    """All errors by the speech there is, in percent, and the same with recordings drawn anew."""
    drawn = draw_speakers(np.zeros(len(errors), np.int64), seed=0)  # here recordings are what is drawn
    above, below = [wrong(one) for one in errors], [one.speech_s for one in errors]
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without speech
        value, draws = np.divide(sum(above), sum(below)), np.divide(np.dot(above, drawn), np.dot(below, drawn))
    return Estimate(100 * float(value), 100 * draws)


def talk_cells(found: Detection) -> list[str]:
    """What is missed of the talk, in all and apart, and what is found too much, in percent."""
    talk = found.talk
    parts = (found.second_s, found.pause_s, found.single_s)
    apart = [part / talk.speech_s if talk.speech_s else None for part in parts]
    return [percent(share) for share in (talk.miss, *apart, talk.false_alarm)]


def percent(share: float | None) -> str:
    """A share in percent; of nothing there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def shown(estimate: Estimate, form: str = ".1f") -> str:
    """A figure with its interval."""
    low, high = estimate.interval
    return f"{estimate.value:{form}} ({low:{form}} to {high:{form}})"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> str:
    """A table whose first columns are words, and the others figures."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
