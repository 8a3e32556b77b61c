"""Every recording in a folder, as RTTM and CSV in another: `python examples/diarize_folder.py talks results`."""

from __future__ import annotations

import sys

from rich.console import Console

from diarize import SpeakerDiarization
from diarize.jobs import run
from diarize.orders import plan


def main() -> None:
    folder, results = sys.argv[1:]
    orders = plan([folder], results, ["rttm", "csv"])
    waiting = [order for order in orders if not order.is_done()]  # a run that was stopped goes on
    # two at a time, each in a process of its own; one that fails costs none of the others theirs
    for outcome in run(waiting, SpeakerDiarization(), workers=2, console=Console(stderr=True)):
        print(outcome.error or f"{outcome.order.input}: {outcome.speakers} speakers in {outcome.seconds:.0f} s")


if __name__ == "__main__":  # the processes import this file
    main()
