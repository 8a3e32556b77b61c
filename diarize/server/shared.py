"""What all connections of a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from diarize.pipeline import SpeakerDiarization
from diarize.server.batches import Batches
from diarize.server.journal import Journal
from diarize.server.metrics import Metrics

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ServerConfig:
    """How a server is reached, and what it grants.

    host, port: where it listens; port 0: one that is free.
    max_sessions: sessions at once; on two cores forty were followed in real time.
    token: needed to open a stream; None: nobody needs one.
    tls_cert, tls_key: PEM files; both or neither.
    journal: the folder where sessions are kept so that they can be resumed; None: none can be.
    keep: hours that it keeps them after the last word.
    idle: seconds without a message, or with none that the client takes, after which a connection is closed.
    origins: of pages elsewhere that may open streams, such as https://example.org.
    message_bytes: the longest message that a client may send.

    Raises ValueError for what cannot be.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    max_sessions: int = 40
    token: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    journal: Path | None = None
    keep: float = 24.0
    idle: float = 60.0
    origins: frozenset[str] = frozenset()
    message_bytes: int = 2**20

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port is {self.port}: give 0 to {2**16 - 1}")
        if self.token is not None and not self.token.strip():
            raise ValueError("the token is empty: give one, or none at all")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs a certificate and its key: give both, or neither")
        for name, least in (("max_sessions", 1), ("message_bytes", 1024)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least {least}")
        for name in ("keep", "idle"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give more than 0")


@dataclass(frozen=True)
class Shared:
    """What every connection uses.

    threads: where sessions work, off the event loop.
    busy: the ids of the sessions that a connection holds.
    """

    config: ServerConfig
    pipeline: SpeakerDiarization
    journal: Journal | None
    batches: Batches
    metrics: Metrics
    threads: ThreadPoolExecutor
    busy: set[str] = field(default_factory=set)

    async def off_loop(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Do this in a thread, while the event loop goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, lambda: work(*args, **kwargs))
