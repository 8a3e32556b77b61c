"""What is given to be diarized: files, folders and patterns of names, as a list of recordings."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STDIN = "-"
"""Raw PCM on standard input."""

SUFFIXES = frozenset(
    (
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".sph", ".spx", ".tta", ".w64", ".wav"),
        *(".wma", ".wv"),
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"),
        *(".vob", ".webm", ".wmv"),
    )
)
"""How the names of audio and video files end.  What a folder holds besides is passed over."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One recording to be diarized.

    path: of the file, as it was given or found; `STDIN`.
    place: where its outputs go below the folder of outputs, without a suffix: its name, and before it the folders
        below the one that was searched.
    """

    path: str
    place: str


def is_search(name: str) -> bool:
    """Whether this is a folder or a pattern, of which there is no telling how many recordings it gives."""
    return Path(name).is_dir() or _is_pattern(name)


def find_recordings(names: Sequence[str], suffixes: Collection[str] = SUFFIXES) -> list[Recording]:
    """The recordings that are meant by these names, in their order; none twice.

    suffixes: of the files that a folder is searched for, in small letters; by default those of audio and video.

    The name of a file is taken as it is; a missing one is found out when it is opened.  A folder gives the files with
    these suffixes in it and in the folders below, by name.  A pattern (`*`, `?`, `[...]`, and `**` for folders of any
    depth) gives what it matches, by name; so it need not be the shell that knows patterns.  Hidden files and folders
    are passed over.

    Raises ValueError for a folder without such files and a pattern that nothing matches.
    """
    found: dict[str, Recording] = {}
    for name in names:
        for recording in _recordings(name, suffixes):
            found.setdefault(os.path.abspath(recording.path), recording)  # noqa: PTH100 - resolve() would follow links
    return list(found.values())


def _recordings(name: str, suffixes: Collection[str]) -> list[Recording]:
    wanted = "audio" if suffixes is SUFFIXES else f"{' or '.join(sorted(suffixes))} files"
    if _is_pattern(name):
        recordings = list(_matches(name, suffixes))
        if not recordings:
            raise ValueError(f"nothing to do: {name} matches no {wanted}; check the pattern")
    elif Path(name).is_dir():
        recordings = [_found(path, name) for path in _files_below(name, suffixes)]
        if not recordings:
            raise ValueError(f"nothing to do: {name} holds no {wanted}; leave it out, or name the files in it")
    else:
        recordings = [Recording(name, "stdin" if name == STDIN else Path(name).stem)]
    return recordings


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not Path(name).exists()  # a file may be called "[1].wav"


def _matches(pattern: str, suffixes: Collection[str]) -> Iterator[Recording]:
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    top = str(Path(*parts[:fixed]))
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob finds hidden files too
        for path in _files_below(match, suffixes) if Path(match).is_dir() else [match]:
            yield _found(path, top)


def _found(path: str, top: str) -> Recording:
    return Recording(path, str(Path(os.path.relpath(path, top)).with_suffix("")))


def _files_below(top: str, suffixes: Collection[str]) -> Iterator[str]:
    """The files of a folder, those of each folder before those of the folders in it; links are not followed."""
    for folder, folders, files in os.walk(top, onerror=_tell):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and Path(file).suffix.lower() in suffixes:
                yield str(Path(folder, file))


def _tell(error: OSError) -> None:
    log.warning("%s: cannot be searched (%s)", error.filename, error.strerror)
