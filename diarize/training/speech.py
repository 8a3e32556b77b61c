"""What a folder of real speech holds: voices, the timings of real conversations, noises and rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from diarize.training.manifest import TABLE, Utterance, check_split, read_rows, read_table
from diarize.training.manifest import Split as Split  # again: whoever reads voices, noises or rooms says of which split
from diarize.types import SAMPLE_RATE, Samples

CONNECTED = ("librispeech", "speechocean762")
"""The sets in which people say sentences.  Sets of single words never make conversations."""

WORDS = ("arabic_speech_commands", "dspspeech20")
"""The sets of single words, several in a file."""

STEADY = (
    "Rain", "Sea waves", "Helicopter", "Fire crackling", "Clock tick", "boiler", "washing_machine", "kitchen",
    "doing_the_dishes", "exercise_bike", "running_tap", "pink_noise", "white_noise",
    "home background between wake words", "diffuse noise (mean of channels)",
)  # fmt: skip
"""The classes of noise that go on and on; the others are events."""

_EFFECTS = ("filter-", "backslap", "diffusor", "stretch", "spread")  # impulse responses that are not of a room

Item = TypeVar("Item")


@dataclass(frozen=True)
class Voice:
    """One person's utterances.

    name: unique, without spaces.
    seconds: of audio, all utterances together.
    """

    name: str
    files: tuple[Path, ...]
    seconds: float


@dataclass(frozen=True)
class Template:
    """The timing of a real conversation.

    name: the corpus, a slash, the recording.
    turns: (start, end, speaker), in seconds, in order of start.
    """

    name: str
    turns: tuple[tuple[float, float, str], ...]

    @property
    def corpus(self) -> str:
        """Where it is from."""
        return self.name.partition("/")[0]

    @property
    def seconds(self) -> float:
        """Where the last turn ends."""
        return max(end for _, end, _ in self.turns)

    def stretch(self, start: float, seconds: float) -> list[tuple[float, float, str]]:
        """The turns within `seconds` from `start` on, in time from there.  Past its end the template begins again."""
        length = self.seconds
        rounds = range(int(start // length), int((start + seconds) // length) + 1)
        moved = ((a + r * length - start, b + r * length - start, name) for r in rounds for a, b, name in self.turns)
        return [(max(0.0, a), min(seconds, b), name) for a, b, name in moved if a < seconds and b > 0]


def read_audio(file: Path) -> Samples:
    """The samples of a mono file at `SAMPLE_RATE`.  ValueError for another rate, more channels, or what is no audio."""
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{file}: cannot be read ({error}); write it anew, or take it out of the table") from error
    if rate != SAMPLE_RATE or samples.shape[1] != 1:
        raise ValueError(f"{file}: {rate} Hz and {samples.shape[1]} channels; convert it to mono at {SAMPLE_RATE} Hz")
    return np.ascontiguousarray(samples[:, 0])


@cache
def read_voices(folder: Path, split: Split, sets: tuple[str, ...] = CONNECTED) -> tuple[Voice, ...]:
    """The voices of a split that say sentences, or those of other sets, by name.

    ValueError for an unknown split, a folder without `speakers.csv`, or a split without such voices.
    """
    check_split(split)
    found: dict[str, list[Utterance]] = {}
    for utterance in read_table(folder, split):
        if utterance.group in sets:
            found.setdefault(str(utterance.speaker), []).append(utterance)
    if not found:
        raise ValueError(f"{folder / TABLE}: no speaker of the split {split!r} in {', '.join(sets)}")
    return tuple(
        Voice(name, tuple(item.file for item in said), sum(item.seconds for item in said))
        for name, said in sorted(found.items())
    )


@cache
def read_templates(folder: Path, split: Split) -> tuple[Template, ...]:
    """The split's share of `rttm_templates`.  ValueError where there is none."""
    check_split(split)
    files = sorted((folder / "rttm_templates").rglob("*.rttm"))
    if not files:
        raise ValueError(f"{folder}: no rttm_templates/**/*.rttm there; give the folder of real speech")
    return tuple(_read_template(file, folder / "rttm_templates") for file in _share(files, split))


@cache
def read_noises(folder: Path, split: Split) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The split's share of the noises: the steady ones and the events."""
    rows = _metadata(folder / "noise", "file", "class")
    steady = [folder / row["file"] for row in rows if row["class"] in STEADY]
    events = [folder / row["file"] for row in rows if row["class"] not in STEADY]
    return _share(steady, split), _share(events, split)


@cache
def read_rooms(folder: Path, split: Split) -> tuple[Path, ...]:
    """The split's share of the impulse responses of real rooms, without the effects among them."""
    files = [folder / row["file"] for row in _metadata(folder / "rirs", "file")]
    return _share([file for file in files if not any(word in file.stem for word in _EFFECTS)], split)


def _share(items: Sequence[Item], split: Split) -> tuple[Item, ...]:
    """Three fifths for training and one each for dev and eval: what is tuned on one is not tested on the same noise."""
    fifths = {"train": (0, 1, 2), "dev": (3,), "eval": (4,)}[split]
    return tuple(item for index, item in enumerate(items) if index % 5 in fifths)


def _metadata(folder: Path, *columns: str) -> list[dict[str, str]]:
    table = folder / "metadata.csv"
    if not table.is_file():
        raise ValueError(f"{folder}: no metadata.csv there; give the folder of real speech")
    return sorted(read_rows(table, columns), key=lambda row: row["file"])


def _read_template(file: Path, folder: Path) -> Template:
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("SPEAKER")]
    turns = sorted((float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows)
    return Template(f"{file.relative_to(folder).parts[0]}/{file.stem}", tuple(turns))
