"""A reference as a row of the store, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from diarize.profiles.people import People
from diarize.profiles.person import Origin, Reference

COLUMNS = "embedding, model, speech, cohesion, made, path, sha256, stretches"
"""Of a reference, in the order of its row."""

Row = tuple[Any, ...]


def to_row(reference: Reference) -> Row:
    """The values of `COLUMNS`."""
    origin = reference.origin
    return (
        reference.embedding.astype("<f4").tobytes(),
        reference.model,
        reference.speech,
        reference.cohesion,
        reference.made,
        origin and os.fsencode(origin.path),
        origin and origin.sha256,
        origin and json.dumps(origin.stretches),
    )


def to_reference(row: Row) -> Reference:
    """The reference of a row.  Raises ValueError, TypeError or AttributeError for what `to_row` does not make."""
    embedding, model, speech, cohesion, made, path, sha256, stretches = row
    origin = None if path is None else to_origin(os.fsdecode(path), sha256, json.loads(stretches))
    return Reference(np.frombuffer(embedding, "<f4").astype(np.float32), model, speech, cohesion, made, origin)


def to_origin(path: str, sha256: str, stretches: Sequence[Sequence[int]]) -> Origin:
    """An origin out of what JSON has made of it.  Raises ValueError for stretches that cannot be."""
    read = tuple((int(start), int(end)) for start, end in stretches)
    edges = [edge for stretch in read for edge in stretch]
    if edges != sorted(edges) or any(edge < 0 for edge in edges):
        raise ValueError("stretches that cannot be")
    return Origin(str(path), str(sha256), read)


def to_people(persons: Sequence[tuple[int, str]], rows: Sequence[tuple[int, bytes]], model: str) -> People:
    """Everybody as arrays.

    persons: their numbers, ascending, and names.
    rows: the number of the person and the embedding of each reference, those of one person next to each other.
    Raises ValueError where these are no embeddings, or somebody's are missing.
    """
    size = len(rows[0][1]) if rows else 0
    if size % 4 or any(len(embedding) != size for _, embedding in rows):
        raise ValueError("embeddings of different sizes")
    content = b"".join(embedding for _, embedding in rows)
    references = np.frombuffer(content, "<f4").astype(np.float32).reshape(len(rows), size // 4)
    numbers = np.array([number for number, _ in persons], np.int64)
    owner = np.searchsorted(numbers, np.array([number for number, _ in rows], np.int64))
    return People(tuple(name for _, name in persons), references, owner, model)
