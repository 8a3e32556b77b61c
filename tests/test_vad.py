"""Voice activity detection: the laws of streaming with both detectors, and the hysteresis against an oracle."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.models.webrtc import WebrtcVad
from diarize.stage import Stage
from diarize.types import AudioChunk, Interval, Samples, SpeechChunk, SpeechWindow, position
from diarize.vad import VadConfig, VoiceActivityDetection, speech_intervals
from diarize.windows import SlidingWindows
from tests import laws

BOTH = ["silero", "webrtc"]


@dataclass(frozen=True)
class Track:
    """A detector that reads its probability off the first sample of a frame."""

    frame: int = 160

    def start(self) -> None:
        return None

    def __call__(self, frames: Samples, state: None) -> tuple[NDArray[np.float64], None]:
        return frames[:, 0].astype(np.float64), state


def audio_of(track: list[float], rest: int) -> Samples:
    """Audio in which `Track` finds these probabilities, and `rest` samples more; every sample is different."""
    samples = np.linspace(0, 1, 160 * len(track) + rest, dtype=np.float32)
    samples[: 160 * len(track) : 160] = track
    if rest:
        samples[160 * len(track)] = 0
    return samples


def stretches(pieces: list[SpeechChunk]) -> list[Interval]:
    """Where the stretches lie; and that their pieces follow each other."""
    out: list[list[int]] = []
    opens = True
    for piece in pieces:
        if opens:
            out.append([piece.position, piece.position])
        assert piece.position == out[-1][1]
        out[-1][1] += len(piece.samples)
        opens = piece.closes
    assert opens
    return [(start, end) for start, end in out]


def oracle(track: list[float], total: int, config: VadConfig) -> list[Interval]:
    """The same stretches, with the whole recording in view: smooth, threshold, pad, bridge, drop."""
    width = max(1, round(position(config.smoothing or 0) / 160))
    before, after = (width - 1) // 2, width // 2
    p = np.array([np.mean(track[max(i - before, 0) : i + after + 1]) for i in range(len(track))])
    # Each frame takes the side of the last frame that was clearly on one.
    clear = np.where(p >= config.onset, 1, np.where(p < config.offset, 0, -1))
    last = np.maximum.accumulate(np.where(clear >= 0, np.arange(len(p)), -1))
    active = np.where(last >= 0, clear[np.maximum(last, 0)], 0) if len(p) else np.zeros(0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], active, [0])))).reshape(-1, 2) * 160
    edges = np.minimum(edges, total)
    pad, min_off, min_on = position(config.pad), position(config.min_off), position(config.min_on)
    if len(edges):
        apart = edges[1:, 0] - edges[:-1, 1] >= min_off + 2 * pad
        edges = np.stack((edges[np.r_[True, apart], 0], edges[np.r_[apart, True], 1]), axis=1)
    edges = edges[edges[:, 1] - edges[:, 0] >= min_on]
    return [(max(int(a) - pad, 0), min(int(b) + pad, total)) for a, b in edges]


hysteresis = st.builds(
    lambda onset, share, on, off, pad, smoothing: VadConfig(
        onset=onset, offset=onset * share, min_on=on, min_off=off, pad=pad, smoothing=smoothing, max_gain=0
    ),
    onset=st.sampled_from([0.1, 0.5, 0.9]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    on=st.sampled_from([0.0, 0.01, 0.035, 0.1]),
    off=st.sampled_from([0.0, 0.01, 0.045, 0.1]),
    pad=st.sampled_from([0.0, 0.003, 0.02, 0.06]),
    smoothing=st.sampled_from([0.0, 0.02, 0.05]),
)
# Probabilities in runs, so that stretches and gaps of all lengths come about; in eighths, so that means are exact.
tracks = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 12)), max_size=14).map(
    lambda runs: [p / 8 for p, length in runs for _ in range(length)]
)


@given(tracks, st.integers(0, 159), hysteresis)
@settings(deadline=None, max_examples=300)
def test_the_stretches_are_those_of_the_oracle(track: list[float], rest: int, config: VadConfig) -> None:
    samples = audio_of(track, rest)
    heard = [*track, 0.0] if rest else track
    pieces = laws.run(VoiceActivityDetection(config, Track()), laws.chunks(samples, []))
    assert stretches(pieces) == oracle(heard, len(samples), config)
    for piece in pieces:
        np.testing.assert_array_equal(piece.samples, samples[piece.position : piece.position + len(piece.samples)])


@given(tracks, st.integers(0, 159), hysteresis)
@settings(deadline=None, max_examples=100)
def test_lengths_and_gaps_are_as_set(track: list[float], rest: int, config: VadConfig) -> None:
    samples = audio_of(track, rest)
    found = stretches(laws.run(VoiceActivityDetection(config, Track()), laws.chunks(samples, [])))
    assert all(end - start >= position(config.min_on) for start, end in found)
    assert all(b[0] - a[1] >= position(config.min_off) for a, b in pairwise(found))
    assert all(0 <= start < end <= len(samples) for start, end in found)


@given(tracks, st.integers(0, 159), hysteresis, st.data())
@settings(deadline=None, max_examples=60)
def test_the_laws_of_streaming_for_the_hysteresis(
    track: list[float], rest: int, config: VadConfig, data: st.DataObject
) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=30))
    laws.obeys(partial(VoiceActivityDetection, config, Track()), samples, cuts, data.draw(st.integers(0, len(samples))))


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_a_monologue_flows_while_it_lasts_and_little_is_held(smoothing: float) -> None:
    config = VadConfig(max_gain=0, smoothing=smoothing)
    stage = VoiceActivityDetection(config, Track())
    samples = audio_of([0.0] * 1000 + [1.0] * 3000, 0)
    bound = position(config.min_on + config.min_off + 2 * config.pad + 0.05) + 3 * 160
    given_out = 0
    for chunk in laws.chunks(samples, list(range(100, len(samples), 100))):
        given_out += sum(len(piece.samples) for piece in stage.push(chunk))
        spoken = chunk.position + len(chunk.samples) - 1000 * 160
        assert given_out >= spoken - position(config.min_on + 0.05) - 3 * 160
        assert len(stage.state.audio.samples) <= bound
        assert len(stage.state.recent) <= 5


def test_a_stretch_that_lasts_to_the_end_is_closed_there() -> None:
    config = VadConfig(max_gain=0, min_on=0.1, pad=0.05)
    audio = audio_of([0.0] * 100 + [1.0] * 10, 0)
    assert stretches(laws.run(VoiceActivityDetection(config, Track()), laws.chunks(audio, []))) == [(15_200, 17_600)]
    audio = audio_of([0.0] * 100 + [1.0] * 9, 0)
    assert stretches(laws.run(VoiceActivityDetection(config, Track()), laws.chunks(audio, []))) == []


def test_a_gap_in_the_audio_is_refused() -> None:
    stage = VoiceActivityDetection(VadConfig(), Track())
    stage.push(AudioChunk(0, np.zeros(1000, np.float32)))
    with pytest.raises(ValueError, match="audio chunk at 1001 does not follow the audio before it, which ends at 1000"):
        stage.push(AudioChunk(1001, np.zeros(10, np.float32)))


# The real detectors.


def read(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32")[0]
    return samples


def buzzes(seconds: float) -> Samples:
    """Something of a voice, on and off, in noise."""
    time = np.arange(position(seconds)) / 16_000
    voice = np.zeros(len(time))
    for k in range(1, 25):
        voice += np.sin(2 * np.pi * 140 * k * time + 3 * np.sin(2 * np.pi * 2 * time)) / k
    voice *= np.maximum(np.sin(2 * np.pi * 0.7 * time), 0) * (1 + np.sin(2 * np.pi * 4 * time))
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.05 * voice + 0.001 * noise).astype(np.float32)


def front(config: VadConfig) -> Stage[AudioChunk, SpeechWindow]:
    return VoiceActivityDetection(config) | SlidingWindows()


@pytest.mark.parametrize("name", BOTH)
@given(laws.cuts(48_000), st.integers(0, 48_000))
@settings(deadline=None, max_examples=8)
def test_the_laws_of_streaming_for_the_detectors(name: str, cuts: list[int], at: int) -> None:
    config = VadConfig(name, onset=0.1, offset=0.05)
    samples = buzzes(3)
    assert speech_intervals(laws.chunks(samples, []), config)
    laws.obeys(partial(VoiceActivityDetection, config), samples, cuts, at)


@pytest.mark.parametrize("name", BOTH)
@given(data=st.data())
@settings(deadline=None, max_examples=3)
def test_the_laws_of_streaming_for_the_chain_on_real_speech(name: str, speech: Path, data: st.DataObject) -> None:
    samples = read(speech / "conversations" / "pyannote_sample_telephone.flac")[80_000 : 80_000 + 16_000 * 12]
    cuts, at = data.draw(laws.cuts(len(samples))), data.draw(st.integers(0, len(samples)))
    assert speech_intervals(laws.chunks(samples, []), VadConfig(name))
    laws.obeys(partial(front, VadConfig(name)), samples, cuts, at)


def fine_cuts(length: int) -> list[list[int]]:
    return [list(range(step, length, step)) for step in (37, 512, 800)]


@pytest.mark.parametrize("name", BOTH)
def test_tiny_and_odd_chunks_make_no_difference(name: str) -> None:
    samples, make = buzzes(3), partial(front, VadConfig(name, onset=0.1, offset=0.05))
    laws.any_cut(make, laws.chunks(samples, []), *(laws.chunks(samples, cut) for cut in fine_cuts(len(samples))))


def webrtc_track(detector: WebrtcVad, frames: NDArray[np.float32], *, copies: bool) -> list[float]:
    state, out = detector.start(), []
    for frame in frames:
        if copies:  # a state put back is another object
            state = type(state)(tuple(pcm.copy() for pcm in state.heard))
        (probability,), state = detector(frame[None], state)
        out.append(float(probability))
    return out


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_webrtc_can_be_put_back_at_any_frame_and_shared(frame_ms: int) -> None:
    samples = buzzes(12)
    frames = samples[: len(samples) // 480 * 480].reshape(-1, 16 * frame_ms)
    expected = webrtc_track(WebrtcVad(frame_ms, 1), frames, copies=False)
    assert 0 < sum(expected) < len(expected)
    assert webrtc_track(WebrtcVad(frame_ms, 1), frames[:200], copies=True) == expected[:200]
    assert WebrtcVad(frame_ms, 1)(frames, WebrtcVad(frame_ms, 1).start())[0].tolist() == expected
    shared = WebrtcVad(frame_ms, 1)
    states = [shared.start(), shared.start()]
    for frame, probability in zip(frames[:100], expected, strict=False):
        for stream in (0, 1):
            (found,), states[stream] = shared(frame[None], states[stream])
            assert found == probability


def test_webrtc_decides_as_the_package_does_until_it_is_renewed() -> None:
    import webrtcvad

    frames = buzzes(6)[: 5 * 16_000 // 480 * 480].reshape(-1, 480)
    package = webrtcvad.Vad(2)
    expected = [package.is_speech((frame * 32767).astype(np.int16).tobytes(), 16_000) for frame in frames]
    assert webrtc_track(WebrtcVad(30, 2), frames, copies=False) == expected


def test_an_absent_webrtcvad_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "webrtcvad":
            raise ModuleNotFoundError("No module named 'webrtcvad'", name="webrtcvad")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install webrtcvad-wheels, or use --vad silero"):
        VoiceActivityDetection(VadConfig("webrtc"))


ODD = pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        np.zeros(16_000, np.float32),
        np.full(16_000, 0.5, np.float32),
        np.full(16_000, -1.0, np.float32),
        np.full(16_000, 1e-30, np.float32),
    ],
    ids=["nothing", "one zero", "one sample", "zeros", "direct current", "full scale", "no power"],
)


@ODD
def test_what_is_not_sound_is_not_speech(samples: Samples) -> None:
    assert speech_intervals(laws.chunks(samples, [])) == []


@ODD
def test_webrtc_takes_no_more_than_a_step_for_speech(samples: Samples) -> None:
    found = speech_intervals(laws.chunks(samples, []), VadConfig("webrtc"))
    assert sum(end - start for start, end in found) < 0.5 * 16_000


@pytest.mark.parametrize("name", BOTH)
def test_clipped_audio_is_taken(name: str) -> None:
    samples = np.clip(100 * buzzes(3), -1, 1)
    for start, end in speech_intervals(laws.chunks(samples, []), VadConfig(name)):
        assert 0 <= start < end <= len(samples)


def test_a_stream_without_chunks_ends_well() -> None:
    assert speech_intervals([]) == []


# Level control.


def mask(intervals: list[Interval], length: int) -> NDArray[np.bool_]:
    out = np.zeros(length, bool)
    for start, end in intervals:
        out[start:end] = True
    return out


# What differs is mostly the first seconds.  Without level control webrtc differs in a third of the clip.
@pytest.mark.parametrize(("name", "share"), [("silero", 0.02), ("webrtc", 0.08)])
def test_level_control_makes_the_decision_nearly_independent_of_gain(name: str, share: float, speech: Path) -> None:
    samples = read(speech / "conversations" / "pyannote_sample_telephone.flac")
    at_zero = samples / np.sqrt(np.mean(np.square(samples)))
    loud, quiet = (
        mask(
            speech_intervals(laws.chunks((at_zero * 10 ** (level / 20)).astype(np.float32), []), VadConfig(name)),
            len(samples),
        )
        for level in (-20, -45)
    )
    assert loud.mean() > 0.5
    assert np.mean(loud != quiet) < share


def test_what_flows_on_is_the_audio_as_it_was(speech: Path) -> None:
    samples = read(speech / "conversations" / "pyannote_sample_telephone.flac") * np.float32(0.05)
    pieces = laws.run(VoiceActivityDetection(), laws.chunks(samples, []))
    assert pieces
    for piece in pieces:
        np.testing.assert_array_equal(piece.samples, samples[piece.position : piece.position + len(piece.samples)])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "energy"}, "name is 'energy': give 'silero' or 'webrtc'"),
        ({"onset": 1.5}, "onset is 1.5: give 0 to 1"),
        ({"onset": 0.2, "offset": 0.3}, "offset is 0.3: give 0 to 0.2"),
        ({"onset": float("nan")}, "onset is nan"),
        ({"min_on": -1.0}, "min_on is -1.0: give 0 to 10"),
        ({"min_off": 11.0}, "min_off is 11.0"),
        ({"pad": -0.1}, "pad is -0.1"),
        ({"smoothing": 2.0}, "smoothing is 2.0: give 0 to 1"),
        ({"target_level": 6.0}, "target_level is 6.0: give -60 to 0"),
        ({"max_gain": -3.0}, "max_gain is -3.0: give 0 to 60"),
        ({"headroom": 61.0}, "headroom is 61.0"),
        ({"webrtc_frame": 25}, "webrtc_frame is 25 ms: give 10, 20 or 30"),
        ({"webrtc_mode": 4}, "webrtc_mode is 4: give 0, 1, 2 or 3"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VadConfig(**values)
