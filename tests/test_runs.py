"""`runs`: work for each of many IDs, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from omgmj.runs import each


async def ids(count: int, *, pause: float = 0.0) -> AsyncGenerator[int, None]:
    for task_id in range(count):
        await asyncio.sleep(pause)
        yield task_id


@pytest.mark.parametrize("pause", [0.0, 0.3])
async def test_a_few_at_a_time(pause: float) -> None:
    """All are done, no more at once than may be, and those that are there do not wait for those to come."""
    under_way, most, done = 0, 0, []

    async def work(task_id: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1 + task_id % 3)
        under_way -= 1
        done.append(task_id)

    async with asyncio.timeout(20):
        await each(ids(30, pause=pause), 4, work)
    assert sorted(done) == list(range(30))
    assert most == 4
    assert done != sorted(done)


async def test_one_error_ends_all() -> None:
    """What is raised for one is raised as it is, at once, though others are under way and more are to come."""
    cancelled = []

    async def work(task_id: int) -> None:
        try:
            await asyncio.sleep(1 if task_id == 1 else 99)
        except asyncio.CancelledError:
            cancelled.append(task_id)
            raise
        raise KeyError(task_id)

    coming = ids(3)

    async def endless() -> AsyncGenerator[int, None]:
        async for task_id in coming:
            yield task_id
        await asyncio.sleep(1e9)

    async with asyncio.timeout(2):
        with pytest.raises(KeyError) as caught:
            await each(endless(), 5, work)
    assert (caught.value.args, sorted(cancelled)) == ((1,), [0, 2])


async def test_cancelled() -> None:
    """Who waits for all can be cancelled, and so is what is under way."""
    ended = []

    async def work(task_id: int) -> None:
        try:
            await asyncio.sleep(99)
        finally:
            ended.append(task_id)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await each(ids(10), 4, work)
    assert sorted(ended) == [0, 1, 2, 3]
