"""Pictures of a result: `python examples/plot_result.py meeting.wav pictures`.

The page, meeting.html, holds the audio and needs no network: open it in a browser, and click on a turn to hear it.
The matrix, meeting.png, shows how alike the voices are, in order of speakers: two who are bright to each other may be
one person.
"""

from __future__ import annotations

import sys
from pathlib import Path

from diarize import SpeakerDiarization
from diarize.pipeline import recluster
from diarize.plot import plot_similarity, write_page
from diarize.rttm import turns_from
from diarize.sources import open_source


def main() -> None:
    recording, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    diarization = SpeakerDiarization()
    embedded = diarization.embedded(recording)
    turns = turns_from(recluster(embedded, diarization.config).updates)
    (windows,) = embedded.channels
    page, picture = folder / f"{embedded.uri}.html", folder / f"{embedded.uri}.png"
    write_page(turns, path=page, title=embedded.uri, audio=open_source(recording).chunks(), windows=windows)
    plot_similarity(windows, turns, path=picture, title=embedded.uri, by_speaker=True)
    print(f"{page} and {picture}: {len(turns)} turns, {len(windows)} windows of speech")


if __name__ == "__main__":
    main()
