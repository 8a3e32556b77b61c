"""Windows of many callers in common batches: the same bits as alone, in order, fairly, and each with its own faults."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.pipeline import SpeakerDiarization
from diarize.server.batches import Batches
from diarize.types import EmbeddingWindow, SpeechWindow
from tests import laws
from tests.command import conversation

Result = TypeVar("Result")


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization()


@pytest.fixture(scope="module")
def windows(diarization: SpeakerDiarization) -> list[SpeechWindow]:
    """Those of a conversation, of full length and still growing."""
    heard = laws.run(diarization.live_front(), laws.chunks(conversation(15), []))
    found = [item for item in heard if isinstance(item, SpeechWindow)]
    assert {window.provisional for window in found} == {True, False}
    assert len(found) >= 30
    return found


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result, within a minute."""

    async def hurried() -> Result:
        return await asyncio.wait_for(coroutine, 60)

    return asyncio.run(hurried())


async def together(
    diarization: SpeakerDiarization, calls: Sequence[Sequence[SpeechWindow]], sizes: list[int]
) -> list[list[EmbeddingWindow] | BaseException]:
    """What calls at the same time are answered."""
    batches = Batches(diarization, sizes.append)
    answers = await asyncio.gather(*map(batches.embed, calls), return_exceptions=True)
    await batches.close()
    return answers


@pytest.fixture(scope="module")
def alone(diarization: SpeakerDiarization, windows: list[SpeechWindow]) -> list[object]:
    """What becomes of some of them alone."""
    return [laws.plain(diarization.embed([window])) for window in windows[:12]]


@given(st.lists(st.lists(st.integers(0, 11), max_size=12), max_size=4))
@settings(deadline=None, max_examples=8)
def test_company_changes_no_bit(
    diarization: SpeakerDiarization, windows: list[SpeechWindow], alone: list[object], calls: list[list[int]]
) -> None:
    sizes: list[int] = []
    answers = run(together(diarization, [[windows[i] for i in call] for call in calls], sizes))
    for call, answer in zip(calls, answers, strict=True):
        assert isinstance(answer, list)
        assert [laws.plain([window]) for window in answer] == [alone[i] for i in call]
    asked = sum(map(len, calls))
    assert sum(sizes) == asked
    assert len(sizes) == -(-asked // 16), "every batch is full but the last"


def test_a_lone_window_is_not_kept_waiting_for_company(
    diarization: SpeakerDiarization, windows: list[SpeechWindow]
) -> None:
    sizes: list[int] = []

    async def one_after_the_other() -> None:
        batches = Batches(diarization, sizes.append)
        for window in windows[:3]:
            assert len(await batches.embed([window])) == 1
        await batches.close()

    run(one_after_the_other())
    assert sizes == [1, 1, 1]


def test_what_comes_while_a_batch_runs_shares_the_next(
    diarization: SpeakerDiarization, windows: list[SpeechWindow]
) -> None:
    sizes: list[int] = []

    async def staggered() -> None:
        batches = Batches(diarization, sizes.append)
        first = asyncio.create_task(batches.embed(windows[:16]))
        while not sizes:  # until the first batch is under way
            await asyncio.sleep(0)
        await asyncio.gather(first, *(batches.embed([window]) for window in windows[:7]))
        await batches.close()

    run(staggered())
    assert sizes == [16, 7]


def test_one_who_asks_for_many_does_not_hold_up_the_others(
    diarization: SpeakerDiarization, windows: list[SpeechWindow]
) -> None:
    done: list[str] = []

    async def call(batches: Batches, name: str, asked: Sequence[SpeechWindow]) -> None:
        await batches.embed(asked)
        done.append(name)

    async def crowd() -> None:
        batches = Batches(diarization)
        calls = [call(batches, "many", windows[:30] * 3), *(call(batches, "few", windows[:2]) for _ in range(5))]
        await asyncio.gather(*calls)
        await batches.close()

    run(crowd())
    assert done == ["few"] * 5 + ["many"]


def test_a_fault_is_told_to_the_one_whose_it_is(diarization: SpeakerDiarization, windows: list[SpeechWindow]) -> None:
    broken = SpeechWindow(0, 4, ((0, 4),), 0, np.full(4, np.nan, np.float32))
    too_long = SpeechWindow(0, 10**6, ((0, 10**6),), 0, np.zeros(10**6, np.float32))
    calls = [windows[:2], [windows[0], broken], windows[2:4], [too_long]]
    good, not_finite, also_good, long = run(together(diarization, calls, []))
    assert laws.plain(good) == laws.plain(diarization.embed(windows[:2]))
    assert laws.plain(also_good) == laws.plain(diarization.embed(windows[2:4]))
    assert isinstance(not_finite, ValueError)
    assert "not finite" in str(not_finite)
    assert isinstance(long, ValueError)
    assert "1000000" in str(long)


def test_one_who_gives_up_costs_nobody_anything(diarization: SpeakerDiarization, windows: list[SpeechWindow]) -> None:
    sizes: list[int] = []

    async def giving_up() -> list[EmbeddingWindow]:
        batches = Batches(diarization, sizes.append)
        leaving = asyncio.create_task(batches.embed(windows[:9]))
        staying = asyncio.create_task(batches.embed(windows[:3]))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        answer = await staying
        await batches.close()
        return answer

    assert laws.plain(run(giving_up())) == laws.plain(diarization.embed(windows[:3]))
    assert sizes == [3]
