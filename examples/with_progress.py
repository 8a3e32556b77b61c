"""Follow a run, and end it early: `python examples/with_progress.py meeting.mp3 [SECONDS OF AUDIO]`."""

from __future__ import annotations

import sys

from diarize import SpeakerDiarization


class EnoughError(Exception):
    """The rest is not wanted."""


def main() -> None:
    path, limit = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else None

    def progress(done: float, whole: float | None) -> None:
        """Called with seconds of audio; some streams do not tell how long they are, and `whole` is None."""
        share = f" of {whole:.0f}" if whole else ""
        print(f"{done:.0f}{share} s", file=sys.stderr)
        if limit is not None and done >= limit:
            raise EnoughError  # whatever is raised here ends the run and comes out of the call

    try:
        annotation = SpeakerDiarization()(path, progress)
    except EnoughError:
        print(f"ended after {limit:.0f} s")
    else:
        print(f"{len(annotation.labels())} speakers, {len(annotation)} turns")


if __name__ == "__main__":
    main()
