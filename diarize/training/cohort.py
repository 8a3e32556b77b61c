"""A cohort out of recordings of many people, over every carrier; `python -m diarize.training.cohort --help`."""

from __future__ import annotations

import argparse
import logging
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diarize.embedding import average_crops, embed
from diarize.models.encoder import SpeakerEncoder, use_threads
from diarize.profiles.cohort import SHIPPED, Cohort, write_cohort
from diarize.sources import read
from diarize.training.carriers import CARRIERS, carried
from diarize.training.speech import CONNECTED, WORDS, read_voices
from diarize.types import SAMPLE_RATE, Samples, SpeechChunk
from diarize.windows import SlidingWindows, WindowsConfig

_log = logging.getLogger(__name__)

UTTERANCES = 4
"""Of each person: more change a mean voice by little."""

LONGEST = 12 * SAMPLE_RATE
"""Samples of an utterance that are used."""


def embed_utterance(encoder: SpeakerEncoder, samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The sum and the mean of the embeddings of an utterance's windows, each shape (dimensions,); the mean is unit."""
    config = WindowsConfig(step=WindowsConfig.length / 2)  # neighbours that share more of their audio add little
    windows = SlidingWindows(config).push(SpeechChunk(0, samples.astype(np.float32), closes=True))
    embeddings = np.stack([window.embedding for window in embed(encoder, windows, config.samples, (len(windows),))])
    return embeddings.sum(axis=0), average_crops(embeddings)[0]


def make_cohort(
    encoder: SpeakerEncoder,
    people: Iterable[Sequence[Path]],
    root: Path,
    speech: Path | None = None,
    base: Cohort | None = None,
) -> Cohort:
    """The cohort of these people; what is drawn depends on the names of their recordings only.

    people: the recordings of each; the first `UTTERANCES` are used.
    root: the folder they are in, from which on their names count.
    speech: the folder of real speech with its noises and rooms; None: noises and rooms are computed.
    base: a cohort of the same model that they are added to, everybody in both with the same weight; None: they are all.
    Raises ValueError for too few people and an empty recording, AudioError for what cannot be read.
    """
    voices, scatter = [], np.zeros((encoder.dimensions, encoder.dimensions))
    for files in people:
        heard = {
            carrier: [_heard(encoder, file, carrier, root, speech) for file in files[:UTTERANCES]]
            for carrier in CARRIERS
        }
        voices.append(np.sum([total for total, _ in heard["clean"]], axis=0))
        means = np.array([mean for said in heard.values() for _, mean in said], dtype=np.float64)
        scatter += (means - means.mean(axis=0)).T @ (means - means.mean(axis=0))
    units = np.array(voices) / np.linalg.norm(voices, axis=1, keepdims=True)
    if base is not None:  # covariances are of any scale
        scatter = len(units) * scatter / np.trace(scatter) + len(base.voices) * base.within / np.trace(base.within)
        units = np.concatenate((base.voices, units))
    return Cohort(units.astype(np.float32), scatter.astype(np.float32), encoder.fingerprint)


def _heard(
    encoder: SpeakerEncoder, file: Path, carrier: str, root: Path, speech: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An utterance over a carrier, of which what is drawn depends on the file's name only; as `embed_utterance`."""
    rng = np.random.default_rng([zlib.crc32(str(file.relative_to(root)).encode()), CARRIERS.index(carrier)])
    samples = read(file)[:LONGEST]
    if not len(samples):
        raise ValueError(f"{file}: no samples in it: leave it out")
    return embed_utterance(encoder, carried(samples, carrier, speech, "train", rng))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the cohort that the package ships: all `train` speakers, heard by the bundled model."""
    parser = argparse.ArgumentParser(prog="python -m diarize.training.cohort", description=main.__doc__)
    parser.add_argument("--speech", type=Path, required=True, help="the folder of real speech")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="where it goes (default: in the package)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    use_threads(1)  # results differ by a little with their number
    people = [voice.files for voice in read_voices(given.speech, "train", CONNECTED + WORDS)]
    _log.info("listening to %d people over %d carriers", len(people), len(CARRIERS))
    cohort = make_cohort(SpeakerEncoder.from_pretrained(), people, given.speech, given.speech)
    write_cohort(given.output, cohort)
    _log.info("%s: %d voices", given.output, len(cohort.voices))


if __name__ == "__main__":
    main()
