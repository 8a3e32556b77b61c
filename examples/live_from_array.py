"""Who speaks while the audio comes in, from an array in pieces: `python examples/live_from_array.py meeting.wav`.

A line is the newest word on one turn: it is new or has grown, is somebody else's after all, or is withdrawn.
"""

from __future__ import annotations

import sys

from diarize import SpeakerDiarization
from diarize.rttm import newest
from diarize.sources import read
from diarize.types import SAMPLE_RATE, AudioChunk, TurnUpdate, seconds

PIECE = SAMPLE_RATE // 2  # half a second; any length will do


def main() -> None:
    samples = read(sys.argv[1])  # an array at 16 kHz: put your own audio here
    live = SpeakerDiarization().live()
    for start in range(0, len(samples), PIECE):
        piece = samples[start : start + PIECE]
        for update in live.push(AudioChunk(start, piece)):
            print(f"{seconds(start + len(piece)):7.1f} s: turn {update.id}", line(update))
    for update in newest(live.flush()):  # at the end every turn is said once more, final
        print("final:", line(update))


def line(update: TurnUpdate) -> str:
    return f"{seconds(update.start):6.2f} - {seconds(update.end):6.2f} s  {update.speaker or 'withdrawn'}"


if __name__ == "__main__":
    main()
