"""Say whether recordings are of the first one's speaker: `python examples/verify.py ana.wav call1.wav call2.wav`."""

from __future__ import annotations

import sys

from diarize import SpeakerEncoder


def main() -> None:
    encoder = SpeakerEncoder.from_pretrained()  # or the path of a published model; see docs/models.md
    known, *others = sys.argv[1:]
    for other in others:
        score, same = encoder.verify_files(known, other)  # threshold=0.4 where you have measured a better one
        print(f"{other}: {'same' if same else 'different'} ({score:.2f})")


if __name__ == "__main__":
    main()
