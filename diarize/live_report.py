"""What being live costs: when labels came, which were taken back, and the error of what was shown first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from diarize.clustering.memory import EmbeddingFile
from diarize.metrics import Score, score
from diarize.pipeline import SpeakerDiarization
from diarize.rttm import Turn, turns_from
from diarize.sources import Heard, Progress, Source
from diarize.types import SAMPLE_RATE, AudioChunk, Clock, SpeechWindow, TurnUpdate, position, seconds

FRAME = SAMPLE_RATE // 100
"""Samples.  Revisions are counted in frames of 10 ms: nobody sees an edge that moves less."""

Log = Sequence[tuple[int, TurnUpdate]]
"""What a stream said, in order: the position up to which the audio had been heard, and the update."""


@dataclass(frozen=True)
class LiveReport:
    """What it cost to be live, in one recording or in several together: reports add.

    audio_s: how long it was, in seconds.
    first_label_s: seconds of audio from the start of the first turn that was shown until it was; of several recordings
        the longest; None where nothing was shown.
    shown_s: seconds that had a label at some time.
    revised_s: seconds of these whose label changed after it was shown, or was withdrawn.
    flips: how often that happened to a stretch.
    false_speakers: speakers shown that the final answer has not.
    provisional: the score of what was shown when the audio was the latency beyond it.
    final: the score of the final answer.  Both are of 0 recordings where there was no reference.
    """

    audio_s: float = 0.0
    first_label_s: float | None = None
    shown_s: float = 0.0
    revised_s: float = 0.0
    flips: int = 0
    false_speakers: int = 0
    provisional: Score = field(default_factory=Score)
    final: Score = field(default_factory=Score)

    @property
    def revision_rate(self) -> float | None:
        """The share of what was shown that changed afterwards; None where nothing was shown."""
        return self.revised_s / self.shown_s if self.shown_s else None

    @property
    def flips_per_minute(self) -> float | None:
        """Flips per minute of audio; None where there is none."""
        return 60 * self.flips / self.audio_s if self.audio_s else None

    def __add__(self, other: LiveReport) -> LiveReport:
        firsts = [first for first in (self.first_label_s, other.first_label_s) if first is not None]
        return LiveReport(
            self.audio_s + other.audio_s,
            max(firsts, default=None),
            self.shown_s + other.shown_s,
            self.revised_s + other.revised_s,
            self.flips + other.flips,
            self.false_speakers + other.false_speakers,
            self.provisional + other.provisional,
            self.final + other.final,
        )

    def as_dict(self) -> dict[str, object]:
        """The report for JSON; the scores as `diarize score` gives them, None without a reference."""
        return {
            "audio_s": round(self.audio_s, 3),
            "first_label_s": self.first_label_s,
            "shown_s": round(self.shown_s, 3),
            "revised_s": round(self.revised_s, 3),
            "revision_rate": self.revision_rate,
            "flips": self.flips,
            "flips_per_minute": self.flips_per_minute,
            "false_speakers": self.false_speakers,
            "provisional": self.provisional.as_dict() if self.provisional.recordings else None,
            "final": self.final.as_dict() if self.final.recordings else None,
        }


def simulate(
    diarization: SpeakerDiarization,
    source: Source,
    reference: Sequence[Turn] | None = None,
    progress: Progress | None = None,
) -> LiveReport:
    """Hear a recording as a live stream, as fast as it goes, and report.

    Raises `diarize.audio.AudioError` for what is no readable audio.
    """
    heard = Heard(source, progress)
    log = follow(diarization, heard)
    return report(log, heard.samples, position(diarization.config.live.latency), reference)


def follow(diarization: SpeakerDiarization, chunks: Iterable[AudioChunk]) -> Log:
    """What a live stream of this audio says, and when.

    The clock is the audio, so nothing here depends on how fast the machine is.  That is why windows can be embedded in
    full batches; those of a tenth of a second would hold hardly one window each, at the same price.
    """
    log: list[tuple[int, TurnUpdate]] = []
    with closing(EmbeddingFile()) as embeddings:
        back, heard = diarization.live_back(embeddings), 0
        for items in _batches(_front(diarization, chunks), diarization.config.embedding.batch):
            embedded = iter(diarization.embed([item for item in items if isinstance(item, SpeechWindow)]))
            for item in items:
                heard = item.position if isinstance(item, Clock) else heard
                log += [(heard, update) for update in back.push(item if isinstance(item, Clock) else next(embedded))]
        log += [(heard, update) for update in back.flush()]
    return log


def _front(diarization: SpeakerDiarization, chunks: Iterable[AudioChunk]) -> Iterator[SpeechWindow | Clock]:
    front = diarization.live_front()
    for chunk in chunks:
        yield from front.push(chunk)
    yield from front.flush()


def _batches(items: Iterable[SpeechWindow | Clock], size: int) -> Iterator[list[SpeechWindow | Clock]]:
    """The items in order, cut after every `size` windows."""
    batch: list[SpeechWindow | Clock] = []
    windows = 0
    for item in items:
        batch.append(item)
        windows += isinstance(item, SpeechWindow)
        if windows == size:
            yield batch
            batch, windows = [], 0
    yield batch


def report(log: Log, length: int, latency: int, reference: Sequence[Turn] | None = None) -> LiveReport:
    """The report on a stream of `length` samples.

    latency: samples; what is shown of an instant when the audio is so far beyond it is its provisional label.
    reference: who really spoke when.
    """
    updates = [update for _, update in log]
    final = turns_from(updates)
    shown, revised, flips = _revisions(log)
    first = next(((at, update) for at, update in log if update.speaker is not None), None)
    return LiveReport(
        audio_s=seconds(length),
        first_label_s=None if first is None else seconds(first[0] - first[1].start),
        shown_s=seconds(FRAME * shown),
        revised_s=seconds(FRAME * revised),
        flips=flips,
        false_speakers=len({update.speaker for update in updates} - {turn.speaker for turn in final} - {None}),
        provisional=Score() if reference is None else score(reference, provisional(log, latency)),
        final=Score() if reference is None else score(reference, final),
    )


def provisional(log: Log, latency: int) -> list[Turn]:
    """What was shown of each instant when the audio had been heard up to `latency` samples beyond it, as turns.

    What was not shown by then is silence.  Where the audio ends before, the final answer counts.
    """
    pieces: list[Turn] = []
    shown: dict[int, TurnUpdate] = {}
    told = 0
    for at, said in groupby(log, key=lambda entry: entry[0]):
        until = max(told, at - latency)
        pieces += _within(shown.values(), told, until)
        told = until
        shown |= {update.id: update for _, update in said}
        # a turn that is past and changes once more comes again with its update
        shown = {i: update for i, update in shown.items() if update.speaker is not None and update.end > told}
    pieces += _within(shown.values(), told, max((update.end for update in shown.values()), default=told))
    return _joined(pieces)


def _within(updates: Iterable[TurnUpdate], start: int, end: int) -> list[Turn]:
    """The parts of turns that lie in [start, end)."""
    return [
        Turn(max(update.start, start), min(update.end, end), update.speaker or "")
        for update in updates
        if max(update.start, start) < min(update.end, end)
    ]


def _joined(pieces: Iterable[Turn]) -> list[Turn]:
    """Pieces of one speaker that touch, as one turn."""
    turns: dict[str, list[Turn]] = {}
    for piece in sorted(pieces):
        own = turns.setdefault(piece.speaker, [])
        if own and piece.start <= own[-1].end:
            piece = Turn(own[-1].start, max(own.pop().end, piece.end), piece.speaker)
        own.append(piece)
    return sorted(turn for own in turns.values() for turn in own)


def _revisions(log: Log) -> tuple[int, int, int]:
    """How many frames were shown, how many of these were revised, and how many stretches of them changed at once."""
    rows = {speaker: row for row, speaker in enumerate(dict.fromkeys(update.speaker for _, update in log))}
    length = max((update.end for _, update in log), default=0) // FRAME
    turns = np.zeros((len(rows), length), np.int16)  # how many of a speaker's turns are shown at a frame
    shown, revised = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    flips = 0
    now: dict[int, TurnUpdate] = {}
    for _, said in groupby(log, key=lambda entry: entry[0]):
        after = {update.id: update for _, update in said}
        before = [now[i] for i in after if i in now]
        now |= after
        extents = [*before, *after.values()]
        start, end = min(one.start for one in extents) // FRAME, max(one.end for one in extents) // FRAME
        was = turns[:, start:end] > 0
        for sign, updates in ((-1, before), (1, after.values())):
            for update in updates:
                if update.speaker is not None:
                    turns[rows[update.speaker], update.start // FRAME : update.end // FRAME] += sign
        changed = was.any(axis=0) & (was != (turns[:, start:end] > 0)).any(axis=0)
        shown[start:end] |= (turns[:, start:end] > 0).any(axis=0)
        revised[start:end] |= changed
        flips += _runs(changed)
    return int(shown.sum()), int(revised.sum()), flips


def _runs(marked: NDArray[np.bool_]) -> int:
    """How many stretches are marked."""
    return int(np.count_nonzero(np.diff(marked.astype(np.int8), prepend=0) == 1))


def format_reports(reports: Mapping[str, LiveReport], latency: float) -> Table:
    """A table with one line for each recording and, if there are several, all of them together."""
    scored = any(one.final.recordings for one in reports.values())
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), caption=_legend(latency, scored), caption_justify="left")
    table.add_column("recording", overflow="fold")
    for heading in ("first\nlabel s", "revised\n%", "flips\n/min", "false\nspeakers"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("strict DER\nprovisional", "\nfinal", "lenient DER\nprovisional", "\nfinal") if scored else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in reports.items():
        table.add_row(*_cells(name, one, scored))
    if len(reports) > 1:
        table.add_section()
        table.add_row(*_cells("all", sum(reports.values(), LiveReport()), scored), style="bold")
    return table


def _legend(latency: float, scored: bool) -> str:
    lines = [
        "First label: seconds after the start of the first turn; of all, the longest.",
        "Revised: share of what was shown that changed later; a flip is one stretch that changes.",
    ]
    if scored:
        lines.append(f"Provisional: what was shown when the audio was {latency:g} s beyond it. DER in % of speech.")
    return "\n".join(lines)


def _cells(name: str, one: LiveReport, scored: bool) -> list[Text | str]:
    cells = [
        _number(one.first_label_s, 2),
        _number(one.revision_rate, 1, 100),
        _number(one.flips_per_minute, 1),
        str(one.false_speakers),
    ]
    if scored:
        for early, late in ((one.provisional.strict, one.final.strict), (one.provisional.lenient, one.final.lenient)):
            cells += [_number(early.der, 1, 100), _number(late.der, 1, 100)]
    return [Text(name), *cells]


def _number(value: float | None, decimals: int, scale: float = 1) -> str:
    return "-" if value is None else f"{scale * value:.{decimals}f}"
