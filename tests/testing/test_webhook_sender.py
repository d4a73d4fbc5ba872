"""The fake's webhooks as a bot gets them: over real HTTP on loopback, in virtual and in real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from omgmj.testing import FakeService, Fault, Life
from omgmj.testing.service.webhooks import LATEST

LIFE = Life.steps([(0, "NOT_START", None), (10, "IN_PROGRESS", "15%"), (20, "SUCCESS", "100%")])
TOLD = [None, "15%", "100%"]


class Receiver:
    """A bot's door for webhooks, that keeps what comes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.records: list[Any] = []
        self.times: list[float] = []
        self.answers: list[web.StreamResponse] = []

    @property
    def progress(self) -> list[str | None]:
        return [record["progress"] for record in self.records]


@asynccontextmanager
async def receiving(*answers: web.StreamResponse) -> AsyncIterator[Receiver]:
    """Serve a receiver that answers 204, or `answers` first."""

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        assert (request.method, request.content_type) == ("POST", "application/json")
        receiver.records.append(await request.json())
        receiver.times.append(asyncio.get_running_loop().time())
        return receiver.answers.pop(0) if receiver.answers else web.Response(status=204)

    runner = web.ServerRunner(web.Server(take), shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    receiver = Receiver(f"http://127.0.0.1:{runner.addresses[0][1]}/hook?key=1")
    receiver.answers += answers
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def test_records_are_posted_as_the_task_lives() -> None:
    """What a submission with a webhook made posts its record for progress and for the end, soon after each moment."""
    async with receiving() as receiver, FakeService() as fake, fake.session() as session:
        await asyncio.sleep(100.0)
        fake.plan(LIFE)
        submitted = await session.imagine("a cat", webhook=receiver.url)
        task = await session.wait(submitted)
        await asyncio.sleep(2.0)
        assert receiver.progress == TOLD
        assert receiver.records[-1] == task.raw
        for at, told in zip((100.0, 110.0, 120.0), receiver.times, strict=True):
            assert at <= told <= at + LATEST + 0.1
        assert fake.webhooks == {"delivered": 3}


async def test_served_and_in_memory_alike() -> None:
    """Tasks made by hand post too, before and after the service is served; then records tell images there."""
    early = FakeService()
    async with receiving() as receiver:
        early.add_task(LIFE, webhook=receiver.url)
        assert early.webhooks == {}
        async with early as fake:
            await asyncio.sleep(5.0)
            await fake.serve()
            fake.add_task(LIFE, webhook=receiver.url)
            await asyncio.sleep(30.0)
            assert fake.webhooks == {"delivered": 6}
            images = {record["imageDcUrl"] for record in receiver.records} - {None}
            assert len(images) == 2
            assert all(image.startswith(fake.url) for image in images)


async def test_many_tasks_post_at_once() -> None:
    """Hundreds of calls at the same moment all arrive."""
    async with receiving() as receiver, FakeService() as fake:
        for _ in range(150):
            fake.add_task(LIFE, webhook=receiver.url)
        await asyncio.sleep(60.0)
        assert fake.webhooks == {"delivered": 450}
        assert len(receiver.records) == 450


async def test_what_fails_is_not_repeated() -> None:
    """A receiver that says no, leads elsewhere or is not there is called once for each moment, and counted."""
    away = web.Response(status=307, headers={"Location": "http://192.0.2.1/"})
    async with receiving(web.Response(status=500), away) as receiver, FakeService() as fake:
        fake.add_task(LIFE, webhook=receiver.url)
        fake.add_task(LIFE, webhook="http://127.0.0.1:1/hook")
        fake.add_task(LIFE, webhook="https://bot.example.org/hook")
        await asyncio.sleep(60.0)
        assert receiver.progress == TOLD
        assert fake.webhooks == {"delivered": 1, "failed": 5, "elsewhere": 1}


async def test_faults() -> None:
    """Calls are lost, late and swapped as asked for."""
    async with receiving() as receiver, FakeService() as fake:
        fake.inject("webhook_swapped")
        fake.add_task(LIFE, webhook=receiver.url)
        await asyncio.sleep(30.0)
        assert receiver.progress == ["15%", None, "100%"]
        receiver.records.clear()
        fake.inject("webhook_lost")
        fake.inject(Fault("webhook_late", seconds=60.0))
        fake.add_task(LIFE, webhook=receiver.url)
        await asyncio.sleep(30.0)
        assert receiver.progress == ["100%"]
        await asyncio.sleep(60.0)
        assert receiver.progress == ["100%", "15%"]
        assert fake.webhooks == {"delivered": 5}
        assert fake.injected == {"webhook_swapped": 1, "webhook_lost": 1, "webhook_late": 1}


@pytest.mark.real_time
async def test_real_time_and_the_end() -> None:
    """On a plain loop calls come in real time; what is to come when the service is left never does."""
    async with receiving() as receiver:
        async with FakeService() as fake:
            short = Life.steps([(0, "NOT_START", None), (0.01, "SUCCESS", "100%"), (300, "SUCCESS", "100%")])
            fake.add_task(short, webhook=receiver.url)
            while len(receiver.records) < 2:  # noqa: ASYNC110 (real requests)
                await asyncio.sleep(0.005)
            fake.add_task(short, webhook=receiver.url)
            await asyncio.sleep(0.02)
        fake.add_task(short, webhook=receiver.url)
        come = len(receiver.records)
        await asyncio.sleep(0.05)
        assert len(receiver.records) == come
