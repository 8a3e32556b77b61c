"""The benchmark of long recordings: how they are put together, one small run of it, its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diarize.embedded import read_embedded
from diarize.metrics import score
from diarize.rttm import Turn, read_rttm
from diarize.sources import read
from diarize.types import SAMPLE_RATE
from examples import long_benchmark
from examples.long_benchmark import GUEST, Clustered, Long, assemble, main, measure, measure_clustering, table
from examples.speed import Cost
from tests.command import SAMPLE

PART = len(read(SAMPLE)) / SAMPLE_RATE


def turns(rttm: Path) -> list[Turn]:
    return [turn for one in read_rttm(rttm).values() for turn in one]


def test_parts_come_back_with_a_guest_after_each(tmp_path: Path) -> None:
    both = PART + min(GUEST, PART)
    file = tmp_path / "long.flac"
    assemble([SAMPLE], [SAMPLE], 2 * both + 10, file)
    samples, said = read(file), turns(file.with_suffix(".rttm"))
    assert len(samples) == round((2 * both + 10) * SAMPLE_RATE)
    assert max(turn.end for turn in said) <= len(samples)
    first = turns(SAMPLE.with_suffix(".rttm"))
    assert [turn for turn in said if turn.end <= PART * SAMPLE_RATE] == first
    again = round(both * SAMPLE_RATE)
    moved = {Turn(turn.start + again, turn.end + again, turn.speaker) for turn in first}
    assert moved <= set(said)
    part = read(SAMPLE)
    for at in (0, again):  # softer and in noise, but the same
        heard = samples[at : at + len(part)]
        assert np.corrcoef(heard, part)[0, 1] > 0.98
        assert not np.array_equal(heard, part)


def test_a_shorter_recording_is_the_beginning_of_a_longer_one(tmp_path: Path) -> None:
    for name, seconds in (("a", 20.0), ("b", 50.0)):
        assemble([SAMPLE], [SAMPLE], seconds, tmp_path / f"{name}.flac")
    np.testing.assert_array_equal(read(tmp_path / "a.flac"), read(tmp_path / "b.flac")[: 20 * SAMPLE_RATE])


def test_a_short_one_is_measured_with_the_real_command(tmp_path: Path) -> None:
    file = tmp_path / "long.flac"
    assemble([SAMPLE], [SAMPLE], 60, file)
    measured = measure(file, 60 / 3600)
    assert measured.score.reference_speakers == 4
    assert (measured.score.strict.der or 1) < 0.3
    assert measured.cost.seconds > 0
    voices = file.with_suffix(".voices")
    alone = measure_clustering(voices, "agglomerative", 60)
    assert (alone.windows, alone.agreement) == (len(read_embedded(voices).channels[0]), 1)
    assert "| agglomerative |" in table([measured], [alone])


def test_the_table_shows_what_each_length_costs() -> None:
    turns = [Turn(0, 10 * SAMPLE_RATE, "a"), Turn(10 * SAMPLE_RATE, 20 * SAMPLE_RATE, "b")]
    lengths = [Long(2.5, Cost(90.0, 700.4), score(turns, turns[:1]))]
    lines = table(lengths, [Clustered("hdbscan", 50_000, Cost(20.04, 500.0), 0.9996)]).splitlines()
    assert lines[2] == "| 2.5 h | 90 s | 100 | 700 MB | 50.0 | 1 of 2 |"
    assert lines[6] == "| hdbscan | 50,000 | 20.0 s | 500 MB | 1.000 |"


def test_it_says_what_is_missing_before_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["long_benchmark.py", "--speech", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="give that of real speech"):
        main()
    (tmp_path / "README.md").write_text("# no markers\n", encoding="utf-8")
    monkeypatch.setattr(long_benchmark, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["long_benchmark.py", "--speech", str(tmp_path)])
    with pytest.raises(SystemExit, match="<!-- bench:long -->"):
        main()
