"""Try settings, and set a turn right, without hearing again: `python examples/recluster.py talk.wav talk.voices`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from diarize.corrections import override
from diarize.edits import parse_turn, set_turns
from diarize.embedded import read_embedded, write_embedded
from diarize.pipeline import SpeakerDiarization, load_config, recluster
from diarize.rttm import turns_from


def main() -> None:
    recording, voices = sys.argv[1:]
    if not Path(voices).exists():  # the slow step, done once
        write_embedded(voices, SpeakerDiarization().embedded(recording))
    kept = read_embedded(voices)
    for settings in [[], ["clustering.num_speakers=2"], ["clustering.threshold=0.6"]]:
        result = recluster(kept, load_config(settings=settings, base=kept.settings))
        labels = sorted({turn.speaker for turn in turns_from(result.updates)})
        print(f"{' '.join(settings) or 'as kept'}: {', '.join(labels)}")
    config = load_config(base=kept.settings)
    answer = turns_from(recluster(kept, config).updates)
    corrections = set_turns(answer, [parse_turn("6-9=Ana")], kept.channels)
    kept = replace(kept, corrections=override(kept.corrections, corrections))
    talk = [turn for turn in turns_from(recluster(kept, config).updates) if turn.speaker == "Ana"]
    print(f"Ana talks {len(talk)} times")


if __name__ == "__main__":
    main()
