"""Measure the live server and what being live costs, for the README's tables.

    python examples/live_benchmark.py                             everything, into README.md (make bench-live)
    python examples/live_benchmark.py --only load --sessions 2 --seconds 20   a quick try; README.md stays as it is

Clients play simulated conversations of `eval` voices at the pace of a microphone, all into one `diarize serve` on this
machine, which they share with it.  Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from diarize import SpeakerDiarization
from diarize.formats import write_atomically
from diarize.live import LiveConfig
from diarize.live_report import LiveReport, simulate
from diarize.pipeline import PipelineConfig
from diarize.rttm import read_rttm
from diarize.sources import open_source, read
from diarize.types import SAMPLE_RATE
from examples.benchmark import FOLDER, ROOT, replace_table, simulated
from examples.live_tables import Load, corrections_table, hour_table, load_table

PIECE = SAMPLE_RATE // 10
"""Samples that a client sends at once, as a browser does."""

SESSIONS = (1, 5, 10, 20, 40, 60, 80)
"""How many at once."""

SECONDS = 60.0
RAMP = 5.0
"""Seconds over which the clients begin, and which are not counted."""

LATENCIES = (0.5, 1.0, 2.0, 5.0)
HOUR = 3600
TABLES = {"load": "live", "hour": "hour", "corrections": "corrections"}
"""What is measured, and its table in the README."""


@dataclass
class Heard:
    """What one client met.

    delays: seconds from when an instant of speech was sent until its label came, for every tenth of a second.
    first: seconds from when the first turn began until its label came.
    """

    delays: list[float] = field(default_factory=list)
    first: float | None = None


@asynccontextmanager
async def server(places: int) -> AsyncIterator[tuple[str, int]]:
    """A server in a process of its own, with journals as by default: its address and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory() as journal:
        command = [
            str(Path(sys.executable).with_name("diarize")),
            "serve",
            "--port",
            str(port),
        ]
        options = ["--max-sessions", str(places), "--journal", journal]
        process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)  # noqa: S603 - our own words
        try:
            while True:
                try:
                    await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/healthz")
                    break
                except URLError:
                    if process.poll() is not None:
                        raise SystemExit("the server did not start: try `diarize serve`") from None
                    await asyncio.sleep(0.2)
            yield f"ws://127.0.0.1:{port}/stream", process.pid
        finally:
            process.terminate()
            process.wait()


async def client(url: str, audio: bytes, seconds: float) -> Heard:
    """Play audio at its own pace, note when each label comes, and end."""
    heard, loop = Heard(), asyncio.get_running_loop()
    async with connect(url, compression=None, max_size=None) as stream:
        await stream.send(json.dumps({"type": "start", "version": 1}))
        await stream.recv()
        began = loop.time()

        async def listen() -> None:
            shown = 0.0
            async for text in stream:
                message = json.loads(text)
                if message["type"] != "segment" or message["state"] == "final":
                    continue
                now = loop.time() - began
                start, end = max(message["start"], shown), message["end"]
                if heard.first is None:
                    heard.first = now - message["start"]
                heard.delays += [now - at for at in np.arange(start, end, 0.1).tolist()]
                shown = max(shown, end)

        listening = asyncio.create_task(listen())
        for count, at in enumerate(range(0, round(seconds * SAMPLE_RATE), PIECE), start=1):
            # a piece can be sent when its last sample has been spoken
            await asyncio.sleep(began + count * PIECE / SAMPLE_RATE - loop.time())
            await stream.send(audio[2 * at : 2 * (at + PIECE)])
        await stream.send(json.dumps({"type": "end", "erase": True}))
        await listening
    return heard


async def load(voices: Sequence[bytes], sessions: int, seconds: float) -> Load:
    """So many clients at once."""
    async with server(sessions) as (url, process):
        await client(url, voices[0], 5.0)  # what the first session sets up is not what a session costs
        before = megabytes(process)

        async def one(number: int) -> Heard:
            await asyncio.sleep(RAMP * number / sessions)
            audio = voices[number % len(voices)]
            turn = 2 * SAMPLE_RATE * 7 * (number // len(voices))  # those who play the same are not in step
            return await client(url, (audio[turn:] + audio) * 2, seconds)

        clients = [asyncio.create_task(one(number)) for number in range(sessions)]
        await asyncio.sleep(RAMP)
        began, used = time.monotonic(), cpu_seconds(process)
        await asyncio.sleep(seconds - RAMP - 1)
        cores = (cpu_seconds(process) - used) / (time.monotonic() - began)
        after = megabytes(process)
        heard = await asyncio.gather(*clients)
    delays = np.array([delay for one_client in heard for delay in one_client.delays])
    firsts = np.array([one_client.first for one_client in heard if one_client.first is not None])
    return Load(
        sessions,
        float(np.median(delays)),
        float(np.percentile(delays, 95)),
        float(np.percentile(firsts, 95)),
        cores / sessions,
        (after - before) / sessions,
    )


async def hour(voices: Sequence[bytes]) -> tuple[list[float], float]:
    """An hour of audio as fast as it goes: MB of the server after each ten minutes, and seconds from end to done."""
    audio = b"".join(voices)
    audio = (audio * (2 * HOUR * SAMPLE_RATE // len(audio) + 1))[: 2 * HOUR * SAMPLE_RATE]
    sizes = []
    async with server(1) as (url, process), connect(url, compression=None, max_size=None) as stream:
        await stream.send(json.dumps({"type": "start", "version": 1}))
        done = asyncio.get_running_loop().create_future()
        acknowledged = 0

        async def listen() -> None:
            nonlocal acknowledged
            async for text in stream:
                message = json.loads(text)
                if message["type"] == "ack":
                    acknowledged = message["position"]
                if message["type"] == "done":
                    done.set_result(time.monotonic())

        listening = asyncio.create_task(listen())
        for part in range(6):
            for at in range(part * len(audio) // 6, (part + 1) * len(audio) // 6, 2 * SAMPLE_RATE):
                await stream.send(audio[at : at + 2 * SAMPLE_RATE])
            while acknowledged < (part + 1) * HOUR * SAMPLE_RATE // 6 - 10 * SAMPLE_RATE:  # it has been worked through
                await asyncio.sleep(0.1)
            sizes.append(megabytes(process))
        ended = time.monotonic()
        await stream.send(json.dumps({"type": "end", "erase": True}))
        took = await done - ended
        await listening
    return sizes, took


def corrections(files: Sequence[Path], pipeline: SpeakerDiarization) -> dict[float, LiveReport]:
    """What is shown live, at each latency, beside the final answer."""
    reports = {}
    for latency in LATENCIES:
        pipeline.config = replace(pipeline.config, live=LiveConfig(latency))
        one_by_one = [
            simulate(
                pipeline, open_source(file), [t for ts in read_rttm(file.with_suffix(".rttm")).values() for t in ts]
            )
            for file in files
        ]
        reports[latency] = sum(one_by_one, LiveReport())
        print(f"latency {latency} s", flush=True)
    return reports


def cpu_seconds(process: int) -> float:
    """Seconds that a process has computed so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    return (
        int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    )


def pcm(file: Path) -> bytes:
    """A recording as s16le at 16 kHz."""
    samples: NDArray[np.float32] = read(file)
    return (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--only", choices=sorted(TABLES), help="measure one thing")
    parser.add_argument("--sessions", type=int, nargs="+", help="how many at once, for a quick try")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long they talk")
    given = parser.parse_args()
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    FOLDER.mkdir(exist_ok=True)
    wanted = [given.only] if given.only else list(TABLES)
    full = given.sessions is None and given.seconds == SECONDS
    made = list(simulated(given.speech)) if "corrections" in wanted else list(islice(simulated(given.speech), 10))
    voices = [pcm(file) for file in made[:10]]
    tables = {}
    if "load" in wanted:
        loads = []
        for sessions in given.sessions or SESSIONS:
            try:
                loads.append(asyncio.run(load(voices, sessions, given.seconds)))
            except ConnectionClosed as error:
                print(f"{sessions} sessions are more than this machine can follow: {error}", flush=True)
                break
            print(loads[-1], flush=True)
        tables["load"] = load_table(loads)
    if "hour" in wanted:
        tables["hour"] = hour_table(*asyncio.run(hour(voices)))
    if "corrections" in wanted:
        pipeline = SpeakerDiarization(PipelineConfig())
        real = sorted((given.speech / "conversations").glob("*.flac"))
        tables["corrections"] = corrections_table(
            {"20 simulated": corrections(made, pipeline), "nine real": corrections(real, pipeline)}
        )
    for name, table in tables.items():
        print(f"\n## {name}\n\n{table}")
        if full:
            readme = ROOT / "README.md"
            write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), TABLES[name], table))


if __name__ == "__main__":
    main()
