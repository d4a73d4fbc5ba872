"""What is the user's own code, a policy or `on_error`: what it raises, and what it calls, harms nobody else's wait."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

import omgmj
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory


class Unshowable(Exception):
    """An error that raises where it is shown."""

    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


def raising(error: BaseException) -> Callable[..., float]:
    def policy(facts: omgmj.Facts, roll: float) -> float:
        if facts.attempt < 3:
            return 1.0
        raise error

    return policy


@pytest.mark.parametrize("error", [KeyError("x"), Unshowable(), asyncio.CancelledError(), CancelledError()], ids=type)
async def test_what_a_policy_raises_ends_its_own_wait_only(error: BaseException) -> None:
    """Whatever a policy raises is the cause of its own wait's error; others who wait for the same ID go on."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=60))
        other = asyncio.ensure_future(session.wait(task_id))
        with pytest.raises(omgmj.UsageError, match="policy") as raised:
            await session.wait(task_id, backoff=raising(error))
        assert raised.value.__cause__ is error
        assert (await other).succeeded


async def test_a_policy_that_changes_its_own_watch() -> None:
    """A policy may discard IDs of its watch and add others, its own ID among them: it takes effect right after it."""
    async with FakeService() as fake, fake.session(rate=50) as session:
        ids = [fake.add_task(Life.succeed(after=8 + n)) for n in range(12)]
        more = [fake.add_task(Life.succeed(after=3)) for _ in range(4)]
        other = asyncio.ensure_future(session.wait(ids[0]))
        said: list[object] = []
        changed: set[tuple[int, int]] = set()
        watch: omgmj.Watch

        def policy(facts: omgmj.Facts, roll: float) -> float:
            step = facts.attempt, facts.task_id
            if step in changed:
                return 1.0
            changed.add(step)
            if facts.attempt == 2:
                if facts.task_id in ids[:4]:
                    watch.discard([facts.task_id])
                elif facts.task_id in ids[4:8]:
                    watch.discard(ids[8:])
                    watch.add([more[ids.index(facts.task_id) - 4]])
            if facts.attempt == 3 and facts.task_id == ids[4]:
                watch.discard([facts.task_id])
                watch.add([facts.task_id])
            session.notify({"taskId": facts.task_id})
            return 1.0

        watch = session.watch(ids, backoff=policy, on_error=said.append)
        async with asyncio.timeout(300), watch:
            got = [task.id async for task in watch]
        assert sorted(got) == sorted([*ids[4:8], *more])
        assert (await other).id == ids[0]
        assert said == []
        assert session.stats().watched == 0


async def test_a_policy_that_begins_other_waits() -> None:
    """A policy may begin to watch and to follow: those waits are as good as others."""
    async with FakeService() as fake, fake.session(rate=50) as session:
        task_id, second, third = (fake.add_task(Life.succeed(after=10)) for _ in range(3))
        begun: list[Any] = []

        def policy(facts: omgmj.Facts, roll: float) -> float:
            if not begun:
                begun.append(session.watch([second, facts.task_id]))
                begun.append(session.follow(third))
            return 1.0

        assert (await session.wait(task_id, backoff=policy)).succeeded
        assert {task.id async for task in begun[0]} == {second, task_id}
        changes = [task async for task in begun[1]]
        assert changes[-1].succeeded


async def test_a_handle_that_is_dropped_while_a_policy_is_asked() -> None:
    """The last reference to a watch may go anywhere, as when the garbage collector runs: it leaves right after that."""
    async with FakeService() as fake, fake.session() as session:
        task_id, *others = [fake.add_task(Life.succeed(after=20)) for _ in range(4)]
        held = [session.watch([task_id, *others]), session.follow(task_id)]

        def policy(facts: omgmj.Facts, roll: float) -> float:
            held.clear()
            return 1.0

        assert (await session.wait(task_id, backoff=policy)).succeeded
        assert session.stats().watched == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before Python 3.12")
async def test_a_policy_that_starts_eager_tasks() -> None:
    """Where tasks start eagerly, in the middle of a policy, what they call and leave takes effect right after it."""
    async with FakeService() as fake, fake.session(rate=50) as session:
        other, followed, *ids = [fake.add_task(Life.succeed(after=10 + n)) for n in range(6)]
        started: list[Any] = []

        def policy(facts: omgmj.Facts, roll: float) -> float:
            for call in calls.pop((facts.task_id, facts.attempt), ()):
                started.append(loop.create_task(call()))
                if facts.task_id == ids[0]:
                    watch.discard(ids[:1])
            return 1.0

        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # Python 3.12's.
        try:
            waiting = loop.create_task(session.wait(other))
            watch, follow = session.watch(ids, backoff=policy), session.follow(followed, backoff=policy)
            calls: dict[tuple[int, int], list[Callable[[], Any]]] = {
                (followed, 1): [follow.aclose],
                (ids[0], 2): [lambda: session.query(other), lambda: session.wait(ids[1]), session.page],
                (ids[3], 3): [lambda: session.imagine("a cat"), watch.aclose],
            }
            assert (await waiting).succeeded
        finally:
            loop.set_task_factory(None)
        assert len(await asyncio.gather(*started)) == 6
        for left in (watch, follow):
            with pytest.raises(StopAsyncIteration):
                while True:
                    await anext(left)
        assert session.stats().watched == session.stats().in_flight == 0


async def test_a_policy_that_raised_holds_no_handle() -> None:
    """What a policy raised while IDs were added keeps no handle alive: one that is dropped leaves all the same."""
    async with FakeService() as fake, fake.session() as session:
        first, second = (fake.add_task(Life.succeed(after=60)) for _ in range(2))
        other = asyncio.ensure_future(session.wait(first))
        await asyncio.sleep(5)

        def policy(facts: omgmj.Facts, roll: float) -> float:
            if facts.task_id == first:
                raise KeyError("mine")
            return 1.0

        watch = session.watch([second], backoff=policy)
        watch.add([first])
        del watch
        assert session.stats().watched == 1
        with pytest.raises(omgmj.UsageError) as raised:
            await session.wait(first, backoff=policy)
        assert "in policy" in "".join(getattr(raised.value.__cause__, "__notes__", ()))
        assert (await other).succeeded


async def test_an_end_that_changes_the_watch_it_comes_from() -> None:
    """`on_error` may discard IDs of its watch and add others; what it raises ends its own watch only."""
    async with FakeService() as fake, fake.session() as session:
        bad = fake.add_task(Life.succeed(after=1e6))
        good, extra = fake.add_task(Life.succeed(after=40)), fake.add_task(Life.succeed(after=5))
        other = asyncio.ensure_future(session.wait(good))

        def change(error: omgmj.OmgmjError) -> None:
            watch.discard([good, error.task_id or 0])
            watch.add([extra])

        watch = session.watch([bad, good], timeout=10, on_error=change)
        assert [task.id async for task in watch] in ([extra], [])

        def crash(error: omgmj.OmgmjError) -> None:
            raise KeyError(error.task_id)

        with pytest.raises(KeyError):
            async for _ in session.watch([bad], timeout=3, on_error=crash):
                pass
        assert (await other).succeeded


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before Python 3.12")
@pytest.mark.parametrize("closing", [0, 1])
async def test_a_source_that_ends_where_tasks_start_eagerly(closing: int) -> None:
    """Where tasks start eagerly, a source that never awaits, or does so only as it closes, ends its watch as any."""

    class Source:
        """Two IDs at once, and an end; closing takes a while."""

        def __init__(self, ids: list[int]) -> None:
            self._ids = iter(ids)

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            for task_id in self._ids:
                return task_id
            raise StopAsyncIteration

        async def aclose(self) -> None:
            for _ in range(closing):
                await asyncio.sleep(1)

    errors: list[omgmj.OmgmjError] = []
    async with FakeService(tasks=2) as fake, fake.session() as session:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # Python 3.12's.
        try:
            async with asyncio.timeout(3600):
                seen = [task.id async for task in session.watch(Source(fake.task_ids), on_error=errors.append)]
        finally:
            loop.set_task_factory(None)
        assert sorted(seen) == sorted(fake.task_ids)
        assert not errors
