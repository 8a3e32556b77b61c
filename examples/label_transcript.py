"""Print who said what: `python examples/label_transcript.py meeting.wav meeting.json`.

meeting.json is what WhisperX, openai-whisper or faster-whisper wrote, with times for the words.  `diarize label` puts
speakers into such a file, and into .srt and .vtt.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby

from diarize import SpeakerDiarization
from diarize.rttm import turns_from
from diarize.transcripts import Talk, label_transcript, read_transcript


def main() -> None:
    recording, transcript = sys.argv[1:]
    result = SpeakerDiarization().diarize(recording)
    talk = Talk(turns_from(result.updates), nearest=1.0)  # a word in a pause is of whoever talks within a second
    labelled = label_transcript(read_transcript(transcript), "json", talk)
    words = [word for segment in json.loads(labelled.text)["segments"] for word in segment["words"]]
    for speaker, said in groupby(words, key=lambda word: word["speaker"]):
        print(f"{speaker}: {' '.join(word['word'].strip() for word in said)}")


if __name__ == "__main__":
    main()
