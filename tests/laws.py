"""The laws of streaming that every stage obeys, to be checked on any stage and any input.

`make` makes a fresh stage, all with the same settings.  Outputs are compared exactly: arrays to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from diarize.stage import Stage
from diarize.types import AudioChunk, Samples, SpeechChunk

In = TypeVar("In")
Out = TypeVar("Out")
Make = Callable[[], Stage[In, Out]]


def plain(value: Any) -> Any:
    """A value as nested tuples that are equal exactly when the values are, arrays to the bit."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *((f.name, plain(getattr(value, f.name))) for f in fields(value)))
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((plain(key), plain(item)) for key, item in value.items())
    return value


def pushed(stage: Stage[In, Out], items: Iterable[In]) -> list[Out]:
    """What a stage says to the items before its flush."""
    return [out for item in items for out in stage.push(item)]


def run(stage: Stage[In, Out], items: Iterable[In]) -> list[Out]:
    """What a stage says to a whole stream."""
    return pushed(stage, items) + stage.flush()


def any_cut(make: Make[In, Out], whole: Sequence[In], *cut: Sequence[In]) -> None:
    """Law 1: the same stream cut in other ways gives the same output."""
    expected = plain(run(make(), whole))
    for items in cut:
        assert plain(run(make(), items)) == expected


def prefix(make: Make[In, Out], whole: Sequence[In], *beginning: Sequence[In]) -> None:
    """Law 2: the output for the beginning of a stream, however cut, is the beginning of the output: no look ahead."""
    expected = plain(run(make(), whole))
    for items in beginning:
        said = plain(pushed(make(), items))
        assert said == expected[: len(said)]


def save_restore(make: Make[In, Out], items: Sequence[In], at: int) -> None:
    """Law 3: a stage saved after `at` items and put back into a fresh one goes on as if nothing had happened.

    And a saved state is a copy: the first stage, going on, does not change it.
    """
    first, second = make(), make()
    before = pushed(first, items[:at])
    saved = first.save()
    as_saved = plain(saved)
    rest = run(first, items[at:])
    assert plain(saved) == as_saved
    second.restore(saved)
    assert plain(run(second, items[at:])) == plain(rest)
    assert plain(saved) == as_saved
    assert plain(before + rest) == plain(run(make(), items))


def obeys(make: Make[AudioChunk, Out], samples: Samples, cuts: Sequence[int], at: int) -> None:
    """All three laws for a stage that takes audio: cut at `cuts`, ending early at and saved near sample `at`."""
    whole, cut = chunks(samples, []), chunks(samples, cuts)
    any_cut(make, whole, cut)
    prefix(make, whole, chunks(samples[:at], []), chunks(samples[:at], [c for c in cuts if c <= at]))
    save_restore(make, cut, sum(chunk.position < at for chunk in cut))


def cuts(length: int, most: int = 12) -> st.SearchStrategy[list[int]]:
    """Where to cut a stream of `length` samples: anywhere, more than once at a place too, which gives empty chunks."""
    return st.lists(st.integers(0, length), max_size=most).map(sorted)


def chunks(samples: Samples, cuts: Sequence[int]) -> list[AudioChunk]:
    """Audio, cut at these positions."""
    edges = [0, *cuts, len(samples)]
    return [AudioChunk(a, samples[a:b]) for a, b in pairwise(edges)]


def recut(stretches: Iterable[SpeechChunk], cuts: Sequence[int]) -> list[SpeechChunk]:
    """Stretches of speech, each cut at the positions that lie in it."""
    out = []
    for piece in stretches:
        end = piece.position + len(piece.samples)
        edges = [piece.position, *(cut for cut in cuts if piece.position <= cut <= end), end]
        for a, b in pairwise(edges):
            out.append(SpeechChunk(a, piece.samples[a - piece.position : b - piece.position], False))
        out[-1] = SpeechChunk(out[-1].position, out[-1].samples, piece.closes)
    return out
