"""Make the sample conversation: four voices of flite in a room, with the exact turns.

    apt-get install flite
    python examples/make_sample.py examples/sample

writes conversation.flac and conversation.rttm.  A turn's edges are measured on its speaker's clean track, as in the
simulator: the reference is what is heard, not what was planned.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import oaconvolve

from diarize.rttm import Turn, format_rttm
from diarize.training.heard import FRAME, intervals, voice_activity
from diarize.training.recording import rms, steady_noise
from diarize.training.rooms import Room
from diarize.types import SAMPLE_RATE, Samples, position

ROOM = Room(size=(5.0, 4.0, 2.7), microphone=(2.6, 2.1, 0.9), rt60=0.3)
NOISE = -58.0  # dBFS, a quiet room
SEED = 7


@dataclass(frozen=True)
class Voice:
    """A speaker.

    flite: the name of the voice.
    scale: a factor on all its frequencies, pitch and vocal tract alike: another person of the same tempo.
    level: of the direct sound, in dBFS; distance: to the microphone, in metres.
    """

    flite: str
    scale: float
    level: float
    distance: float


@dataclass(frozen=True)
class Line:
    """Something said.  gap: seconds after everything before has ended; negative: while it is still being said."""

    gap: float
    speaker: str
    text: str


VOICES = {
    "Clara": Voice("slt", 1.0, -25.0, 0.6),
    "Robin": Voice("rms", 1.15, -27.0, 0.9),
    "Angus": Voice("awb", 1.0, -26.0, 0.8),
    "Karl": Voice("kal16", 0.9, -28.0, 1.1),
}

CONVERSATION = [
    Line(0.5, "Clara", "Good morning, everyone. Thanks for coming in early. Shall we start with the reading room?"),
    Line(0.3, "Robin", "Yes, please. The new shelves came yesterday, and they are still in their boxes downstairs."),
    Line(0.4, "Angus", "I can put them up on Thursday. It will take me half a day, if somebody holds the other end."),
    Line(0.2, "Karl", "I will help you. I am free from ten o'clock."),
    Line(0.5, "Clara", "Wonderful. And the lamps? Robin, did you hear back from the electrician?"),
    Line(0.4, "Robin", "He can come next week, but he wants to know how many sockets we need before he orders them."),
    Line(-0.8, "Angus", "Six at least. One for each table."),
    Line(0.15, "Robin", "Right."),
    Line(0.4, "Karl", "Do not forget the one by the window, where the old radio is. Our visitors ask for it daily."),
    Line(-2.2, "Clara", "Yes, exactly."),
    Line(0.6, "Clara", "So, seven sockets. I will write that down and call him this afternoon."),
    Line(0.5, "Angus", "What about the opening? Are we still saying the first of March?"),
    Line(0.3, "Robin", "I think so. The posters are printed already."),
    Line(-1.0, "Karl", "I hope so. I have told everybody."),
    Line(0.5, "Clara", "Then the first of March it is, and I will send the invitations on Monday."),
    Line(0.3, "Angus", "Good. Coffee, anyone?"),
    Line(0.2, "Karl", "Oh yes, please."),
    Line(-0.5, "Robin", "For me too."),
]


def say(voice: Voice, text: str) -> Samples:
    """The clean utterance, from its first to its last sound, at the voice's level."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "said.wav"
        command = ["flite", "-voice", voice.flite, "--setf", f"duration_stretch={voice.scale}"]
        subprocess.run([*command, "-t", text, "-o", str(wav)], check=True)  # noqa: S603 - our own words
        samples, rate = soundfile.read(wav, dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"flite's voice {voice.flite} speaks at {rate} Hz: take one of {SAMPLE_RATE} Hz")
    samples = soxr.resample(samples, SAMPLE_RATE * voice.scale, SAMPLE_RATE)
    stretches = intervals(voice_activity(samples))
    said: Samples = samples[stretches[0][0] * FRAME : stretches[-1][1] * FRAME]
    return said * np.float32(10 ** (voice.level / 20) / rms(said))


def converse() -> dict[str, Samples]:
    """Each speaker's clean track; all are of one length."""
    said: list[tuple[int, str, Samples]] = []
    end = 0
    for line in CONVERSATION:
        samples = say(VOICES[line.speaker], line.text)
        start = end + position(line.gap)
        said.append((start, line.speaker, samples))
        end = max(end, start + len(samples))
    tracks = {speaker: np.zeros(end + position(0.5), dtype=np.float32) for speaker in VOICES}
    for start, speaker, samples in said:
        tracks[speaker][start : start + len(samples)] += samples
    return tracks


def record(tracks: dict[str, Samples]) -> Samples:
    """What the microphone on the table hears."""
    rng = np.random.default_rng(SEED)
    length = len(next(iter(tracks.values())))
    mixture = steady_noise(None, length, rng) * np.float32(10 ** (NOISE / 20))
    for speaker, track in tracks.items():
        response = ROOM.impulse_response(VOICES[speaker].distance, rng)
        mixture += oaconvolve(track, response)[:length]
    return mixture


def turns(tracks: dict[str, Samples]) -> list[Turn]:
    """The exact reference: where each speaker is heard, by time."""
    return sorted(
        Turn(start * FRAME, end * FRAME, speaker)
        for speaker, track in tracks.items()
        for start, end in intervals(voice_activity(track))
    )


def main(folder: Path) -> None:
    """Write the sample into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks = converse()
    soundfile.write(folder / "conversation.flac", record(tracks), SAMPLE_RATE, subtype="PCM_16")
    (folder / "conversation.rttm").write_text(format_rttm(turns(tracks), "conversation"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sample")
