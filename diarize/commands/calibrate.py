"""The command that fits the threshold to the people who are enrolled: `diarize calibrate`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.enroll import Store
from diarize.commands.options import Changes, Compute, Model, Recipe, configured
from diarize.terminal import counted, exit_code, say, show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from diarize.pipeline import PipelineConfig
    from diarize.profiles.calibration import Trials
    from diarize.profiles.cohort import Cohort

SHARES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
"""Of strangers who get a name, at the thresholds that are listed."""


def calibrate(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="TOML", help="Where a recipe with the threshold goes.")
    ] = None,
    false_accepts: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=50, help="So many strangers may get a name.")
    ] = 1.0,
    store: Store = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    model: Model = None,
    compute: Compute = None,
) -> None:
    """Find the threshold from which a voice gets a name, by the people who are enrolled.

    Each reference is compared with the person's others, and with everybody else as a stranger would be; so are the
    voices of the cohort. For each threshold: how many strangers would get a name, and how many people would not.
    """
    from diarize.formats import write_atomically
    from diarize.models.encoder import SpeakerEncoder
    from diarize.orders import check_writable
    from diarize.profiles.calibration import thresholds, try_references
    from diarize.profiles.database import check_no_store
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(2):
        # the threshold is what is looked for: plain cosines may be asked for without one
        changes = [*(set_ or []), "identification.threshold=0"]
        config = configured(pipeline, changes, None, None, model, compute, None, None, None)
        if output is not None:
            check_no_store(output)
            check_writable(output)
        embedding = config.embedding
        encoder = SpeakerEncoder.from_pretrained(embedding.model, compute=embedding.compute, trust=embedding.trust)
        cohort = _cohort(encoder.fingerprint, config)
        with ProfileStore(store_path(store)) as kept:
            people = kept.people(encoder.fingerprint)
        trials = try_references(people, cohort)
    with exit_code(1):
        chosen = trials.threshold(false_accepts / 100)
        show(_table(trials, [*thresholds(trials, SHARES)], chosen))
        say(
            f"threshold {chosen:.3f} for at most {false_accepts:g} % false accepts, from {len(people.names)} people "
            f"with {counted(len(people.owner), 'reference')}; a share of few trials is a guess"
        )
        if output is not None:
            settled = replace(config.identification, normalise=cohort is not None, threshold=chosen)
            write_atomically(output, _recipe(replace(config, identification=settled), trials, chosen))
            say(f"{output}: use it with --pipeline {output}")


def _cohort(fingerprint: str, config: PipelineConfig) -> Cohort | None:
    """The cohort, or None for plain cosines: as the settings say, and where the model has none."""
    from diarize.profiles.cohort import cohort_for

    if not config.identification.normalise:
        return None
    try:
        return cohort_for(fingerprint, config.identification.cohort)
    except ValueError:
        if config.identification.cohort is not None:
            raise
        say("warning: this model has no cohort: the threshold is for plain cosines; diarize cohort makes one")
        return None


def _table(trials: Trials, listed: list[float], chosen: float) -> Table:
    """The thresholds with what is to be expected of each, in counts and percent."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("threshold", "strangers named:\nother people", "\ncohort", "people not named"):
        table.add_column(heading, justify="right", no_wrap=True)
    for threshold in sorted({*listed, chosen}):
        table.add_row(
            f"{threshold:.3f}{' *' if threshold == chosen else '  '}",
            _count(trials.strangers >= threshold),
            _count(trials.cohort >= threshold),
            _count(trials.genuine < threshold),
        )
    return table


def _count(hits: NDArray[np.bool_]) -> str:
    """3 of 40 (7.5 %)."""
    return f"{int(hits.sum())} of {len(hits)} ({100 * hits.mean():.1f} %)" if len(hits) else "-"


def _recipe(config: PipelineConfig, trials: Trials, chosen: float) -> str:
    """The settings that differ from the defaults, and in comments what to expect of the threshold."""
    from diarize.tuning.space import stated

    lines = [
        "# Calibrated by diarize calibrate.  To be expected:",
        f"#   strangers named: {_count(trials.strangers >= chosen)} of other people, "
        f"{_count(trials.cohort >= chosen)} of the cohort",
        f"#   people not named: {_count(trials.genuine < chosen)}",
    ]
    for part, values in stated(config).items():
        values.pop("trust", None)  # a recipe may not say it
        lines += ["", f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
