"""What tuning found, for people and as a recipe."""

from __future__ import annotations

import json

from rich.box import SIMPLE
from rich.table import Table

from diarize.tuning.search import METRICS, Tuned, rate
from diarize.tuning.space import stated


def as_recipe(found: Tuned) -> str:
    """The settings as a recipe: what differs from the defaults, and in comments what it was tuned on and is worth."""
    search, metric = found.search, found.search.metric
    lines = [f"# Tuned by diarize tune: {found.trials} trials, seed {search.seed}, for the least {metric} DER."]
    for words, part in (("Tuned on", found.tuned), ("Held out:", found.held_out)):
        names = ", ".join(json.dumps(one.audio.stem) for one in part.recordings)
        rates = (
            f"{kind} DER {rate(part.before, kind):.1%} before, {rate(part.after, kind):.1%} after" for kind in METRICS
        )
        lines += [f"# {words} {names}", f"#   {'; '.join(rates)}"]
    for part_name, values in stated(found.config).items():
        lines += ["", f"[{part_name}]"]
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def format_tuned(found: Tuned) -> Table:
    """A table of both parts' error rates before and after, in percent."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("part")
    for heading in ("recordings", "strict DER\nbefore", "\nafter", "lenient DER\nbefore", "\nafter"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in (("tuned on", found.tuned), ("held out", found.held_out)):
        rates = [rate(one, kind) for kind in METRICS for one in (part.before, part.after)]
        table.add_row(name, str(len(part.recordings)), *(f"{100 * rate:.1f}" for rate in rates))
    return table
