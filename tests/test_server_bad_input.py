"""What clients do wrong, each beside a conversation that must not notice."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import InvalidHandshake, InvalidStatus

from diarize.pipeline import SpeakerDiarization
from diarize.server.messages import KeepAlive, Message
from diarize.server.server import Server, ServerConfig, listen
from diarize.server.session import Session
from tests.sessions import RATE, remembering, speech
from tests.streams import (
    END,
    Heard,
    Sent,
    ask,
    beside,
    conversation,
    listen_to,
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

AUDIO = pieces(speech(1))
DIED = (ConnectionResetError, BrokenPipeError)


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    return remembering()


@pytest.fixture(scope="module")
def expected(pipeline: SpeakerDiarization, tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    """What a client is told that sends the conversation and is alone."""

    async def talking() -> Heard:
        async with serving(pipeline, journal=tmp_path_factory.mktemp("journal")) as server:
            return await talk(server, conversation())

    return told(run(talking()).messages)


def in_company(
    pipeline: SpeakerDiarization, expected: list[Message], journal: Path, *clients: list[Sent], **config: Any
) -> list[Heard]:
    """What clients are told that come all at once, while another's conversation goes on undisturbed."""

    async def talking() -> list[Heard]:
        async with serving(pipeline, journal=journal, **config) as server, beside(server, expected):
            return await asyncio.gather(*(talk(server, sent) for sent in clients))

    return run(talking())


def test_text_that_is_wrong_is_pardoned(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    wrong: list[tuple[Sent, str]] = [
        ("hello", "bad_message"),
        ("", "bad_message"),
        ("\0\x7f" * 100, "bad_message"),
        ("[" * 10_000, "bad_message"),
        ({"type": "unknown"}, "unknown_type"),
        ({"type": "rename", "speaker": "SPEAKER_99", "name": "Ana"}, "bad_message"),
        ({"type": "end", "erase": "yes"}, "bad_message"),
        ({"type": "start"}, "bad_state"),
    ]
    sent: list[Sent] = [start(), *AUDIO, *(text for text, _ in wrong), *AUDIO, END]
    (heard,) = in_company(pipeline, expected, tmp_path, sent)
    assert heard.errors == [(code, False) for _, code in wrong]
    assert heard.messages[-1]["audio_s"] == 2
    assert heard.code == 1000


def test_what_cannot_be_ends_the_session(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    wrong: dict[str, tuple[list[Sent], str, int]] = {
        "part of a sample": ([start(), *AUDIO, bytes(3)], "bad_audio", 1003),
        "parts that add up": ([start(), bytes(3), bytes(3), END], "bad_audio", 1003),
        "part of a float": ([start(encoding="f32le"), bytes(6)], "bad_audio", 1003),
        "half of a frame": ([start(channels=2), bytes(2)], "bad_audio", 1003),
        "much after it": ([start(), b"\0", *[bytes(2**20)] * 20], "bad_audio", 1003),
        "no start": ([{"type": "keepalive"}], "bad_state", 1003),
        "an end": ([b""], "bad_state", 1003),
        "no rate": ([start(sample_rate=1)], "bad_message", 1003),
        "no encoding": ([start(encoding="opus")], "bad_message", 1003),
        "no speakers": ([start(options={"num_speakers": 0}), *AUDIO], "bad_message", 1003),
        "long text": ([start(), "x" * 20_000], "too_big", 1009),
    }
    heard = in_company(pipeline, expected, tmp_path, *(sent for sent, _, _ in wrong.values()))
    found = {name: (one.errors, one.code) for name, one in zip(wrong, heard, strict=True)}
    assert found == {name: ([(code, True)], close) for name, (_, code, close) in wrong.items()}


def test_an_address_that_asks_for_what_cannot_be(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path
) -> None:
    async def asking() -> list[Heard]:
        queries = ["?sample_rate=high", "?Latency=1", "?latency=99", "?encoding"]
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected):
            return [await talk(server, [], query) for query in queries]

    assert [(one.errors, one.code) for one in run(asking())] == [([("bad_message", True)], 1003)] * 4


def test_numbers_that_are_none_are_silence(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path
) -> None:
    floats = np.zeros(RATE, "<f4")
    floats[::3], floats[1::3] = np.nan, -np.inf
    huge = np.full(RATE, 3e38, "<f4")
    sent: list[Sent] = [start(encoding="f32le"), *pieces(floats.tobytes()), *pieces(huge.tobytes()), END]
    (heard,) = in_company(pipeline, expected, tmp_path, sent)
    codes = [one["code"] for one in heard.messages if one["type"] == "warning"]
    assert codes.count("not_finite") == 1
    assert heard.kinds[-1] == "done"
    assert heard.messages[-1]["audio_s"] == 2


def test_a_message_of_100_mb(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    audio: list[Sent] = [start(), bytes(100_000_000)]
    text: list[Sent] = [start(), "x" * 100_000_000]
    *cut_off, fits = in_company(pipeline, expected, tmp_path, audio, text, [start(), bytes(2**20), END])
    assert [heard.code for heard in cut_off] == [1009, 1009]
    assert (fits.kinds[-1], fits.code) == ("done", 1000)


MASK = b"\0\0\0\0"


FRAGMENT = b"\xfe\xff\xff" + MASK + bytes(0xFFFF)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x82\x05hello", 1002),
        (b"\x83\x80" + MASK, 1002),
        (b"\x80\x80" + MASK, 1002),
        (b"\x81\x82" + MASK + b"\xff\xfe", 1007),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + MASK, 1009),
        (b"\x02" + FRAGMENT + 20 * (b"\0" + FRAGMENT), 1009),
    ],
    ids=["no mask", "no such opcode", "the end of nothing", "no UTF-8", "eight exabytes", "too many fragments"],
)
def test_frames_that_cannot_be(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path, sent: bytes, code: int
) -> None:
    def send(url: str) -> bytes:
        received = b""
        with raw(url) as connection, suppress(*DIED):
            connection.sendall(sent)
            while piece := connection.recv(1000):
                received += piece
        return received

    async def sending() -> bytes:
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected):
            return await asyncio.to_thread(send, server.url + "stream")

    received = run(sending())
    assert (received[0], int.from_bytes(received[2:4], "big")) == (0x88, code)


def test_what_is_no_http(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    def send(url: str, sent: bytes) -> bytes:
        where = urlsplit(url)
        with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
            connection.sendall(sent)
            try:
                return connection.recv(1000)
            except DIED:
                return b""

    async def sending() -> None:
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected):
            silent = socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port))
            for sent in (np.random.default_rng(0).bytes(5000), b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
                assert await asyncio.to_thread(send, server.url, sent + b"\r\n\r\n") == b""
            too_long = await asyncio.to_thread(send, server.url, b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n")
            assert too_long.startswith(b"HTTP/1.1 414 ")
            silent.close()

    run(sending())


def test_a_client_that_does_not_read(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    # each of these is answered by an error, until no more answers can be sent
    frames = (b"\x81\x90" + MASK + b'{"type":"start"}') * 1000

    def pour(url: str) -> None:
        with raw(url, buffer=4096) as connection, suppress(*DIED):
            while True:
                connection.sendall(frames)  # raises TimeoutError where it is not cut off

    # who pours is cut off after that long, and who is beside must not be where other tests keep the machine busy
    ready = {**expected[0], "limits": {**expected[0]["limits"], "idle_s": 5}}

    async def pouring() -> None:
        async with serving(pipeline, journal=tmp_path, idle=5) as server, beside(server, [ready, *expected[1:]]):
            await asyncio.to_thread(pour, server.url + "stream")
            await until(server, "diarize_sessions", 1)

    run(pouring())


def test_a_client_that_hangs_up_in_the_middle_of_an_answer(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hang_up(url: str, session: str) -> None:
        text = json.dumps(start(session=session)).encode()
        with raw(url, buffer=4096) as connection, suppress(*DIED):
            connection.sendall(b"\x81" + bytes([0x80 | len(text)]) + MASK + text)
            connection.recv(100)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(10**6):
                pass

    async def hanging_up() -> Heard:
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected):
            heard = await talk(server, [start(), *AUDIO, END])
            result = tmp_path / heard.session / "result.json"
            kept = result.read_text()
            values = json.loads(kept)
            padded = [
                {**message, "padding": " " * 10**6} for message in values["messages"] * 10
            ]  # as after days of talk
            result.write_text(json.dumps({**values, "messages": padded}))
            await asyncio.to_thread(hang_up, server.url + "stream", heard.session)
            result.write_text(kept)
            await until(server, "diarize_sessions", 1)
            return await talk(server, [start(session=heard.session)])

    assert run(hanging_up()).code == 1000
    assert not caplog.records


def test_clients_that_vanish(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    async def vanish(server: Server, after: int) -> None:
        async with opened(server) as connection:
            await say(connection, conversation()[:after])
            connection.transport.abort()

    async def vanishing() -> None:
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected):
            await asyncio.gather(*(vanish(server, after) for after in (0, 1, 2, 30, 70, 72)))
            await until(server, "diarize_sessions", 1)

    run(vanishing())


def test_silence_ends_a_connection_and_keepalive_does_not(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    async def silent() -> None:
        async with serving(pipeline, journal=tmp_path, idle=0.5) as server:
            kept, lost, mute = Heard(), Heard(), Heard()
            async with opened(server) as a, opened(server) as b, opened(server) as c:
                listening = [asyncio.create_task(listen_to(*pair)) for pair in ((a, kept), (b, lost), (c, mute))]
                await say(a, [start()])
                await say(b, [start(), *AUDIO])
                keeping = asyncio.create_task(asyncio.sleep(0))
                while lost.code is None or mute.code is None:
                    await say(a, [{"type": "keepalive"}])
                    await asyncio.sleep(0.05)
                await keeping
                assert kept.kinds == ["ready"]
                await say(a, [END])
                await asyncio.gather(*listening)
            assert (lost.errors, lost.code) == ([("idle", True)], 1008)
            assert (mute.errors, mute.code) == ([("idle", True)], 1008)
            assert kept.code == 1000
            again = await talk(server, [start(session=lost.session), *AUDIO, END])
            assert again.messages[0]["resumed"]

    run(silent())


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the connections of both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 5000) if hard > 0 else 5000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_1000_connections_at_once(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    inside = asyncio.Event()

    async def come(server: Server) -> object:
        try:
            async with opened(server, open_timeout=50) as connection:
                heard = Heard()
                listening = asyncio.create_task(listen_to(connection, heard))
                await say(connection, [start()])
                while not heard.messages:
                    await asyncio.sleep(0.01)
                if heard.kinds == ["ready"]:
                    await inside.wait()
                    await say(connection, [END])
                await listening
                return (*heard.kinds, *heard.errors, heard.code)
        except (OSError, TimeoutError, InvalidHandshake):
            return "refused"

    async def coming() -> None:
        async with serving(pipeline, journal=tmp_path, max_sessions=5) as server, beside(server, expected):
            clients = [asyncio.create_task(come(server)) for _ in range(1000)]
            pending = set(clients)
            while len(pending) > 4:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            assert b'"sessions": 5, "capacity": 5' in (await ask(server, "/healthz")).body
            inside.set()
            outcomes = await asyncio.gather(*clients)
            assert set(outcomes) - {"refused"} == {("ready", "done", 1000), ("error", ("full", True), 1013)}
            assert outcomes.count(("ready", "done", 1000)) == 4

    run(coming())


def test_two_clients_of_one_session(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    async def both() -> Heard:
        async with serving(pipeline, journal=tmp_path) as server, beside(server, expected) as heard:
            while not heard.messages:
                await asyncio.sleep(0.01)
            return await talk(server, [start(session=heard.session), *AUDIO, END])

    heard = run(both())
    assert (heard.errors, heard.code) == ([("busy_session", True)], 1013)


TOKEN = "open, Sesame: é/+%"  # noqa: S105 - a test's own


def test_a_token_is_asked_for_and_told_nobody(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    right = "?token=open%2C+Sesame%3A+%C3%A9%2F%2B%25"
    bearer = {"Authorization": f"Bearer {TOKEN.encode().decode('latin-1')}"}
    wrong: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("?token=", {}),
        ("?token=sesame", {}),
        ("", {"Authorization": "Bearer Sesame"}),
        ("", {"Authorization": f"Basic {TOKEN.encode().decode('latin-1')}"}),
        ("?token=%FF%00", {"Authorization": "Bearer"}),
    ]

    async def asking() -> None:
        async with (
            serving(pipeline, journal=tmp_path, token=TOKEN, max_sessions=2) as server,
            beside(server, expected, right),
        ):
            for query, headers in wrong:
                heard = await talk(server, [start()], query, additional_headers=headers)
                assert (heard.errors, heard.code) == ([("unauthorized", True)], 1008)
            heard = await talk(server, [start(), END], additional_headers=bearer)
            assert heard.kinds == ["ready", "done"]
            assert (await ask(server, "/metrics")).status == 401
            assert (await ask(server, "/metrics", **bearer)).status == 200
            assert (await ask(server, "/metrics" + right)).status == 200
            assert (await ask(server, "/healthz")).status == 200
            assert TOKEN not in repr(server)

    run(asking())
    assert TOKEN not in repr(ServerConfig(token=TOKEN))
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
    assert not [line for line in logged if "esame" in line]


def test_pages_from_elsewhere_are_kept_out(
    pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path
) -> None:
    async def asking() -> None:
        listed = frozenset({"https://Example.org"})
        async with serving(pipeline, journal=tmp_path, origins=listed) as server, beside(server, expected):
            for origin in (
                "https://evil.example",
                "null",
                "http://[",
                "https://example.org.evil.example",
                "http://example.org",
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await talk(server, [start()], origin=origin)
                assert refused.value.response.status_code == 403
            for origin in (server.url.rstrip("/"), "https://example.org"):
                heard = await talk(server, [start(), END], origin=origin)
                assert heard.kinds == ["ready", "done"]

    run(asking())


def test_a_fault_of_ours_costs_one_session(
    pipeline: SpeakerDiarization,
    expected: list[Message],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = Session.command

    def fail(session: Session, message: Any) -> list[Message]:
        if not isinstance(message, KeepAlive):
            raise ZeroDivisionError
        return command(session, message)

    monkeypatch.setattr(Session, "command", fail)
    rename = {"type": "rename", "speaker": "SPEAKER_00", "name": "Ana"}
    (heard,) = in_company(pipeline, expected, tmp_path, [start(), *AUDIO, rename, *AUDIO, END])
    assert (heard.errors, heard.code) == ([("internal", True)], 1011)
    assert "ZeroDivisionError" in caplog.text
    assert "Ana" not in caplog.text


def test_tls(pipeline: SpeakerDiarization, expected: list[Message], tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=diarize"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)

    async def talking() -> Heard:
        async with serving(pipeline, journal=tmp_path / "journal", tls_cert=cert, tls_key=key) as server:
            assert server.url.startswith("https://127.0.0.1:")
            with pytest.raises((OSError, InvalidHandshake)):
                async with opened(server, ssl=ssl.create_default_context()):
                    pass  # nobody has signed it
            return await talk(server, conversation(), ssl=ssl.create_default_context(cafile=cert))

    assert told(run(talking()).messages) == expected
    key.write_text("no key")
    with pytest.raises(ValueError, match=r"cert\.pem"):
        run(serving(pipeline, tls_cert=cert, tls_key=key).__aenter__())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"token": " "}, "token is empty"),
        ({"tls_cert": Path("cert.pem")}, "both, or neither"),
        ({"max_sessions": 0}, "max_sessions is 0"),
        ({"message_bytes": 10}, "message_bytes is 10"),
        ({"idle": 0}, "idle is 0"),
        ({"keep": float("nan")}, "keep is nan"),
    ],
)
def test_a_configuration_that_cannot_be(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerConfig(**config)


def test_an_address_that_is_taken(pipeline: SpeakerDiarization) -> None:
    async def twice() -> None:
        async with serving(pipeline) as server:
            again = listen(ServerConfig(port=urlsplit(server.url).port or 0), pipeline)
            with pytest.raises(OSError, match="already in use"):
                await again.__aenter__()

    run(twice())
