"""Tuning, on recordings with a known best answer."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.config import from_mapping
from diarize.embedded import EmbeddedRecording
from diarize.metrics import score, total
from diarize.pipeline import PipelineConfig, load_config, recluster
from diarize.rttm import RttmError, Turn, turns_from
from diarize.tuning.annotated import Annotated, find_annotated
from diarize.tuning.report import as_recipe
from diarize.tuning.search import Embed, Search, Tuned, rate, split, tune
from diarize.tuning.space import SPACE, Range, parse_ranges
from diarize.turns import TurnsConfig
from diarize.types import EmbeddingWindow
from diarize.vad import VadConfig

SECOND = 16_000
THRESHOLD = {"clustering.threshold": Range(0.05, 0.5)}


def recording(seed: int, distance: float = 0.2) -> tuple[Annotated, EmbeddedRecording]:
    """One voice and then another, whose means lie `distance` apart, for 20 seconds each."""
    random = np.random.default_rng(seed)
    one, across = np.eye(24)[:2]
    other = (1 - distance) * one + np.sqrt(1 - (1 - distance) ** 2) * across
    windows = []
    for place in range(40):
        embedding = (one, other)[place // 20] + random.normal(0, 0.02, 24)
        start, end = place * SECOND, (place + 1) * SECOND
        embedding = (embedding / np.linalg.norm(embedding)).astype(np.float32)
        windows.append(EmbeddingWindow(start, end, ((start, end),), place, embedding, 1.0))
    embedded = EmbeddedRecording(f"r{seed}", 40 * SECOND, "none", (tuple(windows),))
    turns = Turn(0, 20 * SECOND, "A"), Turn(20 * SECOND, 40 * SECOND, "B")
    return Annotated(Path(f"r{seed}.wav"), turns), embedded


RECORDINGS = dict(recording(seed) for seed in range(4))
START = load_config(settings=["clustering.name=agglomerative", "clustering.fragment=0.1"])
"""In place of the defaults, which put voices as alike as these together before speakers are told apart."""


def embed(one: Annotated, _: PipelineConfig) -> EmbeddedRecording:
    return RECORDINGS[one]


def tuned(trials: int = 12, seed: int = 0, start: PipelineConfig = START) -> Tuned:
    return tune(list(RECORDINGS), embed, start, THRESHOLD, Search(trials, seed=seed))


@pytest.fixture(scope="module")
def found() -> Tuned:
    return tuned()


def test_two_alike_voices_are_told_apart_after_tuning(found: Tuned) -> None:
    for part in (found.tuned, found.held_out):
        assert rate(part.before, "strict") == pytest.approx(0.5)  # the default takes them for one
        assert rate(part.after, "strict") < 0.01
    assert 0.05 <= found.values["clustering.threshold"] < 0.2
    assert not found.worse
    assert found.trials == 12
    clustering = replace(START.clustering, threshold=found.values["clustering.threshold"])
    assert found.config == replace(START, clustering=clustering)


def test_the_recipe_loads_and_gives_the_figures_told(tmp_path: Path) -> None:
    found = tuned(start=replace(START, vad=VadConfig(name="webrtc"), turns=TurnsConfig(gap=1.0)))
    path = tmp_path / "mine.toml"
    path.write_text(as_recipe(found), encoding="utf-8")
    config = load_config(path)
    assert config == found.config
    stated = tomllib.loads(path.read_text(encoding="utf-8"))
    assert stated == {
        "vad": {"name": "webrtc"},
        "clustering": {
            "name": "agglomerative",
            "threshold": found.values["clustering.threshold"],
            "fragment": 0.1,
        },
        "turns": {"gap": 1.0},
    }
    for part in (found.tuned, found.held_out):
        again = total(
            score(one.reference, turns_from(recluster(RECORDINGS[one], config).updates)) for one in part.recordings
        )
        assert again == part.after
        for metric in ("strict", "lenient"):
            told = f"{metric} DER {rate(part.before, metric):.1%} before, {rate(again, metric):.1%} after"
            assert told in as_recipe(found)
        assert all(f'"{one.audio.stem}"' in as_recipe(found) for one in part.recordings)


def test_the_same_seed_finds_the_same(found: Tuned) -> None:
    assert tuned() == found
    splits = {tuned(1, seed).held_out.recordings for seed in range(4)}
    assert len(splits) > 1


def test_where_nothing_is_better_everything_stays(found: Tuned) -> None:
    again = tuned(3, start=found.config)
    assert again.config == found.config
    assert again.tuned.before == again.tuned.after
    alone = tune(list(RECORDINGS), embed, PipelineConfig(), {"turns.gap": Range(0.0, 0.1)}, Search(3))
    assert alone.config == PipelineConfig()
    assert alone.values == {"turns.gap": 0.3}
    assert as_recipe(alone).splitlines()[-1].startswith("#")  # a recipe that states nothing


def test_it_says_when_what_was_held_out_got_worse() -> None:
    """The recordings tuned on need a low threshold, the one held out a high one."""
    search = Search(12, hold_out=0.25)
    (odd,) = split(list(RECORDINGS), search.hold_out, search.seed)[1]
    own = RECORDINGS[odd]
    alone = replace(odd, reference=(Turn(0, own.duration, "A"),))
    recordings = [alone if one == odd else one for one in RECORDINGS]

    def listen(one: Annotated, _: PipelineConfig) -> EmbeddedRecording:
        return own if one == alone else RECORDINGS[one]

    found = tune(recordings, listen, START, THRESHOLD, search)
    assert found.held_out.recordings == (alone,)
    assert rate(found.tuned.after, "strict") < rate(found.tuned.before, "strict")
    assert rate(found.held_out.after, "strict") > rate(found.held_out.before, "strict")
    assert found.worse


def test_embeddings_are_made_once_unless_what_makes_them_changes() -> None:
    asked: list[tuple[Annotated, float]] = []

    def listen(one: Annotated, config: PipelineConfig) -> EmbeddedRecording:
        asked.append((one, config.windows.step))
        return RECORDINGS[one]

    two = list(RECORDINGS)[:2]
    tune(two, listen, PipelineConfig(), dict(SPACE), Search(5))
    assert len(asked) == 2
    assert set(asked) == {(one, 0.4) for one in two}
    asked.clear()
    tune(two, listen, PipelineConfig(), {"windows.step": Range(0.2, 0.8)}, Search(5))
    assert [step for _, step in asked[:3]].count(0.4) == 2
    assert len({step for _, step in asked}) == 5  # the first trial is what was there


def test_settings_that_contradict_each_other_are_passed_over() -> None:
    space = {"vad.onset": Range(0.05, 0.3), "vad.offset": Range(0.05, 0.3)}
    found = tune(list(RECORDINGS), embed, PipelineConfig(), space, Search(6))
    assert found.trials == 6
    assert found.config == PipelineConfig()


def test_few_recordings_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tuned(1)
    assert caplog.messages == ["4 recordings: what fits them may fit no other; 10 or more tell"]


def test_progress_is_told_for_each_trial() -> None:
    told: list[int] = []
    tune(list(RECORDINGS), embed, PipelineConfig(), THRESHOLD, Search(4), told.append)
    assert told == [1, 2, 3, 4]


@given(st.integers(2, 30), st.floats(0.01, 0.99), st.integers(0, 100))
@settings(deadline=None, max_examples=50)
def test_a_split_parts_the_recordings(count: int, hold_out: float, seed: int) -> None:
    recordings = [Annotated(Path(f"{i}.wav"), ()) for i in range(count)]
    on, rest = split(recordings, hold_out, seed)
    assert on
    assert rest
    assert sorted([*on, *rest], key=lambda one: int(one.audio.stem)) == recordings
    assert abs(len(rest) - hold_out * count) <= 1
    assert split(recordings, hold_out, seed) == (on, rest)


def test_ranges_are_read() -> None:
    given = ["clustering.threshold=0.2..0.5", " clustering.smallest = 3 .. 20 ", "turns.gap=0..2"]
    assert parse_ranges(given, PipelineConfig()) == {
        "clustering.threshold": Range(0.2, 0.5),
        "clustering.smallest": Range(3, 20, whole=True),
        "turns.gap": Range(0, 2),
    }
    assert parse_ranges([], PipelineConfig()) == SPACE


def test_what_is_searched_by_default_is_possible() -> None:
    as_given = [f"{name}={range_.low}..{range_.high}" for name, range_ in SPACE.items()]
    assert parse_ranges(as_given, PipelineConfig()) == SPACE
    defaults = PipelineConfig()
    for name, range_ in SPACE.items():
        part, key = name.split(".")
        assert range_.low < getattr(getattr(defaults, part), key) < range_.high


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("clustering.threshold", "is not of the form part.name=low..high, such as clustering.threshold=0.2..0.5"),
        ("clustering.threshold=0.2", "is not of the form"),
        ("clustering.threshold=0.2..many", "is not of the form"),
        ("clustering.threshold=0.2..nan", "is not of the form"),
        ("clustering.threshold=0.5..0.2", "is empty: 0.5 is not below 0.2"),
        ("clustering.threshold=0.5..0.5", "is empty"),
        ("clustering.threshold=0.5..5", "clustering.threshold is 5"),
        ("clustering.treshold=0.2..0.5", "unknown setting clustering.treshold: did you mean clustering.threshold?"),
        ("clusterin.threshold=0.2..0.5", "unknown setting clusterin: did you mean clustering?"),
        ("threshold=0.2..0.5", "unknown setting threshold"),
        ("clustering=0.2..0.5", "clustering is a group of settings"),
        ("clustering.name=1..2", "clustering.name is 2: it must be of type str"),
        ("clustering.smallest=0.5..2.5", "clustering.smallest is 2.5: it must be of type int"),
        ("live.latency=1..2", "live.latency cannot be tuned: give settings of clustering, turns, vad, windows"),
        ("vad.onset=0.1..0.9", "vad offset is 0.2: give 0 to 0.1"),
    ],
)
def test_a_range_that_cannot_be_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("..", r"\.\.").replace("?", r"\?")):
        parse_ranges([text], PipelineConfig())


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ({"trials": 0}, "0 trials find nothing"),
        ({"timeout": 0.0}, "a timeout of 0.0 s leaves no time"),
        ({"hold_out": 1.0}, "the share held out is 1.0"),
        ({"hold_out": 0.0}, "the share held out is 0.0"),
        ({"metric": "loose"}, "unknown metric 'loose': choose one of strict, lenient"),
    ],
)
def test_a_search_that_cannot_be_is_refused(search: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_mapping(Search, search)


def test_too_little_to_tune_on_is_refused() -> None:
    one = next(iter(RECORDINGS))
    silent = [Annotated(Path("a.wav"), ()), Annotated(Path("b.wav"), ())]
    nothing = EmbeddedRecording("a", 0, "none", ((),))
    cases: list[tuple[Sequence[Annotated], Embed, str]] = [
        ([], embed, "tuning needs 2 annotated recordings or more"),
        ([one], embed, "tuning needs 2 annotated recordings or more"),
        (silent, lambda *_: nothing, "have no annotated speech: check their RTTM files"),
    ]
    for recordings, listen, complaint in cases:
        with pytest.raises(ValueError, match=complaint):
            tune(recordings, listen, PipelineConfig(), THRESHOLD, Search(1))


def annotate(audio: Path, text: str | None = None) -> None:
    audio.parent.mkdir(exist_ok=True)
    audio.touch()
    line = f"SPEAKER {audio.stem} 1 0.5 1.5 <NA> <NA> Ana <NA> <NA>\n"
    audio.with_suffix(".rttm").write_text(line if text is None else text)


def test_annotated_recordings_are_found(tmp_path: Path) -> None:
    annotate(tmp_path / "b.flac", "")
    annotate(tmp_path / "a.2.wav", "SPEAKER other 1 1 1 <NA> <NA> Bo <NA> <NA>\n")
    annotate(tmp_path / "below" / "a.mp3")
    (tmp_path / "below" / "a.uem").write_text("a 1 0 1.25\na 1 1.5 2\n")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "spare.rttm").touch()
    assert find_annotated(tmp_path) == [
        Annotated(tmp_path / "a.2.wav", (Turn(SECOND, 2 * SECOND, "Bo"),)),
        Annotated(tmp_path / "b.flac", ()),
        Annotated(tmp_path / "below" / "a.mp3", (Turn(8000, 32_000, "Ana"),), ((0, 20_000), (24_000, 32_000))),
    ]


def test_a_folder_that_is_not_annotated_is_refused(tmp_path: Path) -> None:
    def refused(complaint: str, folder: Path = tmp_path, kind: type[ValueError] = ValueError) -> None:
        with pytest.raises(kind, match=complaint):
            find_annotated(folder)

    refused("no such folder; give one that holds audio and an RTTM file", tmp_path / "none")
    refused("holds no audio")
    (tmp_path / "a.wav").touch()
    refused("no recording in it has an RTTM file of its name beside it")
    annotate(tmp_path / "b.wav")
    refused(r"a\.wav: no a\.rttm beside it: annotate it, or take it out")
    (tmp_path / "c.wav").touch()
    refused(r"a\.wav: no a\.rttm beside it \(and 1 more\)")
    annotate(tmp_path / "a.wav")
    annotate(tmp_path / "c.wav", "SPEAKER x 1 0 1 <NA> <NA> A <NA> <NA>\nSPEAKER y 1 0 1 <NA> <NA> A <NA> <NA>\n")
    refused(r"c\.rttm: names 2 recordings, none of them 'c'", kind=RttmError)
    annotate(tmp_path / "c.wav", "who knows")
    refused(r"c\.rttm, line 1", kind=RttmError)
    annotate(tmp_path / "c.wav")
    (tmp_path / "c.flac").touch()
    refused(r"c\.flac and .*c\.wav share one RTTM file: take one out")


def test_the_document_names_what_is_searched() -> None:
    text = (Path(__file__).parents[1] / "docs" / "tuning.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Without `--param`, (.*?) are\s+searched", text, re.DOTALL)
    assert set(re.findall(r"`([\w.]+)`", listed)) == set(SPACE)
    assert f"`--trials` settings ({Search().trials})" in text
    assert f"{Search().hold_out:.0%}".replace("%", " %") in text
    for range_ in re.findall(r"`--param ([a-z.]+=\S+)`", text):
        assert parse_ranges([range_], PipelineConfig())
