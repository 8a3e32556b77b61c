"""The client and the server together: what was cut, killed and resumed ends as what was not."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from diarize.client import Client, Result, ServerError, connect, link
from diarize.pipeline import SpeakerDiarization, load_config
from diarize.rttm import Turn, format_rttm, read_rttm, turns_from
from tests.command import DIARIZE, conversation, write_clip

SECONDS = 24.0
RECIPE = "file"
LIMIT = 120
"""Seconds, so that a test that would hang fails."""

TOKEN = "a-token-of-the-test"  # noqa: S105 - nobody else's
EXAMPLE = Path(__file__).parents[1] / "examples" / "websocket_client.py"

Given = TypeVar("Given")


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """No test waits longer than for a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "FIRST_DELAY", 0.05)
        patch.setattr(link, "LONGEST_DELAY", 0.2)
        yield


def run(talk: Coroutine[Any, Any, Given]) -> Given:
    async def limited() -> Given:
        async with asyncio.timeout(LIMIT):
            return await talk

    return asyncio.run(limited())


@dataclass
class Served:
    """A server in a process of its own, on the same port and journal each time that it is started."""

    journal: Path
    options: Sequence[str] = ()
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        address = ["--port", str(self.port), "--journal", str(self.journal)]
        command = [*DIARIZE, "serve", "--pipeline", RECIPE, *address, *self.options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.fullmatch(r"listening at http://127\.0\.0\.1:(\d+)/; Ctrl-C ends\n", line)
        assert found, line
        self.port = int(found[1])

    def kill(self) -> None:
        """As a machine that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@contextmanager
def serving(journal: Path, *options: str) -> Iterator[Served]:
    served = Served(journal, options)
    try:
        served.start()
        yield served
    finally:
        served.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that wants a token, and has two places."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    with serving(folder / "journal", "--token-file", str(folder / "token"), "--max-sessions", "2") as served:
        yield served


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    return conversation(SECONDS)


@pytest.fixture(scope="module")
def offline(samples: NDArray[np.float32]) -> list[Turn]:
    """The answer of the offline run."""
    return turns_from(SpeakerDiarization(load_config(RECIPE)).diarize(samples).updates)


async def stream(client: Client, samples: NDArray[np.float32], share: float = 1.0) -> None:
    """Send audio up to this share of it, a tenth of a second at a time."""
    step, until = round(len(samples) / SECONDS / 10), int(share * len(samples))
    while client.position < until:
        await client.send(samples[client.position : min(client.position + step, until)])
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def whole(server: Served, samples: NDArray[np.float32]) -> Result:
    """The answer of a session that nothing interrupts."""

    async def talk() -> Result:
        async with connect(server.url, token=TOKEN, uri="talk") as client:
            await stream(client, samples)
            return await client.end()

    return run(talk())


def by_appearance(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with speakers numbered as they appear."""
    numbers: dict[str, str] = {}
    return [Turn(turn.start, turn.end, numbers.setdefault(turn.speaker, str(len(numbers)))) for turn in sorted(turns)]


def test_what_is_streamed_is_what_the_offline_run_says(whole: Result, offline: list[Turn], tmp_path: Path) -> None:
    (tmp_path / "offline.rttm").write_text(format_rttm(by_appearance(offline), "talk"))
    (tmp_path / "whole.rttm").write_text(whole.rttm)
    assert read_rttm(tmp_path / "whole.rttm") == {"talk": whole.turns}
    assert {"talk": by_appearance(whole.turns)} == read_rttm(tmp_path / "offline.rttm")
    assert len(whole.speakers) > 1
    assert whole.audio_s == SECONDS
    assert sum(speaker["seconds"] for speaker in whole.speakers) > SECONDS / 2


@dataclass
class Proxy:
    """Passes TCP on, and cuts each connection after so many bytes from the client."""

    port: int
    cuts: list[int]
    made: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        left = self.cuts.pop(0) if self.cuts else sys.maxsize
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def down() -> None:
            while data := await far_reader.read(2**16):
                writer.write(data)
            writer.write_eof()

        downward = asyncio.create_task(down())
        while left > 0 and (data := await reader.read(min(left, 2**16))):
            left -= len(data)
            far_writer.write(data)
            await far_writer.drain()
        downward.cancel()
        await asyncio.wait([downward])
        for end in (writer, far_writer):
            end.transport.abort()


@asynccontextmanager
async def through(port: int, cuts: list[int]) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(port, cuts)
    async with await asyncio.start_server(proxy.handle, "127.0.0.1", 0) as listening:
        yield proxy, f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/stream"


@pytest.mark.parametrize("seed", [1, 2])
def test_cut_connections_change_nothing(
    server: Served, samples: NDArray[np.float32], whole: Result, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    cuts = [chance.randrange(2_000, 90_000) for _ in range(8)]  # less than the audio in all

    async def talk() -> Result:
        async with (
            through(server.port, list(cuts)) as (proxy, url),
            connect(url, token=TOKEN, uri="talk") as client,
        ):
            await stream(client, samples)
            result = await client.end()
            # after the last cut, one more for each time that the server has not yet missed the connection before
            assert proxy.cuts == []
            assert 9 <= proxy.made <= 9 + caplog.text.count("(busy_session)")
            return result

    assert run(talk()) == whole


def test_a_killed_server_changes_nothing(tmp_path: Path, samples: NDArray[np.float32], whole: Result) -> None:
    chance = random.Random(3)
    formats: list[dict[str, Any]] = [{}, {"sample_rate": 44_100, "encoding": "f32le"}]
    audio = [samples, soxr.resample(samples, 16_000, 44_100)]
    points = sorted(chance.uniform(0.2, 0.9) for _ in range(3))

    async def hears(client: Client) -> None:
        events = aiter(client)
        for _ in range(chance.randrange(1, 4)):
            await anext(events)

    async def talk(served: Served, kills: Sequence[float]) -> list[Result]:
        async with (
            connect(served.url, uri="talk", **formats[0]) as one,
            connect(served.url, uri="talk", **formats[1]) as two,
        ):
            clients = (one, two)
            hearing = asyncio.create_task(hears(one))
            for point in kills:
                await asyncio.gather(
                    *(stream(client, part, point) for client, part in zip(clients, audio, strict=True))
                )
                await hearing
                await asyncio.to_thread(served.kill)
                hearing = asyncio.create_task(hears(chance.choice(clients)))
                await asyncio.to_thread(served.start)
                if point == kills[0]:
                    for client in clients:
                        await client.finalize()
                        await client.rename("SPEAKER_00", "Ann")
            await asyncio.gather(*(stream(client, part) for client, part in zip(clients, audio, strict=True)))
            await hearing
            return [await client.end() for client in clients]

    with serving(tmp_path / "killed") as served:
        killed = run(talk(served, points))
        unharmed = run(talk(served, []))
    for result, calm in zip(killed, unharmed, strict=True):
        assert result.rttm == calm.rttm.replace("SPEAKER_00", "Ann")
    assert unharmed[0].rttm == whole.rttm


def test_a_wrong_token_a_full_server_and_an_unknown_session_are_told(server: Served) -> None:
    async def refused(**how: Any) -> str:
        with pytest.raises(ServerError) as caught:
            async with connect(server.url, **how):
                pass
        return caught.value.code

    async def talk() -> None:
        assert await refused() == "unauthorized"
        assert await refused(token=TOKEN[1:]) == "unauthorized"
        assert await refused(token=TOKEN, session="nobodys") == "unknown_session"
        assert await refused(token=TOKEN, options={"latency": 99}) == "bad_message"
        async with connect(server.url, token=TOKEN) as one, connect(server.url, token=TOKEN) as two:
            assert one.session != two.session
            assert await refused(token=TOKEN) == "full"
            await two.end(erase=True)

    run(talk())


def test_the_example_shows_turns_and_prints_the_rttm(
    server: Served, samples: NDArray[np.float32], whole: Result, tmp_path: Path
) -> None:
    talk = write_clip(tmp_path / "talk.flac", SECONDS)
    command = [sys.executable, str(EXAMPLE), str(talk), "--speed", "0", "--url", server.url, "--token", TOKEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == whole.rttm
    line = re.compile(r" *\d+\.\d\d - +\d+\.\d\d s  (SPEAKER_\d\d|nobody)(, not SPEAKER_\d\d)?")
    assert all(line.fullmatch(said) for said in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) >= len(whole.turns)


def test_the_example_tells_that_there_is_no_server(tmp_path: Path) -> None:
    talk = write_clip(tmp_path / "talk.flac", 1)
    command = [sys.executable, str(EXAMPLE), str(talk), "--url", "ws://127.0.0.1:1/stream"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ws://127.0.0.1:1/stream: ")
    assert "Traceback" not in done.stderr
