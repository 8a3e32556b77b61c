"""The commands of the server: `diarize serve`, `recover`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from socket import gaierror
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import (
    Changes,
    Clustering,
    Compute,
    Latency,
    MaxSpeakers,
    MinSpeakers,
    Model,
    NoProfiles,
    NumSpeakers,
    Profiles,
    Recipe,
    Segmentation,
    Vad,
    configured,
    enrolled,
    name_people,
)
from diarize.terminal import exit_code, say, say_written, write

if TYPE_CHECKING:
    from diarize.server.journal import Journal


def serve(
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; 127.0.0.1: this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0: one that is free.")] = 8787,
    max_sessions: Annotated[int, typer.Option(metavar="N", help="Sessions at once.")] = 40,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the token that opens a stream; without it, nobody needs one."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Certificate chain, for wss and https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="The certificate's key.")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where sessions, but no audio, are kept; if not given, in the user's folder."),
    ] = None,
    keep: Annotated[float, typer.Option(metavar="HOURS", help="How long they are kept.")] = 24.0,
    idle: Annotated[
        float, typer.Option(metavar="S", help="Seconds without a message, after which a client is let go.")
    ] = 60.0,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A site whose pages may stream too, as https://example.org.")
    ] = None,
    latency: Latency = None,
    pipeline: Recipe = "server",
    set_: Changes = None,
    vad: Vad = None,
    segmentation: Segmentation = False,
    clustering: Clustering = None,
    model: Model = None,
    compute: Compute = None,
    num_speakers: NumSpeakers = None,
    min_speakers: MinSpeakers = None,
    max_speakers: MaxSpeakers = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
) -> None:
    """Serve a page and WebSocket clients: who speaks in what they send.

    Ctrl-C ends it. Clients and `diarize recover` find the sessions again. Who is enrolled is named to clients on this
    machine, to others only with --profiles.
    """
    from diarize.pipeline import SpeakerDiarization
    from diarize.server.server import ServerConfig
    from diarize.server.server import serve as run

    with exit_code(2):
        config = configured(
            pipeline,
            set_,
            vad,
            clustering,
            model,
            compute,
            num_speakers,
            min_speakers,
            max_speakers,
            latency,
            segmentation=segmentation,
        )
        server = ServerConfig(
            host=host,
            port=port,
            max_sessions=max_sessions,
            token=_token(token_file),
            tls_cert=tls_cert,
            tls_key=tls_key,
            journal=_journal(journal),
            keep=keep,
            idle=idle,
            origins=frozenset(one.rstrip("/") for one in origin or ()),
        )
        diarization = SpeakerDiarization(config)
        diarization.live_front()  # refuses a latency that cannot be kept
        # others could find out by their recordings who is enrolled
        name_people(diarization, profiles, no_profiles or (profiles is None and not _loopback(host)))
    if server.token is None and not _loopback(host):
        say(f"warning: whoever can reach {host} can use this server: give a --token-file")
    with exit_code(1):
        try:
            run(server, diarization, lambda url: say(f"listening at {url}; Ctrl-C ends"))
        except OSError as error:
            if error.filename is not None:
                raise
            raise ValueError(f"cannot listen at {host}:{port}: {_reason(error)}; choose another") from error


def _reason(error: OSError) -> str:
    """What the system has against an address; asyncio's own words name the address again."""
    if isinstance(error, gaierror) or error.errno is None:  # a name that leads nowhere
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _token(file: Path | None) -> str | None:
    """The token in a file."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: a token is text in UTF-8") from error
    if len(token.split()) != 1:
        raise ValueError(f"{file}: must hold the token, one word, and nothing else")
    if os.name == "posix" and file.stat().st_mode & 0o044:
        say(f"warning: {file} can be read by other users: chmod 600 {file}")
    return token


def _loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _journal(folder: Path | None) -> Path:
    """Where sessions are kept."""
    from diarize.folders import state_folder

    return state_folder() / "sessions" if folder is None else folder


def recover(
    session: Annotated[str | None, typer.Argument(metavar="SESSION", help="Its id.")] = None,
    journal: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the server keeps its sessions.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which there are, the newest last.")] = False,
    erase: Annotated[bool, typer.Option("--erase", help="Erase it instead.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the result goes: RTTM, or .json.")
    ] = None,
    profiles: Profiles = None,
    no_profiles: NoProfiles = False,
) -> None:
    """Say who spoke when in a session of `diarize serve` that nobody ended.

    The session stays as it is, until it expires or is erased.
    """
    from diarize.formats import FORMATS, write_atomically
    from diarize.orders import check_writable, format_of
    from diarize.rttm import turns_from
    from diarize.server.journal import Journal
    from diarize.server.recovery import recover as recovered

    with exit_code(2):
        folder = _journal(journal)
        if not folder.is_dir():
            raise ValueError(f"{folder}: no sessions are kept here; give the server's --journal")
        if not list_ and session is None:
            raise ValueError("which session? diarize recover --list says which there are")
        if erase and output is not None:
            raise ValueError("--erase writes nothing: recover the session first, then erase it")
        kept = Journal(folder)
    with exit_code(1):
        if list_ or session is None:
            write("".join(f"{line}\n" for line in _listed(kept)))
            return
        if session not in kept.ids():
            raise ValueError(f"{folder}: no session {session!r} is kept here")
        if erase:
            kept.erase(session)
            return
        if output is not None:
            check_writable(output)
        result = recovered(
            kept, session, lambda made: enrolled(made.encoder.fingerprint, made.config, profiles, no_profiles)
        )
        text = FORMATS[format_of(output)].write(result)
        if output is None:
            write(text)
        else:
            write_atomically(output, text)
            turns = turns_from(result.updates)
            say_written(output, len({turn.speaker for turn in turns}), len(turns))


def _listed(kept: Journal) -> Iterator[str]:
    """A line for each session: its id, when it began, and what became of it."""
    from diarize.server.journal import Journal

    with TemporaryDirectory() as folder:  # a server may be using them: copies are looked at
        copies = Journal(folder)
        for session in kept.ids():
            try:
                kept.copy(session, copies)
                with closing(copies.open(session)) as entry:
                    begun = datetime.fromtimestamp(entry.begun.at).astimezone().isoformat(" ", "seconds")
                    yield f"{session}  {begun}  {'not ended' if entry.result is None else 'ended'}"
            except LookupError:  # it has just been erased
                continue
            except ValueError:
                yield f"{session}  damaged"
