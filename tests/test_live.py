"""The live front: the laws of streaming, the windows of the offline front, and the promise of the latency."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.live import TICK, DetectedSpeech, LiveConfig, LiveFront
from diarize.types import SAMPLE_RATE, AudioChunk, Clock, Interval, Samples, SpeechChunk, SpeechWindow, position
from diarize.vad import VadConfig, VoiceActivityDetection
from diarize.windows import SlidingWindows, WindowsConfig
from tests import laws
from tests.command import conversation
from tests.test_vad import Track, audio_of, stretches

LATENCIES = [0.5, 1.0, 2.0, 5.0]
PLAIN = VadConfig(max_gain=0)
FRAME = Track.frame

# Silence, doubt and speech in runs of up to 2.5 s, in frames of 10 ms: blips, pauses that are bridged, monologues.
tracks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 1.0, 1.0]), st.integers(1, 20) | st.integers(1, 250)), min_size=3, max_size=9
).map(lambda runs: [p for p, length in runs for _ in range(length)])
rests = st.integers(0, FRAME - 1)
latencies = st.sampled_from(LATENCIES)
shapes = st.sampled_from(
    [WindowsConfig(), WindowsConfig(1.6, 1.6), WindowsConfig(4, 2), WindowsConfig(0.5, 0.2), WindowsConfig(0.1, 0.1)]
)


def track_vad(config: VadConfig = PLAIN) -> VoiceActivityDetection:
    return VoiceActivityDetection(config, Track())


def track_front(latency: float, shape: WindowsConfig | None = None) -> LiveFront:
    return LiveFront(DetectedSpeech(track_vad(), SlidingWindows(shape)), LiveConfig(latency))


def silero_front(latency: float) -> LiveFront:
    return LiveFront(DetectedSpeech(VoiceActivityDetection(), SlidingWindows()), LiveConfig(latency))


def windows_in(items: list[SpeechWindow | Clock]) -> list[SpeechWindow]:
    return [item for item in items if isinstance(item, SpeechWindow)]


@pytest.fixture(scope="module")
def sample() -> Samples:
    return conversation(20)[: 20 * SAMPLE_RATE - 700]


# The laws of streaming.


@given(tracks, rests, latencies, shapes, st.data())
@settings(deadline=None, max_examples=60)
def test_the_laws_of_streaming(
    track: list[float], rest: int, latency: float, shape: WindowsConfig, data: st.DataObject
) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=30))
    laws.obeys(partial(track_front, latency, shape), samples, cuts, data.draw(st.integers(0, len(samples))))


@given(latencies, laws.cuts(19 * SAMPLE_RATE), st.integers(0, 19 * SAMPLE_RATE))
@settings(deadline=None, max_examples=4)
def test_the_laws_of_streaming_on_a_conversation(sample: Samples, latency: float, cuts: list[int], at: int) -> None:
    laws.obeys(partial(silero_front, latency), sample, cuts, at)


def test_tiny_and_odd_chunks_make_no_difference(sample: Samples) -> None:
    short = sample[: 4 * SAMPLE_RATE]
    cut = (laws.chunks(short, list(range(step, len(short), step))) for step in (37, TICK, 2 * TICK + 1))
    laws.any_cut(partial(silero_front, 0.5), laws.chunks(short, []), *cut)


# What comes out.


def check_windows(
    items: list[SpeechWindow | Clock], pieces: list[SpeechChunk], samples: Samples, shape: WindowsConfig
) -> None:
    """That the windows are those of the offline front, and each provisional one a beginning of the next of them."""
    windows = windows_in(items)
    real = [window for window in windows if not window.provisional]
    assert laws.plain(real) == laws.plain(laws.run(SlidingWindows(shape), pieces))
    for start, end in stretches(pieces):
        inside = [window for window in windows if start <= window.start < end]
        assert not (inside and inside[-1].provisional), "the last of a stretch says all of it"
        following = None
        for window in reversed(inside):
            np.testing.assert_array_equal(window.samples, samples[window.start : window.end])
            assert window.speech == ((window.start, window.end),)
            assert start <= window.start < window.end <= end
            if not window.provisional:
                following = window
                continue
            assert following is not None
            assert window.group == following.group
            assert window.end <= following.end
            assert window.start == max(start, window.end - shape.samples), (
                "as much as is there, and not what came before"
            )
    assert sum(start <= window.start < end for window in windows for start, end in stretches(pieces)) == len(windows)


def check_clocks(items: list[SpeechWindow | Clock], length: int) -> None:
    """That the time is told after every tick and at the end."""
    told = [item.position for item in items if isinstance(item, Clock)]
    assert told == [*range(TICK, length, TICK), *([length] if length else [])]
    now = 0
    for item in items:
        if isinstance(item, Clock):
            now = item.position
        else:
            assert item.end <= now + TICK, "nothing of the future"


@given(tracks, rests, latencies, shapes)
@settings(deadline=None, max_examples=100)
def test_the_windows_are_those_of_the_offline_front(
    track: list[float], rest: int, latency: float, shape: WindowsConfig
) -> None:
    samples = audio_of(track, rest)
    items = laws.run(track_front(latency, shape), laws.chunks(samples, []))
    check_windows(items, laws.run(track_vad(), laws.chunks(samples, [])), samples, shape)
    check_clocks(items, len(samples))


@pytest.mark.parametrize("latency", LATENCIES)
def test_the_windows_of_a_conversation_are_those_of_the_offline_front(sample: Samples, latency: float) -> None:
    items = laws.run(silero_front(latency), laws.chunks(sample, []))
    check_windows(items, laws.run(VoiceActivityDetection(), laws.chunks(sample, [])), sample, WindowsConfig())
    check_clocks(items, len(sample))
    assert len(windows_in(items)) > 40


@pytest.mark.parametrize("length", [0, 1, TICK - 1, TICK, TICK + 1, 10 * TICK])
def test_a_stream_without_speech_is_its_clocks(length: int) -> None:
    items = laws.run(track_front(1), laws.chunks(np.zeros(length, np.float32), []))
    assert not windows_in(items)
    check_clocks(items, length)


# The latency.


def covered(until: list[Interval], windows: list[SpeechWindow]) -> list[Interval]:
    """What is in windows, with these more; they come in order of their ends and have no gaps in a stretch of speech."""
    for window in windows:
        if until and window.start <= until[-1][1]:
            until[-1] = (until[-1][0], max(until[-1][1], window.end))
        else:
            until.append((window.start, window.end))
    return until


def check_latency(front: LiveFront, vad: VoiceActivityDetection, samples: Samples, cuts: list[int], late: int) -> None:
    """That after each chunk, up to t, what the detector has given of what lies before t - late is in a window."""
    labelled: list[Interval] = []
    given: list[Interval] = []
    ticks = iter(laws.chunks(samples, list(range(TICK, len(samples), TICK))))
    for chunk in laws.chunks(samples, cuts):
        covered(labelled, windows_in(front.push(chunk)))
        now = chunk.position + len(chunk.samples)
        while vad.state.audio.end + TICK <= now:
            given += [(piece.position, piece.position + len(piece.samples)) for piece in vad.push(next(ticks))]
        owed = [(start, min(end, now - late)) for start, end in given if start < now - late and start < end]
        for start, end in owed:
            assert any(first <= start and end <= last for first, last in labelled), f"[{start}, {end}) at {now}"
        given = [(start, end) for start, end in given if end > now - late]  # what is labelled remains so


@given(tracks, rests, latencies, shapes, st.data())
@settings(deadline=None, max_examples=100)
def test_what_the_detector_gives_is_in_a_window_within_the_latency(
    track: list[float], rest: int, latency: float, shape: WindowsConfig, data: st.DataObject
) -> None:
    samples = audio_of(track, rest)
    cuts = data.draw(laws.cuts(len(samples), most=40))
    check_latency(track_front(latency, shape), track_vad(), samples, cuts, position(latency))


@pytest.mark.parametrize("latency", LATENCIES)
@given(cuts=laws.cuts(19 * SAMPLE_RATE, most=60))
@settings(deadline=None, max_examples=2)
def test_the_latency_is_held_in_a_conversation(sample: Samples, latency: float, cuts: list[int]) -> None:
    check_latency(silero_front(latency), VoiceActivityDetection(), sample, cuts, position(latency))


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("config", [PLAIN, VadConfig(max_gain=0, min_on=0.2, pad=0.04, smoothing=0.1)])
def test_speech_is_in_a_window_within_the_latency_while_it_goes_on(latency: float, config: VadConfig) -> None:
    front = LiveFront(DetectedSpeech(track_vad(config), SlidingWindows()), LiveConfig(latency))
    begin = 3333 // FRAME * FRAME
    samples = audio_of([0.0] * (begin // FRAME) + [1.0] * 500, 0)
    cuts = sorted(np.random.default_rng(0).integers(0, len(samples), 150).tolist())
    labelled: list[Interval] = []
    for chunk in laws.chunks(samples, cuts):
        covered(labelled, windows_in(front.push(chunk)))
        until = chunk.position + len(chunk.samples) - position(latency)
        if until > begin:
            ((start, end),) = labelled
            assert start <= begin
            assert end >= until


@given(tracks, rests, latencies, shapes)
@settings(deadline=None, max_examples=60)
def test_a_window_grows_only_where_the_next_would_come_too_late(
    track: list[float], rest: int, latency: float, shape: WindowsConfig
) -> None:
    items = laws.run(track_front(latency, shape), laws.chunks(audio_of(track, rest), []))
    said = 0
    for item, clock in zip(items, next_clocks(items), strict=True):
        if isinstance(item, Clock):
            continue
        if item.provisional:
            assert max(said, item.start) < clock + TICK - position(latency)
            assert item.end > said
        said = max(said, item.end)


def next_clocks(items: list[SpeechWindow | Clock]) -> Iterator[int]:
    """For each item the time that is told next."""
    clocks = [item.position for item in items if isinstance(item, Clock)]
    passed = 0
    for item in items:
        yield clocks[min(passed, len(clocks) - 1)]
        passed += isinstance(item, Clock)


def test_where_there_is_time_no_window_grows(sample: Samples) -> None:
    assert any(window.provisional for window in windows_in(laws.run(silero_front(0.5), laws.chunks(sample, []))))
    items = laws.run(silero_front(5), laws.chunks(sample, []))
    assert not any(window.provisional for window in windows_in(items))


# What is kept.


def test_what_is_held_does_not_grow_with_the_stream() -> None:
    speech = DetectedSpeech(track_vad(), SlidingWindows())
    front = LiveFront(speech, LiveConfig(0.5))
    samples = audio_of(([0.0] * 77 + [1.0] * 2000 + [0.0] * 23 + [1.0] * 333 + [0.0] * 200) * 3, 0)
    sizes, held = [], []
    for chunk in laws.chunks(samples, list(range(700, len(samples), 700))):
        front.push(chunk)
        sizes.append(len(pickle.dumps(front.save())))
        open_stretch = speech.windows.state.audio
        held.append((front.state.audio, speech.vad.state.audio, *([open_stretch] if open_stretch else [])))
    third = len(sizes) // 3
    assert max(sizes[2 * third :]) <= max(sizes[:third]) + 4 * TICK  # as the chunks happen to fall
    detector = position(PLAIN.min_on + PLAIN.min_off + 3 * PLAIN.pad) + 2 * FRAME + TICK
    bounds = (TICK, detector, WindowsConfig().samples)
    assert all(len(one.samples) <= most for ones in held for one, most in zip(ones, bounds, strict=False))


def test_a_long_recording_may_come_in_one_piece() -> None:
    """Ten minutes, of which every tick must not copy the rest."""
    front = LiveFront(DetectedSpeech(VoiceActivityDetection(PLAIN, Track(frame=TICK)), SlidingWindows()), LiveConfig(1))
    samples = np.zeros(600 * SAMPLE_RATE, np.float32)
    check_clocks(laws.run(front, [AudioChunk(0, samples)]), len(samples))


# What cannot be.


@pytest.mark.parametrize("latency", [0.5, 1.0])
def test_a_detector_that_is_too_slow_is_refused(latency: float) -> None:
    too_much = VadConfig(max_gain=0, min_on=latency + 0.1)
    with pytest.raises(ValueError, match=rf"live.latency is {latency} s, but .* takes up to .* s: lower vad.min_on"):
        LiveFront(DetectedSpeech(track_vad(too_much), SlidingWindows()), LiveConfig(latency))
    # to the last frame: 0.2 s for two ticks, 0.03 s for the padding, 0.01 s for the frame
    least = latency - 0.24
    LiveFront(DetectedSpeech(track_vad(VadConfig(min_on=least)), SlidingWindows()), LiveConfig(latency))
    with pytest.raises(ValueError, match=rf"up to {latency + 0.01:.2f} s"):
        LiveFront(DetectedSpeech(track_vad(VadConfig(min_on=least + 0.01)), SlidingWindows()), LiveConfig(latency))
    with pytest.raises(ValueError, match=r"vad\.smoothing"):
        LiveFront(
            DetectedSpeech(track_vad(VadConfig(smoothing=1, min_on=least)), SlidingWindows()), LiveConfig(latency)
        )


@pytest.mark.parametrize("at", [0, 2499, 2501])
def test_a_chunk_that_does_not_follow_is_refused(at: int) -> None:
    front = track_front(1)
    front.push(AudioChunk(0, np.zeros(2500, np.float32)))
    with pytest.raises(ValueError, match=f"audio chunk at {at} does not follow the audio before it, up to 2500"):
        front.push(AudioChunk(at, np.zeros(100, np.float32)))
    front.push(AudioChunk(2500, np.zeros(100, np.float32)))


@pytest.mark.parametrize("value", [0.49, 5.01, 0.0, -1.0, float("nan")])
def test_impossible_settings_are_named(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"live.latency is {value} s: give 0.5 to 5"):
        LiveConfig(latency=value)
