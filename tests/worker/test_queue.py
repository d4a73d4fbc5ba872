"""A queue's doors, the same by way of a real Redis with a real worker and in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from benchmarks.redis_server import RedisServer
from omgmj import Cancelled, Stalled, Status, Task, TaskNotFound, UsageError
from omgmj.testing import FakeService, Life, MemoryQueue
from omgmj.worker import Batch, Counts, Queue, Result, Worker
from omgmj.worker.queue import BaseQueue

Opened = Callable[..., AbstractAsyncContextManager[tuple[FakeService, BaseQueue]]]

SOON = Life.succeed(after=0)
LATE = Life.succeed(after=3600)


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.in_memory),
        pytest.param("redis", marks=(pytest.mark.real_time, pytest.mark.slow)),
    ]
)
def opened(request: pytest.FixtureRequest) -> Opened:
    """Return what opens a service and a queue of either kind."""
    return _in_memory if request.param == "memory" else partial(_on_redis, request.getfixturevalue("redis"))


@asynccontextmanager
async def _in_memory(
    *, ttl: float = 600, stall: float | None = 3600, waits: bool = True
) -> AsyncIterator[tuple[FakeService, BaseQueue]]:
    async with (
        FakeService() as fake,
        fake.session() as session,
        MemoryQueue(session, ttl=ttl, stall=stall) as queue,
    ):
        yield fake, queue


@asynccontextmanager
async def _on_redis(
    redis: RedisServer, *, ttl: float = 600, stall: float | None = 3600, waits: bool = True
) -> AsyncIterator[tuple[FakeService, BaseQueue]]:
    """Run a worker too, if somebody is to wait."""
    async with FakeService() as fake, Queue(redis.url, ttl=ttl) as queue:
        await fake.serve()
        if not waits:
            yield fake, queue
            return
        worker = Worker(redis.url, {"default": fake.token}, base_url=fake.url, rate=200, lease=3, stall=stall)
        run = asyncio.create_task(worker.run())
        try:
            yield fake, queue
        finally:
            worker.stop()
            await run


async def all_of(batch: Batch, reader: str = "default") -> dict[int, Result]:
    """Return all results of a batch by ID, and see that none comes twice."""
    async with asyncio.timeout(60):
        found = [result async for result in batch.results(reader=reader)]
    assert len({result.task_id for result in found}) == len(found)
    return {result.task_id: result for result in found}


async def first_of(batch: Batch, count: int, reader: str = "default") -> list[int]:
    """Read some results, and leave in the middle."""
    found: list[int] = []
    async with aclosing(batch.results(reader=reader)) as results:
        async for result in results:
            found.append(result.task_id)
            if len(found) == count:
                break
    return found


async def test_to_hand_in_again_changes_nothing(opened: Opened) -> None:
    """A batch without a name is known by its IDs in any order, as numbers or as texts, and each is in it once."""
    async with opened(waits=False) as (_, queue):
        first = await queue.watch([3432, 3433, 3434])
        again = await queue.watch(["3434", 3432, 3433, 3433])
        other = await queue.watch([3432, 3433])
        assert (first.new, again.new, other.new, queue.batch(first.name).new) == (3, 0, 2, 0)
        assert first.name == again.name != other.name
        assert await again.counts() == Counts(total=3)
        assert await queue.batches() == sorted([first.name, other.name])


async def test_ids_are_added_to_a_batch(opened: Opened) -> None:
    """By its name a batch takes more IDs, also after others came to their ends; those are not waited for again."""
    async with opened() as (fake, queue):
        ids = [fake.add_task(SOON) for _ in range(5)]
        batch = await queue.watch(ids[:3], batch="nightly")
        assert (await all_of(batch)).keys() == set(ids[:3])
        asked = fake.asked[ids[0]]
        assert (await queue.watch(ids, batch="nightly")).name == "nightly"
        assert (await all_of(queue.batch("nightly"), "another")).keys() == set(ids)
        assert await batch.counts() == Counts(total=5, succeeded=5)
        assert fake.asked[ids[0]] == asked


async def test_contexts_come_back(opened: Opened) -> None:
    """What was handed in with an ID comes with its result, the first time it was handed in; None is none."""
    contexts: dict[int, Any] = {1: {"chat": 7, "names": ["ä", "\ud800"]}, 2: None, 3: (1, 2.5), 4: "", 5: 0, 6: "null"}
    async with opened() as (fake, queue):
        for task_id in contexts:
            fake.add_task(SOON, task_id=task_id)
        batch = await queue.watch(contexts, batch="b")
        await queue.watch(dict.fromkeys(contexts, "later"), batch="b")
        found = await all_of(batch)
    assert {task_id: result.context for task_id, result in found.items()} == contexts | {3: [1, 2.5]}


async def test_a_context_that_is_no_json_is_refused(opened: Opened) -> None:
    """The error names the ID, and nothing of the batch is handed in."""
    async with opened(waits=False) as (_, queue):
        with pytest.raises(UsageError, match="context of task 3433 is not JSON"):
            await queue.watch({3432: 1, 3433: object()})
        assert await queue.batches() == []


@pytest.mark.parametrize("task_ids", [None, 7, "3432", b"3432"])
async def test_ids_must_be_an_iterable_of_them(opened: Opened, task_ids: Any) -> None:
    """One ID alone, and its text, is refused wherever IDs are taken."""
    async with opened(waits=False) as (_, queue):
        with pytest.raises(UsageError, match="task IDs must be an iterable of them"):
            await queue.watch(task_ids)
        with pytest.raises(UsageError, match="task IDs must be an iterable of them"):
            await queue.batch("b").cancel(task_ids)


async def test_each_reader_gets_each_result_once(opened: Opened) -> None:
    """Two readers at a time get all; who comes back after the end gets nothing more."""
    async with opened() as (fake, queue):
        ids = [fake.add_task(Life.fail(after=0)), *(fake.add_task(SOON) for _ in range(21))]
        batch = await queue.watch(ids)
        one, two = await asyncio.gather(all_of(batch, "one"), all_of(batch, "two"))
        assert one == two
        assert one.keys() == set(ids)
        assert all(result.task is not None and result.error is None for result in one.values())
        assert await all_of(batch, "one") == {}
        assert await batch.counts() == Counts(total=22, succeeded=21, failed=1)


async def test_a_reader_that_left_goes_on(opened: Opened) -> None:
    """It sees again only what it was about when it left."""
    async with opened() as (fake, queue):
        ids = [fake.add_task(SOON) for _ in range(10)]
        batch = await queue.watch(ids)
        await all_of(batch, "another")
        seen = await first_of(batch, 4)
        rest = list(await all_of(queue.batch(batch.name)))
        assert rest[0] == seen[-1]
        assert Counter(seen + rest[1:]) == Counter(ids)


@pytest.mark.in_memory
async def test_the_place_of_a_reader_that_waits_is_kept() -> None:
    """What it had before it began to wait is not seen again, although it never comes to its end."""
    async with _in_memory(ttl=7200) as (fake, queue):
        soon, late = fake.add_task(SOON), fake.add_task(LATE)
        batch = await queue.watch([soon, late])
        async with aclosing(batch.results()) as results:
            assert (await anext(results)).task_id == soon
            waiting = asyncio.create_task(anext(results))
            await asyncio.sleep(20)
            assert await first_of(batch, 1) == [late]
            assert (await waiting).task_id == late


async def test_results_come_as_they_come_to_their_ends(opened: Opened) -> None:
    """A reader has the first ones while others are waited for, and waits for those."""
    async with opened() as (fake, queue):
        soon, late = fake.add_task(SOON), fake.add_task(LATE)
        batch = await queue.watch([late, soon])
        assert await first_of(batch, 1) == [soon]
        reading = asyncio.create_task(all_of(batch, "another"))
        await asyncio.sleep(0.1)
        assert await batch.cancel([late]) == 1
        assert list(await reading) == [soon, late]


async def test_ids_are_cancelled(opened: Opened) -> None:
    """One that is pending has `Cancelled` for its result; one that has ended, or is of no batch, is left alone."""
    async with opened() as (fake, queue):
        soon, late = fake.add_task(SOON), fake.add_task(LATE)
        batch = await queue.watch({soon: "s", late: "l"})
        assert await first_of(batch, 1) == [soon]
        assert await batch.counts() == Counts(total=2, succeeded=1)
        assert await batch.cancel([soon, late, late, str(late), 999]) == 1
        assert await batch.cancel([late]) == 0
        assert await batch.counts() == Counts(total=2, succeeded=1, cancelled=1)
        result = (await all_of(batch))[late]
        assert (result.task_id, result.context, result.task) == (late, "l", None)
        assert isinstance(result.error, Cancelled)
        assert result.error.task_id == late
        assert str(result.error) == f"the wait for task {late} was cancelled"
        await asyncio.sleep(2)
        asked = fake.asked[late]
        await asyncio.sleep(60 if isinstance(queue, MemoryQueue) else 2)
        assert fake.asked[late] == asked


async def test_a_batch_is_forgotten(opened: Opened) -> None:
    """Its results, its readers' places and its waits go; one of the same name begins anew."""
    async with opened() as (fake, queue):
        soon, late = fake.add_task(SOON), fake.add_task(LATE)
        batch = await queue.watch({soon: 1, late: 2}, batch="b")
        other = await queue.watch([late], batch="other")
        assert await first_of(batch, 1) == [soon]
        await batch.forget()
        assert await queue.batches() == ["other"]
        with pytest.raises(UsageError, match="there is no batch 'b'"):
            await batch.counts()
        assert await other.counts() == Counts(total=1)
        third = fake.add_task(SOON)
        await queue.watch([soon, third], batch="b")
        assert {one.task_id: one.context for one in (await all_of(batch)).values()} == {soon: None, third: None}


async def test_a_batch_of_the_same_name_is_handed_in_after_the_last_one_was_too_old(opened: Opened) -> None:
    """Who leads waits for its IDs, although nobody said that the last one has gone."""
    async with opened(ttl=2) as (fake, queue):
        late, soon = fake.add_task(LATE), fake.add_task(SOON)
        batch = await queue.watch([late], batch="b")
        await asyncio.sleep(3.2)
        with pytest.raises(UsageError, match="too old"):
            await batch.counts()
        assert await queue.batches() == []
        await queue.watch([soon], batch="b")
        assert (await all_of(batch)).keys() == {soon}


async def test_an_unknown_batch(opened: Opened) -> None:
    """Who reads it is told; there is nothing to cancel or to forget."""
    async with opened(waits=False) as (_, queue):
        batch = queue.batch("no such")
        with pytest.raises(UsageError, match="there is no batch 'no such'"):
            await batch.counts()
        with pytest.raises(UsageError, match="there is no batch 'no such'"):
            await all_of(batch)
        assert await batch.cancel([3432]) == 0
        await batch.forget()
        assert await queue.batches() == []


async def test_what_comes_to_no_end_has_an_error(opened: Opened) -> None:
    """Errors of single IDs are results with their fields, and hold up nobody else."""
    async with opened(stall=3) as (fake, queue):
        stuck = fake.add_task(Life.steps([(0, "IN_PROGRESS", "31%")]), webhook="http://127.0.0.1:1/secret")
        good = fake.add_task(SOON)
        ids = [stuck, good, 999]
        batch = await queue.watch(dict(zip(ids, "abc", strict=True)))
        found = await all_of(batch)
        counts = await batch.counts()
    assert counts == Counts(total=3, succeeded=1, errors=2)
    assert found[good].task is not None
    stalled, unknown = found[stuck].error, found[999].error
    assert isinstance(stalled, Stalled)
    assert stalled.elapsed >= 3
    assert stalled.queries >= 2
    assert stalled.last is not None
    assert (stalled.last.status, stalled.last.progress) == (Status.IN_PROGRESS, 31)
    assert not stalled.last.webhook_url
    assert isinstance(unknown, TaskNotFound)
    assert unknown.task_id == 999
    assert unknown.code == 400
    assert unknown.message
    assert [found[task_id].context for task_id in ids] == ["a", "b", "c"]


async def test_a_webhook_is_not_told(opened: Opened) -> None:
    """A record's webhook URL is blank in its result, and the rest of it is there."""
    async with opened() as (fake, queue):
        task_id = fake.add_task(SOON, webhook="http://127.0.0.1:1/secret", prompt="a cat")
        found = (await all_of(await queue.watch([task_id])))[task_id].task
    assert found is not None
    assert found.prompt == "a cat"
    assert "secret" not in repr(found) + repr(found.to_dict()) + repr(found.raw)


async def test_two_batches_with_one_id(opened: Opened) -> None:
    """Each has its result; to cancel it in one leaves it in the other."""
    async with opened() as (fake, queue):
        first, second = fake.add_task(Life.succeed(after=2)), fake.add_task(SOON)
        one = await queue.watch({first: "one", second: "one"}, batch="one")
        two = await queue.watch({first: "two"}, batch="two")
        assert await one.cancel([first]) == 1
        results = (await all_of(one))[first], (await all_of(two))[first]
        assert isinstance(results[0].error, Cancelled)
        assert isinstance(results[1].task, Task)
        assert [result.context for result in results] == ["one", "two"]


async def test_an_id_is_followed_to_its_end(opened: Opened) -> None:
    """Its changes come, the final record last; an ID that nobody waits for is said to be none."""
    async with opened() as (fake, queue):
        task_id = fake.add_task(Life.succeed(after=4, queue=0.5, steps=(0, 50)))
        await queue.watch([task_id])
        async with asyncio.timeout(30):
            seen = [task async for task in queue.follow(str(task_id))]
        assert [task.is_terminal for task in seen] == [False] * (len(seen) - 1) + [True]
        assert len(seen) >= 2
        with pytest.raises(UsageError, match="nobody waits for task 999 now"):
            async for _ in queue.follow(999):
                pytest.fail("it has no record")


async def test_what_ends_an_id_ends_who_follows_it(opened: Opened) -> None:
    """An ID that stalls raises that where it is followed."""
    async with opened(stall=3) as (fake, queue):
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "31%")]))
        await queue.watch([task_id])
        seen = []
        with pytest.raises(Stalled) as caught:
            async with asyncio.timeout(30):
                async for task in queue.follow(task_id):
                    seen.append(task.progress)
    assert seen == [31]
    assert caught.value.task_id == task_id


async def test_large_ids(opened: Opened) -> None:
    """IDs up to 2**63 - 1 are the same when they come back, and stay apart."""
    ids = [2**63 - 1, 2**63 - 2, 2**53 + 1, 2**53]
    async with opened() as (fake, queue):
        for task_id in ids:
            fake.add_task(SOON, task_id=task_id)
        batch = await queue.watch(dict.fromkeys(ids, 1))
        assert await batch.cancel([2**63 - 3, 2**53 + 2]) == 0
        assert (await all_of(batch)).keys() == set(ids)
        with pytest.raises(UsageError):
            await queue.watch([2**63])


@pytest.mark.parametrize("name", ["", "a{b", "b}", "x" * 201, "a\nb", "\ud800", 7])
async def test_names_that_are_refused(opened: Opened, name: Any) -> None:
    """Of batches and of readers alike."""
    async with opened(waits=False) as (_, queue):
        with pytest.raises(UsageError, match="the name of the batch must be"):
            await queue.watch([1], batch=name)
        with pytest.raises(UsageError, match="the name of the batch must be"):
            queue.batch(name)
        with pytest.raises(UsageError, match="the name of the reader must be"):
            await all_of(queue.batch("b"), name)


async def test_odd_names(opened: Opened) -> None:
    """Names with what has a meaning elsewhere are kept apart, and come back as they are."""
    names = ["a", "a b", "a:b", "m:a", "*", "ночь 🌙", "'; DROP", "x" * 200, "0"]
    async with opened(waits=False) as (_, queue):
        for number, name in enumerate(names, 1):
            await queue.watch(range(1, number + 1), batch=name)
        assert await queue.batches() == sorted(names)
        assert [(await queue.batch(name).counts()).total for name in names] == list(range(1, len(names) + 1))


async def test_an_empty_batch_is_over_at_once(opened: Opened) -> None:
    """It is there, and has no results; IDs may be added to it."""
    async with opened() as (fake, queue):
        batch = await queue.watch([], batch="b")
        assert await queue.batches() == ["b"]
        assert await batch.counts() == Counts()
        assert await all_of(batch) == {}
        task_id = fake.add_task(SOON)
        await queue.watch([task_id], batch="b")
        assert (await all_of(batch)).keys() == {task_id}


async def test_many_ids(opened: Opened) -> None:
    """2,000 IDs, of which some are added later and some are cancelled, have each one result."""
    async with opened() as (fake, queue):
        ids = [fake.add_task(SOON) for _ in range(1500)] + [fake.add_task(LATE) for _ in range(500)]
        batch = await queue.watch(ids[:5], batch="b")
        reading = asyncio.create_task(all_of(batch))
        await queue.watch(ids, batch="b")
        assert await batch.cancel(ids[1500:]) == 500
        assert (await reading).keys() == set(ids)
        assert await batch.counts() == Counts(total=2000, succeeded=1500, cancelled=500)
