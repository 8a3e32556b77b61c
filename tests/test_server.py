"""Sessions over real connections: the answer is that of the file, and no interruption costs any of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_turn

from diarize.pipeline import SpeakerDiarization
from diarize.rttm import milliseconds, turns_from
from diarize.server.messages import Message
from diarize.server.server import Server
from diarize.sources import raw_source
from tests.sessions import RATE, Client, remembering, speech
from tests.streams import (
    END,
    LENGTH,
    Heard,
    Sent,
    conversation,
    listen_to,
    metric,
    opened,
    pieces,
    raw,
    run,
    say,
    serving,
    start,
    talk,
    told,
    until,
)


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    return remembering()


@pytest.fixture(scope="module")
def expected(pipeline: SpeakerDiarization, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """What a client is told that sends the conversation and is not disturbed."""
    return alone(pipeline, conversation(), journal=tmp_path_factory.mktemp("journal"))


def alone(pipeline: SpeakerDiarization, sent: list[Sent], query: str = "", **config: Any) -> Heard:
    """What the only client of a server is told."""

    async def talking() -> Heard:
        async with serving(pipeline, **config) as server:
            return await talk(server, sent, query)

    return run(talking())


def rttm(heard: Heard) -> str:
    """The final answer."""
    assert heard.kinds[-1] == "done"
    assert heard.code == 1000
    return str(heard.messages[-1]["rttm"])


def test_the_answer_is_that_of_the_file(pipeline: SpeakerDiarization) -> None:
    client = Client(uri="conversation")
    client.take(alone(pipeline, [start(), *pieces(speech(14)), END]).messages)
    offline = turns_from(pipeline.diarize(raw_source(io.BytesIO(speech(14)), RATE, 1, "s16le")).updates)
    live = client.current
    assert [(milliseconds(turn.start), milliseconds(turn.end)) for turn in offline] == [
        (milliseconds(turn.start), milliseconds(turn.end)) for turn in live
    ]
    pairs = {(a.speaker, b.speaker) for a, b in zip(offline, live, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 3


def test_what_a_client_is_told_of_its_session(expected: Heard) -> None:
    ready, acks = expected.messages[0], [one["position"] for one in expected.messages if one["type"] == "ack"]
    assert (ready["type"], ready["seq"], ready["resumed"], ready["position"]) == ("ready", 1, False, 0)
    assert ready["limits"] == {"message_bytes": 2**20, "idle_s": 60.0}
    assert ready["resumable"]
    assert len(acks) == LENGTH // 5
    assert 0 < acks[0] <= 5 * RATE
    assert rttm(expected).startswith("SPEAKER conversation 1 ")


@pytest.mark.parametrize("cut", ["one message", "tiny ones", "anywhere"])
def test_how_the_audio_is_cut_changes_nothing(
    pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path, cut: str
) -> None:
    data = speech(LENGTH)
    anywhere = 2 * np.random.default_rng(0).integers(1, len(data) // 2, 20)
    edges = {"one message": [], "tiny ones": list(range(0, len(data), 26)), "anywhere": sorted(anywhere.tolist())}[cut]
    audio = [data[a:b] for a, b in pairwise([0, *edges, len(data)]) if a < b]
    assert b"".join(audio) == data
    heard = alone(pipeline, [start(), *audio, END], journal=tmp_path)
    assert told(heard.messages) == told(expected.messages)


@pytest.mark.parametrize("end", [b"", "Done", '{"eof" : 1}', {"type": "CloseStream"}])
def test_other_words_for_the_end(pipeline: SpeakerDiarization, expected: Heard, end: Sent) -> None:
    assert rttm(alone(pipeline, [*conversation()[:-1], end])) == rttm(expected)


def test_a_start_in_the_address_or_none_at_all(pipeline: SpeakerDiarization, expected: Heard) -> None:
    floats = (np.frombuffer(speech(LENGTH), "<i2") / 2**15).astype("<f4").tobytes()
    address = "?encoding=f32le&channels=2&latency=2&uri=conversation"
    stereo = np.repeat(np.frombuffer(floats, "<f4"), 2).tobytes()
    heard = alone(pipeline, [*pieces(stereo), END], address)
    assert (heard.messages[0]["encoding"], heard.messages[0]["latency"]) == ("f32le", 2.0)
    assert rttm(heard) == rttm(expected)
    heard = alone(pipeline, conversation()[1:])  # audio comes first
    assert rttm(heard).replace(heard.session, "conversation") == rttm(expected)


def test_what_the_user_wants_is_done_where_it_was_said(pipeline: SpeakerDiarization) -> None:
    audio = pieces(speech(9))
    early: list[Sent] = [{"type": "keepalive"}, {"type": "finalize"}]
    late: list[Sent] = [
        {"type": "rename", "speaker": "SPEAKER_00", "name": "Ana"},
        {"type": "merge", "speaker": "SPEAKER_01", "into": "SPEAKER_00"},
    ]
    heard = alone(pipeline, [start(), *audio[:20], *early, *audio[20:-1], *late, audio[-1], END])
    client = Client(uri="conversation")
    client.take(heard.messages)
    finalized = heard.kinds.index("finalized")
    assert heard.messages[finalized]["position"] == 2 * RATE
    assert heard.messages[finalized - 1]["end"] == pytest.approx(2.0, abs=0.05)
    assert heard.kinds.index("ack") > finalized
    events = [one["event"] for one in heard.messages if one["type"] == "speaker"]
    assert events == ["new", "new", "renamed", "merged"]
    assert {turn.speaker for turn in client.current} == {"Ana"}


def test_many_at_once_are_told_what_each_would_be_alone(
    pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path
) -> None:
    async def talking() -> list[Heard]:
        async with serving(pipeline, journal=tmp_path, max_sessions=8) as server:
            await talk(server, conversation())
            batches = await metric(server, "diarize_batch_windows_count")
            heard = await asyncio.gather(*(talk(server, conversation()) for _ in range(8)))
            assert await metric(server, "diarize_batch_windows_count") < 9 * batches
            return heard

    for heard in run(talking()):
        assert told(heard.messages) == told(expected.messages)
        assert heard.code == 1000


def test_what_comes_too_fast_waits_outside(pipeline: SpeakerDiarization) -> None:
    minutes = bytes(2 * RATE * 180)

    async def flooding() -> Heard:
        async with serving(pipeline) as server:
            heard = await talk(server, [start(), *pieces(minutes, 2 * RATE), END])
            turns = await metric(server, "diarize_backlog_seconds_count")
            assert turns >= 180 / 5
            assert await metric(server, 'diarize_backlog_seconds_bucket{le="10.0"}') == turns
            return heard

    heard = run(flooding())
    assert heard.messages[-1]["audio_s"] == 180


def test_who_sends_as_time_goes_by_is_told_that_the_server_is_slow(
    pipeline: SpeakerDiarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diarize.server.connection.LATE", 0)

    async def talking() -> list[Heard]:
        live = Heard()
        async with serving(pipeline) as server, opened(server) as connection:
            listening = asyncio.create_task(listen_to(connection, live))
            await say(connection, [start()])
            for piece in pieces(speech(0.5), 1600):
                await say(connection, [piece])
                await asyncio.sleep(0.1)
            await say(connection, [END])
            await listening
            return [live, await talk(server, [start(), speech(4), END])]

    live, fast = run(talking())
    assert [one["code"] for one in live.messages if one["type"] == "warning"] == ["slow"]
    assert "warning" not in fast.kinds


async def broken_off(server: Server, seconds: float, acks: int) -> Heard:
    """A session whose connection breaks after so much audio and so many acknowledgements."""
    heard = Heard()
    async with opened(server) as socket:
        listening = asyncio.create_task(listen_to(socket, heard))
        await say(socket, [start(), *pieces(speech(seconds))])
        while heard.kinds.count("ack") < acks or not heard.messages:
            await asyncio.sleep(0.01)
        socket.transport.abort()
        await listening
    return heard


def rest(heard: Heard, position: int = 0) -> list[Sent]:
    """What a client sends that comes back to the session in the first message."""
    return [start(session=heard.session, position=position), *pieces(speech(LENGTH)[2 * position :]), END]


async def resumed(server: Server, broken: Heard) -> Heard:
    """The rest of a session that was broken off, all of it, from where the server wants it."""
    heard = Heard()
    async with opened(server) as socket:
        listening = asyncio.create_task(listen_to(socket, heard))
        position = [0, *(one["position"] for one in broken.messages if one["type"] == "ack")][-1]
        await say(socket, [start(session=broken.session, position=position)])
        while not heard.messages:
            await asyncio.sleep(0.01)
        assert heard.messages[0]["resumed"]
        assert heard.messages[0]["position"] >= position
        await say(socket, rest(heard, heard.messages[0]["position"])[1:])
        await listening
    return heard


@pytest.mark.parametrize(("seconds", "acks"), [(0.5, 0), (4.0, 0), (6.2, 1)])
def test_a_dropped_connection_costs_nothing(
    pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path, seconds: float, acks: int
) -> None:
    async def dropping() -> Heard:
        async with serving(pipeline, journal=tmp_path) as server:
            broken = await broken_off(server, seconds, acks)
            await until(server, "diarize_sessions", 0)  # its place is free again
            heard = await resumed(server, broken)
            assert await metric(server, 'diarize_sessions_begun_total{how="resumed"}') == 1
            assert await metric(server, "diarize_gaps_total") == 1
            return heard

    heard = run(dropping())
    client = Client(uri="conversation")
    client.take(heard.messages)
    assert rttm(heard) == rttm(expected)


def test_a_server_that_ends_costs_nothing(pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path) -> None:
    async def ending() -> Heard:
        async with serving(pipeline, journal=tmp_path) as server, opened(server) as socket:
            before = Heard()
            listening = asyncio.create_task(listen_to(socket, before))
            await say(socket, [start(), *pieces(speech(4))])
            while "segment" not in before.kinds:
                await asyncio.sleep(0.01)
            await server.stop()
            await listening
            assert before.code == 1001
            async with opened(server) as late:
                with pytest.raises(ConnectionClosed):
                    await late.recv()
                assert late.close_code == 1001
        async with serving(pipeline, journal=tmp_path) as server:
            return await resumed(server, before)

    assert rttm(run(ending())) == rttm(expected)


def test_the_answer_waits_for_a_client_that_was_cut_off_before_it(
    pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path
) -> None:
    async def cut_off() -> tuple[Heard, Heard]:
        async with serving(pipeline, journal=tmp_path) as server:
            first = Heard()
            async with opened(server) as socket:
                listening = asyncio.create_task(listen_to(socket, first))
                await say(socket, conversation())
                while not first.messages:
                    await asyncio.sleep(0.01)
                socket.transport.abort()
                await listening
            await until(server, "diarize_sessions", 0)
            if "done" not in first.kinds:
                await talk(server, rest(first))
            return first, await talk(server, [start(session=first.session, position=LENGTH * RATE)])

    first, again = run(cut_off())
    assert again.messages[0]["resumed"]
    assert again.messages[0]["position"] == LENGTH * RATE
    assert again.messages[0]["seq"] > first.messages[-1]["seq"]
    client = Client(uri="conversation")
    client.take(again.messages)
    assert rttm(again) == rttm(expected)


def test_erased_is_erased(pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path) -> None:
    heard = alone(pipeline, [*conversation()[:-1], {**END, "erase": True}], journal=tmp_path)
    assert rttm(heard) == rttm(expected)
    assert list(tmp_path.iterdir()) == []
    again = alone(pipeline, rest(heard), journal=tmp_path)
    assert (again.errors, again.code) == ([("unknown_session", True)], 1008)


def test_without_a_journal_no_session_is_kept(pipeline: SpeakerDiarization) -> None:
    heard = alone(pipeline, conversation())
    assert not heard.messages[0]["resumable"]
    assert [one["position"] for one in heard.messages if one["type"] == "ack"] == [5 * RATE]
    again = alone(pipeline, rest(heard))
    assert (again.errors, again.code) == ([("unknown_session", True)], 1008)


def test_a_journal_that_cannot_be_written_costs_only_the_resuming(
    pipeline: SpeakerDiarization, expected: Heard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def vanishing() -> Heard:
        async with serving(pipeline, journal=tmp_path / "journal") as server, opened(server) as socket:
            heard, sent = Heard(), conversation()
            listening = asyncio.create_task(listen_to(socket, heard))
            await say(socket, sent[:20])
            while not heard.messages:
                await asyncio.sleep(0.01)
            shutil.rmtree(tmp_path / "journal")
            await say(socket, sent[20:])
            await listening
            assert await metric(server, "diarize_journal_failures_total") == 2  # at the checkpoint and at the end
            assert await metric(server, 'diarize_warnings_total{code="not_resumable"}') == 1
            return heard

    heard = run(vanishing())
    assert rttm(heard) == rttm(expected)
    assert [one["code"] for one in heard.messages if one["type"] == "warning"] == ["not_resumable"]
    assert "journal cannot be written" in caplog.text


def test_a_journal_that_is_full_from_the_beginning(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    async def talking() -> Heard:
        async with serving(pipeline, journal=tmp_path / "journal") as server:
            (tmp_path / "journal").rmdir()
            (tmp_path / "journal").touch()
            return await talk(server, conversation())

    heard = run(talking())
    assert heard.kinds[:2] == ["ready", "warning"]
    assert not heard.messages[0]["resumable"]
    assert rttm(heard)


def test_what_is_kept_expires(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    heard = alone(pipeline, conversation(), journal=tmp_path, keep=2)
    folder = tmp_path / heard.session
    for path in (*folder.iterdir(), folder):
        os.utime(path, (path.stat().st_mtime - 3 * 3600,) * 2)

    async def starting() -> None:
        async with serving(pipeline, journal=tmp_path, keep=4):
            pass
        assert folder.exists()
        async with serving(pipeline, journal=tmp_path, keep=2):
            while folder.exists():
                await asyncio.sleep(0.01)

    run(starting())


@pytest.mark.parametrize(
    ("again", "error", "code"),
    [
        ({"session": "nobody"}, "unknown_session", 1008),
        ({"session": "../start"}, "bad_message", 1003),
        ({"uri": "another", "position": 0}, "bad_state", 1003),
        ({"sample_rate": 8000}, "bad_state", 1003),
        ({"position": RATE * 100}, "bad_state", 1003),
    ],
)
def test_who_cannot_go_on_is_told_why(
    pipeline: SpeakerDiarization, tmp_path: Path, again: Message, error: str, code: int
) -> None:
    async def coming_back() -> tuple[Heard, Heard]:
        async with serving(pipeline, journal=tmp_path) as server:
            broken = await broken_off(server, 1, 0)
            await until(server, "diarize_sessions", 0)
            refused = await talk(server, [start(**{"session": broken.session, **again})])
            return refused, await resumed(server, broken)

    refused, heard = run(coming_back())
    assert refused.errors == [(error, True)]
    assert refused.code == code
    assert rttm(heard)  # the session took no harm


def test_a_damaged_session_is_refused(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    heard = alone(pipeline, [start(), *pieces(speech(1)), b"\0"], journal=tmp_path)
    (tmp_path / heard.session / "state").write_bytes(b"garbage")
    again = alone(pipeline, rest(heard), journal=tmp_path)
    assert (again.errors, again.code) == ([("unknown_session", True)], 1008)
    assert str(tmp_path) not in again.messages[-1]["message"]


SERVE = """
import sys
from pathlib import Path
from diarize.pipeline import SpeakerDiarization
from diarize.server.server import ServerConfig, serve
config = ServerConfig(port=0, journal=Path(sys.argv[1]))
serve(config, SpeakerDiarization(), lambda url: print(url, flush=True))
print("ended", flush=True)
"""


@contextmanager
def process(journal: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and where its streams are."""
    command = [sys.executable, "-c", SERVE, str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, server.stdout.readline().strip().replace("http", "ws", 1) + "stream"
        finally:
            server.kill()


def test_a_signal_ends_the_server_in_peace(tmp_path: Path) -> None:
    with process(tmp_path) as (server, url):
        with connect_in_turn(url, proxy=None) as socket:
            socket.send(json.dumps(start()))
            session = json.loads(socket.recv(timeout=30))["session"]
            socket.send(speech(3))
            assert json.loads(socket.recv(timeout=30))["type"] == "speaker"
            server.send_signal(signal.SIGTERM)
            for _ in socket:
                pass
            assert socket.close_code == 1001
        output, _ = server.communicate(timeout=30)
        assert (output, server.returncode) == ("ended\n", 0)
    assert (tmp_path / session / "state").stat().st_size > 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with process(tmp_path) as (server, url), raw(url) as socket:
        server.send_signal(signal.SIGINT)
        assert socket.recv(2) == b"\x88\x02"  # a close, which this client does not answer
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == -signal.SIGINT


def test_a_name_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with process(tmp_path) as (server, url), connect_in_turn(url, proxy=None) as socket:
        socket.send(json.dumps(start()))
        session = json.loads(socket.recv(timeout=30))["session"]
        socket.send(speech(3))
        assert json.loads(socket.recv(timeout=30))["type"] == "speaker"
        socket.send(json.dumps({"type": "rename", "speaker": "SPEAKER_00", "name": "Ana"}))
        while json.loads(socket.recv(timeout=30)).get("event") != "renamed":
            pass
        server.kill()
    with process(tmp_path) as (_, url), connect_in_turn(url, proxy=None) as socket:
        socket.send(json.dumps(start() | {"session": session, "position": 0}))
        assert json.loads(socket.recv(timeout=30))["resumed"]
        assert json.loads(socket.recv(timeout=30))["name"] == "Ana"
