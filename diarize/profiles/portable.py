"""People in one portable file: JSON, of a version, with nothing in it that could run."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from diarize.profiles.person import Person, ProfilesError, Reference, checked_name, one_model
from diarize.profiles.rows import to_origin

FORMAT = "diarize people"
VERSION = 1


def write_people(path: str | Path, people: Sequence[Person]) -> None:
    """Write people into a file that only its user can read, whole or not at all.

    Raises OSError that names `path`.
    """
    content = {"format": FORMAT, "version": VERSION, "people": [_person(person) for person in people]}
    target = Path(path).resolve()
    try:
        handle, beside = tempfile.mkstemp(dir=target.parent)  # readable for its user alone
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, no path
                file.write(json.dumps(content, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(beside).unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_people(path: str | Path) -> list[Person]:
    """The people that `write_people` wrote.

    Raises ProfilesError for a file that is something else, damaged or of another version, OSError as `open`.
    """
    data = Path(path).read_bytes()
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError
        version = content["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ProfilesError(f"{path}: no export of people: make one with diarize profiles export") from None
    if version != VERSION:
        raise ProfilesError(f"{path}: of version {str(version)[:20]}, and this program reads {VERSION}: update diarize")
    try:
        people = [_read_person(person) for person in content["people"]]
        if len({person.name for person in people}) < len(people):
            raise ValueError("a name is in it twice")
        if people:
            one_model([reference for person in people for reference in person.references])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        about = str(error) if isinstance(error, ValueError) else f"a part is absent or of the wrong kind: {error!r}"
        raise ProfilesError(f"{path}: damaged ({about}); export it again") from None
    return people


def numbered(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names, with a number after those that are taken: Ana (2)."""
    free: list[str] = []
    for name in names:
        new, number = name, 1
        while new in taken or (new != name and new in names) or new in free:
            number += 1
            new = f"{name} ({number})"
        free.append(new)
    return free


def _person(person: Person) -> dict[str, object]:
    return {"name": person.name, "references": [_reference(reference) for reference in person.references]}


def _reference(reference: Reference) -> dict[str, object]:
    origin = reference.origin
    return {
        "embedding": base64.b64encode(reference.embedding.astype("<f4").tobytes()).decode(),
        "model": reference.model,
        "speech": reference.speech,
        "cohesion": reference.cohesion,
        "made": reference.made,
        "origin": origin and {"path": origin.path, "sha256": origin.sha256, "stretches": origin.stretches},
    }


def _read_person(content: Mapping[str, Any]) -> Person:
    references = tuple(_read_reference(reference) for reference in content["references"])
    one_model(references)  # at least one
    return Person(checked_name(content["name"]), references)


def _read_reference(content: Mapping[str, Any]) -> Reference:
    origin = content["origin"]
    return Reference(
        np.frombuffer(base64.b64decode(content["embedding"], validate=True), "<f4").astype(np.float32),
        str(content["model"]),
        float(content["speech"]),
        float(content["cohesion"]),
        datetime.fromisoformat(content["made"]).isoformat(),
        None if origin is None else to_origin(origin["path"], origin["sha256"], origin["stretches"]),
    )
