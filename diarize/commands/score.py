"""The command that compares with a reference: `diarize score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diarize.terminal import exit_code, show, write


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="RTTM file, or a folder of them.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="RTTM file, or a folder of them.")],
    uem: Annotated[Path | None, typer.Option(metavar="UEM", help="Which stretches are scored.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare who spoke when with a reference: DER in both conventions, JER, speaker counts."""
    from diarize.metrics import format_scores, score_recordings, total
    from diarize.rttm import read_rttms, read_uem

    with exit_code(1):
        scores = score_recordings(read_rttms(reference), read_rttms(hypothesis), read_uem(uem) if uem else None)
        if as_json:
            recordings = {uri: one.as_dict() for uri, one in scores.items()}
            everything = {"recordings": recordings, "total": total(scores.values()).as_dict()}
            # a lone surrogate, which no UTF-8 holds, is written by `write` as an escape that is JSON's too
            write(json.dumps(everything, indent=2, ensure_ascii=False) + "\n")
        else:
            show(format_scores(scores))
