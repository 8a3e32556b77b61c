"""Lost audio is found by the clock: simulated devices that stall, lose audio, and run fast or slow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.microphone.gaps import JITTER, SETTLED, TOLERANCE, Block, Gaps

RATE = 48_000
SIZE = 960
"""Frames of a block: 20 ms."""


@dataclass(frozen=True)
class Event:
    """What happens to a device before one of its blocks.

    lost: frames that it loses; told: and says so.
    stall: seconds for which its blocks are not delivered; they come in a burst then.
    """

    lost: int = 0
    told: bool = False
    stall: float = 0.0


def heard(events: dict[int, Event], blocks: int, drift: float = 0.0, jitter: Sequence[float] = (0.0,)) -> list[Block]:
    """What comes from a device whose samples are the true numbers of its frames, from 1 on."""
    found: list[Block] = []
    true, delivered, given = 1, 0.0, 0
    for number in range(blocks):
        event = events.get(number, Event())
        true += event.lost
        samples = np.arange(true, true + SIZE, dtype=np.float32)
        true += SIZE
        ready = 1000 + true * (1 + drift) / RATE + jitter[number % len(jitter)]
        delivered = max(delivered, ready + event.stall)
        found.append(Block(given, samples, delivered, event.told))
        given += SIZE
    return found


def true_positions(gaps: Gaps, blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """Of every block that comes out, in order: the true number of its first frame, and the place it was given."""
    place = 0
    found = [item for block in blocks for item in gaps.push(block)]
    for missing, samples in found + gaps.flush(blocks[-1].first + SIZE if blocks else 0):
        assert missing >= 0
        place += missing
        if len(samples):
            yield int(samples[0]) - 1, place
        place += len(samples)


events = st.dictionaries(
    st.sampled_from(range(40, 400, 40)),  # what happens needs half a second to be told apart
    st.one_of(
        st.builds(Event, lost=st.integers(round(RATE * (TOLERANCE + 0.02)), 20 * RATE)),
        st.builds(Event, lost=st.integers(0, 2 * RATE), told=st.just(True)),
        st.builds(Event, stall=st.floats(0, 0.5)),
    ),
)


@given(events, st.floats(-4e-4, 4e-4), st.lists(st.floats(0, 0.01), min_size=1, max_size=7))
@settings(deadline=None, max_examples=150)
def test_positions_stay_true(happens: dict[int, Event], drift: float, jitter: list[float]) -> None:
    places = list(true_positions(Gaps(RATE), heard(happens, 500, drift, jitter)))
    assert [true for true, _ in places] == list(
        accumulate((SIZE + happens.get(n, Event()).lost for n in range(1, 500)), initial=0)
    )
    off = [(place - true) / RATE for true, place in places]
    # the first blocks set the clock; jitter can hide 10 ms, the drift 0.4 ms a second
    assert max(map(abs, off)) < 0.03, off


@given(st.floats(0, 30), st.integers(0, 200))
@settings(deadline=None, max_examples=50)
def test_a_pause_of_the_computer_loses_nothing(stall: float, number: int) -> None:
    blocks = heard({number: Event(stall=stall)}, 400 + round(stall * 50))
    gaps = Gaps(RATE)
    assert all(true == place for true, place in true_positions(gaps, blocks))
    assert gaps.lost == 0


def test_a_loss_after_what_was_buffered_is_placed_there() -> None:
    """As PulseAudio does when nobody fetches: the oldest is kept, and the newest dropped, without a word."""
    kept, lost = 5 * RATE, 3 * RATE
    before = 100
    blocks = heard({before + kept // SIZE: Event(lost=lost)}, 600)
    back = blocks[before + kept // SIZE].clock
    blocks = [
        Block(b.first, b.samples, max(b.clock, back) if n >= before else b.clock, False) for n, b in enumerate(blocks)
    ]
    wrong = [true / RATE for true, place in true_positions(Gaps(RATE), blocks) if abs(true - place) > 0.01 * RATE]
    assert len(wrong) * SIZE / RATE <= JITTER, "the place is known as exactly as single blocks come in time"


def test_what_was_given_and_not_taken_is_exactly_known() -> None:
    blocks = heard({}, 100)
    gaps = Gaps(RATE)
    assert all(true == place for true, place in true_positions(gaps, blocks[:30] + blocks[37:60] + blocks[61:]))
    gaps = Gaps(RATE)
    assert [missing for block in blocks[:30] for missing, _ in gaps.push(block)] == [0] * 30
    ((missing, samples),) = gaps.flush(40 * SIZE)
    assert (missing, len(samples)) == (10 * SIZE, 0)


def test_a_small_loss_counts_only_if_the_device_says_so() -> None:
    lost = round(RATE * TOLERANCE / 2)
    for told in (True, False):
        gaps = Gaps(RATE)
        list(true_positions(gaps, heard({50: Event(lost=lost, told=told)}, 100)))
        assert gaps.lost == (lost if told else 0)


def test_small_losses_add_up_until_they_count() -> None:
    gaps = Gaps(RATE)
    happens = {number: Event(lost=RATE // 20) for number in range(20, 400, 40)}
    places = list(true_positions(gaps, heard(happens, 500)))
    assert gaps.lost > 0
    assert abs(places[-1][0] - places[-1][1]) <= (TOLERANCE + 0.02) * RATE


def test_blocks_are_held_only_while_in_doubt() -> None:
    gaps = Gaps(RATE)
    blocks = heard({50: Event(lost=RATE)}, 100)
    out = [len(gaps.push(block)) for block in blocks]
    assert out[:50] == [1] * 50
    held = out[50:].index(0) + out[50:].count(0)
    assert held == ceil(SETTLED * RATE / SIZE) - 1
    assert out[50 + held] == held + 1
    assert set(out[50 + held + 1 :]) == {1}


def test_a_device_may_run_at_another_rate_than_it_says() -> None:
    """An hour at 300 parts in a million, which no sound card is off: no gap, however it adds up."""
    for drift in (3e-4, -3e-4):
        gaps = Gaps(RATE)
        for number in range(3600):
            second = Block(number * RATE, np.zeros(RATE, np.float32), (number + 1) * (1 + drift), False)
            ((missing, _),) = gaps.push(second)
            assert missing == 0


@pytest.mark.parametrize("late", [TOLERANCE * 0.9, JITTER])
def test_a_sound_server_that_buffers_more_loses_nothing(late: float) -> None:
    gaps = Gaps(RATE)
    blocks = heard({}, 300)
    later = [Block(b.first, b.samples, b.clock + (late if b.first > 100 * SIZE else 0), False) for b in blocks]
    assert all(true == place for true, place in true_positions(gaps, later))
