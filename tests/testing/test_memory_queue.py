"""What a queue in memory has of its own; what it has in common with the real one is in `tests/worker/test_queue.py`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import pytest

from omgmj import AuthError, QueueError, SessionClosed, UsageError
from omgmj.testing import FakeService, Life, MemoryQueue

pytestmark = pytest.mark.in_memory

WITHOUT = """
import asyncio, sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("redis", "docket"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())

import omgmj
import omgmj.worker.results
from omgmj.testing import FakeService, Life, MemoryQueue
from omgmj.worker import Batch, Counts, Result


async def main():
    async with FakeService() as fake, fake.session() as session, MemoryQueue(session) as queue:
        batch = await queue.watch([fake.add_task(Life.succeed(after=0))])
        assert isinstance(batch, Batch)
        async for result in batch.results():
            assert isinstance(result, Result) and result.task.succeeded
        assert await batch.counts() == Counts(total=1, succeeded=1)


asyncio.run(main())
for name in ("Queue", "Worker"):
    try:
        getattr(omgmj.worker, name)
    except omgmj.UsageError as error:
        print(error)
"""


def test_it_needs_no_redis_and_no_docket() -> None:
    """Where neither is installed it works all the same, and the real one says what to install."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "omgmj.worker needs redis and pydocket: pip install 'omgmj[worker]'\n" * 2


async def test_the_session_stays_open() -> None:
    """It is borrowed; its own waits and the queue's share the polls."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(after=5))
        async with MemoryQueue(session) as queue:
            batch = await queue.watch([task_id])
            task = await session.wait(task_id)
            assert [result.task async for result in batch.results()] == [task]
        assert (await session.query(task_id)).succeeded


async def test_whoever_reads_after_the_queue_was_left_gets_what_is_there() -> None:
    """What is pending then comes to no end, and that is said."""
    async with FakeService() as fake, fake.session() as session:
        soon, late = fake.add_task(Life.succeed(after=1)), fake.add_task(Life.succeed(after=3600))
        async with MemoryQueue(session) as queue:
            batch = await queue.watch([soon, late])
            await asyncio.sleep(10)
        seen = []
        with pytest.raises(QueueError, match="is closed"):
            async for result in batch.results():
                seen.append(result.task_id)
        assert seen == [soon]
        polls = fake.requests
        await asyncio.sleep(60)
        assert fake.requests == polls


async def test_a_reader_is_told_when_the_queue_is_left() -> None:
    """It does not hang; nor does who follows an ID."""
    async with FakeService() as fake, fake.session() as session:
        queue = await MemoryQueue(session).__aenter__()
        late = fake.add_task(Life.steps([(0, "IN_PROGRESS", "0%")]))
        batch = await queue.watch([late])
        reading = asyncio.create_task(anext(batch.results()))
        async with aclosing(queue.follow(late)) as records:
            assert (await anext(records)).progress == 0
            following = asyncio.create_task(anext(records))
            await asyncio.sleep(30)
            await queue.aclose()
            with pytest.raises(QueueError, match="is closed"):
                await following
        await queue.aclose()
        with pytest.raises(QueueError, match="is closed"):
            await reading


async def test_a_session_that_is_closed_is_told_to_who_reads() -> None:
    """So that a test fails instead of hanging."""
    async with FakeService() as fake:
        session = fake.session()
        async with MemoryQueue(session) as queue:
            batch = await queue.watch([fake.add_task(Life.succeed(after=3600))])
            reading = asyncio.create_task(anext(batch.results()))
            await asyncio.sleep(5)
            await session.aclose()
            with pytest.raises(SessionClosed):
                await reading


async def test_a_refused_token_is_told_to_who_reads() -> None:
    """A worker would leave the lead to others; here are none."""
    async with FakeService() as fake, fake.session("sk-other") as session, MemoryQueue(session) as queue:
        batch = await queue.watch(fake.add_tasks(3))
        with pytest.raises(AuthError):
            await anext(batch.results())


async def test_it_is_entered_once() -> None:
    """As a fake service is."""
    async with FakeService() as fake, fake.session() as session, MemoryQueue(session) as queue:
        with pytest.raises(UsageError, match="entered once only"):
            await queue.__aenter__()


async def test_arguments_are_checked() -> None:
    """At the call, as the real one's are."""
    async with FakeService() as fake, fake.session() as session:
        wrong: tuple[dict[str, Any], ...] = ({"ttl": 0}, {"stall": -1}, {"account": "{a}"})
        for arguments in wrong:
            with pytest.raises(UsageError):
                MemoryQueue(session, **arguments)
        assert repr(MemoryQueue(session, account="a")) == "<omgmj MemoryQueue a>"
