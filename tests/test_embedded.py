"""Embeddings kept in a file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.embedded import EmbeddedError, EmbeddedRecording, read_embedded, write_embedded
from diarize.rttm import Turn
from diarize.types import EmbeddingWindow
from tests.laws import plain

Arrays = dict[str, NDArray[Any]]

texts = st.text(max_size=20)
times = st.tuples(st.integers(0, 2**40), st.integers(1, 2**20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@st.composite
def recordings(draw: st.DrawFn) -> EmbeddedRecording:
    dimensions = draw(st.integers(1, 5))

    def window() -> EmbeddingWindow:
        start, end = draw(times)
        speech = tuple(draw(st.lists(times, max_size=3)))
        values = draw(st.lists(st.floats(-1, 1, width=32), min_size=dimensions, max_size=dimensions))
        quality = draw(st.floats(0, 1))
        return EmbeddingWindow(start, end, speech, draw(st.integers(0, 9)), np.array(values, np.float32), quality)

    channels = tuple(tuple(window() for _ in range(draw(st.integers(0, 4)))) for _ in range(draw(st.integers(1, 3))))
    values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
    return EmbeddedRecording(
        draw(texts),
        draw(st.integers(0, 2**50)),
        draw(texts),
        channels,
        draw(st.dictionaries(texts, st.dictionaries(texts, values, max_size=2), max_size=2)),
        tuple(Turn(*draw(times), draw(texts)) for _ in range(draw(st.integers(0, 3)))),
    )


@given(recordings())
@settings(deadline=None, max_examples=40)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, recording: EmbeddedRecording
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.voices"
    write_embedded(path, recording)
    assert plain(read_embedded(path)) == plain(recording)


def windows(count: int) -> tuple[EmbeddingWindow, ...]:
    return tuple(
        EmbeddingWindow(10 * i, 10 * i + 16, ((10 * i, 10 * i + 16),), i, np.eye(4, dtype=np.float32)[i % 4], 1.0)
        for i in range(count)
    )


RECORDING = EmbeddedRecording("talk", 1000, "model", (windows(5),), {"clustering": {"threshold": 0.3}})


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    write_embedded(tmp_path / "talk.voices", RECORDING)
    return tmp_path / "talk.voices"


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def facts(arrays: Arrays, **changes: object) -> None:
    changed = json.loads(arrays["facts"].tobytes()) | changes
    arrays["facts"] = np.frombuffer(json.dumps(changed).encode(), np.uint8)


def drop(arrays: Arrays, name: str) -> None:
    arrays[name] = arrays[name][:-1]


def not_a_number(arrays: Arrays) -> None:
    arrays["embeddings"][2, 1] = np.nan


def backwards(arrays: Arrays) -> None:
    arrays["times"][1, 1] = 0


def pickled(arrays: Arrays) -> None:
    arrays["quality"] = np.array([{}], dtype=object)


@pytest.mark.parametrize(
    "damage",
    [
        not_a_number,
        backwards,
        pickled,
        lambda arrays: drop(arrays, "embeddings"),
        lambda arrays: drop(arrays, "speech"),
        lambda arrays: drop(arrays, "windows"),
        lambda arrays: arrays.pop("times"),
        lambda arrays: facts(arrays, duration="long"),
        lambda arrays: facts(arrays, corrections=[[5, 5, "Ana"]]),
        lambda arrays: arrays.update(facts=arrays["facts"][:-3]),
    ],
)
def test_damage_inside_is_one_line_that_names_the_file(kept: Path, damage: Callable[[Arrays], object]) -> None:
    arrays = arrays_of(kept)
    damage(arrays)
    np.savez(kept.with_suffix(""), allow_pickle=True, **arrays)
    kept.with_suffix(".npz").rename(kept)
    with pytest.raises(EmbeddedError) as refused:
        read_embedded(kept)
    assert str(refused.value) == (
        f"{kept}: not the embeddings of a recording, or damaged; make it with diarize file --save-embeddings"
    )


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("facts.txt", "nothing")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no archive\n"),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        array,
        other_archive,
    ],
)
def test_a_file_that_is_something_else_is_refused(kept: Path, damage: Callable[[Path], object]) -> None:
    damage(kept)
    with pytest.raises(EmbeddedError, match=r"talk.voices: not the embeddings of a recording, or damaged"):
        read_embedded(kept)


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
@settings(deadline=None, max_examples=150)
def test_bytes_that_change_are_found_or_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], inside: bool
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole.voices"
    write_embedded(whole, RECORDING)
    content = bytearray(whole.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    for place, byte in changes:
        for part in parts.values() if inside else [content]:
            part[int(place * len(part))] = byte
    if inside:  # with check sums that are right
        with zipfile.ZipFile(whole, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, bytes(part))
    else:
        whole.write_bytes(content)
    with suppress(EmbeddedError):
        found = read_embedded(whole)
        assert all(0 <= window.start < window.end for window in found.channels[0])
        assert inside or plain(found) == plain(RECORDING)


def test_another_version_says_so(kept: Path) -> None:
    arrays = arrays_of(kept)
    facts(arrays, version=9)
    with kept.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its names are keywords of savez too
    with pytest.raises(EmbeddedError, match=r"talk.voices: of version 9, and this program reads 1: make it again"):
        read_embedded(kept)


def test_a_file_that_cannot_be_replaced_stays_as_it_is(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as failed:
        write_embedded(kept, replace(RECORDING, corrections=(Turn(0, 10, "Ana"),)))
    assert failed.value.filename == str(kept)
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.voices"):
        read_embedded(tmp_path / "none.voices")
