"""Score some settings against a reference: `python examples/compare_settings.py meeting.wav meeting.rttm KEY=VALUE...`.

Each setting is tried alone, after the defaults: `turns.gap=1 clustering.threshold=0.4`.  docs/settings.md has them all.
"""

from __future__ import annotations

import sys

from diarize import SpeakerDiarization, load_config
from diarize.metrics import score
from diarize.rttm import read_rttm, turns_from


def main() -> None:
    recording, rttm, *settings = sys.argv[1:]
    (reference,) = read_rttm(rttm).values()
    for tried in [[], *([setting] for setting in settings)]:
        result = SpeakerDiarization(load_config(settings=tried)).diarize(recording)
        scored = score(reference, turns_from(result.updates))
        print(
            f"{' '.join(tried) or 'defaults'}: strict DER {scored.strict.der:.1%}, lenient {scored.lenient.der:.1%}, "
            f"{scored.hypothesis_speakers} of {scored.reference_speakers} speakers"
        )


if __name__ == "__main__":
    main()
