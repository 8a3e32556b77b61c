"""Make a voice known by name, and erase it: `python examples/enroll.py people.db Ana ana1.wav ana2.wav`."""

from __future__ import annotations

import sys

from diarize.enrolment import enrolment, hear
from diarize.pipeline import SpeakerDiarization
from diarize.profiles.gate import RefusedError
from diarize.profiles.store import ProfileStore


def main() -> None:
    path, name, *recordings = sys.argv[1:]
    diarization = SpeakerDiarization()
    try:
        references = enrolment([hear(diarization.embedded, recording) for recording in recordings])
    except RefusedError as refused:  # too little speech, no clear voice, or more than one
        sys.exit(f"refused: {refused}")
    with ProfileStore(path) as store:
        store.enroll(name, references)
        for one in store.show(name).references:
            print(f"{one.speech:.1f} s of speech, windows agree to {one.cohesion:.2f}")
        people = store.people(diarization.encoder.fingerprint)  # as arrays, to compare voices with
        print(f"{len(people.names)} enrolled, {len(people.references)} references")
        store.delete(name)  # overwritten, not only taken off the list
        print(f"{len(store.list())} enrolled")


if __name__ == "__main__":
    main()
