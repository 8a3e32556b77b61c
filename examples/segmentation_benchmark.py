"""Measure how well the segmentation network finds speech, overlap and voices, and what it is worth to diarization.

    python examples/segmentation_benchmark.py --real               everything, into README.md (make bench-segmentation)
    python examples/segmentation_benchmark.py --model PATH         a candidate, on simulated talk only
    python examples/segmentation_benchmark.py --tune               its settings with the least errors, on dev voices
    python examples/segmentation_benchmark.py --recordings 2       a quick try

silero and webrtcvad are at the onset, offset, `min_on` and `min_off` with the least miss + false alarm on simulated
conversations of `dev` voices.  Simulated conversations of `eval` voices are heard as they are, brought to each level
(RMS while someone talks, 16 bit), and made again at each SNR.  Intervals of 95 % are of a bootstrap over recordings,
the same for all systems.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from diarize import PipelineConfig, SpeakerDiarization, load_config
from diarize.allocation import keep_freed_memory
from diarize.evaluation.detection import detection
from diarize.formats import write_atomically
from diarize.local_voices import SegmentationConfig
from diarize.metrics import Errors, score
from diarize.models.segmenter import SpeakerSegmenter
from diarize.rttm import Turn, read_rttm, talking, turns_from
from diarize.segmentation import Segmenter
from diarize.sources import read
from diarize.training.recording import rms
from diarize.training.simulate import SimulationConfig, simulate, write
from diarize.types import AudioChunk, Samples, position, seconds
from diarize.vad import VadConfig
from examples.benchmark import FOLDER, ROOT, SEED, replace_table, simulated
from examples.clustering_benchmark import tuning
from examples.local_voices import Looks, decided, local, voices
from examples.segmentation_tables import (
    NETWORK,
    VOICE,
    Diarized,
    Measured,
    diarization_table,
    markdown,
    percent,
    speech_table,
    speed_table,
    voices_table,
)
from examples.speech_detectors import DETECTORS, grid, hear, least, named, speech, wrong
from examples.speed import RUNS, SECONDS, Cost, median
from examples.speed import run as run_command

LEVELS = (-10, -20, -30, -40, -50)
"""dBFS."""
SNRS = (30, 20, 10, 5)
"""dB, of speech over steady noise, at `SNR_LEVEL`."""
SNR_LEVEL = -25.0
LIVE_SECONDS = 120.0
LIVE_CHUNK = position(0.1)
PARTS = ("speech", "diarization", "speed")
TABLE = "segmentation"
SHOWN = 5
"""Of the settings that are tried, the best."""

Given = TypeVar("Given")
Done = TypeVar("Done")
Recording = tuple[Path, float | None]
"""And the level it is brought to; None: as it is."""


def settings_of(model: str | None) -> PipelineConfig:
    """Those of the recipe, with another network where one is named."""
    return load_config("overlap", [] if model is None else [f"segmentation.model={model}"])


@cache
def segmenter(model: str | None) -> Segmenter:
    """Loaded once in each process; one thread, as the number of processes must not change a figure."""
    import torch

    torch.set_num_threads(1)
    return SpeakerSegmenter.from_pretrained(settings_of(model).segmentation.model)


@cache
def pipelines(model: str | None) -> dict[str, SpeakerDiarization]:
    """The defaults, and the recipe with the network."""
    import torch

    torch.set_num_threads(1)
    return {VOICE: SpeakerDiarization(), NETWORK: SpeakerDiarization(settings_of(model))}


def annotated(file: Path) -> tuple[list[Turn], Samples]:
    """A recording's reference, from the RTTM beside it, and its audio."""
    return [turn for turns in read_rttm(file.with_suffix(".rttm")).values() for turn in turns], read(file)


def brought_to(level: float, samples: Samples, reference: Sequence[Turn]) -> Samples:
    """The recording at a level, in dBFS while someone talks, as 16 bit hold it."""
    spoken = np.zeros(len(samples), bool)
    for turn in reference:
        spoken[turn.start : turn.end] = True
    scaled = samples * np.float32(10 ** (level / 20) / max(rms(samples[spoken]), 1e-9))
    return np.asarray(np.round(scaled * 32768).clip(-32768, 32767) / 32768, np.float32)


def measured(recording: Recording, detectors: Sequence[VadConfig], model: str | None) -> Measured:
    """One recording, heard by every system."""
    file, level = recording
    reference, samples = annotated(file)
    if level is not None:
        samples = brought_to(level, samples, reference)
    config = settings_of(model).segmentation
    answers = {vad.name: [speech(hear(vad.name, samples), vad)] for vad in detectors}
    answers[NETWORK] = voices(samples, config, segmenter(model))
    found = {system: detection(talking(reference).values(), answer) for system, answer in answers.items()}
    return Measured(found, local(reference, samples, config, segmenter(model)))


def diarized(file: Path, model: str | None) -> dict[str, Diarized]:
    """One recording through both pipelines."""
    reference, _ = annotated(file)
    found = {}
    for name, pipeline in pipelines(model).items():
        turns = turns_from(pipeline.diarize(file).updates)
        apart = detection(talking(reference).values(), talking(turns).values())
        found[name] = Diarized(score(reference, turns), apart)
    return found


def detector_tried(file: Path, name: str) -> list[Errors]:
    """One recording with every setting of a detector of speech."""
    reference, samples = annotated(file)
    heard, truth = hear(name, samples), talking(reference).values()
    return [detection(truth, [speech(heard, config)]).speech for config in grid(VadConfig(name))]


def network_tried(file: Path, model: str | None) -> list[Errors]:
    """One recording with every setting of the network, every voice counted."""
    reference, samples = annotated(file)
    looks, config, truth = Looks(segmenter(model)), settings_of(model).segmentation, talking(reference).values()
    voices(samples, config, looks)
    return [detection(truth, decided(looks, one, len(samples))).talk for one in network_settings(model)]


def network_settings(model: str | None) -> list[SegmentationConfig]:
    """The present settings of the network first, and those that are tried."""
    present = settings_of(model).segmentation
    return [present, *(one for one in grid(present) if one != present)]


def noisy(index: int, snr: int, speech: Path, folder: Path) -> Path:
    """A simulated conversation of `eval` voices at an SNR, all else as drawn; made once."""
    file = folder / f"snr-{snr}" / f"eval-{SEED}-{index:03d}.flac"
    if not file.with_suffix(".rttm").is_file():  # it is written last
        config = SimulationConfig(snr=(snr, snr), level=(SNR_LEVEL, SNR_LEVEL))
        write(simulate(speech, "eval", SEED, config, index), file.parent)
    return file


def speeds(speech: Path, model: str | None) -> dict[str, Cost]:
    """What the command line of each pipeline costs; nothing else should run meanwhile."""
    conversation = simulate(speech, "eval", SEED, SimulationConfig(seconds=(SECONDS, SECONDS)))
    write(conversation, FOLDER / "speed")
    file = FOLDER / "speed" / f"{conversation.uri}.flac"
    command = [str(Path(sys.executable).with_name("diarize")), "file", str(file), "-o", str(file.with_suffix(".out"))]
    named = [] if model is None else ["--set", f"segmentation.model={model}"]
    ways = {VOICE: command, NETWORK: [*command, "--pipeline", "overlap", *named]}
    runs = [{name: run_command(way) for name, way in ways.items()} for _ in range(RUNS)]  # in turns
    return {name: median([one[name] for one in runs]) for name in ways}


def live_costs(speech: Path, model: str | None) -> dict[str, float]:
    """The share of a core that a live session by itself takes in each pipeline: one thread, nothing else meanwhile."""
    samples = simulate(speech, "eval", SEED, SimulationConfig(seconds=(LIVE_SECONDS, LIVE_SECONDS))).samples
    return {name: live_cost(pipeline, samples) for name, pipeline in pipelines(model).items()}


def live_cost(pipeline: SpeakerDiarization, samples: Samples) -> float:
    """Seconds of a core for each of the recording, as it comes from a microphone; start-up is not counted."""
    live = pipeline.live()
    began = time.process_time()
    for start in range(0, len(samples), LIVE_CHUNK):
        live.push(AudioChunk(start, samples[start : start + LIVE_CHUNK]))
    live.flush()
    return (time.process_time() - began) / seconds(len(samples))


def on(pool: Executor, work: Callable[[Given], Done], items: Sequence[Given], what: str) -> list[Done]:
    """The work on every item, in their order, told as it goes: it takes minutes."""
    done: list[Done] = []
    for one in pool.map(work, items):
        done.append(one)
        print(f"{what}: {len(done)} of {len(items)}", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return done


def tuned(pool: Executor, dev: Sequence[Path]) -> list[VadConfig]:
    """Each detector of speech with the settings that suit the recordings best."""
    return [
        least(grid(VadConfig(name)), on(pool, partial(detector_tried, name=name), dev, f"tuning {name}"))
        for name in DETECTORS
    ]


def tune(pool: Executor, dev: Sequence[Path], model: str | None) -> str:
    """The settings of the network with the least miss + false alarm of talk, and the present ones, as a table."""
    settings = network_settings(model)
    tried = on(pool, partial(network_tried, model=model), dev, f"tuning {NETWORK}")
    errors = {one: sum(ones, Errors()) for one, ones in zip(settings, zip(*tried, strict=True), strict=True)}
    best = sorted(errors, key=lambda one: wrong(errors[one]))[:SHOWN]
    rows = [
        [named(one), *(percent(rate) for rate in (errors[one].der, errors[one].miss, errors[one].false_alarm))]
        for one in (*best, settings[0])
    ]
    return markdown(
        ["settings, the present ones last", "miss + false alarm of talk, %", "miss", "false alarm"], rows, 1
    )


def measure_speech(
    pool: Executor,
    dev: Sequence[Path],
    sets: Mapping[str, Sequence[Path]],
    noises: Mapping[str, Sequence[Path]],
    model: str | None,
) -> str:
    """The tables of speech and of voices.

    sets: recordings by the name of their set; the first set is brought to each level.  noises: by their SNR.
    """
    first = next(iter(sets.values()))
    conditions: dict[str, list[Recording]] = {of: [(file, None) for file in files] for of, files in sets.items()}
    conditions |= {f"{level} dBFS": [(file, level) for file in first] for level in LEVELS}
    conditions |= {of: [(file, None) for file in files] for of, files in noises.items()}
    detectors = tuned(pool, dev)
    work = partial(measured, detectors=detectors, model=model)
    results = {of: on(pool, work, files, of) for of, files in conditions.items()}
    settings = "; ".join(f"{vad.name}: {named(vad)}" for vad in detectors)
    return f"{speech_table(results)}\n\nTuned on simulated dev: {settings}.\n\n{voices_table(results)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = os.environ.get("DIARIZE_SPEECH", ROOT.parent / "shared" / "speech")
    parser.add_argument("--model", help="another segmentation network than the recipe's: a name or a path")
    parser.add_argument("--real", action="store_true", help="the real conversations too: for the one that was chosen")
    parser.add_argument("--tune", action="store_true", help="print the best settings of the network, and nothing else")
    parser.add_argument("--only", choices=PARTS, help="measure one thing")
    parser.add_argument("--speech", type=Path, default=Path(beside), help="the folder of real speech")
    parser.add_argument("--recordings", type=int, help="of each set, for a quick try")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings at a time")
    given = parser.parse_args()
    if not given.speech.is_dir():
        raise SystemExit(f"no folder {given.speech}: give that of real speech with --speech")
    readme = ROOT / "README.md"
    keep_freed_memory()  # as the command line does
    full = given.real and not given.tune and (given.model, given.only, given.recordings) == (None, None, None)
    if full:  # a marker that is missing is better known before the work
        try:
            replace_table(readme.read_text(encoding="utf-8"), TABLE, "")
        except ValueError as error:
            raise SystemExit(str(error)) from None
    parts = PARTS if given.only is None else (given.only,)
    # spawned, not forked: torch's threads do not survive a fork
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        dev = list(islice(tuning(given.speech), given.recordings))
        if given.tune:
            print(tune(pool, dev, given.model))
            return
        sets = {"simulated": list(islice(simulated(given.speech), given.recordings))}
        if given.real:
            sets["real"] = sorted((given.speech / "conversations").glob("*.flac"))[: given.recordings]
        tables = {}
        if "speech" in parts:
            indices, kept = range(len(sets["simulated"])), sets["simulated"][0].parent
            noises = {
                f"{snr} dB SNR": on(
                    pool, partial(noisy, snr=snr, speech=given.speech, folder=kept), indices, "simulate"
                )
                for snr in SNRS
            }
            tables["speech"] = measure_speech(pool, dev, sets, noises, given.model)
        if "diarization" in parts:
            work = partial(diarized, model=given.model)
            tables["diarization"] = diarization_table({of: on(pool, work, files, of) for of, files in sets.items()})
    if "speed" in parts:
        tables["speed"] = speed_table(speeds(given.speech, given.model), live_costs(given.speech, given.model))
    found = "\n\n".join(tables.values())
    print(found)
    if full:
        write_atomically(readme, replace_table(readme.read_text(encoding="utf-8"), TABLE, found))


if __name__ == "__main__":
    main()
