"""Which utterances are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.evaluation.trials import ALL, WITHIN, make_trials, read_trials
from diarize.training.manifest import Utterance


def said(counts: dict[str, int]) -> list[Utterance]:
    """So many utterances of each speaker, whose names begin with the set."""
    return [
        Utterance(Path(f"{name}-{number}.wav"), name, name.partition("-")[0], 3.0)
        for name, count in counts.items()
        for number in range(count)
    ]


def listed(tmp_path: Path, *lines: str) -> Path:
    """A list of trials, and an empty file for every name in it."""
    for line in lines:
        for name in line.split()[1:]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    path = tmp_path / "veri_test.txt"
    path.write_text("\n".join(lines))
    return path


def test_all_pairs_and_their_kinds() -> None:
    trials = make_trials(said({"a-1": 3, "a-2": 2, "b-1": 2, "b-2": 2}))
    assert len(trials.first) == 9 * 8 / 2
    assert trials.same.sum() == 3 + 1 + 1 + 1
    kinds = trials.kinds()
    assert list(kinds) == [WITHIN, ALL, "a", "b"]
    assert kinds["a"].sum() == 10
    assert kinds["b"].sum() == 6
    assert np.array_equal(kinds[WITHIN], kinds["a"] | kinds["b"])
    assert kinds[ALL].all()
    assert trials.strata.tolist() == [0, 0, 1, 1]
    assert list(make_trials(said({"a-1": 2, "a-2": 2})).kinds()) == [ALL]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(20, 200))
def test_drawn_trials_are_different_pairs(seed: int, most: int) -> None:
    utterances = said({"a-1": 12, "a-2": 12, "b-3": 12, "b-4": 1})
    trials = make_trials(utterances, seed, most)
    again = make_trials(utterances, seed, most)
    assert np.array_equal(trials.first, again.first)
    assert np.array_equal(trials.second, again.second)
    pairs = {frozenset(pair) for pair in zip(trials.first.tolist(), trials.second.tolist(), strict=True)}
    assert len(pairs) == len(trials.first) <= most
    assert all(len(pair) == 2 for pair in pairs)
    assert trials.same.sum() == most // 2
    assert 0.5 * most // 2 < (~trials.same).sum() <= most // 2


def test_each_side_comes_first() -> None:
    trials = make_trials(said({"a-1": 20, "a-2": 20}))
    assert 0.3 < (trials.first < trials.second).mean() < 0.7


def test_who_has_one_utterance_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    unknown = Utterance(Path("x.wav"), None, "a", 3.0)
    trials = make_trials([*said({"a-1": 2, "a-2": 1}), unknown])
    assert len(trials.files) == 3
    assert trials.same.sum() == 1
    assert "1 of 2 speakers have one utterance" in caplog.text


@pytest.mark.parametrize("counts", [{}, {"a-1": 5}, {"a-1": 1, "a-2": 1}])
def test_too_few_speakers_or_utterances(counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="trials need two speakers, and two utterances of one"):
        make_trials(said(counts))


def test_a_list_with_a_folder_for_each_speaker(tmp_path: Path) -> None:
    path = listed(tmp_path, "1 id1/x/1.wav id1/y/2.wav", "0 id1/x/1.wav id2/z/1.wav", "", "1 id2/z/1.wav id2/z/2.wav")
    trials = read_trials(path, tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in trials.files] == [
        "id1/x/1.wav", "id1/y/2.wav", "id2/z/1.wav", "id2/z/2.wav",
    ]  # fmt: skip
    assert trials.speakers.tolist() == [0, 0, 1, 1]
    assert trials.same.tolist() == [True, False, True]
    assert [trials.first.tolist(), trials.second.tolist()] == [[0, 0, 2], [1, 2, 3]]
    assert trials.sets == ("veri_test",) * 4


def test_a_list_whose_lines_say_who_is_who(tmp_path: Path) -> None:
    path = listed(tmp_path, "1 a.wav b.wav", "1 b.wav c.wav", "0 c.wav d.wav")
    trials = read_trials(path, tmp_path)
    assert trials.speakers[0] == trials.speakers[1] == trials.speakers[2] != trials.speakers[3]
    assert trials.same.tolist() == [True, True, False]


def test_missing_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = listed(tmp_path, "1 a.wav b.wav", "0 a.wav c.wav", "0 a.wav d.wav", "0 d.wav b.wav")
    (tmp_path / "d.wav").unlink()
    trials = read_trials(path, tmp_path)
    assert [file.name for file in trials.files] == ["a.wav", "b.wav", "c.wav"]
    assert trials.same.tolist() == [True, False]
    assert "2 of 4 trials left out; files missing: 1" in caplog.text


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["1 a.wav b.wav", "2 a.wav c.wav"], r"veri_test.txt:2: no trial: '2 a.wav c.wav'"),
        (["1 a.wav"], r"veri_test.txt:1: no trial"),
        (["a.wav b.wav 1"], r"veri_test.txt:1: no trial"),
        ([], "holds no trials"),
        (["1 a.wav b.wav", "1 b.wav c.wav", "0 a.wav c.wav"], "a.wav and c.wav are of different speakers in one line"),
        (["1 a.wav b.wav"], "no trial of different speakers"),
        (["0 a.wav b.wav"], "no trial of one speaker"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_trials(listed(tmp_path, *lines), tmp_path)


def test_a_list_of_files_that_are_elsewhere(tmp_path: Path) -> None:
    path = listed(tmp_path, "1 a.wav b.wav", "0 a.wav c.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no trial of it has both files in"):
        read_trials(path, tmp_path / "empty")
    with pytest.raises(OSError, match="absent"):
        read_trials(tmp_path / "absent.txt", tmp_path)
    path.write_bytes(b"\xff\xfe1 a.wav")
    with pytest.raises(ValueError, match="it is not text"):
        read_trials(path, tmp_path)
