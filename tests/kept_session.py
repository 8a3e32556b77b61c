"""A process that keeps a session in a journal, and may be killed at any moment; started again it goes on.

    python -m tests.kept_session JOURNAL SESSION EMBEDDINGS SEED

Says `position N` when it begins, `ack N` after every checkpoint, and the RTTM at the end.
"""

from __future__ import annotations

import sys

import numpy as np

from diarize.server.journal import Journal
from diarize.server.messages import Start
from tests.sessions import ended, heard, read_known, remembering, speech

LENGTH = 16
"""Seconds."""

START = Start(sample_rate=22_050, encoding="f32le")


def main(folder: str, session_id: str, embeddings: str, seed: str) -> None:
    pipeline = remembering(embeddings=read_known(embeddings))
    journal = Journal(folder)
    try:
        entry = journal.open(session_id)
    except LookupError:
        entry = journal.create(session_id, START, pipeline)
    session = entry.session(pipeline)
    entry.checkpoint(session.save())
    sys.stdout.write(f"position {session.position}\n")
    sys.stdout.flush()
    data, random = speech(LENGTH, START), np.random.default_rng(int(seed))
    while 4 * session.position < len(data):
        heard(pipeline, session, data[4 * session.position :][: 4 * int(random.integers(1, 8_000))])
        saved = session.save()
        entry.checkpoint(saved)
        sys.stdout.write(f"ack {saved.position}\n")
        sys.stdout.flush()
    done = ended(pipeline, session)[-1]
    entry.finish(session.position, [*session.snapshot(), done])
    sys.stdout.write(done["rttm"])


if __name__ == "__main__":
    main(*sys.argv[1:])
