"""Workers on a real Redis: who leads, who takes over, and what an outage of Redis costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.redis_server import RedisServer
from omgmj import QueueError, UsageError
from omgmj.testing import FakeService
from omgmj.worker import Batch, Queue, Worker
from omgmj.worker.shares import declines, gives_up

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

LEASE = 3.0


@asynccontextmanager
async def served(tasks: int) -> AsyncIterator[FakeService]:
    """Serve that many tasks of a few seconds."""
    async with FakeService(tasks=tasks, lives="short") as fake:
        await fake.serve()
        yield fake


@asynccontextmanager
async def running(
    redis: RedisServer, fake: FakeService, *accounts: str, token: str | None = None
) -> AsyncIterator[Worker]:
    """Run a worker; as the block ends, it hands over."""
    tokens = dict.fromkeys(accounts or ("default",), token or fake.token)
    worker = Worker(redis.url, tokens, base_url=fake.url, rate=200, lease=LEASE)
    run = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await run


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def leads(worker: Worker, account: str = "default") -> bool:
    return any(one.leads for one in worker.standings if one.account == account)


async def ends_of(batch: Batch) -> Counter[int]:
    async with asyncio.timeout(40):
        return Counter([result.task_id async for result in batch.results()])


async def test_the_next_worker_leads_when_the_first_is_stopped(redis: RedisServer) -> None:
    """One leads and one stands by; each ID has one result although the leader goes in the middle."""
    async with served(40) as fake, Queue(redis.url) as queue:
        batch = await queue.watch(fake.task_ids)
        async with running(redis, fake) as second_to_go:
            await until(lambda: leads(second_to_go))
            async with running(redis, fake) as other:
                await asyncio.sleep(1.5)
                assert not leads(other)
                second_to_go.stop()
                await until(lambda: leads(other))
                assert await ends_of(batch) == Counter(fake.task_ids)
                leader = next(one.leader for one in other.standings)
                assert leader == other.name


async def test_a_leader_goes_on_after_redis_was_away(redis: RedisServer) -> None:
    """Results that could not be written are had again; the reader waits meanwhile."""
    async with served(40) as fake, Queue(redis.url) as queue, running(redis, fake) as worker:
        batch = await queue.watch(fake.task_ids)
        await until(lambda: leads(worker))
        reading = asyncio.create_task(ends_of(batch))
        await redis.stop()
        await until(lambda: not leads(worker))
        await asyncio.sleep(2)
        await redis.start()
        assert await reading == Counter(fake.task_ids)
        assert (await batch.counts()).succeeded == 40


async def test_accounts_are_shared_among_workers(redis: RedisServer) -> None:
    """The first worker takes both accounts, and hands one over to the second."""
    async with served(1) as fake, running(redis, fake, "a", "b") as first:
        await until(lambda: leads(first, "a") and leads(first, "b"))
        async with running(redis, fake, "a", "b") as second:
            await until(lambda: leads(second, "a") != leads(second, "b"))
            await until(lambda: leads(first, "a") != leads(second, "a") and leads(first, "b") != leads(second, "b"))


async def test_a_refused_token_leaves_the_lead_to_others(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The IDs wait for a worker whose token is taken; the log tells, without the token."""
    async with served(5) as fake, Queue(redis.url) as queue:
        batch = await queue.watch(fake.task_ids)
        async with running(redis, fake, token="sk-wrong"):
            await until(lambda: "tried again in a minute" in caplog.text)
            async with running(redis, fake):
                assert await ends_of(batch) == Counter(fake.task_ids)
    assert "sk-wrong" not in caplog.text


async def test_an_id_that_is_in_two_batches_is_polled_for_both_at_once(redis: RedisServer) -> None:
    """Each batch has its own result, of the same polls."""
    async with served(20) as fake, Queue(redis.url) as queue, running(redis, fake) as worker:
        await until(lambda: leads(worker))
        one = await queue.watch(fake.task_ids, batch="one")
        two = await queue.watch(fake.task_ids, batch="two")
        assert await ends_of(one) == await ends_of(two) == Counter(fake.task_ids)
        assert fake.requests < 5 * 20


@pytest.mark.parametrize("accounts", [{}, {"default": "t", "a{b}": "t"}])
def test_odd_accounts_are_refused(accounts: dict[str, str]) -> None:
    """None at all, or a name that would break the hash tag."""
    with pytest.raises(UsageError):
        Worker("redis://localhost", accounts)


def test_a_lease_that_a_short_pause_would_break_is_refused() -> None:
    """It says how long it must be."""
    with pytest.raises(UsageError, match="3 seconds"):
        Worker("redis://localhost", {"default": "t"}, lease=1)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "localhost:6379",
        "redis://:secret-word@host:port",
        "redis://:secret-word@host/one",
        "redis://user:12?secret-word@host",
        "redis://:secret-word@host?protocol=odd",
        "rediss://:secret-word@host?ssl_odd=1",
    ],
)
def test_an_odd_url_is_refused_without_being_shown(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(UsageError, match="redis://") as caught:
        Queue(url)
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("option", ["socket_timeout=1", "decode_responses=1", "odd="])
def test_an_option_that_calls_to_redis_do_not_bear_is_refused(option: str) -> None:
    """One that would end long reads, one that changes answers, and one that there is not."""
    with pytest.raises(UsageError, match=f"must not have the option '{option.partition('=')[0]}'"):
        Queue(f"redis://localhost/0?max_connections=9&{option}")


async def test_a_redis_that_is_not_there_is_told_at_once() -> None:
    """By the queue and by the worker."""
    with pytest.raises(QueueError, match="does not answer"):
        async with Queue("redis://127.0.0.1:1/0"):
            pass
    with pytest.raises(QueueError, match="does not answer"):
        await Worker("redis://127.0.0.1:1/0", {"default": "t"}).run()


def test_accounts_go_to_who_leads_less() -> None:
    """A worker takes the first, leaves the next to an idle one, and evens out what it has too much."""
    assert not declines(0, {"b": 0})
    assert declines(1, {"b": 0})
    assert not declines(1, {"b": 1})
    assert not declines(5, {})
    assert gives_up(2, {"b": 0})
    assert not gives_up(2, {"b": 1})
    assert not gives_up(1, {"b": 0})
    assert not gives_up(3, {})
