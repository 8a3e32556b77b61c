"""Conversations of real voices on real timings, with their turns: `python -m diarize.training.simulate --help`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from diarize.rttm import Turn, format_rttm
from diarize.training import recording
from diarize.training.casting import Places, cast_voices, choose_stretch
from diarize.training.heard import FRAME, fill_pauses, intervals
from diarize.training.rooms import draw_room, real_response
from diarize.training.speech import (
    Split,
    Voice,
    read_audio,
    read_noises,
    read_rooms,
    read_templates,
    read_voices,
)
from diarize.training.talker import LEVEL, Talker
from diarize.types import SAMPLE_RATE, Samples, position, seconds

_log = logging.getLogger(__name__)

_SPEAKERS = {1: 0.06, 2: 0.22, 3: 0.22, 4: 0.28, 5: 0.1, 6: 0.06, 7: 0.03, 8: 0.03}
"""How often a conversation has so many speakers, unless told."""

_SHORTEST = 20  # frames: nothing can be said in less than 0.2 s
_RECORDED = 0.7  # how often the background is a recording and not coloured noise
_EVENTFUL = 0.4  # how often there are other sounds as well


@dataclass(frozen=True)
class SimulationConfig:
    """What is drawn, and from where.

    seconds: the shortest and longest conversation.
    speakers: how many, or None to draw 1 to 8, mostly 2 to 4, and fewer in less than 80 seconds.
    level: dBFS, the range of the finished recording's RMS while someone talks.
    snr: dB, the range of speech over steady noise; None for no noise at all.
    room: whether the voices are in a room; False is the open air.
    line: whether there is a microphone and a line; False is a perfect recorder.
    speaker_level: dB, the standard deviation between the speakers of a conversation.
    turn_level: dB, the standard deviation between the turns of a speaker.
    equalise: 0..1, how much of each voice's mean spectrum is taken away: every voice has its own microphone in the
        corpora, which would tell the speakers apart as no one recording does.
    real_rooms: 0..1, how many conversations are in a measured room instead of a computed one.
    """

    seconds: tuple[float, float] = (120.0, 300.0)
    speakers: int | None = None
    level: tuple[float, float] = (-50.0, -15.0)
    snr: tuple[float, float] | None = (8.0, 40.0)
    room: bool = True
    line: bool = True
    speaker_level: float = 4.0
    turn_level: float = 1.5
    equalise: float = 0.7
    real_rooms: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.seconds[0] <= self.seconds[1]:
            raise ValueError(f"seconds must be a range from 1 on, not {self.seconds}")
        if self.speakers is not None and self.speakers < 1:
            raise ValueError(f"speakers must be at least 1, not {self.speakers}")


@dataclass(frozen=True)
class Scene:
    """What was drawn for a conversation, and what came of it.

    template, start: the real conversation and where in it, in seconds.
    room: in words; distances in metres in the order of `voices`.
    noise: the steady noise; snr in dB (None: none); events: how many other sounds a minute.
    line: what the recording went through.
    level: dBFS while someone talks.
    speech, overlap: shares of the time with a voice, and of that with several.
    """

    template: str
    start: float
    voices: tuple[str, ...]
    room: str
    noise: str
    snr: float | None
    events: float
    line: str
    level: float
    speech: float
    overlap: float


@dataclass(frozen=True, eq=False)
class Conversation:
    """A recording and what is heard in it.

    samples: float32 mono at `SAMPLE_RATE`.
    turns: in order of start; the speakers are the voices' names.
    """

    uri: str
    samples: Samples
    turns: list[Turn]
    scene: Scene


def conversations(
    speech: Path, split: Split, count: int, seed: int, config: SimulationConfig = SimulationConfig()
) -> Iterator[Conversation]:
    """`count` conversations; each depends on `seed` and its own number only."""
    return (simulate(speech, split, seed, config, index) for index in range(count))


def simulate(
    speech: Path, split: Split, seed: int, config: SimulationConfig = SimulationConfig(), index: int = 0
) -> Conversation:
    """Conversation number `index` of `seed`: the same arguments give the same bits.

    Turns are placed where a real conversation has them, and filled with the utterances of a split's voices.  The
    reference is where each voice's own clean track is heard, split at pauses over 0.3 s.

    ValueError: an unknown split, a folder without speech, or more speakers than there are voices or templates for.
    """
    rng = np.random.default_rng([seed, index])
    length = round(rng.uniform(*config.seconds) * SAMPLE_RATE)
    voices = read_voices(speech, split)
    wanted = config.speakers
    if wanted is None:
        # within half a minute seldom more than three people talk
        most = min(len(voices), max(1, round(seconds(length) / 10)))
        wanted = min(most, int(rng.choice(list(_SPEAKERS), p=list(_SPEAKERS.values()))))
    template, start, speakers = choose_stretch(read_templates(speech, split), wanted, seconds(length), rng)
    cast = cast_voices(voices, speakers, rng)
    responses, room = _responses(speech, split, len(cast), config, rng)

    mix = np.zeros(length, dtype=np.float32)
    activity = []
    for (voice, places), response in zip(cast, responses, strict=True):
        track, active = _track(voice, places, length, config, rng)
        track = _wet(track, active, response, config)
        mix += track * np.float32(_decibels(rng.normal(0, config.speaker_level)))
        activity.append(active)
    talking = np.stack([fill_pauses(active) for active in activity]).sum(axis=0)
    heard = np.repeat(talking > 0, FRAME)

    noise, snr, per_minute = _add_noise(mix, heard, speech, split, config, rng)
    line = "none"
    if config.line:
        mix = recording.centred(mix, recording.tilt(rng))
        line = str(rng.choice(list(recording.LINES), p=[often for often, _ in recording.LINES.values()]))
        mix = recording.LINES[line][1](mix, rng)
    level = rng.uniform(*config.level)
    mix = np.clip(mix * np.float32(_decibels(level) / recording.rms(mix[: len(heard)][heard])), -1, 1)

    turns = sorted(
        Turn(first * FRAME, last * FRAME, voice.name)
        for (voice, _), active in zip(cast, activity, strict=True)
        for first, last in intervals(active)
    )
    names = tuple(voice.name for voice, _ in cast)
    speaking, overlap = float(np.mean(talking > 0)), float(np.mean(talking[talking > 0] > 1))
    scene = Scene(template, start, names, room, noise, snr, per_minute, line, float(level), speaking, overlap)
    return Conversation(f"{split}-{seed}-{index:03d}", mix.astype(np.float32), turns, scene)


def _track(
    voice: Voice, places: Places, length: int, config: SimulationConfig, rng: np.random.Generator
) -> tuple[Samples, NDArray[np.bool_]]:
    """A voice's clean track of `length` samples, and the frames in which it is heard."""
    talker = Talker(voice, rng)
    track = np.zeros(length, dtype=np.float32)
    active = np.zeros(length // FRAME, dtype=bool)
    free = 0
    for start, end in places:
        first = max(free, position(start) // FRAME)
        frames = position(end) // FRAME - first
        if frames < _SHORTEST:
            continue
        samples, heard = talker.say(frames, len(active) - first)
        free = first + len(heard)
        track[first * FRAME : free * FRAME] = samples * np.float32(_decibels(rng.normal(0, config.turn_level)))
        active[first:free] = heard
    return track, active


def _responses(
    speech: Path, split: Split, count: int, config: SimulationConfig, rng: np.random.Generator
) -> tuple[list[Samples], str]:
    """An impulse response for each of `count` places in a room, and the room in words."""
    if not config.room:
        return [np.ones(1, dtype=np.float32)] * count, "none"
    if rng.random() < config.real_rooms:
        file = read_rooms(speech, split)[int(rng.integers(len(read_rooms(speech, split))))]
        measured = read_audio(file)
        return [real_response(measured, rng) for _ in range(count)], file.stem
    room = draw_room(rng)
    # a headset or a desk microphone each, or one on the table for all
    distances = np.exp(rng.uniform(np.log(0.1), np.log(2.5)) + rng.normal(0, 0.35, count))
    size = " x ".join(f"{edge:.1f}" for edge in room.size)
    words = f"{size} m, {room.rt60:.2f} s, at {', '.join(f'{distance:.2f}' for distance in distances)} m"
    return [room.impulse_response(float(distance), rng) for distance in distances], words


def _wet(track: Samples, active: NDArray[np.bool_], response: Samples, config: SimulationConfig) -> Samples:
    """The track in its room, its own microphone's colour taken away, at `LEVEL` again."""
    heard = np.repeat(active, FRAME)
    if not heard.any():
        return track
    if config.equalise:
        response = oaconvolve(response, recording.equaliser(track[: len(heard)][heard], config.equalise))
        # the equaliser is symmetric: its delay goes, so that the reference stays true
        wet = oaconvolve(track, response)[recording.EQUALISER_DELAY :][: len(track)]
    else:
        wet = oaconvolve(track, response)[: len(track)]
    return np.asarray(wet * (LEVEL / recording.rms(wet[: len(heard)][heard])), dtype=np.float32)


def _add_noise(
    mix: Samples,
    heard: NDArray[np.bool_],
    speech: Path,
    split: Split,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> tuple[str, float | None, float]:
    """Add a background and sounds to `mix`, in place; say which, at what SNR, and how many sounds a minute."""
    if config.snr is None:
        return "none", None, 0.0
    level = recording.rms(mix[: len(heard)][heard])
    steady, sudden = read_noises(speech, split)
    file = steady[int(rng.integers(len(steady)))] if rng.random() < _RECORDED else None
    snr = float(rng.uniform(*config.snr))
    mix += recording.steady_noise(file, len(mix), rng) * np.float32(level * _decibels(-snr))
    per_minute = float(rng.uniform(0.5, 2)) if rng.random() < _EVENTFUL else 0.0
    loudness = level * _decibels(-rng.uniform(3, 15))
    mix += recording.events(sudden, len(mix), per_minute, rng) * np.float32(loudness)
    return file.stem if file else "coloured", snr, per_minute


def _decibels(gain: float) -> float:
    return float(10 ** (gain / 20))


def write(conversation: Conversation, folder: Path) -> None:
    """Write URI.flac (16 bit) and URI.rttm into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = conversation.uri
    soundfile.write(folder / f"{uri}.flac", conversation.samples, SAMPLE_RATE, subtype="PCM_16")
    (folder / f"{uri}.rttm").write_text(format_rttm(conversation.turns, uri), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a set of conversations, and log what each is."""
    parser = argparse.ArgumentParser(prog="python -m diarize.training.simulate", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the FLAC and RTTM files go")
    parser.add_argument("--speech", type=Path, required=True, help="the folder of real speech")
    parser.add_argument("--split", choices=get_args(Split), default="train")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speakers", type=int, help="in each conversation (default: drawn)")
    parser.add_argument("--seconds", type=float, nargs=2, default=SimulationConfig.seconds, help="shortest and longest")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = SimulationConfig(seconds=tuple(given.seconds), speakers=given.speakers)
    for conversation in conversations(given.speech, given.split, given.count, given.seed, config):
        write(conversation, given.folder)
        scene = conversation.scene
        _log.info(
            "%s: %d speakers, %.0f s, speech %.0f %%, overlap %.1f %%, %.0f dBFS, snr %s dB, %s, %s; %s; %s",
            conversation.uri, len(scene.voices), seconds(len(conversation.samples)), 100 * scene.speech,
            100 * scene.overlap, scene.level, scene.snr and round(scene.snr), scene.noise, scene.line, scene.room,
            scene.template,
        )  # fmt: skip


if __name__ == "__main__":
    main()
