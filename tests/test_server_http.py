"""What the server answers to plain HTTP: the page and nothing beside it, health, metrics."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

import diarize
from diarize.pipeline import SpeakerDiarization
from tests.sessions import remembering
from tests.streams import LENGTH, Heard, ask, conversation, listen_to, opened, run, say, serving, start, talk

PAGE = Path(diarize.__file__).parent / "server" / "page"


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    return remembering()


def test_every_file_of_the_page_is_there_and_may_do_little(pipeline: SpeakerDiarization) -> None:
    async def asking() -> None:
        async with serving(pipeline) as server:
            for file in PAGE.iterdir():
                answer = await ask(server, "/" if file.name == "index.html" else f"/{file.name}?token=x")
                assert (answer.status, answer.body) == (200, file.read_bytes())
                assert (
                    answer.headers["Content-Type"].split(";")[0]
                    in {
                        ".html": ["text/html"],
                        ".js": ["text/javascript"],
                        ".css": ["text/css"],
                        ".svg": ["image/svg+xml"],
                    }[file.suffix]
                )
                assert answer.headers["Content-Length"] == str(len(answer.body))
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-cache"
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'self';" in policy
                assert "unsafe" not in policy

    run(asking())


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/index.html/", "GET", 404),
        ("/../server.py", "GET", 404),
        ("/..%2fserver.py", "GET", 404),
        ("//etc/passwd", "GET", 404),
        ("//[", "GET", 404),
        ("/page/index.html", "GET", 404),
        ("/stream/", "GET", 404),
        ("/stream", "GET", 426),
        ("/", "HEAD", 200),
        ("/healthz", "HEAD", 200),
        ("/nothing", "HEAD", 404),
        ("/", "DELETE", 405),
        ("/metrics", "OPTIONS", 405),
        ("/stream", "PUT", 405),
    ],
)
def test_what_is_not_there(pipeline: SpeakerDiarization, path: str, method: str, status: int) -> None:
    async def asking() -> None:
        async with serving(pipeline) as server:
            answer = await ask(server, path, method)
            assert answer.status == status
            assert b"import" not in answer.body
            assert (answer.body == b"") == (method == "HEAD")
            assert answer.headers["Server"] == f"diarize/{diarize.__version__}"

    run(asking())


def test_health(pipeline: SpeakerDiarization) -> None:
    async def asking() -> None:
        async with serving(pipeline, max_sessions=7) as server, opened(server) as connection:
            await say(connection, [start()])
            await connection.recv()
            answer = await ask(server, "/healthz")
            assert answer.headers["Content-Type"] == "application/json"
            health = {"status": "ok", "version": diarize.__version__, "sessions": 1, "capacity": 7}
            assert json.loads(answer.body) == health

    run(asking())


def test_metrics_tell_what_was_done(pipeline: SpeakerDiarization, tmp_path: Path) -> None:
    async def doing() -> tuple[Heard, str]:
        async with serving(pipeline, journal=tmp_path, token="a") as server:  # noqa: S106 - a test's own
            await talk(server, [start()])
            await talk(server, ["nonsense"], "?token=a")
            heard = await talk(server, ["nonsense", *conversation()[1:]], "?token=a&uri=conversation")
            async with opened(server, "?token=a") as connection:
                listening = asyncio.create_task(listen_to(connection, Heard()))
                await say(connection, [start(session=heard.session)])
                await listening
            return heard, (await ask(server, "/metrics?token=a")).body.decode()

    heard, text = run(doing())
    assert heard.kinds[-1] == "done"
    values = dict(re.findall(r"^(diarize_\S+) (\S+)$", text, re.MULTILINE))
    assert {name: float(value) for name, value in values.items() if not re.search("_bucket|_created|_sum", name)} == {
        "diarize_sessions": 0,
        "diarize_capacity": 40,
        'diarize_sessions_begun_total{how="new"}': 1,
        "diarize_sessions_done_total": 1,
        "diarize_gaps_total": 0,
        'diarize_refused_total{reason="unauthorized"}': 1,
        'diarize_errors_total{code="bad_message"}': 2,
        "diarize_audio_seconds_total": LENGTH,
        "diarize_delay_seconds_count": float(values["diarize_backlog_seconds_count"]),
        "diarize_backlog_seconds_count": float(values["diarize_delay_seconds_count"]),
        "diarize_batch_windows_count": float(values["diarize_batch_windows_count"]),
        "diarize_journal_failures_total": 0,
    }
    assert float(values["diarize_delay_seconds_count"]) >= 1
    assert float(values["diarize_batch_windows_sum"]) > float(values["diarize_batch_windows_count"]) >= 1
    assert "process_resident_memory_bytes" in text
