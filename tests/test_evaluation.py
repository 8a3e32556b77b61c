"""What models hear of utterances, how alike they find them, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from diarize.evaluation import carrier_table as carriers
from diarize.evaluation.carrier_table import CATEGORIES, carriers_of, carry_to
from diarize.evaluation.evaluation import CONDITIONS, Evaluation, evaluate
from diarize.evaluation.listening import BATCH, Condition, listen
from diarize.evaluation.pictures import pictures
from diarize.evaluation.report import as_json, as_markdown, as_rich, tables
from diarize.evaluation.scoring import AS_NORM, COSINE, cosines, make_cohorts, normalised
from diarize.evaluation.trials import ALL, WITHIN, Trials, make_trials
from diarize.models.encoder import SpeakerEncoder
from diarize.profiles.cohort import FEWEST, Cohort
from diarize.profiles.matching import score
from diarize.profiles.people import People
from diarize.sources import Audio, read
from diarize.training.carriers import Sources
from diarize.training.manifest import Utterance
from diarize.training.recording import rms
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation

Floats = NDArray[np.float32]


class Bands:
    """A model without training: the levels of 24 bands, with some noise of its own."""

    dimensions = 24

    def __init__(self, noise: float = 0.0) -> None:
        self.noise, self.fingerprint, self.batches = noise, f"bands {noise}", list[tuple[int, ...]]()

    def embed_batch(self, batch: Floats, /) -> Floats:
        self.batches.append(batch.shape)
        spectra = np.abs(np.fft.rfft(batch, axis=1)) ** 2
        bands = np.stack([part.mean(axis=1) for part in np.array_split(spectra[:, : batch.shape[1] // 4], 24, axis=1)])
        levels = np.log(bands.T + 1e-3)
        levels -= levels.mean(axis=1, keepdims=True)
        levels += self.noise * np.random.default_rng(0).normal(size=levels.shape)
        unit: Floats = (levels / np.linalg.norm(levels, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def encode(self, audio: Audio, /) -> Floats:
        return np.asarray(self.embed_batch(np.asarray(audio, np.float32)[None])[0])


def voice(speaker: int, seconds: float, seed: int) -> Samples:
    """Noise in a colour that is the speaker's, at a level that changes."""
    length = round(seconds * SAMPLE_RATE)
    colour = np.repeat(np.random.default_rng(speaker).normal(size=50), length // 100 + 1)[: length // 2 + 1]
    spectrum = np.fft.rfft(np.random.default_rng([speaker, seed]).normal(size=length)) * 10 ** (colour / 4)
    samples = np.fft.irfft(spectrum, length) * (1.2 + np.sin(np.arange(length) / 3000))
    return np.asarray(0.1 * samples / np.abs(samples).max(), dtype=np.float32)


def folder(root: Path, speakers: int, lengths: tuple[float, ...]) -> list[Utterance]:
    """Utterances of so many speakers, every other of another set."""
    made = []
    for speaker in range(speakers):
        group = "ab"[speaker % 2]
        for number, seconds in enumerate(lengths):
            file = root / group / str(speaker) / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, voice(speaker, seconds, number), SAMPLE_RATE)
            made.append(Utterance(file, f"{group}-{speaker}", group, seconds))
    return made


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return folder(tmp_path_factory.mktemp("speech"), 6, (1.5, 2.5, 4.5))


@pytest.fixture(scope="module")
def measured(utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    models = {"fine": Bands(), "coarse": Bands(1.5)}
    others = folder(tmp_path_factory.mktemp("others"), FEWEST + 2, (2.1, 2.2))
    carry = carriers_of(tmp_path_factory.mktemp("nothing"), "eval")
    return evaluate(models, make_trials(utterances), cohorts=make_cohorts(others, models), carry=carry)


@pytest.mark.parametrize(
    ("condition", "starts"),
    [
        (Condition(1.0), [2.0]),
        (Condition(5.0), [0.0]),
        (Condition(4.0, crops=3), [0.0, 0.5, 1.0]),
        (Condition(5.5), []),
    ],
)
def test_crops_are_cut_where_it_says(condition: Condition, starts: list[float]) -> None:
    samples = np.arange(5 * SAMPLE_RATE, dtype=np.float32)
    cut = condition.cut(samples)
    assert [crop[0] / SAMPLE_RATE for crop in cut] == starts
    assert all(len(crop) == round((condition.seconds or 0) * SAMPLE_RATE) for crop in cut)


def test_conditions_have_names() -> None:
    assert [str(one) for one in CONDITIONS] == ["1 s", "2 s", "4 s", "10 x 4 s", "whole"]


def test_the_encoder_hears_the_same_alone(tmp_path: Path) -> None:
    encoder = SpeakerEncoder.from_pretrained()
    files = []
    for number, seconds in enumerate((4.5, 5.0, 0.5)):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], conversation(seconds), SAMPLE_RATE)
    single, several, whole = Condition(2.0), Condition(4.0, crops=10), Condition()
    heard = listen(files, {"ours": encoder}, [single, several, whole])["ours"]
    for row in range(2):
        samples = read(files[row])
        middle = (len(samples) - 2 * SAMPLE_RATE) // 2
        assert np.allclose(heard[single][row], encoder.encode(samples[middle:][: 2 * SAMPLE_RATE]), atol=1e-5)
        assert np.allclose(heard[several][row], encoder.encode(samples, crops=10), atol=1e-5)
        assert np.allclose(heard[whole][row], encoder.encode(samples), atol=1e-5)
    assert np.isnan(heard[single][2]).all()
    assert np.isnan(heard[several][2]).all()
    assert np.allclose(np.linalg.norm(heard[whole], axis=1), 1, atol=1e-5)


def test_short_crops_go_in_batches(utterances: list[Utterance]) -> None:
    model = Bands()
    listen([one.file for one in utterances], {"bands": model}, [Condition(0.5, crops=4)])
    assert model.batches == [(BATCH, 8000), (BATCH, 8000), (18 * 4 - 2 * BATCH, 8000)]


def test_what_cannot_be_heard_is_counted(
    utterances: list[Utterance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "torn.wav").write_bytes(b"RIFF????")
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    bad = [tmp_path / name for name in ("torn.wav", "silent.wav", "empty.wav", "absent.wav")]
    heard = listen([utterances[0].file, *bad], {"bands": Bands()}, [Condition(1.0), Condition()])["bands"]
    for embeddings in heard.values():
        assert np.isfinite(embeddings).all(axis=1).tolist() == [True, False, False, False, False]
    assert "4 of 5 utterances left out" in caplog.text
    with pytest.raises(ValueError, match="none of 4 utterances can be heard; the first: "):
        listen(bad, {"bands": Bands()}, [Condition(1.0)])


def test_a_carrier_carries_the_whole_utterance_and_draws_by_its_name(utterances: list[Utterance]) -> None:
    drawn: dict[str, list[float]] = {}

    def carry(samples: Samples, carrier: str, rng: np.random.Generator) -> Samples:
        drawn.setdefault(carrier, []).append(float(rng.random()))
        assert len(samples) == round(1.5 * SAMPLE_RATE)
        return np.roll(samples, 1)

    file = utterances[0].file
    clean, carried = Condition(1.0), Condition(1.0, carrier="line")
    heard = listen([file, file], {"bands": Bands()}, [clean, carried, Condition(0.5, carrier="line")], carry)["bands"]
    samples = np.roll(read(file), 1)
    assert np.allclose(heard[carried][0], Bands().encode(carried.cut(samples)[0]), atol=1e-6)
    assert not np.allclose(heard[carried][0], heard[clean][0], atol=1e-6)
    assert list(drawn) == ["line"]
    assert drawn["line"][0] == drawn["line"][1]  # once an utterance, as its name says


def embeddings_of(count: int, seed: int = 0) -> Floats:
    drawn = np.random.default_rng(seed).normal(size=(count, 16))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def test_scores_are_those_by_which_people_are_named() -> None:
    count = 12
    voices = embeddings_of(count)
    cohort = Cohort(embeddings_of(60, 1), np.diag(np.linspace(0.1, 1, 16)).astype(np.float32), "model")
    people = People(tuple(map(str, range(count))), voices, np.arange(count), "model")
    first, second = np.triu_indices(count, 1)
    trials = Trials((Path("a"),) * count, np.arange(count), ("a",) * count, first, second)
    assert np.allclose(normalised(voices, trials, cohort), score(voices, people, cohort)[1][first, second], atol=1e-4)
    assert np.allclose(cosines(voices, voices, trials), score(voices, people, None)[1][first, second], atol=1e-5)


def test_a_cohort_has_the_mean_voice_of_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = folder(tmp_path, FEWEST, (2.1, 2.2, 0.5))  # the last is too short
    model = Bands()
    cohort = make_cohorts(others, {"bands": model})["bands"]
    assert cohort.voices.shape == (FEWEST, 24)
    assert cohort.fingerprint == model.fingerprint
    of_first = [one for one in others if one.speaker == "a-0"][:2]
    said = [model.encode(Condition(2.0).cut(read(one.file))[0]) for one in of_first]
    mean = np.mean(said, axis=0)
    assert np.allclose(cohort.voices[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert make_cohorts(others[: 3 * (FEWEST - 1)], {"bands": model}) == {}
    assert f"a cohort needs {FEWEST} other speakers, and here are {FEWEST - 1}" in caplog.text


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_keeps_length_and_time(category: str) -> None:
    samples, sources = conversation(2), Sources.computed()
    carried = carry_to(category, samples, np.random.default_rng(0), sources)
    assert carried.shape == samples.shape
    assert carried.dtype == np.float32
    assert np.array_equal(carried, carry_to(category, samples, np.random.default_rng(0), sources))
    assert np.array_equal(carried, samples) == (category == "clean")
    lags = np.fft.irfft(np.fft.rfft(carried, 65_536) * np.conj(np.fft.rfft(samples, 65_536)))
    lag = int(np.argmax(np.abs(lags)))
    assert min(lag, 65_536 - lag) < 0.02 * SAMPLE_RATE


def test_noise_is_as_loud_as_it_says() -> None:
    samples, sources = conversation(3), Sources.computed()
    ratios = [
        20 * np.log10(rms(samples) / rms(carry_to("noise", samples, np.random.default_rng(seed), sources) - samples))
        for seed in range(20)
    ]
    low, high = carriers.SNR
    assert low - 1 < min(ratios) < low + 6
    assert high - 6 < max(ratios) < high + 1


def test_there_is_no_other_category() -> None:
    with pytest.raises(ValueError, match="unknown category 'telephone': one of clean, codec, mic"):
        carry_to("telephone", conversation(1), np.random.default_rng(0), Sources.computed())


def test_the_better_model_is_better_everywhere(measured: Evaluation) -> None:
    assert measured.against == "coarse"
    assert measured.lost == dict(zip(CONDITIONS, (0, 6, 12, 12, 0), strict=True))
    rates = {(row.model, row.kind, str(row.condition), row.scoring): row for row in measured.verification}
    fine, coarse = (rates[name, ALL, "1 s", COSINE] for name in ("fine", "coarse"))
    assert fine.eer.value < coarse.eer.value
    assert (fine.same, fine.different, fine.utterances, fine.speakers) == (18, 135, 18, 6)
    assert rates["fine", WITHIN, "2 s", AS_NORM].different == 2 * 12
    # one utterance of each is long enough: no trial of one speaker
    assert not [key for key in rates if key[2] in ("4 s", "10 x 4 s")]
    assert {row.condition for row in measured.retrieval} == {CONDITIONS[0], CONDITIONS[1], CONDITIONS[4]}


def test_the_carrier_table_adds_up(measured: Evaluation) -> None:
    rates = {(row.model, row.kind, str(row.condition), row.scoring): row for row in measured.verification}
    for (name, kind), table in measured.carriers.items():
        columns = table.columns
        assert list(columns) == [*CATEGORIES, "absolute", "degradation"]
        assert columns["clean"].value == rates[name, kind, "2 s", COSINE].eer.value
        assert columns["absolute"].value == pytest.approx(np.mean([columns[one].value for one in CATEGORIES]))
        assert columns["degradation"].value == pytest.approx(columns["absolute"].value - columns["clean"].value)
    assert measured.carriers["fine", ALL].absolute.value > measured.carriers["fine", ALL].categories["clean"].value


def test_the_report_says_the_same_in_every_form(measured: Evaluation) -> None:
    report = json.loads(as_json(measured))
    assert report["against"] == "coarse"
    assert report["left_out"]["4 s"] == 12
    rows = {(row["model"], row["trials"], row["heard"], row["scoring"]): row for row in report["verification"]}
    one, other = (rows[name, "all", "1 s", "cosine"] for name in ("fine", "coarse"))
    assert one["ratio"]["value"] == pytest.approx(one["eer"]["value"] / other["eer"]["value"])
    assert other["ratio"]["value"] == 1
    assert other["eer"]["low"] <= other["eer"]["value"] <= other["eer"]["high"]
    assert f"{100 * other['eer']['value']:.1f} [" in as_markdown(measured)
    text = as_markdown(measured)
    for table in tables(measured):
        assert f"## {table.title}" in text
        assert as_rich(table).row_count == len(table.rows)
        assert {len(row) for row in table.rows} == {len(table.headings)}
    shown = [line for line in text.splitlines() if line.startswith("|")]
    assert len(shown) == 4 + sum(len(table.rows) + 2 for table in tables(measured))
    assert len(tables(measured, brief=True)[0].rows) < len(tables(measured)[0].rows)


def test_one_model_has_no_ratio(utterances: list[Utterance], tmp_path: Path) -> None:
    found = evaluate({"a|b": Bands()}, make_trials(utterances))
    assert found.against is None
    assert {row["ratio"] for row in json.loads(as_json(found))["verification"]} == {None}
    assert [table.title for table in tables(found)] == ["EER, %", "minDCF", "Recall, %, by cosine"]
    assert "a\\|b" in as_markdown(found)
    for name, draw in pictures(found).items():
        draw(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_utterances_that_are_all_short_have_pictures_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = evaluate({"bands": Bands()}, make_trials(folder(tmp_path, 4, (0.6, 0.7))))
    assert found.shown == "whole, trials within sets, by cosine"
    assert "trials within sets: not measured at 1 s, 2 s, 4 s, 10 x 4 s" in caplog.text


def test_what_cannot_be_measured(utterances: list[Utterance], tmp_path: Path) -> None:
    trials = make_trials(utterances)
    with pytest.raises(ValueError, match="against must be one of the models, bands"):
        evaluate({"bands": Bands()}, trials, against="other")
    with pytest.raises(ValueError, match="of which there is none"):
        evaluate({}, trials)
    lengths = folder(tmp_path, 2, (1.0, 1.0))
    lengths[0].file.write_bytes(b"")
    lengths[2].file.write_bytes(b"")
    with pytest.raises(ValueError, match="no trials of both kinds are left"):
        evaluate({"bands": Bands()}, make_trials(lengths))
