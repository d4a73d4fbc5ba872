"""A 429 that belongs to one thing slows that thing, and a silent answer costs its ID a second or two."""

from __future__ import annotations

import asyncio
import math

import pytest

import omgmj
from omgmj.testing import FakeService, Fault, Life

pytestmark = pytest.mark.in_memory

LONG = Fault("rate_limited_seconds", seconds=60)
ENDLESS = Life.steps([(0, "IN_PROGRESS", "15%"), (1e6, "SUCCESS", "100%")])


def add_tasks(fake: FakeService, count: int = 200) -> dict[int, float]:
    """Make tasks that end between 20 and 100 seconds from now; return their ends."""
    return {fake.add_task(Life.succeed(end)): end for end in (20 + 80 * n / count for n in range(count))}


async def lateness(fake: FakeService, session: omgmj.Session, ends: dict[int, float]) -> float:
    """Watch tasks to their ends; return by how many seconds the worst one was seen late."""
    return max([fake.now - ends[task.id] async for task in session.watch(ends)])


@pytest.mark.parametrize("when", [0.0, 30.0])
async def test_an_id_that_is_refused_is_slowed_alone(when: float) -> None:
    """One ID that always answers 429 with Retry-After 60 is asked once a minute, and the others end in time."""
    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject("list_forbidden", times=None)
        odd = fake.add_task(ENDLESS)
        waiting = asyncio.ensure_future(session.wait(odd, timeout=None, stall=None))
        await asyncio.sleep(0)
        await asyncio.sleep(when)
        fake.inject(LONG, times=None, task_id=odd)
        before = fake.asked[odd]
        assert await lateness(fake, session, {one: end + when for one, end in add_tasks(fake).items()}) < 10
        assert fake.asked[odd] - before < 12
        assert session.stats().pace > 50
        waiting.cancel()


async def test_an_id_that_is_refused_for_ever_is_given_up() -> None:
    """An ID that gets 429 for a quarter of an hour while others are answered is given up, as if it failed otherwise."""
    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject("list_forbidden", times=None)
        odd, *others = fake.add_task(ENDLESS), *(fake.add_task(ENDLESS) for _ in range(20))
        fake.inject("rate_limited", times=None, task_id=odd)
        given_up = asyncio.get_running_loop().create_future()
        async with session.watch([odd, *others], stall=None, on_error=given_up.set_result) as watch:
            watching = asyncio.ensure_future(anext(watch))
            assert isinstance(await asyncio.wait_for(given_up, 1000), omgmj.RateLimited)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.parametrize("fault", [LONG, Fault("rate_limited")], ids=["hold", "no hold"])
async def test_a_list_that_is_refused_rests(fault: Fault) -> None:
    """Where only pages get 429 the list is left alone, and the IDs are asked one by one meanwhile."""
    only = Fault(fault.name, seconds=fault.seconds, only="pages")
    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject(only, times=None)
        assert await lateness(fake, session, add_tasks(fake)) < 10
        assert session.stats().sweeps < 12
        assert session.stats().pace > 50


@pytest.mark.parametrize("fault", [LONG, Fault("rate_limited")], ids=["hold", "no hold"])
async def test_submissions_that_are_refused_slow_no_polls(fault: Fault) -> None:
    """A full queue refuses submissions, which wait for their own Retry-After; polls go on as before."""
    only = Fault(fault.name, seconds=fault.seconds, only="submissions")

    async def submit(session: omgmj.Session) -> None:
        while True:
            with pytest.raises(omgmj.RateLimited):
                await session.imagine("a cat")

    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject(only, times=None)
        submitting = [asyncio.ensure_future(submit(session)) for _ in range(5)]
        assert await lateness(fake, session, add_tasks(fake)) < 5
        assert session.stats().pace > 50
        for one in submitting:
            one.cancel()
        await asyncio.gather(*submitting, return_exceptions=True)


async def test_an_account_that_is_refused_waits() -> None:
    """Where all get 429 with Retry-After 30, that is waited for, but for a few requests, and then all go on."""
    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject("list_forbidden", times=None)
        ends = add_tasks(fake)
        watching = asyncio.ensure_future(lateness(fake, session, ends))
        await asyncio.sleep(10)
        fake.inject(Fault("rate_limited_seconds", seconds=30), times=None)
        await asyncio.sleep(2)
        before = fake.requests
        await asyncio.sleep(25)
        # A few are borne, and then it is tried once.
        assert fake.requests - before < 12
        fake.heal()
        fake.inject("list_forbidden", times=None)
        assert await watching < 30


async def test_silence_costs_little() -> None:
    """With one answer in twenty that never comes, ends are seen in time, with few more requests."""
    asked, late = [], []
    for share in (0.0, 0.05):
        faults = {"silence": share} if share else {}
        async with FakeService(latency=0.05, faults=faults, seed=3) as fake, fake.session(rate=100.0) as session:
            fake.inject("list_forbidden", times=None)
            late.append(await lateness(fake, session, add_tasks(fake)))
            asked.append(fake.requests)
    assert late[1] < late[0] + 10
    assert asked[1] < 1.25 * asked[0]


async def test_a_slow_service_is_not_asked_twice() -> None:
    """Where all answers begin to take ten seconds, few polls are made twice, and the tasks are seen to end."""
    async with FakeService(latency=0.05) as fake, fake.session(rate=100.0) as session:
        fake.inject("list_forbidden", times=None)
        watching = asyncio.ensure_future(lateness(fake, session, add_tasks(fake)))
        await asyncio.sleep(15)
        fake.inject(Fault("slow", seconds=10), times=None)
        assert await watching < 40
        assert session.stats().rate_limited == 0
        assert math.isfinite(session.stats().late)
