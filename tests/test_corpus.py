"""The corpus: what was decoded, the same whoever prepared it, whole or not there at all."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from diarize.training.corpus import Corpus, CorpusConfig, open_corpus, prepare
from diarize.training.formants import move_formants
from diarize.training.heard import FRAME
from diarize.training.manifest import Utterance, fingerprint, read_manifest
from diarize.training.spoken import shorten_silences
from diarize.training.takes import Carry
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation

CONFIG = CorpusConfig(speeds=(0.9, 1.0), takes=3)


def halved(samples: Samples, rng: np.random.Generator) -> Samples:
    """A carrier that can be told: softer, and with a drawn offset of a few steps of 16 bits."""
    return samples * np.float32(0.5) + np.float32(rng.integers(1, 9) / 32768)


def speak(file: Path, start: float, seconds: float) -> None:
    """A piece of a conversation as a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, piece(start, seconds), SAMPLE_RATE, subtype="PCM_16")


def piece(start: float, seconds: float) -> Samples:
    return conversation(40)[round(start * SAMPLE_RATE) :][: round(seconds * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of one speaker, one of another, and one of nobody knows whom."""
    root = tmp_path_factory.mktemp("speech")
    speak(root / "set" / "ann" / "a.wav", 0, 4)
    speak(root / "set" / "ann" / "b.flac", 2, 3)
    speak(root / "set" / "ben" / "c.wav", 6, 5)
    speak(root / "unlabelled" / "radio" / "d.wav", 12, 3)
    return root


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(read_manifest(folder), tmp_path_factory.mktemp("prepared") / "corpus", CONFIG, halved)


def whole(corpus: Corpus, utterance: int, take: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return corpus.crop(utterance, take, 0, int(corpus.lengths[utterance]))


def named(corpus: Corpus, speaker: str, number: int = 0) -> int:
    """An utterance of a speaker."""
    return int(corpus.by_speaker[corpus.speakers.index(speaker)][number])


def bits(corpus: Corpus) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in corpus.folder.iterdir()}


# what is in it


def test_every_speed_makes_a_speaker_and_the_unlabelled_none(corpus: Corpus) -> None:
    assert corpus.speakers == ("set-ann", "set-ann@0.9", "set-ben", "set-ben@0.9")
    assert [len(group) for group in corpus.by_speaker] == [2, 2, 1, 1]
    assert len(corpus.unlabelled) == 1
    assert sorted([*corpus.unlabelled, *np.concatenate(corpus.by_speaker)]) == list(range(len(corpus.owner)))
    for index, group in enumerate(corpus.by_speaker):
        assert (corpus.owner[group] == index).all()


def test_the_first_take_is_the_file_without_its_long_silences(corpus: Corpus) -> None:
    pcm = np.rint(shorten_silences(piece(0, 4)) * 32768).astype(np.int16)
    assert np.array_equal(whole(corpus, named(corpus, "set-ann")), pcm)
    assert len(pcm) > 3 * SAMPLE_RATE


def test_the_other_takes_are_carried_sample_for_sample(corpus: Corpus) -> None:
    for utterance in range(len(corpus.owner)):
        clean = whole(corpus, utterance)
        offsets = [whole(corpus, utterance, take) - clean / 2 for take in (1, 2)]
        for offset in offsets:
            assert np.ptp(offset) <= 1.0, "rounding"
            assert 0.5 <= np.median(offset) <= 8.5
    every = [
        float(np.median(whole(corpus, u, t) - whole(corpus, u) / 2)) for u in range(len(corpus.owner)) for t in (1, 2)
    ]
    assert len({round(offset) for offset in every}) > 2, "each take is drawn by itself"


def test_a_speed_is_another_sample_rate(corpus: Corpus) -> None:
    clean, slow = whole(corpus, named(corpus, "set-ben")), whole(corpus, named(corpus, "set-ben@0.9"))
    assert len(slow) == pytest.approx(len(clean) / 0.9, abs=1)
    by_scipy = resample_poly(clean.astype(np.float64), 10, 9)[: len(slow)]
    error = slow[: len(by_scipy)] - by_scipy
    assert np.std(error) < 0.02 * np.std(by_scipy)


def test_what_is_drawn_for_a_take_hangs_on_seed_name_voice_and_take(folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, formants=(0.9,), seed=7)
    corpus = prepare(read_manifest(folder), tmp_path / "corpus", config, halved)
    for speaker, voice in (("set-ben", "1"), ("set-ben@0.9", "0.9"), ("set-ben~0.9", "~0.9")):
        utterance = named(corpus, speaker)
        clean = whole(corpus, utterance)
        for take in (1, 2):
            rng = np.random.default_rng([7, crc32(b"set/ben/c.wav"), crc32(voice.encode()), take])
            offset = np.median(whole(corpus, utterance, take) - clean / 2)
            assert offset == pytest.approx(rng.integers(1, 9), abs=0.6)


def test_other_formants_make_speakers_beside_those_of_the_speeds(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    wider = prepare(read_manifest(folder), tmp_path / "corpus", replace(CONFIG, formants=(0.86, 1.16)), halved)
    voices = ("", "@0.9", "~0.86", "~1.16")
    assert wider.speakers == tuple(f"set-{name}{voice}" for name in ("ann", "ben") for voice in voices)
    assert len(wider.unlabelled) == 1
    for speaker in corpus.speakers:
        for take in range(CONFIG.takes):
            before, now = whole(corpus, named(corpus, speaker), take), whole(wider, named(wider, speaker), take)
            assert np.array_equal(before, now), "the speeds are as without"
    clean = shorten_silences(piece(6, 5))
    moved = np.clip(np.rint(move_formants(clean, 1.16) * 32768), -32768, 32767).astype(np.int16)
    assert np.array_equal(whole(wider, named(wider, "set-ben~1.16")), moved)
    assert open_corpus(wider.folder).config.formants == (0.86, 1.16)


def test_the_set_of_every_utterance_is_known(corpus: Corpus, tmp_path: Path) -> None:
    assert len(corpus.groups) == len(corpus.owner)
    assert {corpus.groups[utterance] for group in corpus.by_speaker for utterance in group} == {"set"}
    assert [corpus.groups[utterance] for utterance in corpus.unlabelled] == ["radio"]
    shutil.copytree(corpus.folder, tmp_path / "older")
    table = tmp_path / "older" / "utterances.csv"
    table.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in table.read_text().splitlines()))
    older = open_corpus(tmp_path / "older")
    assert np.array_equal(older.owner, corpus.owner)
    assert set(older.groups) == {"set", ""}, "a corpus of before the column can be used"


def test_other_rates_and_channels_become_ours(tmp_path: Path) -> None:
    samples = piece(0, 4).astype(np.float64)
    wide = np.stack([resample_poly(samples, 3, 1)] * 2, axis=1)
    (tmp_path / "s" / "p").mkdir(parents=True)
    soundfile.write(tmp_path / "s" / "p" / "a.wav", wide, 48_000, subtype="FLOAT")
    corpus = prepare(read_manifest(tmp_path), tmp_path / "corpus", CorpusConfig((1.0,), 1), halved)
    expected = shorten_silences(samples.astype(np.float32)) * 32768
    got = whole(corpus, 0)[: len(expected)]
    assert len(corpus.lengths) == corpus.takes == 1
    assert abs(len(expected) - corpus.lengths[0]) <= 3 * FRAME
    assert np.corrcoef(got, expected[: len(got)])[0, 1] > 0.99


def test_scale_is_kept_and_full_scale_the_limit(tmp_path: Path) -> None:
    (tmp_path / "s" / "p").mkdir(parents=True)
    loud = piece(0, 4) / np.abs(piece(0, 4)).max() * 1.5
    soundfile.write(tmp_path / "s" / "p" / "loud.wav", loud, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "s" / "p" / "soft.wav", loud / 100, SAMPLE_RATE, subtype="FLOAT")
    corpus = prepare(read_manifest(tmp_path), tmp_path / "corpus", CorpusConfig((1.0,), 1), halved)
    assert np.abs(whole(corpus, 0).astype(int)).max() >= 32767
    assert np.abs(whole(corpus, 1)).max() == pytest.approx(0.015 * 32768, abs=1)


def test_only_the_first_seconds_are_used(folder: Path, tmp_path: Path) -> None:
    corpus = prepare(read_manifest(folder), tmp_path / "corpus", CorpusConfig((1.0,), 1, longest=2), halved)
    assert corpus.lengths.max() <= 2 * SAMPLE_RATE
    assert corpus.lengths.min() > SAMPLE_RATE


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_crop_goes_round_and_round(corpus: Corpus, data: st.DataObject) -> None:
    utterance = data.draw(st.integers(0, len(corpus.owner) - 1))
    take, size = data.draw(st.integers(0, corpus.takes - 1)), int(corpus.lengths[utterance])
    start, length = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 3 * size))
    crop = corpus.crop(utterance, take, start, length)
    assert crop.dtype == np.int16
    assert np.array_equal(crop, np.tile(whole(corpus, utterance, take), 4)[start : start + length])


@pytest.mark.parametrize("place", [(7, 0, 0), (-1, 0, 0), (0, 3, 0), (0, -1, 0), (0, 0, -1), (0, 0, 10**6)])
def test_a_crop_of_what_is_not_there(corpus: Corpus, place: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError):
        corpus.crop(*place, 10)


# silences


def test_long_silences_become_short_and_speech_stays() -> None:
    voice = piece(0, 4)
    hush = np.zeros(3 * SAMPLE_RATE, np.float32)
    alone, apart = shorten_silences(voice), shorten_silences(np.concatenate([hush, voice, hush, voice, hush]))
    assert len(apart) == pytest.approx(2 * len(alone), abs=0.5 * SAMPLE_RATE)
    assert np.square(apart).sum() == pytest.approx(2 * np.square(voice).sum(), rel=1e-3)


def test_shortening_again_takes_hardly_anything() -> None:
    once = shorten_silences(conversation(20))
    assert len(shorten_silences(once)) > 0.97 * len(once)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0, np.float32), np.zeros(16_000, np.float32), np.full(16_000, 0.3, np.float32)]
    + [np.random.default_rng(0).normal(0, scale, 16_000).astype(np.float32) for scale in (1e-5, 0.1)],
    ids=["empty", "silence", "offset", "hush", "noise"],
)
def test_where_no_voice_is_heard_nothing_is_left(samples: Samples) -> None:
    assert len(shorten_silences(samples)) == 0


# the same whoever prepares it


def test_the_bits_do_not_depend_on_the_number_of_workers(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert bits(prepare(read_manifest(folder), tmp_path / "corpus", CONFIG, halved, workers=2)) == bits(corpus)


def test_an_utterance_is_the_same_in_any_company(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    fewer = prepare(read_manifest(tmp_path / "moved")[2:], tmp_path / "corpus", CONFIG, halved)
    for speaker in ("set-ben", "set-ben@0.9"):
        for take in range(CONFIG.takes):
            there, here = whole(corpus, named(corpus, speaker), take), whole(fewer, named(fewer, speaker), take)
            assert np.array_equal(there, here)


def test_another_seed_draws_other_takes_of_the_same_speech(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    other = prepare(read_manifest(folder), tmp_path / "corpus", replace(CONFIG, seed=1), halved)
    assert np.array_equal(whole(other, 0), whole(corpus, 0))
    takes = [(whole(other, u, t), whole(corpus, u, t)) for u in range(len(corpus.owner)) for t in (1, 2)]
    assert not all(np.array_equal(one, another) for one, another in takes)


def test_it_opens_as_it_was_made_wherever_it_lies(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    shutil.copytree(corpus.folder, tmp_path / "elsewhere")
    opened = open_corpus(tmp_path / "elsewhere")
    assert opened.config == CONFIG
    assert opened.manifest == fingerprint(read_manifest(folder))
    assert opened.speakers == corpus.speakers
    assert np.array_equal(opened.owner, corpus.owner)
    assert np.array_equal(whole(opened, 3, 1), whole(corpus, 3, 1))
    table = (corpus.folder / "utterances.csv").read_text()
    assert str(folder) not in table
    assert "set/ann/a.wav,set-ann@0.9," in table


def test_only_its_place_travels_to_another_process(corpus: Corpus) -> None:
    packed = pickle.dumps(corpus)
    assert len(packed) < 1000
    assert np.array_equal(whole(pickle.loads(packed), 1, 2), whole(corpus, 1, 2))  # noqa: S301 - our own


# what cannot be used


def test_what_cannot_be_used_is_left_out_and_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder, tmp_path / "in")
    ann, gone = tmp_path / "in" / "set" / "ann", tmp_path / "in" / "set" / "gone"
    gone.mkdir()
    (ann / "zero.wav").write_bytes(b"")
    (ann / "noise.flac").write_bytes(b"fLaC" + bytes(range(200)))
    soundfile.write(ann / "short.wav", np.zeros(8), SAMPLE_RATE)
    soundfile.write(gone / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    missing = Utterance(gone / "missing.wav", "set-gone", "set", 1.0)
    caplog.set_level("INFO", "diarize")
    corpus = prepare([*read_manifest(tmp_path / "in"), missing], tmp_path / "corpus", CONFIG, halved)
    assert corpus.left_out == {"unreadable": 3, "silent": 2}
    assert corpus.speakers == ("set-ann", "set-ann@0.9", "set-ben", "set-ben@0.9")
    for name in ("zero.wav", "noise.flac", "short.wav", "silent.wav", "missing.wav"):
        assert name in caplog.text
    assert "left out of 9 files: 2 silent, 3 unreadable; speakers without any other: 1" in caplog.text
    assert "1 of 2 speakers have a single file" in caplog.text


def test_no_speaker_is_left(folder: Path, tmp_path: Path) -> None:
    nobodys = [utterance for utterance in read_manifest(folder) if utterance.speaker is None]
    silent = Utterance(tmp_path / "silent.wav", "set-ann", "set", 1.0)
    soundfile.write(silent.file, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    for utterances, words in (
        ([], "of 0 .*: none"),
        (nobodys, "of 0 .*: none"),
        ([silent, *nobodys], "of 1 .*: 1 silent"),
    ):
        with pytest.raises(ValueError, match=f"no speaker is left {words}"):
            prepare(utterances, tmp_path / "corpus", CONFIG, halved)
    assert [file.name for file in tmp_path.iterdir()] == ["silent.wav"]


def die(samples: Samples, rng: np.random.Generator) -> Samples:
    os._exit(1)


def test_a_process_that_dies(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a process died \(out of memory\?\); use fewer --workers"):
        prepare(read_manifest(folder), tmp_path / "corpus", CONFIG, die, workers=2)
    assert not list(tmp_path.iterdir())


def linger(begun: Path, samples: Samples, rng: np.random.Generator) -> Samples:
    """A slow carrier, which tells that it has begun."""
    begun.touch()
    time.sleep(0.2)
    return samples


def test_an_interruption_is_silent_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    program = (
        "import functools, pathlib, sys\n"
        "from diarize.training.corpus import prepare\n"
        "from diarize.training.manifest import read_manifest\n"
        "from tests.test_corpus import CONFIG, linger\n"
        "speech, made, begun = map(pathlib.Path, sys.argv[1:])\n"
        "try:\n"
        "    prepare(read_manifest(speech), made, CONFIG, functools.partial(linger, begun), workers=2)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    begun = tmp_path / "begun"
    with subprocess.Popen(
        [sys.executable, "-c", program, folder, tmp_path / "corpus", begun],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own: as of a terminal, whose Ctrl-C all of them get
    ) as running:
        while not begun.exists() and running.poll() is None:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        assert running.communicate(timeout=60) == ("interrupted\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["begun"]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of folders there")
def test_what_a_killed_preparation_has_left_goes_before_the_disk_is_looked_at(
    folder: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import functools, pathlib, sys\n"
        "from diarize.training.corpus import prepare\n"
        "from diarize.training.manifest import read_manifest\n"
        "from tests.test_corpus import CONFIG, linger\n"
        "speech, made, begun = map(pathlib.Path, sys.argv[1:])\n"
        "prepare(read_manifest(speech), made, CONFIG, functools.partial(linger, begun), workers=2)\n"
    )
    begun = tmp_path / "begun"
    with subprocess.Popen(
        [sys.executable, "-c", program, folder, tmp_path / "corpus", begun], cwd=Path(__file__).parents[1]
    ) as running:
        while not begun.exists() and running.poll() is None:
            time.sleep(0.02)
        running.kill()
    (left,) = tmp_path.glob("corpus.unfinished-*")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000 if left.exists() else usage.free))
    assert bits(prepare(read_manifest(folder), tmp_path / "corpus", CONFIG, halved)) == bits(corpus)
    assert {entry.name for entry in tmp_path.iterdir()} == {"begun", "corpus"}


def stop(samples: Samples, rng: np.random.Generator) -> Samples:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("carry", "error"),
    [
        (stop, KeyboardInterrupt),
        (lambda samples, _: samples[1:], ValueError),
        (lambda samples, _: samples * np.float32(np.nan), ValueError),
    ],
)
def test_what_is_not_finished_is_not_there(
    folder: Path, tmp_path: Path, carry: Carry, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        prepare(read_manifest(folder), tmp_path / "corpus", CONFIG, carry)
    assert not list(tmp_path.iterdir())


def test_a_carrier_that_fails_in_a_worker_is_told_of(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.wav: the carrier made shape \(1,\)"):
        prepare(read_manifest(folder)[:1], tmp_path / "corpus", CONFIG, one_sample, workers=2)
    assert not list(tmp_path.iterdir())


def one_sample(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples[:1]


def test_what_is_there_stays(folder: Path, corpus: Corpus) -> None:
    before = bits(corpus)
    with pytest.raises(FileExistsError, match="is there already; open it, remove it or give another"):
        prepare(read_manifest(folder), corpus.folder, CONFIG, halved)
    assert bits(corpus) == before


# the disk


def test_a_disk_too_small_is_told_of_before_anything_is_decoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"needs up to 0\.0027. GB, and 1e-06 GB are free.*corpus") as raised:
        prepare(read_manifest(folder), tmp_path / "corpus", CONFIG, stop)
    assert raised.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_every_voice_counts_for_the_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    labelled = [utterance for utterance in read_manifest(folder) if utterance.speaker is not None]
    needs = []
    for config in (
        CorpusConfig((1.0,)),
        CorpusConfig((1.0,), formants=(0.9, 1.1)),
        CorpusConfig((1.0, 0.8), formants=(0.9,)),
    ):
        with pytest.raises(OSError, match="needs up to") as raised:
            prepare(labelled, tmp_path / "corpus", config, stop)
        needs.append(float(str(raised.value).split("up to ")[1].split(" GB")[0]))
    assert needs == pytest.approx([needs[0], 3 * needs[0], 3.25 * needs[0]], rel=0.01)


LIMITED = """
import resource, sys
from pathlib import Path
from diarize.training.corpus import CorpusConfig, prepare
from diarize.training.manifest import read_manifest
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    prepare(read_manifest(Path(sys.argv[1])), Path(sys.argv[2]), CorpusConfig(), lambda samples, _: samples)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on a file's size there")
def test_where_no_more_can_be_written_nothing_is_left_behind(folder: Path, tmp_path: Path) -> None:
    here = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, folder, tmp_path / "corpus"], cwd=here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "File too large; it needs up to 0.00" in done.stdout
    assert not list(tmp_path.iterdir())


# what is no corpus


def broken_json(folder: Path) -> None:
    (folder / "corpus.json").write_text("{")


def other_settings(folder: Path) -> None:
    made = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**made, "config": {**made["config"], "tempo": 1}}))


def cut_short(folder: Path) -> None:
    samples = (folder / "samples.s16").read_bytes()
    (folder / "samples.s16").write_bytes(samples[:-2])


def no_samples(folder: Path) -> None:
    (folder / "samples.s16").unlink()


def other_table(folder: Path) -> None:
    (folder / "utterances.csv").write_text("file,speaker\na,b\n")


def no_config(folder: Path) -> None:
    (folder / "corpus.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken_json, "a damaged corpus .*prepare it again"),
        (other_settings, "a damaged corpus .*tempo.*prepare it again"),
        (cut_short, r"bytes where [\d,]+ belong; copy or prepare it again"),
        (no_samples, "a damaged corpus .*prepare it again"),
        (other_table, "a damaged corpus .*prepare it again"),
        (no_config, r"no corpus\.json there; prepare the corpus first"),
    ],
)
def test_a_damaged_corpus(corpus: Corpus, tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    shutil.copytree(corpus.folder, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(ValueError, match=words):
        open_corpus(tmp_path / "copy")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"speeds": ()}, r"speeds must be .*not \(\)"),
        ({"speeds": (1.0, 1.0)}, "different numbers"),
        ({"speeds": (0.1,)}, r"in 0\.5\.\.2"),
        ({"formants": (1.0,)}, r"formants must be different numbers in 0\.5\.\.2, none of them 1, not \(1\.0,\)"),
        ({"formants": (1.2, 1.2)}, r"formants must be .*not \(1\.2, 1\.2\)"),
        ({"formants": (0.4,)}, r"formants must be .*not \(0\.4,\)"),
        ({"formants": (float("nan"),)}, "formants must be .*nan"),
        ({"takes": 0}, "takes must be at least 1, the clean one, not 0"),
        ({"longest": 0.5}, r"at least 1 s, not 0\.5"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **values)  # type: ignore[arg-type]  # what is wrong is the values
