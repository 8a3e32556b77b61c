"""The answer of a session that nobody ended, out of its journal."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict

from diarize.formats import Diarization
from diarize.pipeline import SpeakerDiarization
from diarize.server.journal import Entry, Journal, Result
from diarize.server.session import asked
from diarize.server.shown import named
from diarize.types import TurnUpdate, position, seconds

log = logging.getLogger(__name__)


def recover(journal: Journal, session_id: str) -> Diarization:
    """All turns of a session as of its last checkpoint, clustered anew as at its end; the journal stays as it is.

    What came after is lost, and a warning tells.  Of a session that is over, its answer.
    Raises LookupError for an unknown session, ValueError for one that is damaged or of another version of the program.
    """
    with tempfile.TemporaryDirectory() as folder:
        copied = Journal(folder)
        journal.copy(session_id, copied)
        entry = copied.open(session_id)
        try:
            result = entry.result
            if result is not None:
                return _answer(entry, result)
            session = entry.session(SpeakerDiarization(entry.begun.config))
            session.finish()
            log.warning("session %s was not ended: what came after %.1f s is lost", entry.id, seconds(session.heard))
            return session.result
        finally:
            entry.close()


def _answer(entry: Entry, result: Result) -> Diarization:
    updates = tuple(
        TurnUpdate(
            segment["id"],
            position(segment["start"]),
            position(segment["end"]),
            segment["speaker"],
            named(segment["name"]),
            segment["confidence"],
            final=True,
        )
        for segment in result.messages
        if segment["type"] == "segment"
    )
    start, done = entry.begun.start, result.messages[-1]
    settings = asdict(asked(entry.begun.config, start.options))
    return Diarization(start.uri or entry.id, position(done["audio_s"]), updates, settings)
