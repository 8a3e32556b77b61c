"""The client, against a peer that cuts it off, crashes, refuses and stalls as it is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from diarize.client import Client, ServerError, connect, link
from diarize.rttm import Turn
from tests.scripted import EVERY, HELD, TURN, Message, Peer, State, running

LIMIT = 60
"""Seconds, so that a test that would hang fails."""


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """No test waits for the sake of a server; one that would wait for a close fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "FIRST_DELAY", 0.01)
        patch.setattr(link, "CLOSE", 10 * LIMIT)
        yield


def run(talk: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await talk

    asyncio.run(limited())


def noise(frames: int, seed: int = 0) -> bytes:
    """Bytes that are equal nowhere."""
    return np.random.default_rng(seed).bytes(2 * frames)


# Nothing is lost.

names = st.sampled_from(["Ann", "Bo", "Ann María", ""])
speakers = st.integers(0, 3)
actions = st.lists(
    st.tuples(st.just("send"), st.integers(1, 6_000))
    | st.tuples(st.just("rename"), speakers, names)
    | st.tuples(st.just("merge"), speakers, speakers)
    | st.tuples(st.just("finalize")),
    min_size=2,
    max_size=12,
)
cuts = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=5)


async def follow(client: Client, script: list[tuple[Any, ...]]) -> list[str]:
    """Do what the script says, as a user who sees who is there; what the server refused."""
    pcm, refused = noise(100_000), []
    for verb, *args in script:
        try:
            if verb == "send":
                at = 2 * client.position
                await client.send(pcm[at : at + 2 * args[0]])
            elif verb == "finalize":
                await client.finalize()
            else:
                await client.finalize()  # all that is sent is shown
                first, second = f"SPEAKER_{args[0]:02d}", args[1]
                await getattr(client, verb)(first, second if verb == "rename" else f"SPEAKER_{second:02d}")
        except ValueError as error:
            refused.append(str(error))
    return refused


@given(actions, cuts)
@settings(deadline=None, max_examples=40)
def test_what_cuts_and_crashes_leave_is_what_an_uninterrupted_session_leaves(
    script: list[tuple[Any, ...]], cuts: list[tuple[int, bool]]
) -> None:
    async def outcome(cuts: list[tuple[int, bool]]) -> tuple[State, Any, list[str]]:
        async with running(peer := Peer(cuts)), connect(peer.url) as client:
            refused = await follow(client, script)
            result = await client.end()
            assert client.turns == result.turns
            assert not peer.faults
            return peer.now[client.session], result, refused

    async def both() -> None:
        calm, calm_result, calm_refused = await outcome([])
        state, result, refused = await outcome(cuts)
        assert state.pcm == calm.pcm
        assert (state.names, state.merged) == (calm.names, calm.merged)
        assert result == calm_result
        assert refused == calm_refused
        assert [turn.speaker for turn in result.turns] == [
            calm.names.get(calm.label(number), calm.label(number)) for number in range(len(calm.labels))
        ]

    run(both())


def test_an_answer_that_was_lost_on_its_way_is_fetched() -> None:
    async def talk() -> None:
        async with running(peer := Peer([(2, False)])), connect(peer.url) as client:
            await client.send(noise(5_000))
            result = await client.end()  # the second message, after which the connection is cut
            assert len(peer.starts) == 2
            assert result.rttm == peer.now[client.session].rttm != ""
            assert await client.end() is result

    run(talk())


def test_a_name_given_while_audio_is_sent_again_waits_for_the_speaker() -> None:
    async def talk() -> None:
        async with running(peer := Peer([(8, True)], acks=False)), connect(peer.url) as client:
            events = aiter(client)
            await client.send(noise(EVERY * 60))
            while (message := await anext(events))["type"] != "ready":
                pass
            await client.rename("SPEAKER_59", "Ann")  # the peer does not know her yet
            await client.end()
            assert message["position"] == 0
            assert peer.now["s0"].names == {"SPEAKER_59": "Ann"}

    run(talk())


def test_what_is_shown_is_forgotten_when_the_connection_is_made_again() -> None:
    async def first(socket: ServerConnection, start: Message) -> None:
        limits = {"message_bytes": 2**20, "idle_s": 60}
        ready = {"type": "ready", "session": start["session"], "position": 0, "resumable": True, "limits": limits}
        await socket.send(json.dumps(ready))
        await socket.wait_closed()

    async def talk() -> None:
        async with running(peer := Peer()), connect(peer.url) as client:
            events = aiter(client)
            await client.send(noise(EVERY))
            await client.finalize()
            await client.rename("SPEAKER_00", "Ann")
            assert client.turns == [Turn(0, EVERY, "Ann")]
            (socket,) = peer.sockets
            peer.first = first
            socket.transport.abort()
            while (await anext(events))["type"] != "ready":
                pass
            assert (client.turns, client.names, client.segments) == ([], {}, {})

    run(talk())


def test_a_start_is_sent_again_as_it_was() -> None:
    async def talk() -> None:
        peer = Peer([(4, True), (2, False)])
        options = {"latency": 2.0, "max_speakers": 3}
        async with running(peer), connect(peer.url, sample_rate=8_000, uri="x", options=options) as client:
            for _ in range(8):
                await client.send(noise(1_000))
                await client.finalize()
            await client.end()
        first, *others = peer.starts
        audio = {"encoding": "s16le", "sample_rate": 8_000, "channels": 1}
        assert first == {"type": "start", "version": 1, **audio, "uri": "x", "options": options}
        assert [{**first, "session": client.session, "position": at["position"]} for at in others] == others
        assert [at["position"] for at in others] == [0, TURN - HELD]

    run(talk())


def test_another_process_goes_on_where_the_first_was() -> None:
    pcm = noise(20_000)

    async def talk() -> None:
        async with running(peer := Peer()):
            async with connect(peer.url) as client:
                await client.send(pcm[:20_000])
                await client.finalize()
            async with connect(peer.url, session=client.session) as other:
                assert other.session == client.session
                assert other.position == 10_000 - HELD
                await other.finalize()
                assert other.turns == client.turns != []
                await other.send(pcm[2 * other.position :])
                await other.end()
            assert peer.now[client.session].pcm == pcm
            assert not peer.faults

    run(talk())


# What is shown.


def test_the_messages_come_as_they_are_and_the_turns_are_theirs() -> None:
    async def talk() -> None:
        async with running(peer := Peer([(5, True)])), connect(peer.url) as client:
            heard: list[Message] = []

            async def listen() -> None:
                async for message in client:
                    heard.append(message)
                    assert set(client.segments) >= {message["id"]} if message["type"] == "segment" else True

            listening = asyncio.create_task(listen())
            for _ in range(3):
                await client.send(noise(EVERY))
                await client.finalize()
            await client.merge("SPEAKER_02", "SPEAKER_00")
            await client.rename("SPEAKER_00", "Ann")
            assert client.segments[2].keys() == client.segments[1].keys() - {"seq"}
            (socket,) = peer.sockets
            socket.transport.abort()
            await client.finalize()
            assert client.names == {"SPEAKER_00": "Ann"}
            assert [turn.speaker for turn in client.turns] == ["Ann", "SPEAKER_01", "Ann"]
            assert client.segments[2]["speaker"] == "SPEAKER_00"
            await client.rename("SPEAKER_00", "")
            assert [turn.speaker for turn in client.turns] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
            with pytest.raises(ValueError, match="no SPEAKER_02"):
                await client.rename("SPEAKER_02", "Bo")
            await client.end()
            await listening
            kinds = [message["type"] for message in heard]
            assert (kinds.count("ready"), kinds.count("done"), kinds[-1]) == (2, 1, "done")
            assert kinds.count("error") == 1, "what is sent again and was done is not told as an error"

    run(talk())


def test_a_segment_that_is_withdrawn_is_gone_and_what_is_unknown_is_passed_over() -> None:
    turn = {"id": 7, "start": 0.5, "end": 1.5, "name": None, "confidence": 0.5, "state": "provisional"}
    change = {**turn, "from": "SPEAKER_00", "to": None, "reason": "reclustered"}
    limits = {"message_bytes": 2**20, "idle_s": 60}
    session = {"session": "s", "position": 0, "resumable": True, "limits": limits}

    async def first(socket: ServerConnection, _: Message) -> None:
        for said in (
            [{"type": "ready", **session}, {"type": "later", "what": "a message of another version"}],
            [{"type": "segment", **turn, "speaker": "SPEAKER_00", "later": "a field"}, {"type": "finalized"}],
            [{"type": "revision", "changes": [change, {**change, "id": 9}]}, {"type": "finalized"}],
        ):
            for message in said:
                await socket.send(json.dumps(message))
            await socket.recv()

    async def talk() -> None:
        async with running(peer := Peer(first=first)), connect(peer.url) as client:
            await client.finalize()
            assert [(turn.start, turn.end, turn.speaker) for turn in client.turns] == [(8_000, 24_000, "SPEAKER_00")]
            await client.finalize()
            assert client.turns == []

    run(talk())


# What is kept, and what waits.


def test_send_waits_where_the_buffer_is_full_and_nothing_is_dropped() -> None:
    bound = 30 * 4_000
    pcm = noise(3 * bound)

    async def talk() -> None:
        def state() -> State:
            return peer.now["s0"]

        peer = Peer(acks=False)
        async with running(peer), connect(peer.url, sample_rate=4_000, buffer=30) as client:
            sending = asyncio.create_task(client.send(pcm))
            await peer.until(lambda: state().frames == bound)  # all that there is room for
            assert client.position == bound
            assert not sending.done()
            peer.acks = True
            (socket,) = peer.sockets
            await socket.send(json.dumps({"type": "ack", "position": TURN}))
            await peer.until(lambda: state().frames > bound)
            await sending
            await client.end()
            assert state().pcm == pcm

    run(talk())


@pytest.mark.parametrize("warned", [False, True])
def test_what_cannot_be_resumed_is_not_kept(warned: bool) -> None:
    bound = 30 * 4_000
    pcm = noise(2 * bound)

    async def talk() -> None:
        peer = Peer(acks=False, resumable=warned)
        async with running(peer) as server, connect(peer.url, sample_rate=4_000, buffer=30) as client:
            if warned:
                (socket,) = peer.sockets
                warning = {"type": "warning", "code": "not_resumable", "message": "the disk is full"}
                await socket.send(json.dumps(warning))
            await client.send(pcm)
            await client.finalize()
            assert peer.now["s0"].pcm == pcm
            server.close()
            with pytest.raises(ConnectionError, match="session s0 is lost with it"):
                await client.finalize()

    run(talk())


def test_a_cancelled_send_tells_how_much_it_took() -> None:
    async def talk() -> None:
        peer = Peer(acks=False)
        async with running(peer), connect(peer.url, sample_rate=4_000, buffer=30) as client:
            sending = asyncio.create_task(client.send(noise(200_000)))
            await peer.until(lambda: peer.now["s0"].frames == 120_000)
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
            assert client.position == 120_000

    run(talk())


def test_a_client_with_nothing_to_say_says_that_it_is_there() -> None:
    async def talk() -> None:
        async with running(peer := Peer(idle=0.05)), connect(peer.url):
            await peer.until(lambda: [told["type"] for told in peer.texts][:3] == ["keepalive"] * 3)

    run(talk())


# How it ends.


async def refuse(socket: ServerConnection, code: str, close: int) -> None:
    await socket.send(json.dumps({"type": "error", "code": code, "message": "that is why", "fatal": True}))
    await socket.close(close)


@pytest.mark.parametrize(
    ("code", "close"),
    [
        ("unauthorized", 1008),
        ("unknown_session", 1008),
        ("bad_state", 1003),
        ("bad_message", 1003),
        ("something_new", 1008),
        ("full", 1013),
        ("internal", 1011),
    ],
)
def test_a_refused_start_is_told_at_once(code: str, close: int) -> None:
    async def talk() -> None:
        async with running(peer := Peer(first=lambda socket, _: refuse(socket, code, close))):
            with pytest.raises(ServerError, match="that is why") as caught:
                async with connect(peer.url):
                    pass
            assert caught.value.code == code
            assert len(peer.starts) == 1

    run(talk())


@pytest.mark.parametrize(
    ("code", "close"), [("full", 1013), ("busy_session", 1013), ("internal", 1011), ("idle", 1008)]
)
def test_what_passes_is_waited_for(code: str, close: int) -> None:
    async def talk() -> None:
        async with running(peer := Peer()):
            async with connect(peer.url) as client:
                await client.send(pcm)
                await client.finalize()
                (socket,) = peer.sockets
                peer.first = lambda socket, _: refuse(socket, code, close)
                await refuse(socket, code, close)
                await peer.until(lambda: len(peer.starts) == 4)
                peer.first = None
                result = await client.end()
            assert peer.now["s0"].pcm == pcm
            assert result.rttm == peer.now["s0"].rttm

    pcm = noise(5_000)
    run(talk())


@pytest.mark.parametrize(("code", "close"), [("unknown_session", 1008), ("bad_audio", 1003), ("too_big", 1009)])
def test_what_does_not_pass_ends_the_session(code: str, close: int) -> None:
    async def talk() -> None:
        async with running(peer := Peer()), connect(peer.url) as client:
            (socket,) = peer.sockets
            ending = asyncio.create_task(client.finalize())
            await refuse(socket, code, close)
            with pytest.raises(ServerError, match="that is why"):
                await ending
            with pytest.raises(ServerError, match="that is why"):
                await client.send(noise(10))
            with pytest.raises(ServerError, match="that is why"):
                [_ async for _ in client]
            assert len(peer.starts) == 1

    run(talk())


@pytest.mark.parametrize("close", [1003, 1008, 1009])
def test_a_close_that_no_error_explains_can_end_it_too(close: int) -> None:
    async def talk() -> None:
        async with running(peer := Peer()), connect(peer.url) as client:
            (socket,) = peer.sockets
            await socket.close(close, "no")
            with pytest.raises(ConnectionError, match=f"{close}"):
                await client.end()
            assert len(peer.starts) == 1

    run(talk())


def test_a_server_that_stays_away_is_given_up_and_the_session_named() -> None:
    async def talk() -> None:
        peer = Peer()
        async with running(peer) as server, connect(peer.url + "?token=secret", patience=0.1) as client:
            await client.send(noise(5_000))
            await client.finalize()
            server.close()
            with pytest.raises(ConnectionError, match=r"resume session s0, or .* diarize recover s0") as caught:
                await client.end()
            assert "secret" not in str(caught.value)

    run(talk())


def test_a_server_that_comes_to_grief_over_the_audio_each_time_is_given_up() -> None:
    async def talk() -> None:
        peer = Peer([(1, True)] * 1_000, acks=False)
        async with running(peer), connect(peer.url, patience=0.3) as client:
            await client.send(noise(1_000))
            with pytest.raises(ConnectionError, match="diarize recover s0"):
                await client.end()
            assert len(peer.starts) > 2

    run(talk())


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("ws://127.0.0.1:1/stream", ConnectionError, "ws://127.0.0.1:1/stream: .*Connect call failed"),
        ("http://127.0.0.1:1/", ValueError, "give one like ws://127.0.0.1:8787/stream"),
        ("127.0.0.1:1", ValueError, "give one like ws://127.0.0.1:8787/stream"),
    ],
)
def test_an_address_that_cannot_be_is_told_at_once(url: str, error: type[Exception], message: str) -> None:
    async def talk() -> None:
        async with connect(url):
            pass

    with pytest.raises(error, match=message):
        run(talk())


@pytest.mark.parametrize("said", ["hello", '"ready"', '{"type": "welcome"}', "[]"])
def test_another_kind_of_server_is_told(said: str) -> None:
    async def first(socket: ServerConnection, start: Message) -> None:
        await socket.send(said)

    async def talk() -> None:
        async with running(peer := Peer(first=first)), connect(peer.url):
            pass

    with pytest.raises(ConnectionError, match="does not speak this protocol"):
        run(talk())


def test_a_cancelled_task_leaves_nothing_behind() -> None:
    async def talk() -> None:
        async with running(peer := Peer()):
            before = asyncio.all_tasks()

            async def stream() -> None:
                async with connect(peer.url) as client:
                    await client.send(noise(5_000))
                    async for _ in client:
                        pass

            streaming = asyncio.create_task(stream())
            await peer.until(lambda: any(state.frames for state in peer.now.values()))
            (socket,) = peer.sockets
            streaming.cancel()
            await asyncio.wait([streaming])
            assert streaming.cancelled()
            await socket.wait_closed()
            await peer.until(lambda: not peer.sockets)
            assert asyncio.all_tasks() - before <= {asyncio.current_task()}

    run(talk())


def test_after_the_end_no_audio_is_taken_and_the_answer_stays() -> None:
    async def talk() -> None:
        async with running(peer := Peer()), connect(peer.url) as client:
            one, other = await asyncio.gather(client.end(), client.end())
            assert one is other is await client.end()
            with pytest.raises(RuntimeError, match="open another session"):
                await client.send(noise(1))

    run(talk())


# What is sent.


@asynccontextmanager
async def connected(**audio: Any) -> AsyncIterator[tuple[Client, Peer]]:
    async with running(peer := Peer()), connect(peer.url, **audio) as client:
        yield client, peer


@pytest.mark.parametrize(
    ("audio", "samples", "sent"),
    [
        ({}, np.array([0.5, -1.0, 1.0, 3.0, np.nan, np.inf], np.float32), [16384, -32768, 32767, 32767, 0, 0]),
        ({}, np.array([-32768, -1, 0, 7, 32767], np.int16), [-32768, -1, 0, 7, 32767]),
        ({}, np.array([0.25, -0.25]), [8192, -8192]),
        ({}, np.array([[0.25], [-0.25]]), [8192, -8192]),
        ({"channels": 2}, np.array([[0.25, 0.5], [-0.25, 0]], np.float32), [8192, 16384, -8192, 0]),
    ],
)
def test_arrays_are_sent_as_samples(audio: Message, samples: Any, sent: list[int]) -> None:
    async def talk() -> None:
        async with connected(**audio) as (client, peer):
            await client.send(samples)
            await client.end()
            assert peer.now["s0"].pcm == np.array(sent, "<i2").tobytes()

    run(talk())


def test_floats_are_sent_as_they_are_where_the_encoding_holds_them() -> None:
    samples = np.array([0.1, np.nan, 2.0], np.float32)

    async def talk() -> None:
        async with connected(encoding="f32le") as (client, peer):
            await client.send(samples)
            assert client.position == 3
            await client.end()
            assert peer.now["s0"].pcm == samples.astype("<f4").tobytes()

    run(talk())


@pytest.mark.parametrize(
    ("audio", "samples", "message"),
    [
        ({}, b"123", "3 bytes are no whole number of s16le frames of 1 channels"),
        ({"channels": 2, "encoding": "f32le"}, bytes(12), "12 bytes are no whole number of f32le frames of 2 channels"),
        ({"channels": 2}, np.zeros(4, np.float32), r"shape \(4,\) is no audio of 2 channels"),
        ({}, np.zeros((4, 2), np.float32), r"shape \(4, 2\) is no audio of 1 channels"),
        ({}, np.zeros((4, 1, 1), np.float32), r"shape \(4, 1, 1\) is no audio of 1 channels"),
        ({"encoding": "mulaw"}, np.zeros(4, np.float32), "give bytes"),
        ({}, np.zeros(4, np.complex64), "complex64 are no audio"),
    ],
)
def test_what_is_no_audio_is_refused(audio: Message, samples: Any, message: str) -> None:
    async def talk() -> None:
        async with connected(**audio) as (client, _):
            with pytest.raises(ValueError, match=message):
                await client.send(samples)
            assert client.position == 0

    run(talk())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"buffer": 29.9}, "give 30 or more"),
        ({"buffer": float("nan")}, "give 30 or more"),
        ({"encoding": "mp3"}, "'mp3'"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: Message, message: str) -> None:
    async def talk() -> None:
        async with connect("ws://127.0.0.1:1/stream", **wrong):
            pass

    with pytest.raises(ValueError, match=message):
        run(talk())


def test_a_client_needs_neither_torch_nor_a_server() -> None:
    heavy = [
        "torch",
        "sklearn",
        "scipy",
        "av",
        "soundfile",
        "sounddevice",
        "typer",
        "diarize.server",
        "diarize.pipeline",
    ]
    program = f"import sys, diarize.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
