"""The identification benchmark's own logic, on made-up voices, and once on a few real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diarize.profiles.cohort import SHIPPED, read_cohort
from diarize.training.carriers import CARRIERS
from diarize.training.speech import read_voices
from examples import identification_benchmark as benchmark
from examples.identification_benchmark import (
    COSINE,
    OURS,
    POOLED,
    ROWS,
    SYSTEMS,
    Answers,
    Heard,
    answer,
    difference,
    draws,
    hear,
    interval,
    matching_time,
    measure,
    rates,
    share,
    threshold,
    trials,
)

MODEL = read_cohort(SHIPPED).fingerprint


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "ROUNDS", 2)


def made_up(count: int, spread: float, seed: int = 0) -> dict[str, list[dict[str, Heard]]]:
    """Speakers with seven utterances each, whose embeddings differ by `spread` from one to the next."""
    rng = np.random.default_rng(seed)
    speakers = {}
    for number in range(count):
        own = rng.normal(size=192)
        said = []
        for _ in range(7):
            over = {}
            for carrier in CARRIERS:
                vector = own + spread * rng.normal(size=192)
                unit = (vector / np.linalg.norm(vector)).astype(np.float32)
                over[carrier] = Heard(3 * unit, unit, 4.0)
            said.append(over)
        speakers[f"speaker-{number}"] = said
    return speakers


def test_half_are_enrolled_over_another_carrier_than_they_are_heard_over() -> None:
    speakers = made_up(6, 0.5)
    asked = list(trials(speakers, MODEL))
    assert len(asked) == len(ROWS) * 2 * 6 * 2  # rows, rounds, speakers, pairs of the four utterances that are left
    for trial in asked:
        assert len(trial.people.names) == 3
        heard_over = [one[carrier].mean for said in speakers.values() for one in said for carrier in ROWS[trial.row]]
        similar = trial.people.references @ np.array(heard_over).T
        assert similar.max() < 0.9999, "a reference is what was heard in a trial of this row"
        assert trial.seconds == 8.0
    again = list(trials(speakers, MODEL))
    assert all(np.array_equal(a.voice, b.voice) for a, b in zip(asked, again, strict=True))


def test_clear_voices_are_all_named_and_no_stranger_is() -> None:
    asked = list(trials(made_up(6, 0.1), MODEL))
    for config in SYSTEMS.values():
        said = answer(asked, config)
        assert said.enrolled.mean() == 0.5
        least = threshold(said)
        found = rates(said, least)
        for row in (*ROWS, POOLED):
            assert found[f"{row}/named"] == pytest.approx([1, 1, 1])
            assert found[f"{row}/unknown"] == pytest.approx([0, 0, 0])
            assert found[f"{row}/accepted"][0] <= 0.01


def test_an_undecided_answer_is_unknown_at_any_threshold() -> None:
    asked = list(trials(made_up(4, 0.3), MODEL))
    said = answer(asked, replace(SYSTEMS[OURS], margin=200.0))
    assert (said.score == -np.inf).all()
    assert rates(said, -99.0)[f"{POOLED}/unknown"][0] == 1


@settings(deadline=None)
@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(-3, 3)), st.floats(0, 0.9))
def test_the_threshold_is_the_least_that_so_few_strangers_reach(scores: np.ndarray, most: float) -> None:
    count = len(scores)
    nobody = np.zeros(count, bool)
    said = Answers(np.array(["clean"] * count), np.array(["a"] * count), nobody, nobody, scores)
    least = threshold(said, most)
    assert np.mean(scores >= least) <= most
    assert np.mean(scores >= np.nextafter(least, -np.inf)) > most


def by_hand() -> Answers:
    """Two speakers, one of them enrolled in some trials: named, misnamed, unknown; accepted, rejected, rejected."""
    return Answers(
        np.array(["clean"] * 3 + ["noise"] * 3),
        np.array(["a", "a", "b", "a", "b", "b"]),
        np.array([True, True, True, False, False, False]),
        np.array([True, False, True, False, False, False]),
        np.array([2.0, 2.0, 0.5, 2.0, 0.5, 0.1]),
    )


def test_rates_by_hand() -> None:
    found = rates(by_hand(), 1.0)
    assert [found[f"clean/{rate}"][0] for rate in ("named", "misnamed", "unknown")] == pytest.approx([1 / 3] * 3)
    assert found["noise/accepted"][0] == pytest.approx(1 / 3)
    assert found["pooled/accepted"].tolist()[1:] == pytest.approx([0, 1])  # either speaker may be drawn alone


def test_draws_are_of_speakers_with_all_their_trials() -> None:
    said = by_hand()
    drawn = draws(said)
    assert drawn[0].tolist() == [1, 1]
    assert (drawn.sum(axis=1) == 2).all()
    everything = np.ones(6, bool)
    assert share(said, everything, everything, drawn) == pytest.approx(np.ones(len(drawn)))
    assert interval(np.array([5.0, *np.linspace(0, 1, 201)])) == pytest.approx([5, 0.025, 0.975])


def test_nothing_is_better_than_itself() -> None:
    said = {OURS: by_hand(), COSINE: by_hand()}
    for row in ("clean", POOLED):
        same = {OURS: 1.0, COSINE: 1.0}
        assert difference(said, same, row, enrolled=True) == pytest.approx([0, 0, 0])
    stricter = {OURS: 1.0, COSINE: 3.0}
    assert difference(said, stricter, POOLED, enrolled=True)[0] == pytest.approx(1 / 3)
    assert difference(said, stricter, POOLED, enrolled=False)[0] == pytest.approx(1 / 3)


def test_the_table_is_whole() -> None:
    table = measure(made_up(4, 0.5), made_up(6, 0.5, seed=1), MODEL)
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == [f"| {row}" for row in (*ROWS, POOLED) for _ in SYSTEMS]
    assert {len(row) for row in rows[1:]} == {6}
    assert "72 trials with 6 speakers" in table


def test_a_few_real_speakers(speech: Path) -> None:
    voices = [voice for voice in read_voices(speech, "dev") if voice.seconds > 90][:4]
    few = {voice.name: hear(replace(voice, files=voice.files[:5]), speech, "dev") for voice in voices}
    asked = list(trials(few, MODEL))
    said = answer(asked, SYSTEMS[OURS])
    assert said.right[said.enrolled].mean() > 0.9
    assert np.median(said.score[said.enrolled]) > np.median(said.score[~said.enrolled]) + 1


def test_the_matching_of_many_is_timed() -> None:
    assert matching_time(references=900, runs=2) > 0


def test_a_full_run_refuses_a_readme_without_markers_before_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("# no markers\n", encoding="utf-8")
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["identification_benchmark.py", "--speech", str(tmp_path)])
    with pytest.raises(SystemExit, match="<!-- bench:identification -->"):
        benchmark.main()


def test_a_folder_without_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["identification_benchmark.py", "--speech", str(tmp_path), "--speakers", "2"]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit, match=r"no speakers\.csv there"):
        benchmark.main()
