"""What a client keeps in order to say it again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diarize.client.unacknowledged import Commands, Message, Recorded

RENAME: Message = {"type": "rename", "speaker": "SPEAKER_00", "name": "Ann"}
MERGE: Message = {"type": "merge", "speaker": "SPEAKER_01", "into": "SPEAKER_00"}
READY: Message = {"type": "ready"}
SEGMENT: Message = {"type": "segment", "id": 0}
REFUSAL: Message = {"type": "error", "code": "bad_message", "message": "no", "fatal": False}


def speaker(label: str, event: str, **told: Any) -> Message:
    return {"type": "speaker", "speaker": label, "event": event, "name": None, "into": None} | told


RENAMED = speaker("SPEAKER_00", "renamed", name="Ann")
MERGED = speaker("SPEAKER_01", "merged", into="SPEAKER_00")


def begun(*asked: tuple[Message, int]) -> Commands:
    """Commands in a session that has begun."""
    commands = Commands()
    for message in (READY, SEGMENT):
        commands.hear(message)
    for message, at in asked:
        commands.add(message, at)
    return commands


def again(commands: Commands) -> None:
    """There is a new connection, and the server has told of what it has."""
    commands.hear(READY)
    commands.resume()
    commands.hear(SEGMENT)


@given(
    st.integers(1, 6),
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from(["append", "next", "forget", "resume"]), st.integers(0, 60)), max_size=40),
)
def test_audio_is_given_in_order_from_where_it_is_wanted(frame: int, room: int, verbs: list[tuple[str, int]]) -> None:
    recorded, whole, at = Recorded(frame, room * frame), np.random.default_rng(0).bytes(10_000), 0
    start = 0
    for verb, number in verbs:
        if verb == "append":
            taken = recorded.append(memoryview(whole)[recorded.end * frame :][: number * frame])
            assert taken == number * frame or recorded.full
        elif verb == "next":
            piece = recorded.next(number)
            assert piece == whole[at * frame :][: len(piece)]
            assert len(piece) == min(number // frame, recorded.end - at) * frame
            at += len(piece) // frame
        elif verb == "forget":
            recorded.forget(number)
            start = max(start, min(number, at))
        elif recorded.start <= number <= recorded.end:
            recorded.resume(number)
            at = number
        elif recorded.end:
            with pytest.raises(ValueError, match=f"from frame {number} on"):
                recorded.resume(number)
        assert recorded.start == start <= at
        assert recorded.sent == at <= recorded.reached <= recorded.end <= recorded.start + room


def test_a_command_keeps_its_place_in_the_audio() -> None:
    recorded, commands = Recorded(2, 2_000), begun((RENAME, 0), ({"type": "finalize"}, 700))
    recorded.append(memoryview(bytes(2_000)))
    recorded.next(1_000)
    assert commands.next(recorded.sent) == '{"type": "rename", "speaker": "SPEAKER_00", "name": "Ann"}'
    assert commands.next(recorded.sent) is None
    again(commands)
    recorded.resume(0)
    sent: list[tuple[int, str]] = []
    while recorded.sent < recorded.end or not sent:
        while (text := commands.next(recorded.sent)) is not None:
            sent.append((recorded.sent, text.split('"')[3]))
        recorded.next(600, commands.until())
    assert sent == [(500, "rename"), (700, "finalize")]
    assert recorded.reached == 1_000


def test_a_command_is_forgotten_when_the_server_has_it_and_what_came_after() -> None:
    commands = begun((RENAME, 100), (MERGE, 200))
    assert [commands.next(at) is None for at in (99, 100, 200)] == [True, False, False]
    assert commands.hear(RENAMED) is not None
    for position, expected in ((100, [100, 200]), (101, [200]), (10_000, [200])):
        commands.forget(position)  # the merge has no answer yet
        again(commands)
        assert [at for at in (100, 200) if commands.next(at) is not None] == expected


def test_an_answer_is_that_to_the_oldest_question_that_it_fits() -> None:
    commands = begun((RENAME, 0), (MERGE, 0), ({"type": "finalize"}, 0), ({**RENAME, "name": ""}, 0))
    assert commands.hear(RENAMED) is None, "nothing has been asked yet"
    while commands.next(0) is not None:
        pass
    for other in (
        SEGMENT,
        MERGED,
        {**RENAMED, "name": "Bo"},
        {**RENAMED, "speaker": "SPEAKER_01"},
        {**REFUSAL, "fatal": True},
    ):
        assert commands.hear(other) is None
    for answer, question in ((RENAMED, RENAME), (REFUSAL, MERGE), ({"type": "finalized"}, {"type": "finalize"})):
        found = commands.hear(answer)
        assert found is not None
        assert found.message == question
        assert (found.answered, found.refused) == (True, "no" if answer is REFUSAL else "")
    assert commands.hear({**RENAMED, "name": None}) is not None
    again(commands)
    assert [commands.next(0) is None for _ in range(3)] == [False, False, True], "both names; no refusal, no finalize"


def test_what_a_resumed_session_tells_of_itself_is_no_answer() -> None:
    commands = begun((MERGE, 0))
    commands.next(0)
    commands.hear(READY)
    commands.resume()
    commands.next(0)
    assert commands.hear(speaker("SPEAKER_00", "new")) is None
    assert commands.hear(MERGED) is None
    assert commands.hear(SEGMENT) is None
    assert commands.hear(MERGED) is not None


def test_what_is_done_and_sent_again_can_be_refused_and_stays_done() -> None:
    commands = begun((MERGE, 0))
    commands.next(0)
    commands.hear(MERGED)
    for _ in range(2):
        again(commands)
        assert commands.next(0) is not None
        found = commands.hear(REFUSAL)
        assert found is not None
        assert (found.answered, found.refused) == (True, "")


def test_a_command_that_is_no_json_is_refused_at_once() -> None:
    commands = Commands()
    with pytest.raises(TypeError, match="bytes is not JSON serializable"):
        commands.add({"type": "rename", "name": b"Ann"}, 0)
    assert commands.next(0) is None
