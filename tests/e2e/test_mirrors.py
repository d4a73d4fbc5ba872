"""One service at several addresses over real loopback connections, of which one gets into trouble while many wait."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import omgmj
from omgmj.testing import PNG, FakeService, Life, Lives
from tests.e2e.door import Door

TASKS = 200
LIVES = Lives(40.0)
BEGINS = 20.0
"""Seconds after which the trouble begins, in the middle of all waits."""
STEADY = omgmj.Fixed(2.0)
"""Learns nothing: what is learned goes by each moment, and two runs are not alike to the moment."""
Trouble = Callable[[Sequence[Door]], Awaitable[None]]


async def killed(doors: Sequence[Door]) -> None:
    await doors[0].close()


async def restarted(doors: Sequence[Door]) -> None:
    await doors[0].close()
    await asyncio.sleep(15.0)
    await doors[0].open()


async def silent(doors: Sequence[Door]) -> None:
    doors[0].state = "silent"


async def gateway(doors: Sequence[Door]) -> None:
    doors[0].state = "502"


async def flapping(doors: Sequence[Door]) -> None:
    while True:
        await doors[0].close()
        await asyncio.sleep(2.0)
        await doors[0].open()
        await asyncio.sleep(2.0)


async def silent_now_and_then(doors: Sequence[Door]) -> None:
    while True:
        doors[0].state = "silent"
        await asyncio.sleep(2.0)
        doors[0].state = "well"
        await asyncio.sleep(2.0)


async def one_after_the_other(doors: Sequence[Door]) -> None:
    for door in doors[:-1]:
        await door.close()
        await asyncio.sleep(5.0)


@asynccontextmanager
async def serving(fake: FakeService, count: int) -> AsyncIterator[list[Door]]:
    """Serve at so many addresses."""
    upstream = await fake.serve()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Door(upstream)) for _ in range(count)]


async def watch(count: int, trouble: Trouble | None = None) -> tuple[int, list[Door]]:
    """Wait for all tasks; return how many requests came to any address, and the addresses."""
    async with FakeService(tasks=TASKS, seed=7, latency=0.05, lives=LIVES) as fake, serving(fake, count) as doors:

        async def begin() -> None:
            await asyncio.sleep(BEGINS)
            if trouble is not None:
                await trouble(doors)

        beginning = asyncio.ensure_future(begin())
        async with omgmj.Session("t", base_url=[door.url for door in doors], rate=60.0) as session:
            random.seed(7)  # The same jitter each time, so that counts can be compared.
            done = [task.id async for task in session.watch(fake.task_ids, backoff=STEADY)]
        beginning.cancel()
        await asyncio.wait([beginning])
        assert Counter(done) == Counter(fake.task_ids)
        return sum(door.requests.total() for door in doors), doors


@pytest.mark.parametrize(
    ("trouble", "count", "more"),
    [
        (killed, 2, 1.05),
        pytest.param(restarted, 2, 1.05, marks=pytest.mark.slow),
        (silent, 2, 1.1),
        pytest.param(gateway, 2, 1.05, marks=pytest.mark.slow),
        (flapping, 2, 1.05),
        pytest.param(silent_now_and_then, 2, 1.15, marks=pytest.mark.slow),
        pytest.param(one_after_the_other, 3, 1.1, marks=pytest.mark.slow),
    ],
)
async def test_an_address_in_trouble_costs_little(
    caplog: pytest.LogCaptureFixture, trouble: Trouble, count: int, more: float
) -> None:
    """200 tasks are watched: none is lost, and few more requests are sent than with one healthy address.

    There is no outage, and the log is short.
    """
    healthy, _ = await watch(1)
    requests, doors = await watch(count, trouble)
    print(f"\n{trouble.__name__}: {requests / healthy:.3f} of {healthy}")
    assert requests <= more * healthy
    assert doors[-1].requests.total() > 20
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said
    assert len(said) <= count
    assert all(line.startswith("requests go to ") for line in said)


async def test_where_all_is_well_the_first_address_is_asked() -> None:
    """Further addresses cost no request, and get none."""
    healthy, _ = await watch(1)
    requests, doors = await watch(3)
    assert requests <= 1.05 * healthy
    assert [door.connections for door in doors[1:]] == [0, 0]


async def test_no_submission_is_made_twice() -> None:
    """While addresses fall and come back, each submission makes one task, or is uncertain and can be found."""
    async with FakeService(seed=7, latency=0.05) as fake, serving(fake, 3) as doors:
        made: list[str] = []
        uncertain: dict[str, omgmj.SubmissionUncertain] = {}

        async def trouble() -> None:
            for turn in range(1000):
                door = doors[turn % 3]
                await door.close()
                await asyncio.sleep(1.3)
                await door.open()
                for door in doors:
                    door.state = ("502", "shut after reading", "silent")[turn // 3 % 3]
                await asyncio.sleep(0.5)
                for door in doors:
                    door.state = "well"
                await asyncio.sleep(0.6)

        troubling = asyncio.ensure_future(trouble())
        async with omgmj.Session("t", base_url=[door.url for door in doors], request_timeout=5.0) as session:
            for number in range(100):
                prompt = f"cat number {number}"
                images = [PNG] if number % 5 == 0 else []
                try:
                    await session.imagine(prompt, images=images)
                    made.append(prompt)
                except omgmj.SubmissionUncertain as error:
                    uncertain[prompt] = error
                await asyncio.sleep(0.2)
            troubling.cancel()
            await asyncio.wait([troubling])
            for door in doors:
                door.state = "well"
                await door.close()
                await door.open()
            there = Counter([(await session.query(one.task_id)).prompt for one in fake.created])
            print(f"\n{len(uncertain)} of 100 uncertain")
            assert 0 < len(uncertain) < 50
            assert set(there.values()) == {1}
            assert set(there) >= set(made)
            for prompt, lost in uncertain.items():
                assert len(await session.reconcile(lost)) == there[prompt]


async def test_a_plain_error_of_one_address_ends_no_wait() -> None:
    """An address at which nobody ever listened, and one that speaks no HTTP, are left; the third one answers."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        writer.close()

    async with FakeService() as fake, serving(fake, 1) as doors:
        other = await asyncio.start_server(babble, "127.0.0.1", 0)
        mail = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        addresses = ["http://127.0.0.1:9", mail, doors[0].url]
        async with omgmj.Session("t", base_url=addresses, retry=omgmj.Retry(attempts=1)) as session:
            task_id = fake.add_task(Life.succeed(30.0))
            assert not (await session.query(task_id)).is_terminal
            assert (await session.wait(task_id)).succeeded
        other.close()
