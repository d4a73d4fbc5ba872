"""What raises where nothing may raise: every waiter hears of it, and nothing of the session's budget is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import omgmj
from omgmj.backoff.rate import Rate
from omgmj.client.deadline import Deadlines
from omgmj.client.exchange import Exchange
from omgmj.client.limiter import Limiter
from omgmj.polling.health import Health
from omgmj.polling.inbox import Inbox
from omgmj.polling.poller import Poller
from omgmj.polling.sweeper import Sweeper
from omgmj.scheduler.planner import Planner
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory


class Boom(Exception):
    """What is raised where nothing may raise."""


def break_later(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> Callable[[], None]:
    """Return what makes a method raise from then on, once; it works as before until then and after that."""
    method = getattr(owner, name)
    broken = False

    def maybe(*args: Any, **named: Any) -> Any:
        nonlocal broken
        if broken:
            broken = False
            raise Boom(name)
        return method(*args, **named)

    def arm() -> None:
        nonlocal broken
        broken = True

    monkeypatch.setattr(owner, name, maybe)
    return arm


async def read(iterator: Any) -> None:
    async for _ in iterator:
        pass


def causes(error: BaseException | None) -> list[type]:
    found = []
    while error is not None:
        found.append(type(error))
        error = error.__cause__
    return found


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


PLACES = [
    (Limiter, "_give"),
    (Rate, "ready_at"),
    (Rate, "take"),
    (Planner, "advance"),
    (Planner, "take"),
    (Planner, "expire"),
    (Planner, "saw"),
    (Planner, "unchanged"),
    (Health, "on_start"),
    (Poller, "start"),
    (Poller, "tick"),
    (Poller, "advance"),
    (Poller, "_check_idle"),
    (Exchange, "once"),
]


@pytest.mark.parametrize(("owner", "name"), PLACES, ids=lambda part: getattr(part, "__name__", part))
async def test_what_raises_in_a_callback_is_the_cause_that_every_waiter_gets(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises in the limiter or the poller ends each wait within a second; the loop swallows nothing."""
    swallowed: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: swallowed.append(context))
    arm = break_later(monkeypatch, owner, name)
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(0.3)) as session:
        fake.inject("list_error", times=None)  # Asked one by one.
        moving = Life.succeed(after=30, queue=0, steps=range(1, 100))
        ids = [fake.add_task(life) for life in (moving, moving, *[Life.succeed(after=1e6)] * 3)]
        waits: list[Awaitable[Any]] = [
            session.wait(ids[0], timeout=600),
            session.wait(ids[0], timeout=5),
            read(session.follow(ids[1])),
            read(session.watch(ids)),
        ]
        waiting = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(4.5)
        assert not any(wait.done() for wait in waiting)
        arm()
        done, pending = await asyncio.wait(waiting, timeout=1.0)
        assert not pending
        for wait in done:
            error = wait.exception()
            assert isinstance(error, omgmj.SessionClosed)
            assert Boom in causes(error)
        await settle()
        assert session.stats().in_flight == 0
        assert session.stats().watched == 0
        # Direct calls go on, all places in flight are there for them.
        assert (await session.query(ids[0])).id == ids[0]
        with pytest.raises(omgmj.SessionClosed) as raised:
            await session.wait(ids[0])
        assert Boom in causes(raised.value)
    assert not swallowed


async def test_a_page_that_cannot_be_taken_in_ends_the_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises while a page of the list is read reaches every waiter, whichever IDs it was read for."""
    arm = break_later(monkeypatch, Sweeper, "_on_page")
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(1.0)) as session:
        ids = [fake.add_task(Life.succeed(after=1e6)) for _ in range(60)]
        watch = asyncio.ensure_future(read(session.watch(ids)))
        await asyncio.sleep(20)
        assert session.stats().sweeps
        arm()
        with pytest.raises(omgmj.SessionClosed) as raised:
            await asyncio.wait_for(watch, 10)
        assert Boom in causes(raised.value)
        await settle()
        assert session.stats().in_flight == 0


async def test_direct_calls_hear_of_a_limiter_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that queue for a slot end with the cause where the limiter itself raises; the next ones go on."""
    arm = break_later(monkeypatch, Rate, "ready_at")
    async with FakeService() as fake, fake.session(rate=1.0) as session:
        task_id = fake.add_task(Life.succeed(after=1e6))
        calls = [asyncio.ensure_future(session.query(task_id)) for _ in range(8)]
        await asyncio.sleep(2.5)
        arm()
        done, pending = await asyncio.wait(calls, timeout=1.0)
        assert not pending
        errors = [call.exception() for call in done if call.exception()]
        assert errors
        assert all(isinstance(error, omgmj.SessionClosed) and Boom in causes(error) for error in errors)
        assert session.stats().in_flight == 0
        assert (await session.query(task_id)).id == task_id


async def test_calls_that_are_out_hear_of_a_timer_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the one timer of all exchanges raises, nothing bounds them any more: they end, and all waits with them."""
    arm = break_later(monkeypatch, Deadlines, "_sweep")
    async with FakeService() as fake, fake.session(request_timeout=5.0, sweeps=False) as session:
        task_id = fake.add_task(Life.succeed(after=1e6))
        fake.inject("silence", times=None)
        calls = [asyncio.ensure_future(session.query(task_id)), asyncio.ensure_future(session.wait(task_id))]
        await asyncio.sleep(4.5)
        arm()
        done, pending = await asyncio.wait(calls, timeout=1.0)
        assert not pending
        assert all(Boom in causes(call.exception()) for call in done)
        await settle()
        assert session.stats().in_flight == 0
        fake.heal()
        assert (await session.query(task_id)).id == task_id


async def test_a_watch_hears_of_what_raises_while_it_takes_ids_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """IDs are taken in by chunks, in callbacks of the loop: what raises there reaches the reader."""
    async with FakeService() as fake, fake.session() as session:
        arm = break_later(monkeypatch, Planner, "watch")
        watch = session.watch([fake.add_task(Life.succeed(after=1e6)) for _ in range(2500)])
        arm()
        with pytest.raises(omgmj.SessionClosed) as raised:
            await asyncio.wait_for(anext(watch), 1.0)
        assert Boom in causes(raised.value)


async def test_what_raises_while_a_dropped_watch_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle that is dropped leaves in a callback of the loop: what raises there ends the other waits."""
    arm = break_later(monkeypatch, Inbox, "leave")
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=1e6))
        waiting = asyncio.ensure_future(session.wait(task_id))
        watch = session.watch([task_id])
        await asyncio.sleep(2)
        arm()
        del watch
        with pytest.raises(omgmj.SessionClosed) as raised:
            await asyncio.wait_for(waiting, 1.0)
        assert Boom in causes(raised.value)


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_any_end_of_the_driver_tells_every_waiter(turns: int) -> None:
    """Whoever cancels tasks of the loop, the driver among them, before its first step or after: each waiter hears."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after=1e6)) for _ in range(5)]
        waiting = asyncio.ensure_future(session.wait(ids[0]))
        watch = asyncio.ensure_future(read(session.watch(ids)))
        await asyncio.sleep(0)
        assert session.stats().watched
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task.get_name() == "omgmj poller":
                task.cancel()
        done, pending = await asyncio.wait([waiting, watch], timeout=1.0)
        assert not pending
        assert all(isinstance(one.exception(), omgmj.SessionClosed) for one in done)
        await settle()
        assert session.stats().in_flight == 0
        assert (await session.query(ids[0])).id == ids[0]


async def test_no_task_is_started_from_a_callback_of_the_loop() -> None:
    """Workers are started by a task: in a timer's callback some libraries find none, and start nothing."""
    loop = asyncio.get_running_loop()
    started: list[tuple[asyncio.Task[Any], object]] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **named)
        started.append((task, asyncio.current_task()))
        return task

    loop.set_task_factory(factory)
    async with FakeService(latency=0.5) as fake, fake.session(rate=3.0) as session:
        async with session.watch([fake.add_task(Life.succeed(after=5 + n)) for n in range(20)]) as watch:
            assert len([task async for task in watch]) == 20
        task = fake.add_task(Life.succeed(after=5))
        await session.wait(task, timeout=60)
    loop.set_task_factory(None)
    assert any("Poller._work" in task.get_name() for task, _ in started)
    assert [task for task, starter in started if starter is None] == []


class _Bare:
    """A handle that can be cancelled, and tells no time: what some event loops' `call_at` returns."""

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()


async def test_timers_of_a_loop_whose_handles_tell_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits and direct calls work where `call_at` returns a handle without `when`."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    bare = 0

    def call_bare(when: float, *args: Any, **named: Any) -> Any:
        nonlocal bare
        handle = call_at(when, *args, **named)
        if "Timer._run" not in repr(args):
            return handle  # asyncio's own timers trust their loop.
        bare += 1
        return _Bare(handle)

    monkeypatch.setattr(loop, "call_at", call_bare)
    async with FakeService(latency=0.03) as fake, fake.session(request_timeout=5.0) as session:
        ids = [fake.add_task(Life.succeed(after=10)) for _ in range(40)]
        background = [asyncio.ensure_future(session.wait(task_id)) for task_id in ids]
        for count in range(40):
            assert (await session.query(ids[count])).id == ids[count]
            await asyncio.sleep(0.01)
        assert all(task.succeeded for task in await asyncio.gather(*background))
        fake.inject("silence", times=None)
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(fake.add_task(Life.succeed(after=1e6)), timeout=20)
    assert bare > 40
