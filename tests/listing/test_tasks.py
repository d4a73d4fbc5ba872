"""The account's tasks in pages: `Session.page`, and `Session.tasks` over all of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from typing import Any

import pytest

import omgmj
from omgmj.listing.tasks import Tasks
from omgmj.models import Task, TaskPage
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory

DONE = Life.succeed(0.0)


async def drained(tasks: Tasks) -> list[int]:
    """Read on to the end."""
    return [task.id async for task in tasks]


# One page.


async def test_page_is_one_request() -> None:
    """A page is one request, newest first, with the total that the service tells; one beyond the end is empty."""
    async with FakeService(tasks=23) as fake, fake.session() as session:
        page = await session.page()
        assert (page.number, page.size, page.total) == (1, 20, 23)
        assert [task.id for task in page.tasks] == fake.task_ids[:2:-1]
        assert [task.id for task in (await session.page(2, 20)).tasks] == fake.task_ids[2::-1]
        assert (await session.page(9, size=5)).tasks == ()
        assert fake.pages == {1: 1, 2: 1, 9: 1}
        assert fake.requests == session.stats().queries == 3


async def test_page_repeats_what_is_transient() -> None:
    """A page is asked for again after a dropped connection, a 5xx and a 429, as a query is."""
    async with FakeService(tasks=1) as fake, fake.session(retry=omgmj.Retry(attempts=9)) as session:
        for fault in ("drop_before_headers", "list_error", "html_200", "rate_limited"):
            fake.inject(fault)
        assert len((await session.page()).tasks) == 1
        assert fake.requests == 5
        assert session.stats().retries == 4


async def test_a_list_that_is_forbidden() -> None:
    """A list that this token may not read raises `AuthError`, at once, and does no harm to queries."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        fake.inject("list_forbidden", times=None)
        with pytest.raises(omgmj.AuthError, match="may not list"):
            await session.page()
        with pytest.raises(omgmj.AuthError):
            await drained(session.tasks())
        assert (await session.query(3432)).id == 3432
        assert fake.requests == 3


async def test_what_a_page_saw_feeds_the_poller() -> None:
    """What a page showed counts for those who wait: a final record on it ends their wait without another poll."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(500)) as session:
        task_id = fake.add_task(Life.succeed(10))
        fake.add_foreign(5)
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(20)
        assert fake.asked == {task_id: 1}
        await session.page()
        assert (await waiting).succeeded
        assert fake.asked == {task_id: 1}


async def test_a_page_of_another_shape() -> None:
    """A list of another shape is a DecodeError that names the place."""
    async with FakeService(tasks=5) as fake, fake.session() as session:
        for read in (session.page(), drained(session.tasks())):
            fake.inject("list_wrong_shape")
            with pytest.raises(omgmj.DecodeError, match=r"\$\.data\.tasks") as caught:
                await read
            assert caught.value.field == "$.data.tasks"


async def test_records_of_another_shape(caplog: pytest.LogCaptureFixture) -> None:
    """Records that cannot be read spoil neither the page nor the list, and are warned of once."""
    async with FakeService(tasks=5) as fake, fake.session() as session:
        fake.inject("list_foreign_shape", times=None)
        whole = fake.task_ids[::-1]
        assert [task.id for task in (await session.page()).tasks] == whole[1::2]
        assert [task.id async for task in session.tasks()] == whole[1::2]
    (line,) = [record.getMessage() for record in caplog.records if "odd" in record.getMessage()]
    assert "tasks[0] is left out: $.data.tasks[0].taskId is missing" in line


async def test_duplicates_and_a_total_that_lies() -> None:
    """On a page an ID stands once, as its later record tells it, and a total that lies changes nothing."""
    async with FakeService() as fake, fake.session() as session:
        for _ in range(5):
            fake.add_task(Life.succeed(10))
        await asyncio.sleep(10)
        for fault in ("list_duplicates", "list_twice", "list_total_lies"):
            fake.inject(fault)
            page = await session.page()
            assert [task.id for task in page.tasks] == fake.task_ids[::-1]
            assert page.tasks[0].succeeded
        assert page.total == 56
        fake.inject("list_total_lies", times=None)
        assert await drained(session.tasks(size=5)) == fake.task_ids[::-1]


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "1", None])
async def test_bad_page_numbers(number: Any) -> None:
    """What is no page's number is refused before anything is sent."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.UsageError):
            await session.page(number)
        assert fake.requests == 0


@pytest.mark.parametrize("size", [4, 21, 0, True, 5.0, "20", None])
async def test_bad_sizes(size: Any) -> None:
    """What is no page's size is refused at the call, before anything is sent."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.UsageError):
            await session.page(1, size)
        with pytest.raises(omgmj.UsageError):
            session.tasks(size=size)
        assert fake.requests == 0


async def test_a_closed_session_has_no_pages() -> None:
    """Pages of a closed session are a `SessionClosed`, also for who has begun to read."""
    async with FakeService(tasks=30) as fake:
        session = fake.session()
        tasks = session.tasks(size=5)
        await anext(tasks)
        await session.aclose()
        assert [(await anext(tasks)).id for _ in range(4)] == fake.task_ids[-2:-6:-1]
        with pytest.raises(omgmj.SessionClosed):
            await anext(tasks)
        with pytest.raises(omgmj.SessionClosed):
            await session.page()
        with pytest.raises(omgmj.SessionClosed):
            session.tasks()


# All tasks.


@pytest.mark.parametrize("many", [0, 1, 19, 20, 21, 40, 45])
async def test_all_tasks_newest_first(many: int) -> None:
    """All tasks are read, each once, newest first, and the end is believed when a page more shows nothing new."""
    async with FakeService(tasks=many) as fake, fake.session() as session:
        assert await drained(session.tasks()) == fake.task_ids[::-1]
        full, rest = divmod(many, 20)
        assert fake.requests == full + (1 if rest else 0) + (1 if rest else 2)


async def test_pages_are_asked_for_as_they_are_needed() -> None:
    """Nothing is asked for before the first step, and no page before its tasks are wanted."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        tasks = session.tasks(size=10)
        await asyncio.sleep(1)
        assert fake.requests == 0
        for _ in range(10):
            await anext(tasks)
        assert fake.requests == 1
        await anext(tasks)
        assert fake.requests == 2


@pytest.mark.parametrize("page", [1, 2, 3, 4])
async def test_an_empty_page_in_the_middle(page: int) -> None:
    """An empty page before the end is looked past, and what should have stood on it is asked for once more."""
    async with FakeService(tasks=18) as fake, fake.session() as session:
        tasks = session.tasks(size=5)
        seen = [(await anext(tasks)).id for _ in range(5 * (page - 1))]
        fake.inject("list_empty")
        seen += await drained(tasks)
        assert fake.injected == {"list_empty": 1}
        if page < 4:
            assert sorted(seen, reverse=True) == fake.task_ids[::-1]
            assert seen == fake.task_ids[::-1]
        else:
            assert seen == fake.task_ids[:2:-1], "beyond the last page there is nothing that would show the gap"


async def test_two_empty_pages_are_the_end() -> None:
    """Two empty pages in a row are the end, whatever the total says."""
    async with FakeService(tasks=9, faults={"list_empty": 1.0}) as fake, fake.session() as session:
        assert await drained(session.tasks(size=5)) == []
        assert fake.pages == {1: 1, 2: 1}


async def test_a_page_that_fails_may_be_asked_for_again() -> None:
    """After an error the iterator is where it was: nothing is skipped by who reads on."""
    async with FakeService(tasks=12) as fake, fake.session(retry=omgmj.Retry(attempts=1)) as session:
        tasks = session.tasks(size=5)
        seen = [(await anext(tasks)).id for _ in range(5)]
        fake.inject("unavailable")
        with pytest.raises(omgmj.ServiceError):
            await anext(tasks)
        assert seen + await drained(tasks) == fake.task_ids[::-1]


# Leaving.


async def test_leaving_at_any_time_leaves_nothing() -> None:
    """Leaving by break, by an exception or by dropping the iterator asks for nothing more and leaves no task."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        async for _ in session.tasks(size=5):
            break
        tasks = session.tasks(size=5)
        await anext(tasks)
        del tasks
        gc.collect()
        with pytest.raises(ZeroDivisionError):
            async with session.tasks(size=5) as tasks:
                async for _ in tasks:
                    1 / 0  # noqa: B018 (it raises)
        assert await drained(tasks) == []
        await asyncio.sleep(10)
        assert fake.requests == 3


async def test_closing_from_another_task_ends_the_reader() -> None:
    """`aclose` from another task ends whoever waits for a page, at once and without an error."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        tasks = session.tasks()
        fake.inject("silence", times=None)
        readers = [asyncio.ensure_future(drained(tasks)) for _ in range(3)]
        await asyncio.sleep(1)
        await tasks.aclose()
        assert await asyncio.gather(*readers) == [[], [], []]
        assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.1)
        assert session.stats().in_flight == 0
        await tasks.aclose()
        assert await drained(tasks) == []
        assert fake.requests == 1


@pytest.mark.parametrize("closes", [False, True])
async def test_cancellation_passes_through(closes: bool) -> None:
    """A reader that is cancelled while it waits for a page is cancelled, and its request is over."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        tasks = session.tasks()
        fake.inject("silence")
        reader = asyncio.ensure_future(anext(tasks))
        await asyncio.sleep(1)
        reader.cancel()
        if closes:
            await tasks.aclose()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert session.stats().in_flight == 0
        assert len(await drained(tasks)) == (0 if closes else 30)


async def test_closing_the_session_ends_the_reader() -> None:
    """Who waits for a page while the session is closed gets `SessionClosed`."""
    async with FakeService(tasks=30) as fake:
        session = fake.session()
        fake.inject("silence")
        reader = asyncio.ensure_future(anext(session.tasks()))
        await asyncio.sleep(1)
        await session.aclose()
        with pytest.raises(omgmj.SessionClosed):
            await reader


async def test_closing_while_a_page_arrives() -> None:
    """A page that arrives just as the iterator is closed is thrown away, when an empty one is read again too."""

    async def check(stop: list[int]) -> None:
        asked: list[int] = []

        def close() -> None:
            with contextlib.suppress(StopIteration):
                tasks.aclose().send(None)

        async def fetch(number: int, size: int) -> TaskPage:
            asked.append(number)
            if asked == stop:
                asyncio.get_running_loop().call_soon(close)  # Before the reader has its turn.
            return TaskPage(number, size, None, () if asked == [1] else (Task(number, "SUCCESS"),))

        tasks = Tasks(fetch, 5)
        assert await drained(tasks) == []
        assert asked == stop

    for stop in ([1], [1, 2], [1, 2, 1]):
        await check(stop)


async def test_readers_share_an_iterator() -> None:
    """Two readers of one iterator get each task once between them."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        tasks = session.tasks(size=5)
        found = await asyncio.gather(*(drained(tasks) for _ in range(3)))
        assert sorted(itertools.chain(*found)) == fake.task_ids
        assert fake.requests == 8
