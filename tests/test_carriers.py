"""Carriers: the modes a voice comes over, what they draw from, and the conditions of cohorts."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.config import from_mapping
from diarize.training.carriers import (
    CARRIERS,
    MODES,
    CarrierConfig,
    ModeShares,
    SceneConfig,
    Sources,
    carried,
    chain,
    over,
)
from diarize.training.recording import rms
from diarize.training.speech import read_audio
from diarize.types import SAMPLE_RATE, Samples
from tests.command import conversation
from tests.lags import lag

SECONDS = 4


@pytest.fixture(scope="module")
def voice() -> Samples:
    return conversation(SECONDS)


def only(mode: str) -> CarrierConfig:
    """A config that draws one mode."""
    return CarrierConfig(ModeShares(**{one.name: float(one.name == mode) for one in fields(ModeShares)}))


# the modes


def test_the_modes_have_the_shares_of_the_recipe() -> None:
    assert tuple(MODES) == tuple(one.name for one in fields(ModeShares))
    assert [getattr(ModeShares(), mode) for mode in MODES] == [0.15, 0.10, 0.10, 0.15, 0.25, 0.25]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_keeps_length_level_and_time(voice: Samples, mode: str) -> None:
    # in a room the strongest reflection may look like a delay: those are tried with a click, below
    dry = Sources(Sources.computed().noises, np.ones((1, 1), np.float32))
    for seed in range(5):
        heard = over(voice, mode, np.random.default_rng(seed))
        assert heard.dtype == np.float32
        assert heard.shape == voice.shape
        assert np.abs(heard).max() <= 1 + 1e-6
        assert rms(heard) <= 1.001 * rms(voice)
        assert rms(heard) == pytest.approx(rms(voice), rel=1e-3) or np.abs(heard).max() == pytest.approx(1)
        assert abs(lag(over(voice, mode, np.random.default_rng(seed), dry), voice)) <= 0.005
        assert np.array_equal(heard, over(voice, mode, np.random.default_rng(seed)))
        assert np.allclose(heard, voice, atol=1e-4) == (mode == "clean")


@pytest.mark.parametrize("mode", MODES)
def test_chain_draws_a_mode_and_goes_over_it(voice: Samples, mode: str) -> None:
    rng = np.random.default_rng(5)
    rng.choice(len(MODES), p=[float(name == mode) for name in MODES])
    assert np.array_equal(chain(voice, np.random.default_rng(5), only(mode)), over(voice, mode, rng))


def test_chain_draws_modes_as_often_as_it_is_told() -> None:
    rng, short = np.random.default_rng(0), conversation(0.1)
    config = CarrierConfig(ModeShares(3, 0, 1, 0, 0, 0))  # brought to a sum of 1
    clean = sum(np.array_equal(chain(short, rng, config), short) for _ in range(400))
    assert clean == pytest.approx(300, abs=4 * np.sqrt(400 * 0.75 * 0.25))


@given(st.integers(0, 2000), st.sampled_from(list(MODES)), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_length_and_silence_go_through(length: int, mode: str, seed: int) -> None:
    heard = over(conversation(5)[-length:] if length else np.zeros(0, np.float32), mode, np.random.default_rng(seed))
    assert heard.shape == (length,)
    assert np.isfinite(heard).all()
    silence = np.zeros(length, dtype=np.float32)
    assert np.array_equal(over(silence, mode, np.random.default_rng(seed)), silence)


@pytest.mark.parametrize(
    ("samples", "mode", "words"),
    [
        (np.zeros(9, np.float32), "pigeon", "unknown mode 'pigeon': one of clean, codec, microphone"),
        (np.zeros((1, 9), np.float32), "codec", r"must have the shape \(samples,\), not \(1, 9\)"),
        (np.full(9, np.nan, np.float32), "clean", "not finite numbers"),
    ],
)
def test_what_cannot_be_carried(samples: Samples, mode: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        over(samples, mode, np.random.default_rng(0))


# settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modes": {"clean": -0.1}}, "0 or more, and not all 0"),
        ({"modes": {one.name: 0 for one in fields(ModeShares)}}, "not all 0"),
        ({"scenes": {"together": 0}}, "together must be at least 1, not 0"),
        ({"scenes": {"slope": -1}}, "slope must be at least 0 dB, not -1"),
        ({"scenes": {"bleed": 1.5}}, r"bleed must be in 0\.\.1, not 1.5"),
        ({"scenes": {"snr": [30, 0]}}, "snr must be a lowest and a highest value in dB"),
        ({"scenes": {"level": [-30]}}, "level must be a lowest and a highest"),
        ({"scenes": {"revrb": 1}}, "unknown setting scenes.revrb"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_mapping(CarrierConfig, values)


def test_settings_come_out_of_a_recipe() -> None:
    made = from_mapping(CarrierConfig, {"modes": {"clean": 1}, "scenes": {"together": 4, "snr": [5, 20]}})
    assert made == CarrierConfig(ModeShares(clean=1.0), SceneConfig(together=4, snr=(5.0, 20.0)))


# sources


def test_computed_sources_are_made_once_and_the_same_everywhere() -> None:
    sources = Sources.computed()
    assert Sources.computed() is sources
    assert len(pickle.dumps(sources)) < 1000  # no arrays travel
    assert pickle.loads(pickle.dumps(sources)) is sources  # noqa: S301 - our own bytes
    assert np.allclose(sources.rooms[:, 0], 1)
    other = Sources(sources.noises[:1000], sources.rooms[:3])
    copy = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
    assert np.array_equal(copy.noises, other.noises)
    assert np.array_equal(copy.rooms, other.rooms)


def test_noises_have_their_level_and_rooms_keep_the_time(voice: Samples) -> None:
    sources, rng = Sources.computed(), np.random.default_rng(0)
    assert [rms(sources.noise(SAMPLE_RATE, rng)) for _ in range(20)] == pytest.approx([1] * 20, rel=1e-3)
    few = Sources(sources.noises[:1000], sources.rooms[:3])
    assert len(few.noise(2500, rng)) == 2500  # it begins again
    added = sources.noisy(voice, (12, 12), rng) - voice
    assert 20 * np.log10(rms(voice) / rms(added)) == pytest.approx(12, abs=0.05)
    click = np.zeros(SAMPLE_RATE, dtype=np.float32)
    click[1000] = 1
    for _ in range(20):
        heard = sources.in_room(click, rng)
        assert np.abs(heard[:1000]).max() < 1e-4
        assert heard[1000] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("noises", "rooms", "words"),
    [
        (np.zeros(0, np.int16), np.ones((1, 9), np.float32), "noises must be int16"),
        (np.zeros(9, np.float32), np.ones((1, 9), np.float32), "noises must be int16 .*, not float32"),
        (np.zeros(9, np.int16), np.ones((0, 9), np.float32), r"rooms must have the shape"),
        (np.zeros(9, np.int16), np.zeros((1, 9), np.float32), "begin with 1"),
    ],
)
def test_what_can_be_no_sources(noises: Samples, rooms: Samples, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sources(noises, rooms)  # type: ignore[arg-type]  # wrong types are the point


def test_a_folder_without_noises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metadata\.csv there; give the folder of real speech"):
        Sources.from_folder(tmp_path, "train")


def test_a_noise_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    table = tmp_path / "noise" / "metadata.csv"
    table.write_text("file\nnoise/a.wav\n")
    with pytest.raises(ValueError, match="no column class; add it"):
        Sources.from_folder(tmp_path, "train")
    table.write_text("file,class\nnoise/a.wav,Rain\n")
    (tmp_path / "noise" / "a.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"a\.wav: cannot be read .*take it out of the table"):
        read_audio(tmp_path / "noise" / "a.wav")


def test_recorded_noises_and_measured_rooms_are_of_the_split(speech: Path, voice: Samples) -> None:
    dev, judged = Sources.from_folder(speech, "dev"), Sources.from_folder(speech, "eval")
    assert len(dev.rooms) > len(Sources.computed().rooms)
    assert len(dev.noises) > len(Sources.computed().noises)
    assert not np.array_equal(dev.noises[: 60 * SAMPLE_RATE], judged.noises[: 60 * SAMPLE_RATE])
    heard = [over(voice, "playback", np.random.default_rng(seed), dev) for seed in range(4)]
    assert np.isfinite(heard).all()
    assert not np.allclose(heard[0], heard[1], atol=1e-3)


# the conditions of cohorts


@pytest.mark.parametrize("carrier", CARRIERS)
def test_carriers_keep_the_length_and_draw_nothing_else(voice: Samples, carrier: str) -> None:
    first, second = (carried(voice, carrier, None, "train", np.random.default_rng(seed)) for seed in (1, 1))
    assert np.array_equal(first, second)
    assert first.shape == voice.shape
    assert np.isfinite(first).all()
    changed = not np.allclose(first, voice, atol=1e-4)
    assert changed == (carrier != "clean")


def test_an_unknown_carrier(voice: Samples) -> None:
    with pytest.raises(ValueError, match="unknown carrier 'pigeon': one of clean, telephone, noise, room"):
        carried(voice, "pigeon", None, "train", np.random.default_rng(0))


@pytest.mark.parametrize("carrier", ["noise", "room"])
def test_conditions_with_recorded_noises_and_measured_rooms(speech: Path, voice: Samples, carrier: str) -> None:
    heard = [carried(voice, carrier, speech, "dev", np.random.default_rng(seed)) for seed in range(4)]
    assert all(one.shape == voice.shape and np.isfinite(one).all() for one in heard)
