"""Callbacks from the service to those who wait, over HTTP on loopback, and whoever knows the URL and lies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

import omgmj
from omgmj import Facts, Session, Task
from omgmj.testing import FakeService, Life
from omgmj.testing.service.webhooks import LATEST
from omgmj.webhook import Receiver

STEPS = [(0, "NOT_START", None), (2, "IN_PROGRESS", "0%"), (12, "IN_PROGRESS", "31%"), (22, "IN_PROGRESS", "62%")]
LIFE = Life.steps([*STEPS, (35, "SUCCESS", "100%")])


@asynccontextmanager
async def receiving(session: Session) -> AsyncIterator[tuple[Receiver, str]]:
    """Serve a receiver for a session, mounted under a prefix, and give it with its URL."""
    receiver = Receiver(session.notify)
    outer = web.Application()
    outer.add_subapp("/omgmj", receiver.application())
    runner = web.AppRunner(outer, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    try:
        yield receiver, receiver.url_for(f"http://127.0.0.1:{runner.addresses[0][1]}/omgmj")
    finally:
        await runner.cleanup()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_task_made_with_a_webhook_costs_one_poll() -> None:
    """The service tells of progress and of the end: the only poll is the one that confirms the end, just after it."""
    async with FakeService() as fake, fake.session() as session, receiving(session) as (receiver, url):
        for _ in range(3):
            fake.plan(LIFE)
            began = now()
            task = await session.wait(await session.imagine("a cat", webhook=url))
            assert task.succeeded
            assert began + 35 <= now() <= began + 35 + LATEST + 0.1
        await asyncio.sleep(1)
        assert fake.requests == 6
        assert receiver.counts == {"taken": 15}


async def test_what_was_made_before_the_wait_begins() -> None:
    """A task that has ended when somebody begins to wait is polled at once, although it was made with a webhook."""
    async with FakeService() as fake, fake.session() as session, receiving(session) as (_, url):
        fake.plan(LIFE)
        made = await session.imagine("a cat", webhook=url)
        await asyncio.sleep(40)
        assert (await session.wait(made)).succeeded
        assert now() == pytest.approx(40, abs=0.1)


async def test_a_lost_end_is_seen_when_it_was_foretold() -> None:
    """Where the callback of the end is lost, the end that those before it foretold is a time to poll."""
    async with FakeService() as fake, fake.session() as session, receiving(session) as (receiver, url):
        fake.plan(LIFE)
        made = await session.imagine("a cat", webhook=url)
        waiting = asyncio.ensure_future(session.wait(made))
        await asyncio.sleep(30)
        fake.inject("webhook_lost", task_id=made)
        assert (await waiting).succeeded
        assert receiver.counts == {"taken": 4}
        assert now() < 42


async def test_where_no_callback_comes_the_wait_goes_on() -> None:
    """With a webhook that leads elsewhere the first poll comes after a minute, and later tasks do not wait for it."""
    async with FakeService() as fake, fake.session() as session:
        for least, most in ((60, 62), (35, 45)):
            fake.plan(LIFE)
            began = now()
            made = await session.imagine("a cat", webhook="https://bot.example.org/hook")
            assert (await session.wait(made)).succeeded
            assert began + least <= now() <= began + most


async def test_who_follows_sees_each_change_soon() -> None:
    """A follow of a task that callbacks tell of sees each change within five seconds."""
    async with FakeService() as fake, fake.session() as session, receiving(session) as (_, url):
        fake.plan(LIFE)
        began = now()
        seen = {}
        async for task in session.follow(await session.imagine("a cat", webhook=url)):
            seen[task.progress] = now() - began
        assert list(seen)[-4:] == [0, 31, 62, 100]
        assert all(at < due + 5.1 for at, due in zip(list(seen.values())[-4:], (2, 12, 22, 35), strict=True))


class Attacker:
    """Somebody who knows the URL."""

    def __init__(self, receiver: Receiver, secret: str, ids: list[int], kind: str) -> None:
        self.receiver = receiver
        self.secret = secret
        self.ids = ids
        self.kind = kind
        self.chance = random.Random(kind)

    def body(self) -> bytes:
        chance = self.chance
        task_id = chance.choice([*self.ids, 5, 2**62])
        told = {
            "ends": '"status": "SUCCESS", "progress": "100%", "imageDcUrl": "https://evil.example/1.png"',
            "failures": '"status": "FAILURE", "failReason": "no", "finishTime": 1',
            "progress": f'"status": "IN_PROGRESS", "progress": "{chance.choice([-5, 0, 1, 50, 99, 100, 10**9])}%"',
            "replays": chance.choice(['"status": "NOT_START"', '"status": "IN_PROGRESS", "progress": "31%"']),
            "rubbish": chance.choice(['"status": []', '"actions": {"a": 1}', '"progress": NaN', '"data": null']),
        }
        kind = self.kind if self.kind != "all" else chance.choice(list(told))
        if self.kind in ("rubbish", "all") and chance.random() < 0.3:
            return chance.randbytes(chance.randrange(200))
        return f'{{"taskId": {task_id}, {told[kind]}}}'.encode()

    async def attack(self) -> None:
        while True:
            for _ in range(50):
                self.receiver.take(self.secret, "application/json", self.body())
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["ends", "failures", "progress", "replays", "rubbish", "all"])
async def test_lies_change_nothing_that_waiters_see(kind: str) -> None:
    """A thousand lies a second: each wait gets the true end, at most a minute late, at a poll a second and task."""
    async with FakeService() as fake, fake.session(rate=1000.0) as session, receiving(session) as (receiver, url):
        ids = []
        for _ in range(6):
            fake.plan(LIFE)
            ids.append(await session.imagine("a cat", webhook=url))
        attack = asyncio.ensure_future(Attacker(receiver, url.rpartition("/")[2], ids, kind).attack())
        followed: list[Task] = []

        async def follow() -> None:
            followed.extend([task async for task in session.follow(ids[0])])

        following = asyncio.ensure_future(follow())
        finals = [task async for task in session.watch(ids)]
        ended = now()
        await following
        attack.cancel()
        assert {task.id: task.status for task in finals} == dict.fromkeys(ids, "SUCCESS")
        assert all(task.image_url and "evil" not in task.image_url for task in finals)
        progress = [task.progress or 0 for task in followed]
        assert progress == sorted(progress)
        assert followed[-1].succeeded
        assert ended <= 35 + 60 + 2
        assert fake.requests <= 6 * (ended + 15)
        assert session.stats().watched == 0
        assert session._engine is not None
        assert session._engine.poller.planner._claims.of == {}


async def test_a_policy_of_ones_own_keeps_its_rhythm_and_sees_what_was_heard() -> None:
    """A plain function as policy polls as it says, callbacks or not, and may go by `Facts.heard`."""
    heard: list[float | None] = []

    def own(facts: Facts, _roll: float) -> float:
        heard.append(facts.heard)
        return 5.0

    async with FakeService() as fake, fake.session(backoff=own) as session, receiving(session) as (_, url):
        fake.plan(LIFE)
        await session.wait(await session.imagine("a cat", webhook=url))
        assert fake.requests == 1 + 7
    assert heard[0] == 0.0
    assert all(seconds is not None and seconds <= 13 for seconds in heard)


async def test_a_callback_for_a_closed_session_is_refused() -> None:
    """What comes after the end is refused like anything else."""
    async with FakeService() as fake:
        session = fake.session()
        async with receiving(session) as (receiver, url):
            await session.aclose()
            assert receiver.take(url.rpartition("/")[2], None, b'{"taskId": 1}') == 404
    assert isinstance(omgmj.SessionClosed("closed"), omgmj.OmgmjError)
