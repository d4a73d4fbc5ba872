"""A CancelledError that nobody of ours sent: a failed poll, a failed call, and never the end of a session's waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

import omgmj
from omgmj.client.cancellation import as_failure
from omgmj.client.secrets import Secret
from omgmj.client.transport import Stream
from omgmj.protocol.messages import Answer, Fate, Passage, Request
from omgmj.testing import PNG, FakeService, Life


class Cancelling:
    """A transport into a fake service whose requests, where `which` says so, end as if they had been cancelled."""

    limit = None

    def __init__(self, fake: FakeService, which: Callable[[Request], bool], fate: Fate = Fate.UNSENT) -> None:
        self._inner = fake.transport()
        self._which = which
        self._fate = fate
        self.hits = 0

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        if self._which(request):
            self.hits += 1
            if passage is not None:
                passage.fate = self._fate
            raise asyncio.CancelledError
        return await self._inner.send(base_url, request, token, passage)

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[Stream]:
        async with self._inner.stream(url) as stream:
            yield stream

    async def aclose(self) -> None:
        await self._inner.aclose()


def nth(number: int) -> Callable[[Request], bool]:
    """Return what tells the request of that number, counted from 0."""
    count: Iterator[int] = iter(range(10**9))
    return lambda _: next(count) == number


@pytest.mark.parametrize(("number", "listed"), [(0, True), (3, True), (0, False), (30, False), (70, False)])
async def test_one_cancelled_request_is_one_failed_poll(number: int, *, listed: bool) -> None:
    """All of fifty tasks are delivered, whichever request was cancelled from below: a poll or a page of the list."""
    async with FakeService() as fake:
        if not listed:
            fake.inject("list_error", times=None)
        ids = [fake.add_task(Life.succeed(after=2 + n / 10)) for n in range(50)]
        transport = Cancelling(fake, nth(number))
        async with fake.session(transport=transport, rate=50) as session:
            async with asyncio.timeout(120), session.watch(ids) as watch:
                assert {task.id async for task in watch} == set(ids)
            assert session.stats().in_flight == 0
        assert transport.hits == 1


async def test_a_query_is_repeated_and_then_fails() -> None:
    """A query whose request was cancelled from below is sent again; where all are, it ends with `TransportError`."""
    async with FakeService() as fake:
        task_id = fake.add_task(Life.succeed(after=2))
        async with fake.session(transport=Cancelling(fake, nth(0))) as session:
            assert (await session.query(task_id)).id == task_id
        async with fake.session(transport=Cancelling(fake, lambda _: True)) as session:
            with pytest.raises(omgmj.TransportError, match="was cancelled"):
                await session.query(task_id)
            with pytest.raises(omgmj.TransportError, match="was cancelled"):
                await session.page()


@pytest.mark.parametrize(
    ("fate", "kind"),
    [
        (Fate.UNSENT, omgmj.TransportError),
        (Fate.PARTIAL, omgmj.TransportError),
        (Fate.SENT, omgmj.SubmissionUncertain),
    ],
)
async def test_a_submission_is_uncertain_only_where_it_was_sent(fate: Fate, kind: type[Exception]) -> None:
    """A submission that was cancelled from below is a `TransportError` where nothing was sent, else uncertain."""
    async with FakeService() as fake:
        transport = Cancelling(fake, lambda _: True, fate)
        async with fake.session(transport=transport) as session:
            with pytest.raises(kind) as raised:
                await session.imagine("a cat")
        assert type(raised.value) is kind
        assert not fake.created
        assert transport.hits == 1 or fate is Fate.UNSENT


async def test_a_token_that_awaits_what_was_cancelled() -> None:
    """A token callable that awaits a shared task, which somebody cancelled, fails one poll and no wait."""
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def token() -> str:
        return await shared

    async with FakeService() as fake:
        task_id = fake.add_task(Life.succeed(after=5))
        async with fake.session(token) as session:
            waiting = asyncio.ensure_future(session.wait(task_id))
            asking = asyncio.ensure_future(session.query(task_id))
            making = asyncio.ensure_future(session.imagine("a cat"))
            await asyncio.sleep(1)
            shared.cancel()
            await asyncio.sleep(0.01)
            shared = asyncio.get_running_loop().create_future()
            shared.set_result(fake.token)
            assert (await waiting).succeeded
            assert (await asking).id == task_id
            assert await making in [created.task_id for created in fake.created]


async def test_a_real_cancellation_passes_through() -> None:
    """Who is cancelled while a request is out gets its own cancellation, not an error of ours."""
    async with FakeService() as fake:
        fake.inject("silence", times=None)
        async with fake.session() as session:
            calls = [
                asyncio.ensure_future(call)
                for call in (session.query(1), session.wait(1), session.imagine("a cat"), session.page())
            ]
            await asyncio.sleep(1)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert all(call.cancelled() for call in calls)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await session.query(1)


@pytest.mark.parametrize("name", ["query", "wait", "page", "imagine", "describe", "download"])
async def test_who_was_cancelled_before_the_call_is_cancelled(name: str, tmp_path: Path) -> None:
    """A cancellation that was asked for already, and is heard of where the task awaits next, is no failure of ours."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=0))
        task = await session.wait(task_id)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "query": lambda: session.query(task_id),
            "wait": lambda: session.wait(task_id),
            "page": session.page,
            "imagine": lambda: session.imagine("a cat"),
            "describe": lambda: session.describe(PNG),
            "download": lambda: session.download(task, tmp_path),
        }
        before = fake.requests

        async def cancelled() -> None:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await calls[name]()

        doomed = asyncio.ensure_future(cancelled())
        await asyncio.wait([doomed])
        assert doomed.cancelled()
        assert fake.requests == before
        assert not fake.created
        assert session.stats().in_flight == 0
        # Who has been cancelled, and goes on nevertheless, is served.
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        await calls[name]()
        current.uncancel()


async def test_a_transfer_that_was_cancelled_before_it_goes_on() -> None:
    """Who cancels its own download, from `on_progress` for one, is cancelled: that is no broken transfer."""

    async def cancelled() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        async with as_failure():
            await asyncio.sleep(1)

    doomed = asyncio.ensure_future(cancelled())
    await asyncio.wait([doomed])
    assert doomed.cancelled()


class SlowResolver(AbstractResolver):
    """Poll-ups that take longer than anybody waits."""

    async def resolve(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(3600)

    async def close(self) -> None:
        pass


@pytest.mark.real_time
async def test_a_borrowed_session_that_is_closed_during_a_lookup(tmp_path: Path) -> None:
    """Its owner closes the HTTP session while it polls a host up: all who wait hear of it, and none is cancelled."""
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=SlowResolver()))
    task = omgmj.Task(id=1, status="SUCCESS", image_url="https://images.example/a.png")
    retry = omgmj.Retry(initial=0.01, cap=0.01)
    session = omgmj.Session("sk-test-token", base_url="https://mj.example", http=http, rate=1000, retry=retry)
    waits: list[Any] = [session.wait(1), session.imagine("a cat"), session.query(1), anext(session.watch([2]))]
    waiting = [asyncio.ensure_future(wait) for wait in [*waits, session.download(task, tmp_path)]]
    await asyncio.sleep(0.1)  # The download asks the machine's own resolver first.
    assert session.stats().in_flight == 4
    await http.close()
    done, pending = await asyncio.wait(waiting, timeout=30)
    assert not pending
    assert not any(one.cancelled() for one in done)
    assert all(isinstance(one.exception(), omgmj.OmgmjError) for one in done)
    assert session.stats().in_flight == 0
    await session.aclose()
