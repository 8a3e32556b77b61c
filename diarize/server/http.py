"""What the server answers to plain HTTP: the page, its health, its metrics; and who may open a stream."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

STREAM = "/stream"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

SAFE = {
    # nothing from another host, nothing inline, and no other site may show the page in a frame
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address may hold the token
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class File:
    """A file of the page, or anything else that is answered with 200."""

    kind: str
    body: bytes


def read_page() -> dict[str, File]:
    """The files of the page by their paths; nothing else is ever read for a request."""
    page = {}
    for file in files("diarize.server").joinpath("page").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in TYPES:
            page["/" if file.name == "index.html" else f"/{file.name}"] = File(TYPES[suffix], file.read_bytes())
    return page


def path(request: Request) -> str:
    """What stands before the question mark, as it came."""
    return request.path.partition("?")[0]


def query(request: Request) -> dict[str, str]:
    """What stands behind the question mark; of a name that is there twice the last value."""
    return dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))


def authorized(request: Request, token: str | None) -> bool:
    """Whether the request has the token, as `Authorization: Bearer TOKEN` or as `?token=TOKEN`."""
    if token is None:
        return True
    given = [query(request).get("token", "").encode()]
    for header in request.headers.get_all("Authorization"):
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() == "bearer":
            given.append(credentials.strip().encode("latin-1"))  # how headers are read: these are the bytes that came
    # in a time that does not tell how much of it is right
    return any(hmac.compare_digest(one, token.encode()) for one in given)


def allowed_origin(request: Request, origins: frozenset[str]) -> bool:
    """Whether a page from there may open a stream: ours, a listed one, or no page at all.

    Browsers let any page open a WebSocket to any host, and say where the page is from.
    """
    ours = [host.lower() for host in request.headers.get_all("Host")]
    given = [origin.lower() for origin in request.headers.get_all("Origin")]
    return all(origin in origins or origin.partition("://")[2] in ours for origin in given)


class Routes:
    """Answers what is no stream.

    token: needed for the metrics, as for a stream; None: nobody needs one.
    origins: of pages on other hosts that may open a stream, such as https://example.org.
    health, metrics: called for what to answer.
    refused: called with "origin" when a page may not.
    """

    def __init__(
        self,
        *,
        token: str | None,
        origins: frozenset[str],
        health: Callable[[], Mapping[str, object]],
        metrics: Callable[[], bytes],
        refused: Callable[[str], object],
    ) -> None:
        self._token, self._origins, self._refused = token, frozenset(map(str.lower, origins)), refused
        self._page = read_page()
        self._made: dict[str, Callable[[], File]] = {
            "/healthz": lambda: File("application/json", json.dumps(health()).encode()),
            "/metrics": lambda: File("text/plain; version=0.0.4; charset=utf-8", metrics()),
        }

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer, or None for a stream, which goes on to be opened."""
        where = path(request)
        if where == STREAM:
            if allowed_origin(request, self._origins):
                return None
            self._refused("origin")
            return connection.respond(HTTPStatus.FORBIDDEN, "pages from this origin may not open a stream here\n")
        if request.method not in ("GET", "HEAD"):
            response = connection.respond(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
            response.headers["Allow"] = "GET, HEAD"
            return response
        if where == "/metrics" and not authorized(request, self._token):
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed\n")
            response.headers["WWW-Authenticate"] = "Bearer"
        elif where in self._made:
            response = ok(connection, self._made[where]())
        elif where in self._page:
            response = ok(connection, self._page[where])
        else:
            response = connection.respond(HTTPStatus.NOT_FOUND, f"nothing is here; streams are at {STREAM}\n")
        if request.method == "HEAD":
            response.body = b""
        return response


def ok(connection: ServerConnection, file: File) -> Response:
    """The file, with what keeps browsers from doing more with it than they should."""
    response = connection.respond(HTTPStatus.OK, "")
    for name in ("Content-Type", "Content-Length"):
        del response.headers[name]  # a second value would be added to the first
    response.headers.update({"Content-Type": file.kind, "Content-Length": str(len(file.body)), **SAFE})
    response.body = file.body
    return response
