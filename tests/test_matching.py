"""Who is named: the laws of matching, held against plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.profiles.cohort import Cohort, write_cohort
from diarize.profiles.matching import (
    NEAREST,
    SHORTLIST,
    THRESHOLD,
    IdentificationConfig,
    assign,
    identify,
    score,
)
from diarize.profiles.people import People
from diarize.types import Identity

DIMENSIONS = 12
MODEL = "ecapa-tdnn:0123"
RAW = IdentificationConfig(normalise=False, threshold=0.5, margin=0.1)

seeds = st.integers(0, 2**32 - 1)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def enrolled(*references: NDArray[np.float32]) -> People:
    """People by the names A, B, C..., each with these references, shape (n, dimensions)."""
    owner = np.repeat(np.arange(len(references)), [len(one) for one in references])
    return People(tuple(chr(ord("A") + i) for i in range(len(references))), np.concatenate(references), owner, MODEL)


def some_people(rng: np.random.Generator, count: int) -> People:
    return enrolled(*(unit(rng.normal(size=(rng.integers(1, 5), DIMENSIONS))) for _ in range(count)))


def some_cohort(seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(DIMENSIONS, DIMENSIONS))
    return Cohort(unit(rng.normal(size=(70, DIMENSIONS))), (spread @ spread.T).astype(np.float32), MODEL)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> IdentificationConfig:
    path = tmp_path_factory.mktemp("cohort") / "cohort.safetensors"
    write_cohort(path, some_cohort())
    return IdentificationConfig(threshold=1.0, margin=0.2, cohort=str(path))


def at(*cosines: float) -> NDArray[np.float32]:
    """A voice that has these cosines with people who are the axes, shape (1, dimensions)."""
    voice = np.zeros(DIMENSIONS)
    voice[: len(cosines)] = cosines
    voice[-1] = np.sqrt(1 - np.sum(np.square(cosines)))
    return unit(voice[None])


AXES = enrolled(*(np.eye(DIMENSIONS, dtype=np.float32)[None, i] for i in range(3)))


def named(said: list[Identity]) -> list[str | None]:
    return [one.name for one in said]


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_plain_scores_are_those_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = some_people(rng, 5)
    voices = unit(rng.normal(size=(3, DIMENSIONS)))
    candidates, scores = score(voices, people, None)
    assert candidates.tolist() == [0, 1, 2, 3, 4]
    for i, voice in enumerate(voices):
        for person in range(5):
            mean = people.references[people.owner == person].mean(axis=0)
            assert scores[i, person] == pytest.approx(voice @ mean / np.linalg.norm(mean), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_normalised_scores_are_those_of_a_loop(seed: int) -> None:
    from scipy.linalg import inv, sqrtm

    rng = np.random.default_rng(seed)
    people, cohort = some_people(rng, 4), some_cohort(seed % 5)
    voices = unit(rng.normal(size=(2, DIMENSIONS)))
    within = cohort.within.astype(float)
    whitening = np.real(inv(sqrtm(within + np.eye(DIMENSIONS) * np.trace(within) / DIMENSIONS)))

    def project(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        moved = (vectors.astype(float) - cohort.voices.astype(float).mean(axis=0)) @ whitening
        return np.asarray(moved / np.linalg.norm(moved, axis=-1, keepdims=True))

    _, scores = score(voices, people, cohort)
    others = project(cohort.voices)
    for i, voice in enumerate(project(voices)):
        for person in range(4):
            mean = project(people.references[people.owner == person]).mean(axis=0)
            mean /= np.linalg.norm(mean)
            near = [sorted(float(other @ one) for other in others)[-NEAREST:] for one in (voice, mean)]
            standard = [(voice @ mean - np.mean(one)) / np.std(one) for one in near]
            assert scores[i, person] == pytest.approx(np.mean(standard), abs=2e-3)


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_the_assignment_is_the_best_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, threshold = rng.uniform(-1, 1, (rng.integers(1, 5), rng.integers(1, 5))), float(rng.uniform(-1, 1))
    chosen = assign(scores, threshold, -2.0)  # whatever the rivals
    taken = [person for person in chosen if person is not None]
    assert len(set(taken)) == len(taken)
    assert all(scores[i, person] >= threshold for i, person in enumerate(chosen) if person is not None)
    gain = sum(scores[i, person] - threshold for i, person in enumerate(chosen) if person is not None)
    free = np.concatenate([np.maximum(scores - threshold, 0), np.zeros((len(scores), len(scores)))], axis=1)
    best = max(
        sum(free[i, column] for i, column in enumerate(columns))
        for columns in permutations(range(free.shape[1]), len(scores))
    )
    assert gain == pytest.approx(best, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(seeds, st.booleans())
def test_the_order_of_speakers_and_people_does_not_matter(
    normalised: IdentificationConfig, seed: int, plain: bool
) -> None:
    rng = np.random.default_rng(seed)
    config = RAW if plain else normalised
    people = some_people(rng, 4)
    voices = unit(people.references[rng.integers(len(people.owner), size=4)] + 0.2 * rng.normal(size=(4, DIMENSIONS)))
    heard = rng.uniform(2, 6, 4)
    before = identify(voices, heard, people, config)
    order = rng.permutation(4)
    assert named(identify(voices[order], heard[order], people, config)) == [before[i].name for i in order]
    groups = [people.references[people.owner == i] for i in order]
    moved = replace(
        people,
        names=tuple(people.names[i] for i in order),
        references=np.concatenate(groups),
        owner=np.repeat(np.arange(4), [len(group) for group in groups]),
    )
    after = identify(voices, heard, moved, config)
    assert named(after) == named(before)
    assert [one.score for one in after] == pytest.approx([one.score for one in before], abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(seeds, st.booleans())
def test_nobody_is_two_speakers_and_nobody_named_is_below_the_threshold(
    normalised: IdentificationConfig, seed: int, plain: bool
) -> None:
    rng = np.random.default_rng(seed)
    config = replace(RAW if plain else normalised, threshold=0.3, margin=0.0)
    people = some_people(rng, 3)
    voices = unit(people.references[rng.integers(len(people.owner), size=6)] + 0.3 * rng.normal(size=(6, DIMENSIONS)))
    said = identify(voices, np.full(6, 5.0), people, config)
    names = [one.name for one in said if one.name is not None]
    assert len(set(names)) == len(names)
    assert all(one.score >= 0.3 for one in said if one.name is not None)
    for one in said:
        assert one.name is not None or "below the threshold" in one.reason or "another speaker" in one.reason


def test_a_name_that_is_not_clear_is_free_for_others() -> None:
    # the sum is greatest with the second as A and the first, who is nearer to A, as B
    said = identify(np.concatenate([at(0.72, 0.65), at(0.6)]), [9.0, 9.0], AXES, replace(RAW, margin=0.0))
    assert named(said) == ["A", None]


@settings(deadline=None, max_examples=40)
@given(seeds, st.booleans())
def test_one_more_person_gives_nobody_the_name_of_a_third(
    normalised: IdentificationConfig, seed: int, plain: bool
) -> None:
    rng = np.random.default_rng(seed)
    config = RAW if plain else normalised
    people = some_people(rng, 4)
    voice = unit(people.references[:1] + 0.2 * rng.normal(size=(1, DIMENSIONS)))
    (before,) = identify(voice, [5.0], people, config)
    new = unit(rng.normal(size=(2, DIMENSIONS)))
    more = replace(
        people,
        names=(*people.names, "new"),
        references=np.concatenate([people.references, new]),
        owner=np.append(people.owner, [4, 4]),
    )
    (after,) = identify(voice, [5.0], more, config)
    assert after.name in (before.name, None, "new")


def test_a_clear_voice_gets_its_name_with_score_and_runner_up() -> None:
    (said,) = identify(at(0.8, 0.3, 0.1), [10.0], AXES, RAW)
    assert (said.name, said.reason) == ("A", "0.80 to A, next 0.30 B")
    assert said.score == pytest.approx(0.8, abs=1e-6)
    assert said.runner_up is not None
    assert said.runner_up[0] == "B"
    assert said.runner_up[1] == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize(
    ("voice", "heard", "reason"),
    [
        (at(0.41, 0.3), 10.0, "0.41 to A, next 0.30 B: below the threshold 0.5"),
        (at(0.6, 0.55), 10.0, "0.60 to A, next 0.55 B: margin too small, below 0.1"),
        (at(0.9, 0.1), 2.14, "0.90 to A, next 0.10 B: 2.1 s of speech are too few, 3 s are needed"),
    ],
)
def test_otherwise_unknown_and_it_is_said_why(voice: NDArray[np.float32], heard: float, reason: str) -> None:
    (said,) = identify(voice, [heard], AXES, RAW)
    assert (said.name, said.reason) == (None, reason)


def test_of_two_speakers_near_to_one_person_the_nearer_one_is_named() -> None:
    said = identify(np.concatenate([at(0.7), at(0.9)]), [9.0, 9.0], AXES, RAW)
    assert named(said) == [None, "A"]
    assert said[0].reason == "0.70 to A, next 0.00 B: who is another speaker, with 0.90"


def test_who_is_clearly_another_speaker_is_no_rival_but_who_hardly_is_remains_one() -> None:
    sisters = np.concatenate([at(0.9, 0.3), at(0.66, 0.64)])
    assert named(identify(sisters, [9.0, 9.0], AXES, RAW)) == ["A", "B"]
    assert named(identify(sisters[1:], [9.0], AXES, RAW)) == [None]
    assert named(identify(np.concatenate([at(0.7, 0.1), at(0.66, 0.64)]), [9.0, 9.0], AXES, RAW)) == ["A", None]


def test_who_was_heard_too_shortly_takes_no_name_from_others() -> None:
    assert named(identify(np.concatenate([at(0.95), at(0.7)]), [1.0, 9.0], AXES, RAW)) == [None, "A"]


def test_one_person_alone_and_nobody() -> None:
    alone = enrolled(np.eye(DIMENSIONS, dtype=np.float32)[None, 0])
    (said,) = identify(at(0.8), [9.0], alone, RAW)
    assert (said.name, said.runner_up, said.reason) == ("A", None, "0.80 to A")
    nobody = People((), np.zeros((0, DIMENSIONS), np.float32), np.zeros(0, np.int64), MODEL)
    assert identify(at(0.8), [9.0], nobody, RAW) == [Identity(None, 0.0, None, "nobody is enrolled")]
    assert identify(np.zeros((0, DIMENSIONS), np.float32), [], AXES, RAW) == []


def test_among_very_many_the_right_ones_are_found(normalised: IdentificationConfig) -> None:
    rng = np.random.default_rng(0)
    count = 20 * SHORTLIST
    middles = unit(rng.normal(size=(count, DIMENSIONS)))
    owner = np.sort(np.append(np.arange(count), rng.integers(count, size=count)))
    references = unit(middles[owner] + 0.02 * rng.normal(size=(2 * count, DIMENSIONS)))
    people = People(tuple(f"P{i}" for i in range(count)), references, owner, MODEL)
    wanted = rng.choice(count, 8, replace=False)
    voices = unit(middles[wanted] + 0.02 * rng.normal(size=(8, DIMENSIONS)))
    for config in (RAW, normalised):
        said = identify(voices, np.full(8, 9.0), people, replace(config, margin=0.0))
        assert named(said) == [f"P{i}" for i in wanted]


@pytest.mark.parametrize(
    ("voices", "heard"),
    [(np.zeros((1, 5), np.float32), [9.0]), (at(0.8), [9.0, 9.0]), (at(0.8)[0], [9.0])],
)
def test_voices_of_another_shape(voices: NDArray[np.float32], heard: list[float]) -> None:
    with pytest.raises(ValueError, match=r"voices must have shape \(k, 12\)"):
        identify(voices, heard, AXES, RAW)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"normalise": False}, "threshold is not set: .* diarize calibrate"),
        ({"normalise": False, "threshold": 3.0}, "threshold is 3.0: give -1 to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"speech": -1.0}, "speech is -1.0 s"),
        ({"speech": float("nan")}, "speech is nan s"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IdentificationConfig(**values)  # type: ignore[arg-type]  # what is wrong is the values


def test_the_default_threshold_is_the_measured_one() -> None:
    assert IdentificationConfig().least == THRESHOLD
    assert IdentificationConfig(threshold=4.0).least == 4.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"names": ("A", "B", "A")}, "two people are called 'A'"),
        ({"owner": np.array([0, 2, 1])}, "must rise from 0 to 2"),
        ({"owner": np.array([0, 0, 1])}, "leave nobody out"),
        ({"owner": np.array([0, 1])}, r"owner \(n,\)"),
        ({"references": 2 * AXES.references}, "of 'A' has the norm 2"),
        ({"references": np.full_like(AXES.references, np.nan)}, "has the norm nan"),
    ],
)
def test_people_who_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(AXES, **values)  # type: ignore[arg-type]  # what is wrong is the values


def test_a_voice_of_the_cohort_is_not_compared_with_itself() -> None:
    cohort = some_cohort()
    inside = enrolled(cohort.voices[:1])
    without = replace(cohort, voices=np.concatenate([cohort.voices[:1] * -1, cohort.voices[1:]]))
    without.__dict__["centre"] = cohort.centre  # so that the one voice is all that differs
    voice = unit(np.random.default_rng(0).normal(size=(1, DIMENSIONS)))
    assert score(voice, inside, cohort)[1] == pytest.approx(score(voice, inside, without)[1], abs=0.5)
    assert score(cohort.voices[:1], inside, cohort)[1] > 1.5


def test_a_model_without_a_cohort(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the shipped cohort is of the model .*, not ecapa-tdnn:0123"):
        identify(at(0.8), [9.0], AXES, IdentificationConfig())
    write_cohort(tmp_path / "c", replace(some_cohort(), fingerprint="other"))
    with pytest.raises(ValueError, match=r"of the model other, not ecapa-tdnn:0123"):
        identify(at(0.8), [9.0], AXES, IdentificationConfig(cohort=str(tmp_path / "c")))
