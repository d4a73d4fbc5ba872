"""The whole of it under faults: over real loopback HTTP in virtual time, and through a real nginx in real time."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import aiohttp
import pytest

import omgmj
from benchmarks.nginx import Nginx
from omgmj.testing import FakeService, Life
from tests.conftest import need

TASKS = 2000
MANY = 1000
SHARES = {
    "drop_before_headers": 0.015,
    "drop_after_headers": 0.015,
    "server_error": 0.015,
    "unavailable": 0.015,
    "html_200": 0.01,
    "html_502": 0.01,
    "cut_short": 0.01,
}
LIMIT, BURST = 200, 20


def check_injected(fake: FakeService) -> None:
    """Print what was injected; fail where a fault came to less than a third of its share."""
    answered = fake.requests - fake.limited
    print(f"\n{fake.requests} requests, {fake.limited} of them turned away by the limiter")
    for fault, share in SHARES.items():
        print(f"{fault:20} {fake.injected[fault]:6} ({fake.injected[fault] / answered:.2%} of {share:.2%} wanted)")
    assert fake.refused == []
    assert all(fake.injected[fault] >= share / 3 * answered for fault, share in SHARES.items())


@pytest.mark.slow
async def test_two_thousand_tasks_over_loopback() -> None:
    """2,000 tasks over real HTTP while 9 % of answers are faults and a limiter says 429: each final record once."""
    async with FakeService(tasks=TASKS, lives="fast", seed=7, faults=SHARES, rate=LIMIT / 4, burst=BURST) as fake:
        await fake.serve()
        async with omgmj.Session("t", base_url=fake.url, rate=2.5 * LIMIT) as session:
            done = [task.id async for task in session.watch(fake.task_ids)]
        assert sorted(done) == fake.task_ids
        check_injected(fake)
        assert fake.limited > 0


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_thousand_tasks_through_nginx(tmp_path: Path) -> None:
    """Behind a real limiter and TLS nothing is lost; the pace settles at what is allowed, with few 429s."""
    need("nginx", shutil.which("nginx"))
    chance = random.Random(7)
    async with FakeService(seed=7, faults=SHARES) as fake:
        ids = [fake.add_task(Life.succeed(chance.uniform(10, 25))) for _ in range(MANY)]
        fake.inject("list_forbidden", times=None)  # With pages the limit would not be reached.
        async with Nginx(await fake.serve(), tmp_path, limit=LIMIT, burst=BURST) as nginx:
            session = omgmj.Session(
                "t",
                base_url=nginx.url,
                rate=2.5 * LIMIT,
                backoff=omgmj.Fixed(1.0),
                http=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=nginx.trusting)),
            )
            samples = []

            async def sample() -> None:
                while True:
                    stats = session.stats()
                    if stats.overdue:  # Else the limit is no limit: the last few tasks need less.
                        samples.append((asyncio.get_running_loop().time(), stats.queries, stats.rate_limited))
                    await asyncio.sleep(0.25)

            async with session:
                sampling = asyncio.ensure_future(sample())
                done = [task.id async for task in session.watch(ids)]
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
        assert sorted(done) == ids
        check_injected(fake)
        since, until = samples[len(samples) // 2], samples[-1]
        answers, limited = until[1] - since[1], until[2] - since[2]
        used = (answers - limited) / (until[0] - since[0]) / LIMIT
        print(f"second half: {limited / answers:.2%} of {answers} answers were 429, {used:.1%} of the limit was used")
        assert limited < 0.02 * answers
        assert used >= 0.8
