"""A small hub on this machine: it answers as the real one does, and can be told to fail.

Its large files lie under another address, as the hub's do on a content network: what asks for them is redirected there.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch

from diarize import hub as client
from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn

MODEL = "someone/tiny-ecapa"
LARGE = (".ckpt", ".bin", ".pt")
Failure = tuple[int, dict[str, str]]


@cache
def checkpoint(seed: int) -> bytes:
    """Random weights of a tiny network, as SpeechBrain writes them."""
    torch.manual_seed(seed)
    content = io.BytesIO()
    torch.save(EcapaTdnn(EcapaConfig(channels=32, mfa_channels=48, attention=8, squeeze=8)).state_dict(), content)
    return content.getvalue()


def repository(seed: int) -> dict[str, bytes]:
    """The files of a model in SpeechBrain's layout."""
    return {
        "README.md": b"---\nlicense: apache-2.0\n---\nA tiny model.\n",
        "hyperparams.yaml": b"embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN\n",
        "embedding_model.ckpt": checkpoint(seed),
        "classifier.ckpt": b"not wanted",
        "custom.py": b"raise SystemExit('code is not wanted')\n",
        "nested/embedding_model.ckpt": b"not wanted",
    }


def commit(files: dict[str, bytes]) -> str:
    """What the hub calls a state of the files."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()  # noqa: S324 - git's own hash


@dataclass
class Hub:
    """What the hub has, what it does wrong, and what it was asked.

    commits: the files at each commit; revisions: the commit of each branch and tag.
    failures: what is answered instead, by the beginning of the path: a status and headers.
    swapped: bytes that are sent instead of those of a file, by name.
    cuts: how many more times the connection breaks in the middle of a large file.
    held: while not set, large files wait after their first half.
    asked: "METHOD path" of every request; tokens: the authorization that came with it, and where to.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    swapped: dict[str, bytes] = field(default_factory=dict)
    cuts: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str | None]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    address: str = ""
    store: str = ""

    def publish(self, files: dict[str, bytes], *names: str) -> str:
        """Put files at a new commit, and let the names (branches, tags) mean it."""
        sha = commit(files)
        self.commits[sha] = files
        self.revisions |= dict.fromkeys(names, sha)
        return sha


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    """The hub answers while this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, hub)

        do_HEAD = do_GET  # noqa: N815 - http.server's own name

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    # told by name and by number: they are two hosts to whoever asks
    hub.address, hub.store = (
        f"http://{host}:{server.server_port}" for host, server in zip(("127.0.0.1", "localhost"), servers, strict=True)
    )
    hub.held.set()
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield
    finally:
        hub.held.set()
        for server in servers:
            server.shutdown()
            server.server_close()


@contextmanager
def own_hub(folder: Path) -> Iterator[Hub]:
    """A hub that has one model; what is pulled goes to a folder of the test's own."""
    hub = Hub()
    hub.publish(repository(1), "main", "v1")
    with pytest.MonkeyPatch.context() as patch, serving(hub):
        for name, value in client.ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("HF_ENDPOINT", hub.address)  # heard by new processes only
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.delenv("HF_TOKEN", raising=False)
        yield hub


def answer(request: BaseHTTPRequestHandler, hub: Hub) -> None:
    """Answer one request."""
    path = unquote(urlsplit(request.path).path)
    hub.asked.append(f"{request.command} {path}")
    hub.tokens.append((path, request.headers["authorization"]))
    hub.agents.add(request.headers["user-agent"] or "")
    for beginning, (status, headers) in hub.failures.items():
        if path.startswith(beginning):
            send(request, status, b'{"error": "as told"}', headers)
            return
    if stored := re.fullmatch("/store/([0-9a-f]{64})/(.+)", path):
        send_large(request, hub, *stored.groups())
    elif found := re.fullmatch(f"/api/models/{MODEL}/revision/(.+)", path):
        send_info(request, hub, found[1])
    elif found := re.fullmatch(f"/{MODEL}/resolve/([^/]+)/(.+)", path):
        send_file(request, hub, *found.groups())
    else:
        send(request, 401, b"", {"X-Error-Code": "RepoNotFound"})  # the hub does not tell strangers what there is


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Send a whole answer; to HEAD, without the body."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def send_info(request: BaseHTTPRequestHandler, hub: Hub, revision: str) -> None:
    """The description of a model at a revision."""
    sha = hub.revisions.get(revision, revision)
    if sha not in hub.commits:
        send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        return
    info = {
        "_id": "0",
        "id": MODEL,
        "sha": sha,
        "gated": False,
        "cardData": {"license": "apache-2.0"},
        "siblings": [described(name, content) for name, content in hub.commits[sha].items()],
    }
    send(request, 200, json.dumps(info).encode(), {"Content-Type": "application/json"})


def described(name: str, content: bytes) -> dict[str, object]:
    """One file, as the hub lists it."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's own hash
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith(LARGE):
        entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
    return entry


def send_file(request: BaseHTTPRequestHandler, hub: Hub, revision: str, name: str) -> None:
    """A small file itself; for a large one, where it is."""
    sha = hub.revisions.get(revision, revision)
    content = hub.commits.get(sha, {}).get(name)
    if content is None:
        send(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        return
    headers = {"X-Repo-Commit": sha, "ETag": f'"{described(name, content)["blobId"]}"'}
    if not name.endswith(LARGE):
        send(request, 200, hub.swapped.get(name, content), headers)
        return
    digest = hashlib.sha256(content).hexdigest()
    large = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest}"'}
    send(request, 302, b"", headers | large | {"Location": f"{hub.store}/store/{digest}/{name}"})


def send_large(request: BaseHTTPRequestHandler, hub: Hub, digest: str, name: str) -> None:
    """A large file or the rest of it, whole or broken off, at once or held in the middle."""
    (content,) = {
        files[name]
        for files in hub.commits.values()
        if name in files and hashlib.sha256(files[name]).hexdigest() == digest
    }
    content = hub.swapped.get(name, content)
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers["range"] or "")
    start = int(asked[1]) if asked else 0
    body = content[start:]
    request.send_response(206 if asked else 200)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("ETag", f'"{digest}"')
    if asked:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.end_headers()
    if hub.cuts or not hub.held.is_set():
        request.wfile.write(body[: len(body) // 2])
        request.wfile.flush()
        hub.waiting.set()
        hub.held.wait()
        if hub.cuts:
            hub.cuts -= 1
            request.close_connection = True
            return
        body = body[len(body) // 2 :]
    try:
        request.wfile.write(body)
    except OSError:  # whoever asked was killed meanwhile
        request.close_connection = True
