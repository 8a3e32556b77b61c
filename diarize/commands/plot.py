"""The command that draws: `diarize plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.terminal import exit_code, say

if TYPE_CHECKING:
    from diarize.embedded import EmbeddedRecording
    from diarize.rttm import Turn


KINDS = ("timeline", "similarity", "map")


def plot(
    turns: Annotated[Path, typer.Argument(metavar="RTTM", help="Who spoke when.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PNG|SVG|HTML", help="A picture, or a page to listen by.")
    ],
    reference: Annotated[
        Path | None, typer.Option(metavar="RTTM", help="The truth, to show above with the errors.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="The recording, for a page that plays it.")] = None,
    voices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What diarize file --save-embeddings kept of the recording.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="|".join(KINDS), help="What a picture shows; similarity and map need --voices."),
    ] = None,
    by_speaker: Annotated[
        bool, typer.Option("--by-speaker", help="The similarity in order of speakers, not of time.")
    ] = False,
    uri: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which recording, where the RTTM has several.")
    ] = None,
) -> None:
    """Draw who spoke when: a picture (.png, .svg), or a page with the audio and all that is given (.html)."""
    from diarize.orders import check_writable
    from diarize.plot import PAGE_SUFFIX, plot_map, plot_similarity, plot_timeline, write_page
    from diarize.sources import open_source

    is_page = output.suffix.lower() == PAGE_SUFFIX
    with exit_code(2):
        check_fits(output, is_page, kind, reference=reference, audio=audio, voices=voices, by_speaker=by_speaker)
        name, answer = one_recording(turns, uri)
        truth = None if reference is None else of_the_same(reference, name)
        recording = None if voices is None else embedded_of(voices, name)
        duration = None if recording is None else recording.duration
        windows = [] if recording is None else [window for channel in recording.channels for window in channel]
        source = None if audio is None else open_source(audio)
        check_writable(output)
    with exit_code(1):
        if is_page:
            sound = None if source is None else source.chunks()
            write_page(
                answer, path=output, title=name, reference=truth, duration=duration, audio=sound, windows=windows
            )
        elif kind == "similarity":
            plot_similarity(windows, answer, path=output, by_speaker=by_speaker, title=name)
        elif kind == "map":
            plot_map(windows, answer, path=output, title=name)
        else:
            plot_timeline(answer, path=output, reference=truth, title=name)
    say(f"{output}: drawn")


def check_fits(
    output: Path,
    is_page: bool,
    kind: str | None,
    *,
    reference: Path | None,
    audio: Path | None,
    voices: Path | None,
    by_speaker: bool,
) -> None:
    """Raise ValueError for what does not go together: nothing that is given is passed over in silence."""
    from diarize.plot import PAGE_SUFFIX, SUFFIXES

    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if not is_page and output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot draw {str(output)!r}: its name must end in {', '.join(SUFFIXES)} or {PAGE_SUFFIX}")
    if is_page and (kind is not None or by_speaker):
        raise ValueError("a page shows everything: leave out --kind and --by-speaker, or choose a .png")
    if not is_page and audio is not None:
        raise ValueError("a picture has no sound: leave out --audio, or choose a .html")
    needs_voices = kind in ("similarity", "map")
    if needs_voices and voices is None:
        raise ValueError(f"--kind {kind} needs the voices: add --voices FILE (diarize file --save-embeddings FILE)")
    if needs_voices and reference is not None:
        raise ValueError(f"--kind {kind} shows no reference: leave out --reference")
    if not is_page and voices is not None and not needs_voices:
        raise ValueError("a timeline shows no voices: choose --kind similarity or --kind map, or a .html")
    if by_speaker and kind != "similarity":
        raise ValueError("--by-speaker goes with --kind similarity")


def one_recording(path: Path, uri: str | None) -> tuple[str, list[Turn]]:
    """The name and the turns of the recording that is meant."""
    from diarize.rttm import read_rttms

    found = read_rttms(path)
    if uri is None and len(found) > 1:
        raise ValueError(f"{path} has {len(found)} recordings: choose one with --uri, of {listed(found)}")
    name = next(iter(found)) if uri is None else uri
    if name not in found:
        raise ValueError(f"{path} has no recording {name!r}, only {listed(found)}")
    return name, found[name]


def of_the_same(reference: Path, name: str) -> Sequence[Turn]:
    """The reference of that recording."""
    from diarize.rttm import read_rttms

    found = read_rttms(reference)
    if name not in found and any(found.values()):
        raise ValueError(f"{reference} is of another recording: it has {listed(found)}, not {name!r}")
    return found.get(name, [])


def embedded_of(voices: Path, name: str) -> EmbeddedRecording:
    """The embeddings of that recording."""
    from diarize.embedded import read_embedded

    recording = read_embedded(voices)
    if recording.uri != name:
        raise ValueError(f"{voices} is of another recording: of {recording.uri!r}, not {name!r}")
    return recording


def listed(recordings: Mapping[str, object]) -> str:
    """Names of recordings, the first few."""
    names = [repr(name) for name in recordings]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
