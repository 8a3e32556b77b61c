"""What was measured, as tables on a screen, in Markdown and in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diarize.evaluation.bootstrap import DRAWS, Estimate
from diarize.evaluation.carrier_table import CATEGORIES, MEANS
from diarize.evaluation.error_rates import P_TARGETS
from diarize.evaluation.evaluation import SHOWN, Evaluation, Verification
from diarize.evaluation.listening import Condition
from diarize.evaluation.retrieval import NEAREST
from diarize.evaluation.scoring import COSINE
from diarize.evaluation.trials import ALL, WITHIN

if TYPE_CHECKING:
    from rich.table import Table as RichTable

WORDS = f"""\
EER, the equal error rate: % of different-speaker trials accepted where as many % of same-speaker trials are refused.
minDCF: the least of (p x misses + (1 - p) x false alarms) / min(p, 1 - p) over all thresholds, costs 1, p of
{" and of ".join(f"{p:g}" for p in P_TARGETS)}. Recall@K: % of utterances with another one of their speaker among the K
nearest of all others. In brackets the middle 95 % of {DRAWS} draws of speakers, paired between models. Trials are of
two utterances, within one set (the hard ones) or of all sets. Utterances shorter than a crop are left out."""


_Measured = Mapping[tuple[str, Condition, str], Mapping[str, Verification]]
"""By kind of trials, condition and scoring, then by model."""


@dataclass(frozen=True)
class Table:
    """A table of texts, the first columns of which say what a row is of."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    leading: int


def tables(evaluation: Evaluation, *, brief: bool = False) -> list[Table]:
    """Everything; brief: single sets only at `SHOWN`, by cosine."""
    measured: dict[tuple[str, Condition, str], dict[str, Verification]] = {}
    for row in evaluation.verification:
        if not brief or row.kind in (WITHIN, ALL) or (row.condition, row.scoring) == (SHOWN, COSINE):
            measured.setdefault((row.kind, row.condition, row.scoring), {})[row.model] = row
    shown = [_error_table(evaluation, measured), _cost_table(evaluation, measured), _recall_table(evaluation)]
    return shown + ([_carrier_table(evaluation)] if evaluation.carriers else [])


def as_rich(table: Table) -> RichTable:
    """For a terminal."""
    from rich.box import SIMPLE
    from rich.table import Table as RichTable

    drawn = RichTable(box=SIMPLE, padding=(0, 1, 0, 0), title=table.title, title_justify="left")
    for column, heading in enumerate(table.headings):
        drawn.add_column(heading, justify="left" if column < table.leading else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


def as_markdown(evaluation: Evaluation) -> str:
    """The whole report."""
    trials, lines = evaluation.trials, ["# Speaker verification", ""]
    lines += [
        f"{len(trials.files)} utterances of {trials.speakers.max() + 1} speakers; {trials.same.sum()} trials of "
        f"one speaker and {(~trials.same).sum()} of two.",
        "",
        "| model | dimensions | fingerprint |",
        "|---|---:|---|",
        *(f"| {_cell(name)} | {one.dimensions} | {one.fingerprint[:16]} |" for name, one in evaluation.models.items()),
    ]
    for table in tables(evaluation):
        marks = ["---" if column < table.leading else "---:" for column in range(len(table.headings))]
        lines += ["", f"## {table.title}", ""]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in (table.headings, marks, *table.rows)]
    return "\n".join([*lines, "", WORDS, ""])


def as_json(evaluation: Evaluation) -> str:
    """All figures, error rates and recalls as shares of 1; what cannot be said is null."""
    against, trials = evaluation.against or "", evaluation.trials
    eers = {(row.model, row.kind, row.condition, row.scoring): row.eer for row in evaluation.verification}
    verification: list[dict[str, Any]] = [
        {
            "model": row.model,
            "trials": row.kind,
            "heard": str(row.condition),
            "scoring": row.scoring,
            "utterances": row.utterances,
            "speakers": row.speakers,
            "same": row.same,
            "different": row.different,
            "eer": _figure(row.eer),
            "threshold": row.threshold,
            "min_dcf": {f"{p_target:g}": _figure(cost) for p_target, cost in row.costs.items()},
            "ratio": _figure(_over(row.eer, eers.get((against, row.kind, row.condition, row.scoring)))),
        }
        for row in evaluation.verification
    ]
    retrieval = [
        {
            "model": row.model,
            "heard": str(row.condition),
            "probes": row.probes,
            "recall": {str(k): _figure(recall) for k, recall in row.recall.items()},
        }
        for row in evaluation.retrieval
    ]
    carriers = [
        {
            "model": name,
            "trials": kind,
            "heard": str(SHOWN),
            "eer": {column: _figure(eer) for column, eer in table.columns.items()},
            "ratio": {column: _figure(ratio) for column, ratio in _ratios(evaluation, name, kind).items()},
        }
        for (name, kind), table in evaluation.carriers.items()
    ]
    report = {
        "models": {
            name: {"dimensions": one.dimensions, "fingerprint": one.fingerprint}
            for name, one in evaluation.models.items()
        },
        "against": evaluation.against,
        "utterances": len(trials.files),
        "speakers": int(trials.speakers.max()) + 1,
        "left_out": {str(condition): count for condition, count in evaluation.lost.items()},
        "verification": verification,
        "retrieval": retrieval,
        "carriers": carriers,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _error_table(evaluation: Evaluation, measured: _Measured) -> Table:
    """EER by model, and its ratio to that of the one it is compared with."""
    against = evaluation.against
    others = [name for name in evaluation.models if against not in (None, name)]
    rows = []
    for (kind, condition, scoring), found in measured.items():
        one = next(iter(found.values()))
        yardstick = found[against].eer if against is not None and against in found else None
        eers = [_percent(found[name].eer) if name in found else "-" for name in evaluation.models]
        ratios = [_ratio(_over(found[name].eer, yardstick)) if name in found else "-" for name in others]
        rows.append([kind, str(condition), scoring, f"{one.utterances} of {one.speakers}", *eers, *ratios])
    headings = ["trials", "heard", "score", "utterances\nof speakers", *evaluation.models]
    return Table("EER, %", [*headings, *(f"{name}\n/ {against}" for name in others)], rows, 4)


def _cost_table(evaluation: Evaluation, measured: _Measured) -> Table:
    """MinDCF by model and share of targets."""
    asked = [(name, p_target) for name in evaluation.models for p_target in P_TARGETS]
    rows = []
    for (kind, condition, scoring), found in measured.items():
        costs = [f"{found[name].costs[p_target].value:.3f}" if name in found else "-" for name, p_target in asked]
        rows.append([kind, str(condition), scoring, *costs])
    return Table(
        "minDCF", ["trials", "heard", "score", *(f"{name}\np {p_target:g}" for name, p_target in asked)], rows, 3
    )


def _recall_table(evaluation: Evaluation) -> Table:
    found: dict[Condition, list[str]] = {}
    for row in evaluation.retrieval:  # model by model under each condition
        found.setdefault(row.condition, [str(row.condition), str(row.probes)]).extend(
            map(_percent, row.recall.values())
        )
    headings = [f"{name}\n@{k}" for name in evaluation.models for k in NEAREST]
    return Table("Recall, %, by cosine", ["heard", "probes", *headings], list(found.values()), 2)


def _carrier_table(evaluation: Evaluation) -> Table:
    """EER by model and its ratio, a line for each category; single sets are for the JSON."""
    names, rows = list(evaluation.models), []
    others = [name for name in names if evaluation.against not in (None, name)]
    for kind in dict.fromkeys(kind for _, kind in evaluation.carriers if kind in (WITHIN, ALL)):
        found = {name: evaluation.carriers[name, kind].columns for name in names}
        ratios = {name: _ratios(evaluation, name, kind) for name in others}
        rows += [
            [kind, category, *(_percent(found[name][category]) for name in names)]
            + [_ratio(ratios[name][category]) for name in others]
            for category in (*CATEGORIES, *MEANS)
        ]
    title = f"EER over carriers, %, crops of {SHOWN}, by cosine, enrolment clean, the probe carried"
    headings = ["trials", "probe", *names, *(f"{name}\n/ {evaluation.against}" for name in others)]
    return Table(title, headings, rows, 2)


def _ratios(evaluation: Evaluation, name: str, kind: str) -> dict[str, Estimate]:
    """What carriers cost a model in shares of what they cost the one it is compared with; empty for that one."""
    yardstick = evaluation.carriers.get((evaluation.against or "", kind))
    if yardstick is None or name == evaluation.against:
        return {}
    return {column: eer / yardstick.columns[column] for column, eer in evaluation.carriers[name, kind].columns.items()}


def _over(eer: Estimate, yardstick: Estimate | None) -> Estimate | None:
    return None if yardstick is None else eer / yardstick


def _percent(estimate: Estimate) -> str:
    """4.1 [3.0 5.2]."""
    low, high = estimate.interval
    return f"{100 * estimate.value:.1f} [{100 * low:.1f} {100 * high:.1f}]"


def _ratio(estimate: Estimate | None) -> str:
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    low, high = estimate.interval
    return f"{estimate.value:.2f} [{low:.2f} {high:.2f}]"


def _figure(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    figures = zip(("value", "low", "high"), (estimate.value, *estimate.interval), strict=True)
    return {name: figure if math.isfinite(figure) else None for name, figure in figures}


def _cell(text: str) -> str:
    """A text that keeps to its cell."""
    return " ".join(text.split()).replace("|", "\\|")
