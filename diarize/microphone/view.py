"""What is seen while the microphone is heard: a view that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from diarize.types import SAMPLE_RATE, TurnUpdate, seconds

RECENT = 10
"""So many of the newest turns are shown."""

REDRAWN = 0.2
"""Seconds between two pictures, at least: what changes faster is not read, and drawing takes time from listening."""

QUIETEST = -60.0
"""dBFS at the left end of the meter."""

CLIPPED = -0.1
"""dBFS: as loud as a microphone gives, so what was louder is lost."""

BARS = 20
"""Characters of a full bar."""

COLOURS = ("dodger_blue1", "orange1", "spring_green2", "orchid", "sky_blue1", "red1", "gold1", "turquoise2")
"""Of the speakers, in order of appearance; after the last the first comes again."""


@dataclass(frozen=True)
class Status:
    """How the listening goes.

    heard: the position up to which audio has come in.
    shown: the position up to which labels are shown; the difference is the delay.
    level: of the input, dBFS.
    gaps, lost: stretches that were lost so far, and seconds that they last together.
    """

    heard: int
    shown: int
    level: float
    gaps: int = 0
    lost: float = 0.0


@dataclass
class Shown:
    """The current answer, kept up to date with little work however long it gets.

    turns: by id, the newest update of each that is not withdrawn.
    spoken: how long each speaker has talked, in samples, by first appearance; speakers go by their labels.
    names: what each is called.
    """

    turns: dict[int, TurnUpdate] = field(default_factory=dict)
    spoken: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def apply(self, update: TurnUpdate) -> TurnUpdate | None:
        """Take an update; return what was shown under its id before."""
        before = self.turns.pop(update.id, None)
        if before is not None and before.speaker is not None:
            self.spoken[before.speaker] -= before.end - before.start
        if update.speaker is not None:
            self.turns[update.id] = update
            self.names[update.speaker] = update.name or update.speaker
            self.spoken[update.speaker] = self.spoken.get(update.speaker, 0) + update.end - update.start
        return before

    def newest(self) -> list[TurnUpdate]:
        """The last turns, the newest first."""
        return nlargest(RECENT, self.turns.values(), key=lambda turn: (turn.start, turn.id))


class View(ABC):
    """Shows what is heard; used in a `with` statement."""

    @abstractmethod
    def show(self, updates: Sequence[TurnUpdate], status: Status, /) -> None:
        """What has changed, and how things are now."""

    def __enter__(self) -> View:
        return self

    def __exit__(self, *raised: object) -> None:
        return


def open_view(console: Console) -> View:
    """The view that suits where it is shown."""
    return TerminalView(console) if console.is_terminal else PlainView(console)


class PlainView(View):
    """A line for each turn when it is first shown, and when its speaker is corrected; that it grows is no news.

    And one for each speaker who gets a name, or loses it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = Shown()

    def show(self, updates: Sequence[TurnUpdate], _status: Status, /) -> None:
        for update in updates:
            label = update.speaker or ""
            known = self._shown.names.get(label, label)
            before = self._shown.apply(update)
            if update.speaker is not None and update.name != known:
                self._say(f"{label} is {'nobody known' if update.name == label else update.name}")
            if before is None and update.speaker is not None:
                self._say(_line(update))
            elif before is not None and before.speaker != update.speaker:
                was = self._shown.names[before.speaker or ""]
                self._say(f"{_line(update)}  {'withdrawn' if update.speaker is None else 'revised'}, was {was}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)


class TerminalView(View):
    """A picture of the current state that redraws itself, and is gone at the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = Shown()
        self._drawn = 0.0

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.stop()

    def show(self, updates: Sequence[TurnUpdate], status: Status, /) -> None:
        for update in updates:
            self._shown.apply(update)
        if time.monotonic() - self._drawn >= REDRAWN:
            self._live.update(picture(self._shown, status), refresh=True)
            self._drawn = time.monotonic()


def picture(shown: Shown, status: Status) -> RenderableType:
    """The whole view: who talks now, level, delay and gaps, the last turns, the shares of the talk time."""
    turns = shown.newest()
    colours = {speaker: COLOURS[index % len(COLOURS)] for index, speaker in enumerate(shown.spoken)}
    parts: list[RenderableType] = [_head(talking(turns, status.shown), shown.names, colours, status), _meter(status)]
    if turns:
        parts += [Text(), _turns(turns, colours), Text(), _shares(shown, colours)]
    parts.append(Text("Ctrl-C ends", style="dim"))
    return Group(*parts)


def talking(turns: Iterable[TurnUpdate], shown: int) -> list[str]:
    """Who talks now, by label: the speakers of the turns that reach the edge of what is shown."""
    return list(dict.fromkeys(turn.speaker for turn in turns if turn.speaker is not None and turn.end >= shown))


def _head(speakers: Sequence[str], names: dict[str, str], colours: dict[str, str], status: Status) -> Text:
    head = Text(f"{clock(status.heard)}  ", style="bold")
    if not speakers:
        return head.append("nobody talks", style="dim")
    for speaker in speakers:
        head.append(f"● {names[speaker]}  ", style=colours[speaker])
    return head


def _meter(status: Status) -> Text:
    clipped = status.level >= CLIPPED
    full = round(BARS * min(max(1 - status.level / QUIETEST, 0), 1))
    meter = Text.assemble(
        "level ",
        ("█" * full, "red" if clipped else "green"),
        ("·" * (BARS - full), "dim"),
        f" {round(max(status.level, QUIETEST)):4d} dBFS",
        ("  too loud" if clipped else "", "red"),
        f"   delay {seconds(status.heard - status.shown):.1f} s",
    )
    if status.gaps:
        meter.append(
            f"   lost {status.lost:.1f} s in {status.gaps} gap{'' if status.gaps == 1 else 's'}", style="yellow"
        )
    return meter


def _turns(turns: Sequence[TurnUpdate], colours: dict[str, str]) -> Table:
    """The turns, the newest at the bottom."""
    table = Table.grid(padding=(0, 2))
    for turn in reversed(turns):
        name = Text(turn.name or "", style=colours[turn.speaker or ""])
        table.add_row(clock(turn.start), clock(turn.end), name, f"{turn.confidence:.2f}")
    return table


def _shares(shown: Shown, colours: dict[str, str]) -> Table:
    """How much each speaker has talked."""
    table = Table.grid(padding=(0, 2))
    total = sum(shown.spoken.values())
    for speaker, length in shown.spoken.items():
        if length > 0:
            name = Text(shown.names[speaker], style=colours[speaker])
            bar = Text("█" * max(1, round(BARS * length / total)), style=colours[speaker])
            table.add_row(name, f"{length / total:4.0%}", clock(length), bar)
    return table


def _line(turn: TurnUpdate) -> str:
    return f"{clock(turn.start)} - {clock(turn.end)}  {turn.name or '-'}  {turn.confidence:.2f}"


def clock(position: int) -> str:
    """A position as hours, minutes, seconds and tenths: 1:02:03.4."""
    minutes, rest = divmod(position * 10 // SAMPLE_RATE, 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}.{rest % 10}"
