"""The file of embeddings: what is kept is there again to the bit, whatever happened to the process or to the disk."""

from __future__ import annotations

import errno
import gc
import resource
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diarize.clustering.memory import EmbeddingFile
from diarize.types import EmbeddingWindow
from tests.laws import plain

positions = st.integers(0, 2**62)
embedding_windows = st.builds(
    EmbeddingWindow,
    start=positions,
    end=positions,
    speech=st.lists(st.tuples(positions, positions), max_size=3).map(tuple),
    group=st.integers(0, 2**40),
    embedding=arrays(np.float32, st.integers(1, 200), elements=st.floats(-1, 1, width=32)),
    quality=st.floats(0, 1, exclude_min=True),
)


def window(number: int) -> EmbeddingWindow:
    """Of 0 to 2 intervals of speech, so that records differ in length."""
    embedding = np.random.default_rng(number).standard_normal(4).astype(np.float32)
    speech = tuple((number + i, number + i + 1) for i in range(number % 3))
    return EmbeddingWindow(number, number + 10, speech, number, embedding, 0.1 * (1 + number % 10))


WINDOWS = [window(number) for number in range(6)]


def kept(path: Path, windows: list[EmbeddingWindow]) -> None:
    with closing(EmbeddingFile(path)) as file:
        for one in windows:
            file.append(one)


def check(file: EmbeddingFile, windows: list[EmbeddingWindow]) -> None:
    """That these are in it, and that it goes on."""
    assert len(file) == len(windows)
    assert plain(file.read_all()) == plain(windows)
    file.append(WINDOWS[0])
    assert plain(file.read_all()) == plain([*windows, WINDOWS[0]])


@given(st.lists(embedding_windows, max_size=5))
@settings(deadline=None, max_examples=50)
def test_what_is_kept_comes_back_to_the_bit(windows: list[EmbeddingWindow]) -> None:
    with closing(EmbeddingFile()) as file:
        for i, one in enumerate(windows):
            assert len(file) == i
            file.append(one)
        check(file, windows)


def test_it_is_there_again_when_it_is_opened_again(tmp_path: Path) -> None:
    kept(tmp_path / "a", WINDOWS[:2])
    kept(tmp_path / "a", WINDOWS[2:])
    with closing(EmbeddingFile(tmp_path / "a")) as file:
        file.sync()
        check(file, WINDOWS)


def test_what_is_appended_is_in_the_file_at_once(tmp_path: Path) -> None:
    with closing(EmbeddingFile(tmp_path / "a")) as file:
        for number, one in enumerate(WINDOWS, start=1):
            file.append(one)
            with closing(EmbeddingFile(tmp_path / "a")) as other:  # as a process sees it that is started after a kill
                assert plain(other.read_all()) == plain(WINDOWS[:number])


def test_a_file_that_was_cut_off_anywhere_holds_its_whole_records(tmp_path: Path) -> None:
    sizes = []
    for number in range(len(WINDOWS) + 1):
        kept(tmp_path / "sizes", WINDOWS[number - 1 : number])
        sizes.append((tmp_path / "sizes").stat().st_size)
    kept(tmp_path / "whole", WINDOWS)
    data = (tmp_path / "whole").read_bytes()
    assert sizes[0] == 0
    assert sizes[-1] == len(data)
    for length in range(len(data) + 1):
        (tmp_path / "cut").write_bytes(data[:length])
        with closing(EmbeddingFile(tmp_path / "cut")) as file:
            whole = sum(size <= length for size in sizes[1:])
            assert (tmp_path / "cut").stat().st_size == sizes[whole]
            check(file, WINDOWS[:whole])


@pytest.mark.parametrize("path", ["a", None])
@pytest.mark.parametrize("count", [0, 1, 4, 6, 7])
def test_all_but_the_first_can_be_forgotten(tmp_path: Path, path: str | None, count: int) -> None:
    with closing(EmbeddingFile(path and tmp_path / path)) as file:
        for one in WINDOWS:
            file.append(one)
        file.truncate(count)
        assert len(file) == min(count, 6)
        file.append(WINDOWS[5])
        check(file, [*WINDOWS[:count], WINDOWS[5]])
    if path:
        with closing(EmbeddingFile(tmp_path / path)) as file:
            check(file, [*WINDOWS[:count], WINDOWS[5], WINDOWS[0]])


def test_without_a_path_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(EmbeddingFile()) as file:
        file.append(WINDOWS[0])
        file.sync()
    lost = EmbeddingFile()
    del lost
    gc.collect()  # a file that was left open would be a warning
    assert list(tmp_path.iterdir()) == []


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become longer than so many bytes: the kernel then takes what fits, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("path", ["a", None])
def test_a_full_disk_is_an_error_and_loses_nothing_that_was_kept(tmp_path: Path, path: str | None) -> None:
    kept(tmp_path / "size", WINDOWS[:3])
    size = (tmp_path / "size").stat().st_size
    for more in (0, 1, 50):
        with closing(EmbeddingFile(path and tmp_path / f"{path}{more}")) as file:
            for one in WINDOWS[:3]:
                file.append(one)
            with room_for(size + more):
                for _ in range(2):
                    with pytest.raises(OSError, match=r"\[Errno") as raised:
                        file.append(WINDOWS[3])
                    assert raised.value.errno in (errno.ENOSPC, errno.EFBIG)
            check(file, WINDOWS[:3])
        if path:
            with closing(EmbeddingFile(tmp_path / f"{path}{more}")) as file:
                check(file, [*WINDOWS[:3], WINDOWS[0]])


def test_a_file_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        EmbeddingFile(tmp_path / "absent" / "embeddings.bin")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        EmbeddingFile(tmp_path)
