"""Stalls, through all rooms: when they come, with outages of the service and without."""

from __future__ import annotations

import asyncio

import pytest

import omgmj
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory

STUCK = Life.steps([(0, "SUBMITTED", None), (1e6, "SUCCESS", "100%")])


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("seconds", [600, 3000])
async def test_a_task_made_here_and_first_waited_for_in_an_outage_stalls_in_time(seconds: float) -> None:
    """The wait has `stall` seconds of service: those until it is clear that there is an outage, and those after it."""
    async with FakeService() as fake, fake.session() as session:
        fake.plan(STUCK)
        task_id = await session.imagine("a lighthouse")
        began = now()
        fake.outage(fake.now + seconds)
        with pytest.raises(omgmj.Stalled):
            await session.wait(task_id, stall=60)
        assert now() - began == pytest.approx(seconds + 60, abs=45)


async def test_a_wait_that_begins_in_an_outage_gets_its_whole_stall() -> None:
    """Of two waits, one from before an outage and one that begins in it, each has `stall` seconds of service."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(10)) as session:
        task_id = fake.add_task(STUCK)

        async def stalled() -> float:
            with pytest.raises(omgmj.Stalled):
                await session.wait(task_id, stall=200)
            return now()

        began = now()
        first = asyncio.ensure_future(stalled())
        await asyncio.sleep(100)
        fake.outage(fake.now + 900)
        await asyncio.sleep(500)
        second = asyncio.ensure_future(stalled())
        # Until it is clear that there is an outage, and from its end until a probe finds it.
        assert await first - began == pytest.approx(1100, abs=45)
        assert await second - began == pytest.approx(1200, abs=45)


@pytest.mark.parametrize("status", ["MODAL", "SUBMITTED", "IN_PROGRESS"])
@pytest.mark.parametrize("stall", [2, 5])
async def test_a_short_stall_does_not_wait_for_the_policy(status: str, stall: float) -> None:
    """The default policy would poll again after up to 20 s: the limit comes first, and one poll tells."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.steps([(0, status, "3%"), (1e6, "SUCCESS", "100%")]))
        began = now()
        with pytest.raises(omgmj.Stalled) as caught:
            await session.wait(task_id, stall=stall)
        assert now() - began == pytest.approx(stall, abs=0.2)
        assert caught.value.queries <= 2 + stall / 1.2
