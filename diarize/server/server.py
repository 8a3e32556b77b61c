"""The live server: one port for streams, the page, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import Server as Listener
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as bind
from websockets.exceptions import ConnectionClosed

import diarize
from diarize.pipeline import SpeakerDiarization
from diarize.server.batches import Batches
from diarize.server.connection import Connection, told
from diarize.server.http import Routes, authorized
from diarize.server.journal import Journal
from diarize.server.messages import ProtocolError
from diarize.server.metrics import Metrics
from diarize.server.shared import ServerConfig, Shared
from diarize.server.wire import CLOSING, Socket, close, encoded

__all__ = ["Server", "ServerConfig", "listen", "run_server", "serve"]

log = logging.getLogger(__name__)

THREADS = 4
"""In which sessions work.  Python lets one at a time go on; the others are there for what waits for a disk and for the
final clustering of an hour, which must not hold everybody up."""

PING = 20
"""Seconds.  It keeps what stands between from forgetting a connection on which nothing is said.  No pong is waited for:
a client that sends audio faster than we take it has its pongs behind that audio, and would be taken for dead."""

WAITING = 512
"""Connections that the system holds while others are being let in."""

GRACE = 10
"""Seconds that connections have to end once the server is to."""

HOUR = 3600


class Server:
    """Lets clients in, up to its capacity, and lets none of them do harm to another.

    url: of the page.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._inside: dict[Connection, asyncio.Task[None] | None] = {}
        self._stopping = False
        self.url = ""

    async def handle(self, socket: ServerConnection) -> None:
        """One client, from the handshake to the close."""
        refusal = self._refusal(socket)
        if refusal is not None:
            await self._refuse(socket, refusal)
            return
        connection = Connection(self._shared, socket)
        if self._stopping:
            connection.stop()
        self._inside[connection] = asyncio.current_task()
        self._shared.metrics.sessions.set(len(self._inside))
        code = 1011
        try:
            code = await connection.run()
        finally:
            del self._inside[connection]
            self._shared.metrics.sessions.set(len(self._inside))
        await close(socket, code)

    def health(self) -> dict[str, object]:
        """What a load balancer asks."""
        capacity = self._shared.config.max_sessions
        return {"status": "ok", "version": diarize.__version__, "sessions": len(self._inside), "capacity": capacity}

    async def stop(self) -> None:
        """Let every connection end after the turn that is under way; who resumes can go on from there."""
        self._stopping = True
        for connection in self._inside:
            connection.stop()
        late = asyncio.get_running_loop().call_later(GRACE, self._cut)
        while self._inside:
            await asyncio.wait([task for task in self._inside.values() if task is not None])
        late.cancel()

    def _cut(self) -> None:
        for connection in self._inside:
            connection.abort()

    def _refusal(self, socket: ServerConnection) -> ProtocolError | None:
        """Why a client is not let in, or None."""
        config = self._shared.config
        if socket.request is None or not authorized(socket.request, config.token):
            return ProtocolError("unauthorized", "a token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN")
        if len(self._inside) >= config.max_sessions:
            return ProtocolError("full", f"all {config.max_sessions} places are taken: try again later")
        return None

    async def _refuse(self, socket: ServerConnection, refusal: ProtocolError) -> None:
        metrics = self._shared.metrics
        metrics.refused.labels(refusal.code).inc()
        with suppress(ConnectionClosed):
            for message in told(None, refusal):
                await socket.send(encoded(message))
        await close(socket, refusal.close or 1008)


@asynccontextmanager
async def listen(config: ServerConfig, pipeline: SpeakerDiarization) -> AsyncIterator[Server]:
    """A server that listens as long as the context lasts; then its sessions are kept, and told to come back.

    Raises OSError where the address, the journal or a file for TLS cannot be used.
    """
    tls = tls_context(config)
    journal = None if config.journal is None else Journal(config.journal, config.keep)
    metrics = Metrics(pipeline.config.embedding.batch, config.max_sessions)
    batches = Batches(pipeline, metrics.batches.observe)
    threads = ThreadPoolExecutor(THREADS, "session")
    shared = Shared(config, pipeline, journal, batches, metrics, threads)
    server = Server(shared)
    routes = Routes(
        token=config.token,
        origins=config.origins,
        health=server.health,
        metrics=metrics.text,
        refused=lambda reason: metrics.refused.labels(reason).inc(),
    )
    wire = log.getChild("wire")
    wire.setLevel(logging.WARNING)  # at debug websockets would write tokens and audio down
    expiring = asyncio.create_task(expire(shared))
    try:
        listener = await bind(
            server.handle,
            config.host,
            config.port,
            ssl=tls,
            backlog=WAITING,
            create_connection=Socket,
            process_request=routes,
            server_header=f"diarize/{diarize.__version__}",
            compression=None,  # PCM hardly gets shorter, and every connection would need a quarter of a megabyte
            max_size=config.message_bytes,
            max_queue=4,  # messages; what waits to be worked on is counted in bytes by the inbox
            ping_interval=PING,
            ping_timeout=None,
            close_timeout=CLOSING,
            logger=wire,
        )
        server.url = url(listener, config)
        try:
            yield server
        finally:
            listener.close(close_connections=False)
            await server.stop()
            with suppress(TimeoutError):  # of one that has connected and says nothing
                async with asyncio.timeout(CLOSING):
                    await listener.wait_closed()
    finally:
        expiring.cancel()
        await batches.close()
        threads.shutdown()


async def run_server(
    config: ServerConfig, pipeline: SpeakerDiarization, started: Callable[[str], object] = lambda _: None
) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends the process at once.

    started: called with the URL of the page once clients can come.
    """
    async with listen(config, pipeline) as server:
        started(server.url)
        await interrupted()


def serve(
    config: ServerConfig, pipeline: SpeakerDiarization, started: Callable[[str], object] = lambda _: None
) -> None:
    """See `run_server`; the process is the server's own."""
    from diarize.models.encoder import share_cores

    # The sessions need the other half: a network that wants all cores waits for the one that is taken.  On two cores
    # that others used too, forty sessions were followed with one thread and fell behind with two.
    share_cores(2)
    allow_files()
    asyncio.run(run_server(config, pipeline, started))


def tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    """Of the certificate, where there is one.  Raises ValueError that names the files where they cannot be used."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as error:
        raise ValueError(f"{config.tls_cert} and {config.tls_key} cannot be used for TLS: {error}") from error
    return context


def url(listener: Listener, config: ServerConfig) -> str:
    """Where the page is."""
    port = next(iter(listener.sockets)).getsockname()[1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'http' if config.tls_cert is None else 'https'}://{host}:{port}/"


async def expire(shared: Shared) -> None:
    """Remove what the journal has kept long enough, now and every hour."""
    while shared.journal is not None:
        try:
            await shared.off_loop(shared.journal.expire, frozenset(shared.busy))
        except OSError as error:
            log.warning("sessions that have expired cannot be removed: %s", error)
        await asyncio.sleep(HOUR)


async def interrupted() -> None:
    """Return at the first SIGINT or SIGTERM; the second one does what it does by default, at once."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()

    def first(_number: int, _frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(came.set)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, first)
    await came.wait()


def allow_files() -> None:
    """As many open files as the system allows: each connection is one, and each session's journal another."""
    try:
        import resource
    except ImportError:  # Windows, where nothing limits them
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems call it unlimited and do not take that
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
