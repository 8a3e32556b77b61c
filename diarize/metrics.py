"""How far a hypothesis is from a reference: DER in two named conventions, JER, speaker counts.

The diarization error rate is (miss + false alarm + confusion) / speech, where speech is the reference's total talk
time (overlapping voices count once each) and speakers are paired one to one so that the rate is least.  It depends
so much on what is left out that it is never given without its convention:

- strict: everything is scored (as pyannote, diart and DIHARD do);
- lenient: 0.25 s on each side of every boundary of the reference, and where its speakers overlap, is left out (as NIST
  did for telephone calls, and as NeMo does).

The Jaccard error rate (DIHARD II evaluation plan, 3.2) weighs every speaker alike; it is scored as in strict.

The rates are pyannote.metrics', with two additions: turns of one speaker that overlap each other count as one, and
without an evaluation map the recording is scored from the first to the last moment of speech in either (which scores
all there is, since silence has no part in any of the rates).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text
from scipy.optimize import linear_sum_assignment

from diarize.formats import to_annotation
from diarize.intervals import common, length
from diarize.rttm import Turn, talking
from diarize.types import Interval, position, seconds

if TYPE_CHECKING:
    from pyannote.core import Annotation, Timeline

COLLAR = 0.25
"""Seconds left out on each side of a boundary in the lenient convention; pyannote's `collar` is both sides together."""


@dataclass(frozen=True)
class Errors:
    """The errors under one convention, in seconds, and their shares of the reference's speech.

    A share of no speech at all is None: with an empty reference only the seconds tell anything.
    """

    speech_s: float = 0.0
    miss_s: float = 0.0
    false_alarm_s: float = 0.0
    confusion_s: float = 0.0

    @property
    def der(self) -> float | None:
        """The diarization error rate: 0 is perfect, and it can exceed 1."""
        return self._share(self.miss_s + self.false_alarm_s + self.confusion_s)

    @property
    def miss(self) -> float | None:
        """The share of speech given to nobody."""
        return self._share(self.miss_s)

    @property
    def false_alarm(self) -> float | None:
        """Speech reported where there is none, by the speech there is."""
        return self._share(self.false_alarm_s)

    @property
    def confusion(self) -> float | None:
        """The share of speech given to somebody else."""
        return self._share(self.confusion_s)

    def _share(self, errors_s: float) -> float | None:
        return errors_s / self.speech_s if self.speech_s else None

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.speech_s + other.speech_s,
            self.miss_s + other.miss_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confusion_s + other.confusion_s,
        )


@dataclass(frozen=True)
class Score:
    """The score of one recording, or of several pooled.  Scores add: rates of a sum are weighted by speech.

    jaccard: the Jaccard errors of the reference speakers, summed.
    reference_speakers, hypothesis_speakers: how many talk where it is scored, summed over the recordings.
    count_error: by how many the numbers of speakers are wrong, summed over the recordings.
    right_counts: in how many recordings the number of speakers is right.
    """

    strict: Errors = Errors()
    lenient: Errors = Errors()
    jaccard: float = 0.0
    reference_speakers: int = 0
    hypothesis_speakers: int = 0
    count_error: int = 0
    right_counts: int = 0
    recordings: int = 0

    @property
    def jer(self) -> float | None:
        """The Jaccard error rate, in 0..1; None when the reference has no speaker."""
        return self.jaccard / self.reference_speakers if self.reference_speakers else None

    def __add__(self, other: Score) -> Score:
        return Score(
            self.strict + other.strict,
            self.lenient + other.lenient,
            self.jaccard + other.jaccard,
            self.reference_speakers + other.reference_speakers,
            self.hypothesis_speakers + other.hypothesis_speakers,
            self.count_error + other.count_error,
            self.right_counts + other.right_counts,
            self.recordings + other.recordings,
        )

    def as_dict(self) -> dict[str, object]:
        """The score for JSON: rates as shares (None where there is no speech), times in seconds."""
        return {
            "strict": _errors_as_dict(self.strict),
            "lenient": _errors_as_dict(self.lenient),
            "jer": self.jer,
            "reference_speakers": self.reference_speakers,
            "hypothesis_speakers": self.hypothesis_speakers,
            "count_error": self.count_error,
            "right_counts": self.right_counts,
            "recordings": self.recordings,
        }


def _errors_as_dict(errors: Errors) -> dict[str, float | None]:
    return {
        "der": errors.der,
        "miss": errors.miss,
        "false_alarm": errors.false_alarm,
        "confusion": errors.confusion,
        "speech_s": round(errors.speech_s, 3),
        "miss_s": round(errors.miss_s, 3),
        "false_alarm_s": round(errors.false_alarm_s, 3),
        "confusion_s": round(errors.confusion_s, 3),
    }


def total(scores: Iterable[Score]) -> Score:
    """The pooled score: seconds are added, so a long recording counts for more."""
    return sum(scores, Score())


def score(reference: Iterable[Turn], hypothesis: Iterable[Turn], uem: Sequence[Interval] | None = None) -> Score:
    """Score one recording.

    uem: the stretches to be scored; without it, everything.
    """
    from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate  # takes seconds to import

    truth, answer = _annotation(reference), _annotation(hypothesis)
    scored = _timeline(uem) if uem is not None else _extent(truth, answer)
    strict = DiarizationErrorRate().compute_components(truth, answer, uem=scored)
    lenient = DiarizationErrorRate(collar=2 * COLLAR, skip_overlap=True).compute_components(truth, answer, uem=scored)
    jaccard_rate = JaccardErrorRate()  # type: ignore[no-untyped-call]  # pyannote annotates only a part
    jaccard = jaccard_rate.compute_components(truth, answer, uem=scored)
    expected, found = (len(turns.crop(scored).labels()) for turns in (truth, answer))
    return Score(
        strict=_errors(strict),
        lenient=_errors(lenient),
        jaccard=float(jaccard["speaker error"]),
        reference_speakers=expected,
        hypothesis_speakers=found,
        count_error=abs(expected - found),
        right_counts=int(expected == found),
        recordings=1,
    )


def score_recordings(
    references: Mapping[str, Sequence[Turn]],
    hypotheses: Mapping[str, Sequence[Turn]],
    uem: Mapping[str, Sequence[Interval]] | None = None,
) -> dict[str, Score]:
    """Score recordings by their names; RTTM has no line for a recording without speech, so a missing one has none.

    With an evaluation map, what it names is scored and nothing else.  One reference and one hypothesis belong
    together whatever their names.

    Raises ValueError when a hypothesis has no reference: a name was misspelt, or all of it would be false alarm.
    """
    if len(references) == len(hypotheses) == 1:
        hypotheses = dict(zip(references, hypotheses.values(), strict=True))
    known = dict.fromkeys([*references, *(uem or {})])
    if unknown := [name for name, turns in hypotheses.items() if turns and name not in known]:
        raise ValueError(
            f"no reference for {_listed(unknown)}: the names inside the RTTM files must agree, and "
            f"there are references for {_listed(known)}"
        )
    if uem is not None and not set(references) & set(uem):
        raise ValueError(f"the evaluation map has no stretch of {_listed(references)}, only of {_listed(uem)}")
    return {
        name: score(references.get(name, ()), hypotheses.get(name, ()), uem[name] if uem is not None else None)
        for name in (known if uem is None else uem)
    }


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:5]) + (f" and {len(quoted) - 5} more" if len(quoted) > 5 else "") if quoted else "none"


def pair_speakers(reference: Iterable[Turn], hypothesis: Iterable[Turn]) -> dict[str, str]:
    """Which hypothesis speaker (key) stands for which reference speaker (value), so that the DER is least."""
    ours, theirs = talking(reference), talking(hypothesis)
    shared = np.array([[length(common(one, other)) for one in ours.values()] for other in theirs.values()])
    rows, columns = linear_sum_assignment(shared.reshape(len(theirs), len(ours)), maximize=True)
    speakers, names = list(theirs), list(ours)
    return {speakers[i]: names[j] for i, j in zip(rows, columns, strict=True) if shared[i, j]}


ErrorKind = Literal["miss", "false alarm", "confusion"]


def errors_in_time(reference: Sequence[Turn], hypothesis: Sequence[Turn]) -> list[tuple[int, int, ErrorKind]]:
    """Where the strict errors are: (start, end, kind), by time; voices at the same time may err in several ways."""
    from pyannote.metrics.errors.identification import IdentificationErrorAnalysis

    truth, answer = _annotation(reference), _annotation(hypothesis)
    pairs = pair_speakers(reference, hypothesis)
    # a speaker without a partner must not pass for the reference speaker of the same name, so it is no string
    paired = answer.rename_labels(mapping={name: pairs.get(name, (name,)) for name in answer.labels()})
    differences = IdentificationErrorAnalysis().difference(truth, paired, uem=_extent(truth, answer))
    kinds: dict[str, ErrorKind] = {"missed detection": "miss", "false alarm": "false alarm", "confusion": "confusion"}
    found = {
        (position(segment.start), position(segment.end), kinds[label[0]])
        for segment, _, label in differences.itertracks(yield_label=True)
        if label[0] in kinds
    }
    return sorted(found)


def format_scores(scores: Mapping[str, Score]) -> Table:
    """A table with one line for each recording and, if there are several, their total; rates in percent."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), caption=_LEGEND, caption_justify="left")
    table.add_column("recording", overflow="fold")
    for heading in ("strict\nDER", "\nmiss", "\nFA", "\nconf", "lenient\nDER", "\nmiss", "\nFA", "\nconf", "\nJER"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("speakers\nref/hyp", justify="right", no_wrap=True)
    for name, row in scores.items():
        table.add_row(*_cells(name, row))
    if len(scores) > 1:
        table.add_section()
        table.add_row(*_cells("total", total(scores.values())), style="bold")
    return table


_LEGEND = "% of the reference's speech. Lenient: without 0.25 s around its boundaries and without its overlaps."


def _cells(name: str, row: Score) -> list[Text | str]:
    rates = [
        rate
        for errors in (row.strict, row.lenient)
        for rate in (errors.der, errors.miss, errors.false_alarm, errors.confusion)
    ]
    numbers = ["-" if rate is None else f"{100 * rate:.1f}" for rate in [*rates, row.jer]]
    return [Text(name), *numbers, f"{row.reference_speakers}/{row.hypothesis_speakers}"]


def _errors(components: Mapping[str, float]) -> Errors:
    return Errors(
        float(components["total"]),
        float(components["missed detection"]),
        float(components["false alarm"]),
        float(components["confusion"]),
    )


def _annotation(turns: Iterable[Turn]) -> Annotation:
    """The turns for pyannote.metrics, which would count a speaker twice who overlaps himself."""
    joined: dict[str, list[Turn]] = {}
    for turn in sorted(turns):
        own = joined.setdefault(turn.speaker, [])
        if own and turn.start < own[-1].end:  # those that only touch keep their boundary, with its collar
            turn = Turn(own[-1].start, max(turn.end, own.pop().end), turn.speaker)
        own.append(turn)
    return to_annotation((turn for own in joined.values() for turn in own), uri="")


def _timeline(stretches: Iterable[Interval]) -> Timeline:
    from pyannote.core import Segment, Timeline

    return Timeline(Segment(seconds(start), seconds(end)) for start, end in stretches).support()


def _extent(*annotations: Annotation) -> Timeline:
    from pyannote.core import Timeline

    return Timeline([Timeline([turns.get_timeline().extent() for turns in annotations]).extent()])
