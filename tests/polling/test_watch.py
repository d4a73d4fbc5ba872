"""Watch: many IDs, their final records, errors, and every way to leave."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import looptime
import pytest

import omgmj
from omgmj.backoff import Facts
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory


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


async def test_an_async_on_error_is_refused() -> None:
    """`on_error` is called, not awaited: an async function in whatever clothes is refused, and nothing is sent."""

    class Hearer:
        async def hear(self, error: omgmj.OmgmjError) -> None: ...

    class HearerItself:
        async def __call__(self, error: omgmj.OmgmjError) -> None: ...

    async def hear(where: str, error: omgmj.OmgmjError) -> None: ...

    async with FakeService(tasks=1) as fake, fake.session() as session:
        for bad in (Hearer().hear, functools.partial(hear, "here"), HearerItself()):
            with pytest.raises(omgmj.UsageError, match="on_error must be a plain function"):
                session.watch(fake.task_ids, on_error=bad)
        assert (fake.requests, session.stats().watched) == (0, 0)


class Among:
    """A watch of good IDs, which end one by one after `first` seconds, and of bad ones, which are answered 502."""

    def __init__(self, *, good: int, bad: int, first: float) -> None:
        self.counts = good, bad
        self.first = first
        self.late: list[float] = []
        self.errors: list[tuple[int | None, float, type[omgmj.OmgmjError]]] = []
        self.gap = 0.0  # the longest between two polls of a good ID

    async def run(self, **settings: Any) -> None:
        seen: dict[int, float] = {}
        adaptive = omgmj.Adaptive()

        def policy(facts: Facts, roll: float) -> float:
            self.gap = max(self.gap, now() - seen.get(facts.task_id, now()))
            seen[facts.task_id] = now()
            return adaptive(facts, roll)

        def on_error(error: omgmj.OmgmjError) -> None:
            self.errors.append((error.task_id, now(), type(error)))

        good, bad = self.counts
        async with FakeService(latency=0.2) as fake, fake.session(**settings) as session:
            # The list would show the bad ones although they cannot be asked for.
            fake.inject("list_forbidden", times=None)
            never = [fake.add_task(Life.succeed(1e6)) for _ in range(bad)]
            ends = {fake.add_task(Life.succeed(self.first + i)): self.first + i for i in range(good)}
            for task_id in never:
                fake.inject("html_502", times=None, task_id=task_id)
            async for task in session.watch([*never, *ends], backoff=policy, on_error=on_error):
                self.late.append(now() - ends[task.id])
            assert len(self.late) == good
            assert sorted(task_id or 0 for task_id, _, _ in self.errors) == never
            assert all(fake.asked[task_id] >= 8 for task_id in never)


async def test_many_bad_ids_hold_up_no_good_one(caplog: pytest.LogCaptureFixture) -> None:
    """Fifty IDs that fail for ever are no outage: 150 others come about in time, the fifty end as errors."""
    among = Among(good=150, bad=50, first=300.0)
    await among.run(rate=25.0)
    assert max(among.late) < 10
    assert sum(among.late) / len(among.late) < 3
    assert {kind for _, _, kind in among.errors} == {omgmj.ServiceError}
    assert all(600 <= at <= 700 for _, at, _ in among.errors)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2


@pytest.mark.parametrize(("good", "bad"), [(3, 12), (8, 8), (1, 1)])
async def test_good_ids_are_polled_in_time_among_as_many_bad_ones(
    good: int, bad: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Where bad IDs are as many or more, the good ones are polled about as often as their policy wants."""
    among = Among(good=good, bad=bad, first=400.0)
    await among.run()
    assert among.gap < 2 * omgmj.Adaptive().cap
    assert max(among.late) < 5
    assert {kind for _, _, kind in among.errors} == {omgmj.ServiceError}
    assert all(600 <= at <= 680 for _, at, _ in among.errors)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2


async def test_contexts_do_not_pile_up() -> None:
    """A context is kept while its ID is waited for, and for the last thousand that ended; by a string too."""
    async with FakeService() as fake, fake.session(rate=5000.0) as session:
        pending = fake.add_task(Life.succeed(1e6))
        watch = session.watch({pending: "pending"})
        got: list[int] = []
        for _ in range(5):
            batch = [fake.add_task(Life.succeed(1.0)) for _ in range(1000)]
            watch.add({task_id: f"chat {task_id}" for task_id in batch})
            for _ in batch:
                task = await anext(watch)
                assert watch.context(task) == f"chat {task.id}"
                got.append(task.id)
        assert sum(watch.context(task_id) is not None for task_id in (pending, *got)) == 1001
        assert watch.context(str(pending)) == "pending"
        assert watch.context(got[-1000]) == f"chat {got[-1000]}"
        assert watch.context(got[-1001]) is None
        with pytest.raises(omgmj.UsageError, match="task ID"):
            watch.context("chat")
        watch.discard([pending])
        assert watch.context(pending) is None
        assert await drained(watch) == []


@pytest.mark.parametrize("max_watched", [None, 500])
async def test_the_context_of_an_id_that_is_given_again_stays(max_watched: int | None) -> None:
    """An ID that ended and is given again keeps its new context until it was fetched, wherever it waits meanwhile."""
    async with FakeService() as fake, fake.session(rate=5000.0) as session:
        again = fake.add_task(Life.succeed(0.0))
        watch = session.watch({again: "once"}, max_watched=max_watched)
        assert watch.context(await anext(watch)) == "once"
        others = [fake.add_task(Life.succeed(0.0)) for _ in range(1500)]
        watch.add(dict.fromkeys(others, "other"))
        await asyncio.sleep(5)
        watch.add({again: "twice"})
        await asyncio.sleep(5)
        contexts = {task.id: watch.context(task) async for task in watch}
        assert contexts == {**dict.fromkeys(others, "other"), again: "twice"}


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
    """Whichever way it is left, no new poll starts, and when those out are home no task is left."""
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


async def test_a_watch_that_the_users_own_refer_to_is_dropped_like_any() -> None:
    """A callback and a context that hold the watch do not keep it waiting: nothing but the handle holds them."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=1e6))
        held: list[omgmj.Watch] = []
        held.append(session.watch({task_id: held}, on_error=held.__contains__))
        await asyncio.sleep(5)
        assert session.stats().watched == 1
        del held
        gc.collect()
        await settled()
        assert (session.stats().watched, ours()) == (0, [])


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


async def test_discard_drops_an_error_that_was_kept_for_the_end() -> None:
    """An error that waits for the end of the watch goes with its ID; those of others are raised."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(seconds)) for seconds in (20, 40)]
        watch = session.watch([*ids, 111, 222])
        assert (await anext(watch)).id == ids[0]
        watch.discard([111])
        assert (await anext(watch)).id == ids[1]
        with pytest.raises(omgmj.WatchErrors) as caught:
            await anext(watch)
        assert caught.value.task_ids == (222,)


async def test_discard_drops_results_in_hand() -> None:
    """What is discarded is not delivered any more, be it a record or an error that is in hand already."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after)) for after in (5, 6, 7)]
        watch = session.watch([*ids, 111])
        await asyncio.sleep(100)
        assert session.stats().watched == 0
        watch.discard([ids[1], 111])
        assert sorted(await drained(watch)) == [ids[0], ids[2]]


async def test_aclose_drops_what_is_in_hand() -> None:
    """After `aclose` the reader sees the end: no record that was in hand, no error, and none of the account's."""
    async with FakeService() as fake, fake.session() as session:
        ids = [fake.add_task(Life.succeed(after)) for after in (5, 6, 500)]
        watch = session.watch([*ids, 111])
        await asyncio.sleep(100)
        await watch.aclose()
        assert await drained(watch) == []
        watch = session.watch([111, *ids])
        assert (await anext(watch)).id in ids
        assert (await anext(watch)).id in ids
        fake.tokens.clear()
        await asyncio.sleep(100)
        await watch.aclose()
        assert await drained(watch) == []


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


async def test_a_source_that_misuses_us_is_no_rubbish_of_an_id() -> None:
    """An error of ours that a source raises reaches the reader as any other: the source is over, which is no end."""
    async with FakeService(tasks=1) as fake, fake.session() as session:

        async def source() -> AsyncIterator[int]:
            yield fake.task_ids[0]
            yield await session.imagine("")

        errors: list[omgmj.OmgmjError] = []
        watch = session.watch(source(), on_error=errors.append)
        with pytest.raises(omgmj.UsageError, match="prompt is empty"):
            await anext(watch)
        assert errors == []


class RaisingSource:
    """An async iterable whose `__aiter__` raises."""

    def __aiter__(self) -> AsyncIterator[int]:
        raise OSError("the queue is gone")


class NoSource:
    """An async iterable whose `__aiter__` gives no async iterator."""

    def __aiter__(self) -> AsyncIterator[int]:
        return 5  # type: ignore[return-value]


class AsyncSource:
    """An async iterable whose `__aiter__` is a coroutine function, which is a frequent mistake."""

    async def __aiter__(self) -> AsyncIterator[int]:
        raise AssertionError

    async def __anext__(self) -> int:
        raise AssertionError


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (RaisingSource, OSError, "the queue is gone"),
        (NoSource, omgmj.UsageError, "cannot be iterated"),
        (AsyncSource, omgmj.UsageError, "cannot be iterated"),
    ],
)
async def test_a_source_that_cannot_be_iterated_is_refused_at_the_call(
    source: Callable[[], Any], error: type[Exception], said: str
) -> None:
    """An async iterable whose `__aiter__` raises, or gives no iterator, is refused by the call, and nothing is left."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(error, match=said):
            session.watch(source(), on_error=print)
        gc.collect()
        assert (ours(), session.stats().watched) == ([], 0)


async def test_a_source_that_is_cancelled_is_no_normal_end() -> None:
    """A source that ends by `CancelledError` ends the watch with an error, after the records that are in hand."""
    async with FakeService(tasks=2) as fake, fake.session() as session:

        async def source() -> AsyncIterator[int]:
            yield fake.task_ids[0]
            await asyncio.sleep(300)
            raise asyncio.CancelledError

        watch = session.watch(source(), on_error=print)
        assert (await anext(watch)).id == fake.task_ids[0]
        with pytest.raises(omgmj.OmgmjError, match="source of task IDs was cancelled"):
            await anext(watch)
        assert await drained(watch) == []
        await settled()
        assert (ours(), session.stats().watched) == ([], 0)


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


async def test_ending_many_does_not_hold_the_loop() -> None:
    """Twenty thousand IDs whose time is over at once end by chunks, with the loop's turn in between."""
    async with FakeService() as fake, fake.session(rate=1.0) as session:
        errors: list[omgmj.OmgmjError] = []
        watch = session.watch(range(1, 20_001), timeout=60, on_error=errors.append)
        await asyncio.sleep(59.9)
        ended = []
        before = session.stats().watched
        while before:
            await asyncio.sleep(0 if now() >= 60 else 0.01)
            left = session.stats().watched
            ended.append(before - left)
            before = left
        assert now() == pytest.approx(60, abs=0.05)
        assert max(ended) <= 2000
        assert await drained(watch) == []
        assert len(errors) == 20_000


@pytest.mark.parametrize("kind", ["watch", "follow"])
def test_a_handle_is_read_in_its_own_loop(kind: str) -> None:
    """Who reads on in another loop is told so, and does not hang; in its own the handle is as good as before."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:

        async def begin() -> Any:
            return session.watch(fake.task_ids) if kind == "watch" else session.follow(fake.task_ids[0])

        async def read(handle: Any) -> omgmj.Task:
            task: omgmj.Task = await anext(handle)
            return task

        fake = FakeService(tasks=1)
        runner.run(fake.__aenter__())
        session = fake.session()
        handle = runner.run(begin())
        with pytest.raises(omgmj.UsageError, match="belongs to the event loop"):
            asyncio.run(read(handle))
        assert runner.run(read(handle)).id == fake.task_ids[0]
        runner.run(session.aclose())
        runner.run(fake.__aexit__())
