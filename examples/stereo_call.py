"""Who spoke when in a call with a channel for each end: `python examples/stereo_call.py call.wav`.

Nobody is counted twice whose voice leaks into the other channel, and who talks at the same time as another is heard.
"""

from __future__ import annotations

import sys

from diarize import SpeakerDiarization
from diarize.pipeline import recluster
from diarize.rttm import talk_time, turns_from
from diarize.types import seconds


def main() -> None:
    diarization = SpeakerDiarization()
    for path in sys.argv[1:]:
        result = recluster(diarization.embedded(path, per_channel=True), diarization.config)
        turns = turns_from(result.updates)
        for turn in turns:
            channel = result.channels.get(turn.speaker, 1)  # a mono file has no channels to tell apart
            print(f"{seconds(turn.start):8.2f} - {seconds(turn.end):8.2f} s  channel {channel}  {turn.speaker}")
        for speaker, talked in talk_time(turns).items():
            print(f"{speaker} talks for {seconds(talked):.1f} s in {path}")


if __name__ == "__main__":
    main()
