"""The answer of a session that nobody ended, out of its journal."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict

from diarize.formats import Diarization
from diarize.pipeline import SpeakerDiarization
from diarize.profiles.people import People
from diarize.server.journal import Entry, Journal, Result
from diarize.server.messages import Message
from diarize.server.session import asked
from diarize.server.shown import named
from diarize.types import Identity, TurnUpdate, position, seconds

log = logging.getLogger(__name__)


def recover(
    journal: Journal, session_id: str, enrolled: Callable[[SpeakerDiarization], People | None] = lambda _: None
) -> Diarization:
    """All turns of a session as of its last checkpoint, clustered anew as at its end; the journal stays as it is.

    What came after is lost, and a warning tells.  Of a session that is over, its answer.

    enrolled: gives the people to be named where they speak, for a pipeline; who they are is not in the journal.
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
            diarization = SpeakerDiarization(entry.begun.config)
            diarization.people = enrolled(diarization)
            session = entry.session(diarization)
            session.finish()
            log.warning("session %s was not ended: what came after %.1f s is lost", entry.id, seconds(session.heard))
            return session.result
        finally:
            entry.close()


def _answer(entry: Entry, result: Result) -> Diarization:
    identities = _identities(result.messages)
    updates = tuple(
        TurnUpdate(
            segment["id"],
            position(segment["start"]),
            position(segment["end"]),
            segment["speaker"],
            identities.get(segment["speaker"]),
            segment["confidence"],
            final=True,
        )
        for segment in result.messages
        if segment["type"] == "segment"
    )
    start, done = entry.begun.start, result.messages[-1]
    settings = asdict(asked(entry.begun.config, start.options))
    return Diarization(start.uri or entry.id, position(done["audio_s"]), updates, settings)


def _identities(told: Sequence[Message]) -> dict[str, Identity]:
    """Who the speakers are that have a name, by label."""
    identities = {}
    for message in told:
        match message:
            case {"type": "speaker", "speaker": label, "event": "identified", "name": name, "decision": decision}:
                second = decision["runner_up"] and (decision["runner_up"]["name"], decision["runner_up"]["score"])
                identities[label] = Identity(name, decision["score"], second, decision["reason"])
            case {"type": "speaker", "speaker": label, "name": str(name)}:
                identities[label] = named(name)
    return identities
