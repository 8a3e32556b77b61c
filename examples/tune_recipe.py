"""Look for better settings for your recordings: `python examples/tune_recipe.py FOLDER`, audio and RTTM files in it.

Embeddings are made once; each of the 50 trials only clusters them.  What matters is the figure on the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from diarize import PipelineConfig
from diarize.tuning.annotated import find_annotated
from diarize.tuning.search import Search, listener, tune
from diarize.tuning.space import SPACE


def main() -> None:
    recordings = find_annotated(Path(sys.argv[1]))
    found = tune(recordings, listener(), PipelineConfig(), SPACE, Search(trials=50))
    on, rest = found.tuned, found.held_out
    for when, tuned, held_out in (("defaults", on.before, rest.before), ("tuned", on.after, rest.after)):
        print(f"{when}: strict DER {tuned.strict.der:.1%} on what was tuned on, {held_out.strict.der:.1%} on the rest")
    for name, value in found.values.items():
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
