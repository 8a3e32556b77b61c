"""The tables of the live benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diarize.live import LiveConfig
from diarize.live_report import LiveReport
from examples.speed import machine


@dataclass(frozen=True)
class Load:
    """So many sessions at once: delays and first labels in seconds, cores and MB per session."""

    sessions: int
    median: float
    p95: float
    first_p95: float
    cores: float
    megabytes: float


def load_table(loads: Sequence[Load]) -> str:
    """What many sessions at once meet, and what each costs beside one alone."""
    alone, setting = loads[0], LiveConfig().latency
    kept = [one.sessions for one in loads if one.p95 <= setting + 1]
    rows = [
        f"| {one.sessions} | {one.median:.2f} s | {one.p95:.2f} s | {one.first_p95:.2f} s "
        f"| {one.cores:.3f} | {one.cores / alone.cores:.2f} | {one.megabytes:.1f} |"
        for one in loads
    ]
    limit = f"{max(kept)} sessions" if kept else "not even one session"
    return "\n".join(
        [
            "| sessions | label after, median | 95 % within | first label, 95 % within "
            "| cores a session | of the first row | MB a session |",
            "|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"With a latency of {setting:g} s, 95 % of the labels came within {setting + 1:g} s up to {limit}.",
            f"On {machine()}, which the clients share.",
        ]
    )


def hour_table(sizes: Sequence[float], took: float) -> str:
    """What an hour in one session does to memory, and how long its end takes."""
    marks = " | ".join(f"{10 * part} min" for part in range(1, len(sizes) + 1))
    row = " | ".join(f"{size:.0f} MB" for size in sizes)
    return "\n".join(
        [
            f"| audio heard | {marks} |",
            "|---|" + "---:|" * len(sizes),
            f"| memory of the server | {row} |",
            "",
            f"From the end of the hour to its final answer: {took:.1f} s.",
        ]
    )


def corrections_table(sets: Mapping[str, Mapping[float, LiveReport]]) -> str:
    """What was shown live, at each latency, beside the final answer."""
    rows = [
        f"| {name} | {latency:g} s | {one.first_label_s or 0:.2f} s | {100 * (one.revision_rate or 0):.1f} % "
        f"| {one.flips_per_minute or 0:.1f} | {one.false_speakers / one.final.recordings:.1f} "
        f"| {100 * (one.provisional.strict.der or 0):.1f} | {100 * (one.final.strict.der or 0):.1f} |"
        for name, reports in sets.items()
        for latency, one in reports.items()
    ]
    return "\n".join(
        [
            "| | latency | first label, slowest | revised later | changes a minute | false new speakers "
            "| strict DER, as shown | final |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
        ]
    )
