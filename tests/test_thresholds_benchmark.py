"""The benchmark of the limits: its own logic on made-up voices, and once on a few real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diarize.clustering.agglomerative import Embeddings
from diarize.profiles.gate import Gate
from examples import thresholds_benchmark as benchmark
from examples.thresholds_benchmark import (
    PAIRS,
    Rates,
    Recording,
    gate_table,
    measure,
    verification,
    verification_table,
)

SPEAKERS = np.array(["a", "a", "b", "b"])


def at(*degrees: float) -> Embeddings:
    """Unit vectors in a plane: the cosine of two is that of the angle between them."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_every_pair_of_different_utterances_is_a_trial() -> None:
    # clean: a speaker's own are 10 degrees apart, others 80 at least; the telephone turns everything by 60 degrees
    clean = at(0, 10, 90, 100)
    found = verification({"clean": clean, "telephone": at(60, 70, 150, 160)}, SPEAKERS, least=np.cos(np.radians(30)))
    assert list(found) == list(PAIRS)
    for pair in ("clean and clean", "telephone and telephone"):
        assert (found[pair].equal, found[pair].missed, found[pair].accepted) == (0, 0, 0)
        assert np.cos(np.radians(80)) < found[pair].threshold <= np.cos(np.radians(10)) + 1e-6
    # own: 50 and 70 degrees, twice; others 150, 160, 160, 170 and 20, 30, 30, 40, of which the one at 20 passes surely
    assert found["clean and telephone"].missed == 1
    assert found["clean and telephone"].equal == pytest.approx(0.5)
    strict = verification({"clean": clean, "telephone": at(60, 70, 150, 160)}, SPEAKERS, np.cos(np.radians(25)))
    assert strict["clean and telephone"].accepted == pytest.approx(1 / 8)


def test_the_tables_say_what_was_found() -> None:
    dev = dict.fromkeys(PAIRS, Rates(0.04, 0.441, 0.05, 0.03))
    evaluated = dict.fromkeys(PAIRS, Rates(0.06, 0.45, 0.07, 0.08))
    lines = verification_table(dev, evaluated, 0.44).splitlines()
    assert "at 0.44" in lines[0]
    assert lines[2] == "| clean and clean | 4.0 % | 0.44 | 6.0 % | 0.45 | 7.0 % | 8.0 % |"


def test_what_the_gate_refuses_and_lets_pass_is_counted() -> None:
    heard = [
        Recording("a", 1, at(0, 2, 4, 6)),
        Recording("a", 1, at(0, 80, 3, 82)),  # one voice that sounds like two
        Recording("b", 1, at(180, 181, 182)),
        Recording("a", 2, at(0, 1, 2, 180, 181, 182)),
        Recording("b", 2, at(0, 1, 2, 10, 11, 12)),  # two voices that sound like one
    ]
    halves, windows, recordings = gate_table(heard, Gate(halves=0.55, cohesion=0.6, agreement=0.8)).splitlines()[2:]
    assert halves.startswith("| halves at most 0.55 apart | 1 of 3 | 1 of 2 |")
    assert windows.startswith("| windows agree to 0.6 | 0 of 3 | 1 of 2 |")
    # the two of `a` are at 3 and 41 degrees: a cosine of 0.79
    assert recordings.startswith("| recordings agree to 0.8 | 1 of 1 | 0 of 2 | 0.79 (0.79 to 0.79) |")


def test_a_tiny_run(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "ALONE", ((0, 2, "clean"), (2, 2, "telephone")))
    monkeypatch.setattr(benchmark, "TOGETHER", ((2, 2, "noise"),))
    tables = measure(speech, 2, None)
    assert len(tables["verify"].splitlines()) == 2 + len(PAIRS)
    assert " of 4 | " in tables["gate"]
    assert " of 2 | " in tables["gate"]
