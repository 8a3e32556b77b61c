"""Print who spoke when in a recording: `python examples/diarize_file.py meeting.mp3`."""

from __future__ import annotations

import sys

from diarize import SpeakerDiarization


def main() -> None:
    diarization = SpeakerDiarization()  # loads the network; use it for as many recordings as you like
    for path in sys.argv[1:]:
        annotation = diarization(path)  # pyannote's Annotation
        for turn, _, speaker in annotation.itertracks(yield_label=True):
            print(f"{turn.start:8.2f} - {turn.end:8.2f} s  {speaker}")
        for speaker, talked in annotation.chart():
            print(f"{speaker} talks for {talked:.1f} s in {path}")


if __name__ == "__main__":
    main()
