"""What holds when more is due than may be sent: who goes first, how evenly all are late, and that it is told."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import parse_qs

import pytest

import omgmj
from omgmj.backoff import Facts
from omgmj.client.secrets import Secret
from omgmj.protocol.messages import Answer, Request
from omgmj.testing import FakeService, InMemoryTransport, Life

ENDLESS = Life.steps([(0, "IN_PROGRESS", "15%"), (1e6, "SUCCESS", "100%")])


pytestmark = pytest.mark.in_memory


def now() -> float:
    return asyncio.get_running_loop().time()


def p95(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 95 // 100]


@asynccontextmanager
async def watching(session: omgmj.Session, task_ids: Sequence[int]) -> AsyncIterator[None]:
    """Watch tasks in the background, for as long as the block lasts."""

    async def drain() -> None:
        async for _ in session.watch(task_ids, stall=None):
            pass

    draining = asyncio.ensure_future(drain())
    try:
        yield
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


@contextmanager
def querying(session: omgmj.Session, task_id: int, callers: int) -> Iterator[None]:
    """Have so many callers query a task one time after the other, for as long as the block lasts."""

    async def ask() -> None:
        while True:
            await session.query(task_id)

    asking = [asyncio.ensure_future(ask()) for _ in range(callers)]
    try:
        yield
    finally:
        for caller in asking:
            caller.cancel()


class Lateness:
    """By how many seconds polls came after the policy wanted them; it is both the policy and the transport's ear."""

    def __init__(self, policy: omgmj.Policy) -> None:
        self.seconds: list[float] = []
        self._policy = policy
        self._due: dict[int, float] = {}

    def policy(self, facts: Facts, roll: float) -> float | None:
        delay = self._policy(facts, roll)
        assert delay is not None
        self._due[facts.task_id] = now() + delay
        return delay

    def transport(self, fake: FakeService) -> _Heard:
        return _Heard(fake.transport(), self)

    def asked(self, request: Request) -> None:
        form = parse_qs(request.body.decode())
        if "taskId" in form and (due := self._due.pop(int(form["taskId"][0]), None)) is not None:
            self.seconds.append(now() - due)


class _Heard:
    """A transport that tells of each request before it goes out."""

    def __init__(self, inner: InMemoryTransport, lateness: Lateness) -> None:
        self._inner = inner
        self._lateness = lateness
        self.stream = inner.stream
        self.aclose = inner.aclose
        self.limit = inner.limit

    async def send(self, base_url: str, request: Request, token: Secret) -> Answer:
        self._lateness.asked(request)
        return await self._inner.send(base_url, request, token)


# Who goes first.


@pytest.mark.parametrize(
    "moment", [pytest.param(5, id="first polls"), pytest.param(1100, id="polls", marks=pytest.mark.slow)]
)
async def test_a_query_passes_ten_thousand_overdue_ids(moment: float) -> None:
    """With 10,000 IDs overdue at 10 requests a second, each of many queries in a row answers within a second."""
    async with FakeService() as fake, fake.session(rate=10.0, backoff=omgmj.Fixed(1)) as session:
        fake.inject("list_forbidden", times=None)
        other = fake.add_task(ENDLESS)
        async with watching(session, [fake.add_task(ENDLESS) for _ in range(10_000)]):
            await asyncio.sleep(moment)
            for _ in range(20):
                before = now()
                assert (await session.query(other)).id == other
                assert now() - before < 1
                assert session.stats().overdue > 9900
        assert fake.asked[other] == 20


async def test_every_class_gets_its_share() -> None:
    """While queries, first polls and other polls all wait, none of them starves, and the whole pace is used."""
    async with FakeService() as fake, fake.session(rate=10.0, backoff=omgmj.Fixed(1)) as session:
        fake.inject("list_forbidden", times=None)
        other = fake.add_task(ENDLESS)
        old, new = ([fake.add_task(ENDLESS) for _ in range(1000)] for _ in range(2))

        async def count(seconds: float) -> tuple[int, int, int]:
            before = fake.asked.copy()
            await asyncio.sleep(seconds)
            came = fake.asked - before
            return came[other], sum(came[task_id] for task_id in new), sum(came[task_id] for task_id in old)

        async with watching(session, old):
            await asyncio.sleep(150)
            with querying(session, other, callers=5):
                direct, _, polls = await count(60)
                assert direct + polls == pytest.approx(600, abs=5)
                assert polls == pytest.approx(150, abs=5)
                async with watching(session, new):
                    direct, first, polls = await count(60)
                    assert direct + first + polls == pytest.approx(600, abs=5)
                    assert min(direct, first, polls) >= 145


# A service that takes less than the session is allowed to send.


@pytest.mark.parametrize(("burst", "latency"), [(1, 0.0), (20, 0.3), (50, 0.0)], ids=["tight", "far", "loose"])
async def test_a_rate_ten_times_too_high_is_found_out(burst: int, latency: float) -> None:
    """Of a service that takes 50 requests a second over 90 % are used, and under 2 % of the answers are 429."""
    rate, half = 50, 30.0
    async with (
        FakeService(rate=rate, burst=burst, latency=latency) as fake,
        fake.session(rate=10.0 * rate, backoff=omgmj.Fixed(2)) as session,
    ):
        fake.inject("list_forbidden", times=None)
        async with watching(session, [fake.add_task(ENDLESS) for _ in range(1000)]):
            await asyncio.sleep(half)
            asked, limited = fake.requests, fake.limited
            for _ in range(int(half)):
                await asyncio.sleep(1)
                assert session.stats().overdue > 0
            asked, limited = fake.requests - asked, fake.limited - limited
    assert limited < 0.02 * asked
    assert asked - limited > 0.9 * rate * half


# How late all are.


@pytest.mark.parametrize("policy", [omgmj.Fixed(2), omgmj.Adaptive()], ids=["fixed", "adaptive"])
async def test_a_rate_too_low_makes_all_late_alike(policy: omgmj.Policy) -> None:
    """At a pace too low for 1,000 IDs the p95 of the delay from due to asked is under twice its median."""
    lateness = Lateness(policy)
    async with (
        FakeService(lives="mix", seed=5) as fake,
        fake.session(rate=20.0, backoff=lateness.policy, transport=lateness.transport(fake)) as session,
    ):
        fake.inject("list_forbidden", times=None)
        watch = session.watch(fake.add_tasks(1000))
        async with watch:
            async for _ in watch:
                if now() > 200:
                    break
                if now() < 100:
                    lateness.seconds.clear()  # The first polls come first, one by one.
                watch.add(fake.add_tasks(1))
    assert len(lateness.seconds) > 1000
    assert statistics.median(lateness.seconds) > 5
    assert p95(lateness.seconds) < 2 * statistics.median(lateness.seconds)
    assert max(lateness.seconds) < 3 * statistics.median(lateness.seconds)


async def test_with_rate_enough_ends_are_seen_evenly_late() -> None:
    """With pace enough, 1,000 ends are seen within the policy's 2 seconds, the p95 under twice the median."""
    lateness = Lateness(omgmj.Fixed(2))
    async with (
        FakeService() as fake,
        fake.session(rate=5000.0, backoff=lateness.policy, transport=lateness.transport(fake)) as session,
    ):
        fake.inject("list_forbidden", times=None)
        ends = {fake.add_task(Life.succeed(5 + 0.006 * n)): 5 + 0.006 * n for n in range(1000)}
        delays = [now() - ends[task.id] async for task in session.watch(ends)]
    assert max(lateness.seconds) < 0.1
    assert max(delays) < 2.1
    assert p95(delays) < 2 * statistics.median(delays)


async def test_the_delay_of_the_rate_is_told() -> None:
    """`late` in the stats is by how much polls come after they were due; it goes when the load goes."""
    lateness = Lateness(omgmj.Fixed(2))
    async with (
        FakeService() as fake,
        fake.session(rate=20.0, backoff=lateness.policy, transport=lateness.transport(fake)) as session,
    ):
        fake.inject("list_forbidden", times=None)
        few = [fake.add_task(ENDLESS) for _ in range(10)]
        async with watching(session, few):
            await asyncio.sleep(100)
            assert session.stats().late < 0.5
            async with watching(session, [fake.add_task(ENDLESS) for _ in range(500)]):
                await asyncio.sleep(150)
                stats = session.stats()
                # 510 IDs at 20 a second come round in 25 seconds, of which the policy wants 2.
                assert stats.late == pytest.approx(510 / 20 - 2, rel=0.05)
                assert stats.late == pytest.approx(statistics.mean(lateness.seconds[-40:]), rel=0.05)
                assert stats.overdue == pytest.approx(510 - 40, abs=10)
            await asyncio.sleep(60)
            assert session.stats().late < 0.5
