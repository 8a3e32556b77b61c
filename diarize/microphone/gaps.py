"""Audio that a device loses: found by the clock, so that positions stay true to it.

A sound system says that audio was lost, or says nothing (PulseAudio drops what nobody fetches without a word), and
never how much; its own time stamps were seen to jump by half a second where nothing was lost.  What can be trusted is
when each block came: a device gives its frames at its rate, so whoever counts them knows when the next is due.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diarize.types import Samples

TOLERANCE = 0.2
"""Seconds.  Blocks so late say nothing, unless the device says that audio was lost: a sound server that buffers more,
because another program began to listen, delays them as much."""

SETTLED = 0.25
"""Seconds of audio.  Late blocks that came at their pace for so long will stay late: the audio between is lost.  After
a pause of the computer's they come in a burst instead, and catch up."""

JITTER = 0.05
"""Seconds by which single blocks come early or late."""

DRIFT = 1e-3
"""How much slower than its rate a device may run: ten times what sound cards do."""


@dataclass(frozen=True, eq=False)
class Block:
    """What a device gave at once.

    first: how many frames it had given before.
    samples: shape (frames,), mono, float32, at the device's rate.
    clock: when it came, in seconds from anywhere.
    overflow: the device said that it lost audio before it.
    """

    first: int
    samples: Samples
    clock: float
    overflow: bool


class Gaps:
    """Finds what is missing between the blocks of one device; sample_rate: its rate in Hz.

    Late blocks are held until it is clear whether audio is missing before them, which takes `SETTLED` of audio.

    lost: how many frames the device never gave, as far as is known.
    """

    def __init__(self, sample_rate: float) -> None:
        self.lost = 0
        self._rate = sample_rate
        self._next = 0  # the frame that must come next
        self._due: float | None = None  # when frame 0 would have come, if it had been as late as blocks are at best
        self._held: list[tuple[Block, float]] = []  # with the lateness of each

    def push(self, block: Block) -> list[tuple[int, Samples]]:
        """Take the next block; return blocks with the number of frames that are missing before each."""
        late = self._late(block)
        if not self._held and not block.overflow and late <= TOLERANCE:
            return [self._on_time(block)]
        self._held.append((block, late))
        if late <= TOLERANCE and not any(held.overflow for held, _ in self._held):
            return self._release()
        recent = self._recent()
        if recent and recent[0] - late < JITTER:
            return self._release(min(recent))
        return []

    def flush(self, given: int) -> list[tuple[int, Samples]]:
        """No more blocks come, and the device gave so many frames: return what is held and what is missing."""
        rest = self._release()
        return [*rest, (given - self._next, np.zeros(0, np.float32))] if given > self._next else rest

    def _late(self, block: Block) -> float:
        """Seconds by which the block came later than its number says."""
        begun = block.clock - (block.first + len(block.samples) + self.lost) / self._rate
        if self._due is None:
            self._due = begun
        return begun - self._due

    def _recent(self) -> list[float]:
        """The lateness of the last blocks held, `SETTLED` of audio; none when fewer are held."""
        frames = 0
        for index in range(len(self._held) - 1, -1, -1):
            frames += len(self._held[index][0].samples)
            if frames >= SETTLED * self._rate:
                return [late for _, late in self._held[index:]]
        return []

    def _release(self, lost: float = 0.0) -> list[tuple[int, Samples]]:
        """The blocks held, with so many seconds missing before the first that came no later than they explain."""
        held, self._held = self._held, []
        place = next((i for i, (_, late) in enumerate(held) if late <= lost + JITTER), len(held)) if lost > 0 else -1
        found = []
        for index, (block, _) in enumerate(held):
            missing = round(lost * self._rate) if index == place else 0
            self.lost += missing
            known, samples = self._on_time(block)
            found.append((missing + known, samples))
        return found

    def _on_time(self, block: Block) -> tuple[int, Samples]:
        """A block after which nothing is in doubt, with the frames that were given and not taken before it."""
        late = self._late(block)
        if self._due is not None and late <= TOLERANCE:
            self._due += min(late, DRIFT * len(block.samples) / self._rate)
        known = block.first - self._next
        self._next = block.first + len(block.samples)
        return known, block.samples
