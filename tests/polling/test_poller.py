"""The poller below the doors: pushes while the session lags, and what is left when nobody waits."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

import omgmj
from omgmj.client.secrets import Secret
from omgmj.protocol.messages import Answer, Request
from omgmj.testing import FakeService, InMemoryTransport, Life

pytestmark = pytest.mark.in_memory


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> list[float]:
    """Return when the loop's timers are due, but those that were cancelled."""
    loop = asyncio.get_running_loop()
    return [timer.when() for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


def noting(fake: FakeService, note: Callable[[Request], None]) -> InMemoryTransport:
    """Return a transport into the service that notes each request as it is sent."""
    transport = fake.transport()
    send = transport.send

    async def noted(base_url: str, request: Request, token: Secret, *more: Any, **named: Any) -> Answer:
        note(request)
        return await send(base_url, request, token, *more, **named)

    transport.send = noted  # type: ignore[method-assign]
    return transport


@pytest.mark.parametrize("others", [0, 2, 30])
async def test_pushes_are_a_second_apart_although_the_session_lags(others: int) -> None:
    """Pushes of one ID lead to no two polls within a second, however late the first of them could start."""
    polls: list[float] = []
    async with FakeService(latency=0.3) as fake:
        pushed, *rest = [fake.add_task(Life.succeed(1e5)) for _ in range(1 + others)]

        def note(request: Request) -> None:
            if str(pushed).encode() in request.body:
                polls.append(now())

        settings = {"rate": 4.0, "backoff": omgmj.Fixed(500), "transport": noting(fake, note)}
        async with fake.session(**settings) as session, session.watch([pushed, *rest]):
            for count in range(1200):
                await asyncio.sleep(0.05)
                session.notify({"taskId": pushed})
                for task_id in rest if count % 8 == 0 else ():
                    session.notify({"taskId": task_id})
    gaps = [later - earlier for earlier, later in itertools.pairwise(polls)]
    assert len(gaps) >= 3
    assert min(gaps[1:]) >= 1.0 - 1e-6  # The first poll was for no push.
    assert others or max(gaps) < 1.5


async def test_no_timer_is_left_when_the_last_wait_left() -> None:
    """With the last wait goes the limiter's timer, however far ahead it was: an idle session holds nothing."""
    async with FakeService() as fake, fake.session() as session:
        waiting = asyncio.ensure_future(
            session.wait(fake.add_task(Life.succeed(1e6)), timeout=5e6, stall=None, backoff=omgmj.Fixed(86400))
        )
        await asyncio.sleep(5)
        assert session._open().limiter._timer.when > 80_000
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert session._open().limiter._timer.when == math.inf
        assert max(timers(), default=0.0) <= 30  # What is left bounds the requests that were out.


@pytest.mark.parametrize("timeout", [1 / 3, 0.3333333, 1.00000049, 7.7777777])
async def test_a_timeout_between_two_ticks_of_the_clock_comes(timeout: float) -> None:
    """A timer that fires a hair early ends the wait, instead of being set again for ever at one virtual instant."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(fake.add_task(Life.succeed(500)), timeout=timeout)


async def test_nothing_but_429_is_said_once_an_episode(caplog: pytest.LogCaptureFixture) -> None:
    """A service that lets nothing through is said so after a minute, once, and again only after it let some through."""
    async with FakeService() as fake, fake.session() as session:
        watch = session.watch([fake.add_task(Life.succeed(1e5)) for _ in range(3)])

        def said() -> int:
            return sum("429" in record.getMessage() for record in caplog.records)

        for episode in (1, 2):
            fake.inject("rate_limited", times=None)
            await asyncio.sleep(50)
            assert said() == episode - 1
            await asyncio.sleep(300)
            assert said() == episode
            fake.heal()
            await asyncio.sleep(100)
        await watch.aclose()
    assert said() == 2
