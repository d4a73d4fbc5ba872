"""Watch: many IDs, their final records, errors, and every way to leave."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import omgmj
from omgmj.testing import FakeService, Life


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def ours() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("omgmj")]


async def drained(watch: omgmj.Watch) -> list[int]:
    return [task.id async for task in watch]


async def test_records_come_in_the_order_they_finish() -> None:
    """Each final record comes once, as soon as it is there, success and failure alike."""
    async with FakeService() as fake, fake.session() as session:
        late, early, failing = (
            fake.add_task(Life.succeed(60)),
            fake.add_task(Life.succeed(20)),
            fake.add_task(Life.fail(40)),
        )
        seen = [(task.id, task.status) async for task in session.watch([late, early, failing])]
        assert seen == [(early, "SUCCESS"), (failing, "FAILURE"), (late, "SUCCESS")]
        await settled()
        assert (session.stats().watched, ours()) == (0, [])


@pytest.mark.parametrize(
    "shape", [list, tuple, set, iter, lambda ids: (str(i) for i in ids), lambda ids: range(ids[0], ids[-1] + 1)]
)
async def test_any_iterable_will_do(shape: Callable[[list[int]], Any]) -> None:
    """IDs come as any iterable of ints or strings of digits, and an empty one ends at once."""
    async with FakeService(tasks=5) as fake, fake.session() as session:
        assert sorted(await drained(session.watch(shape(fake.task_ids)))) == fake.task_ids
        assert await drained(session.watch([])) == []


async def test_an_id_given_twice_is_delivered_once() -> None:
    """An ID given twice, or added while it is pending, is delivered once; after its end it may be added again."""
    async with FakeService() as fake, fake.session() as session:
        first, second = fake.add_task(Life.succeed(10)), fake.add_task(Life.succeed(60))
        async with session.watch([first, second, first, str(first)]) as watch:
            watch.add([first, second])
            assert (await anext(watch)).id == first
            watch.add([first])
            assert (await anext(watch)).id == first
            assert (await anext(watch)).id == second
            with pytest.raises(StopAsyncIteration):
                await anext(watch)


async def test_context_comes_back_with_the_task() -> None:
    """A mapping of ID to context gives the context of each record."""
    async with FakeService(tasks=3) as fake, fake.session() as session:
        watch = session.watch({task_id: f"chat {task_id}" for task_id in fake.task_ids})
        extra = fake.add_task()
        watch.add({extra: "late"})
        seen = {task.id: watch.context(task) async for task in watch}
        assert seen == {**{task_id: f"chat {task_id}" for task_id in fake.task_ids[:3]}, extra: "late"}
        assert watch.context(5) is None


async def test_one_bad_id_does_not_kill_the_batch() -> None:
    """The rest go on; the errors are raised together at the end, each with its ID."""
    async with FakeService(tasks=8) as fake, fake.session() as session:
        stuck = fake.add_task(Life.succeed(5000))
        seen = []
        with pytest.raises(omgmj.WatchErrors) as caught:
            async for task in session.watch([111, *fake.task_ids[:8], stuck], timeout=300):
                seen.append(task.id)
        assert sorted(seen) == fake.task_ids[:8]
        assert sorted(caught.value.task_ids) == [111, stuck]
        not_found, rest = caught.value.split(omgmj.TaskNotFound)
        assert not_found is not None
        assert rest is not None
        assert [error.task_id for error in not_found.exceptions if isinstance(error, omgmj.TaskNotFound)] == [111]
        assert isinstance(rest.exceptions[0], omgmj.WaitTimeout)


async def test_on_error_gets_each_at_once() -> None:
    """With `on_error` each error goes there as it comes, in the consumer's task, and nothing is raised at the end."""
    async with FakeService(tasks=3) as fake, fake.session() as session:
        errors: list[tuple[int | None, int]] = []
        me = asyncio.current_task()

        def on_error(error: omgmj.OmgmjError) -> None:
            assert asyncio.current_task() is me
            errors.append((error.task_id, round(now())))

        seen = [task.id async for task in session.watch([111, *fake.task_ids], on_error=on_error)]
        assert sorted(seen) == fake.task_ids
        assert errors == [(111, 10)]


async def test_what_on_error_raises_ends_the_watch() -> None:
    """An exception out of `on_error` reaches the consumer, and the watch is over."""
    async with FakeService(tasks=3, lives="mix") as fake, fake.session() as session:

        def on_error(error: omgmj.OmgmjError) -> None:
            raise KeyError(error.task_id)

        watch = session.watch([111, *fake.task_ids], on_error=on_error)
        with pytest.raises(KeyError, match="111"):
            await drained(watch)
        assert session.stats().watched == 0
        assert await drained(watch) == []


async def test_an_account_error_comes_after_the_records_in_hand() -> None:
    """What concerns the account is raised at once, after the records that are in hand already."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after)) for after in (5, 6, 500)]
        watch = session.watch(ids)
        await asyncio.sleep(30)
        fake.tokens.clear()
        await asyncio.sleep(100)
        seen = []
        with pytest.raises(omgmj.AuthError):
            async for task in watch:
                seen.append(task.id)
        assert sorted(seen) == ids[:2]
        assert await drained(watch) == []


async def test_arguments_are_checked_at_the_call() -> None:
    """`Watch` is a class: what is wrong is said at the call, not at the first step."""

    async def endless() -> AsyncIterator[int]:
        yield 1

    async with FakeService(tasks=2) as fake, fake.session() as session:
        for bad in ([5, "x"], "345", b"12", 5, None, [[1]]):
            with pytest.raises(omgmj.UsageError):
                session.watch(bad)  # type: ignore[arg-type]
        with pytest.raises(omgmj.UsageError, match="on_error"):
            session.watch(endless())
        with pytest.raises(omgmj.UsageError, match="on_error"):
            session.watch([1], on_error=5)  # type: ignore[arg-type]
        for count in (0, -1, True, 1.5):
            with pytest.raises(omgmj.UsageError, match="max_watched"):
                session.watch([1], max_watched=count)  # type: ignore[arg-type]
        watch = session.watch(fake.task_ids)
        with pytest.raises(omgmj.UsageError):
            watch.add([1, 0])
        with pytest.raises(omgmj.UsageError):
            watch.discard([0])
        assert fake.requests == 0
        await drained(watch)
        with pytest.raises(omgmj.UsageError, match="ended"):
            watch.add([5])


# Leaving.


async def leave_by_break(session: omgmj.Session, ids: list[int]) -> None:
    async for _ in session.watch(ids):
        break


async def leave_by_exception(session: omgmj.Session, ids: list[int]) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in session.watch(ids):
            1 / 0  # noqa: B018 (it is to raise)


async def leave_by_cancellation(session: omgmj.Session, ids: list[int]) -> None:
    async def consume() -> None:
        async for _ in session.watch(ids):
            pass

    consumer = asyncio.ensure_future(consume())
    await asyncio.sleep(10)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer


async def leave_by_aclose(session: omgmj.Session, ids: list[int]) -> None:
    watch = session.watch(ids)
    consumer = asyncio.ensure_future(drained(watch))
    await asyncio.sleep(10)
    await asyncio.ensure_future(watch.aclose())
    assert len(await consumer) == 1
    assert await drained(watch) == []


async def leave_by_context(session: omgmj.Session, ids: list[int]) -> None:
    async with session.watch(ids) as watch:
        await anext(watch)


async def leave_by_garbage(session: omgmj.Session, ids: list[int]) -> None:
    class Ring:
        def __init__(self) -> None:
            self.me = self
            self.watch = session.watch(ids)

    await anext(Ring().watch)
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()
    await settled()


@pytest.mark.parametrize(
    "leave",
    [leave_by_break, leave_by_exception, leave_by_cancellation, leave_by_aclose, leave_by_context, leave_by_garbage],
)
async def test_leaving_leaves_nothing_behind(leave: Callable[[omgmj.Session, list[int]], Any]) -> None:
    """Whichever way it is left, no new look starts, and when those out are home no task is left."""
    async with FakeService(latency=1.0) as fake, fake.session(rate=500.0, backoff=omgmj.Fixed(2)) as session:
        ids = [fake.add_task(Life.succeed(after)) for after in (3, *[1000] * 99)]
        await leave(session, ids)
        started = fake.requests
        await asyncio.sleep(0)  # The cancelled task lets go of its exception, and so of the iterator, one turn later.
        await asyncio.sleep(0)
        assert session.stats().watched == 0
        await asyncio.sleep(2)
        assert fake.requests - started <= 64
        started = fake.requests
        assert ours() == []
        await asyncio.sleep(50)
        assert fake.requests == started


async def test_a_cancelled_read_loses_nothing() -> None:
    """A record that came while its reader was cancelled goes to the next read."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after)) for after in (20, 30, 40)]
        watch = session.watch(ids)
        seen = []
        while True:
            try:
                async with asyncio.timeout(0.7):
                    seen.append((await anext(watch)).id)
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        assert seen == ids


async def test_two_readers_share_a_watch() -> None:
    """Two tasks may read one watch: each record goes to one of them, and both see the end."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        watch = session.watch(fake.task_ids)
        one, two = await asyncio.gather(drained(watch), drained(watch))
        assert sorted(one + two) == fake.task_ids


async def test_discard_ends_single_ids() -> None:
    """A discarded ID is not waited for, the rest are; an ID that is not there is ignored."""
    async with FakeService() as fake, fake.session() as session:
        good, bad = fake.add_task(Life.succeed(20)), fake.add_task(Life.succeed(9000))
        watch = session.watch([good, bad])
        await asyncio.sleep(1)
        watch.discard([bad, 12345])
        assert await drained(watch) == [good]


async def test_a_watch_outlives_a_neighbour() -> None:
    """Leaving one watch does not touch another that waits for the same IDs."""
    async with FakeService(tasks=20) as fake, fake.session() as session:
        other = asyncio.ensure_future(drained(session.watch(fake.task_ids)))
        async for _ in session.watch(fake.task_ids):
            break
        assert sorted(await other) == fake.task_ids


# Size.


async def test_max_watched_bounds_what_is_taken_in() -> None:
    """With `max_watched` no more IDs are watched, or done and not fetched, than that; the rest follow."""
    async with FakeService(tasks=200) as fake, fake.session(rate=1000.0) as session:
        seen = []
        async for task in session.watch(fake.task_ids, max_watched=10):
            seen.append(task.id)
            assert session.stats().watched <= 10
        assert sorted(seen) == fake.task_ids


async def test_an_endless_source_is_drawn_from_as_there_is_room() -> None:
    """An async iterable is drawn from only while there is room, and ends the watch when it ends itself."""
    async with FakeService() as fake, fake.session(rate=1000.0) as session:
        drawn: list[int] = []
        closed: list[bool] = []

        async def source() -> AsyncIterator[int]:
            try:
                for _ in range(60):
                    drawn.append(fake.add_task(Life.succeed(30)))
                    yield drawn[-1]
                    await asyncio.sleep(0)
            finally:
                closed.append(True)

        errors: list[omgmj.OmgmjError] = []
        watch = session.watch(source(), on_error=errors.append, max_watched=20)
        await asyncio.sleep(100)
        assert len(drawn) == 20
        assert sorted(await drained(watch)) == drawn
        assert (len(drawn), closed, errors) == (60, [True], [])


async def test_rubbish_from_a_source_goes_to_on_error() -> None:
    """Rubbish among an async iterable's IDs goes to `on_error`; what the iterable raises reaches the reader."""
    async with FakeService(tasks=2) as fake, fake.session() as session:

        async def source() -> AsyncIterator[Any]:
            yield "rubbish"
            yield fake.task_ids[0]
            await asyncio.sleep(300)
            raise OSError("the queue is gone")

        errors: list[omgmj.OmgmjError] = []
        watch = session.watch(source(), on_error=errors.append)
        assert (await anext(watch)).id == fake.task_ids[0]
        assert [type(error) for error in errors] == [omgmj.UsageError]
        with pytest.raises(OSError, match="queue is gone"):
            await anext(watch)
        assert ours() == []


async def test_leaving_closes_the_source() -> None:
    """Leaving a watch closes the async iterable it drew from."""
    async with FakeService() as fake, fake.session() as session:
        closed = []

        async def source() -> AsyncIterator[int]:
            try:
                while True:
                    yield fake.add_task(Life.succeed(5))
                    await asyncio.sleep(1)
            finally:
                closed.append(True)

        async for _ in session.watch(source(), on_error=print):
            break
        await settled()
        assert closed == [True]
        await asyncio.sleep(3)
        assert ours() == []


async def test_closing_the_session_ends_a_watch_that_waits_for_its_source() -> None:
    """`SessionClosed` reaches a watch that has nothing in hand as well."""

    async def source() -> AsyncIterator[int]:
        await asyncio.sleep(1e6)
        yield 1

    async with FakeService() as fake:
        session = fake.session()
        reading = asyncio.ensure_future(anext(session.watch(source(), on_error=print)))
        await settled()
        await session.aclose()
        with pytest.raises(omgmj.SessionClosed):
            await reading


async def test_starting_many_does_not_hold_the_loop() -> None:
    """IDs are taken in by chunks, with the loop's turn in between."""
    async with FakeService() as fake, fake.session(rate=1.0) as session:
        watch = session.watch(range(1, 10_001))
        assert session.stats().watched == 1000
        for _ in range(9):
            await asyncio.sleep(0)
        assert session.stats().watched == 10_000
        await watch.aclose()
        assert session.stats().watched == 0
        await asyncio.sleep(5)
        assert fake.requests <= 2
