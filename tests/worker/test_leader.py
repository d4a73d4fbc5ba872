"""A leader on a store in memory that takes its time, as Redis does: what changes while results are written."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from omgmj import QueueError
from omgmj.testing import FakeService, Life
from omgmj.testing.memory_store import MemoryStore
from omgmj.worker.leader import WRITTEN, Leader
from omgmj.worker.lease import Lease
from omgmj.worker.queue import BaseQueue
from omgmj.worker.results import Counts, End
from omgmj.worker.storage import LeaseLost, Meta

pytestmark = pytest.mark.in_memory


class SlowStore(MemoryStore):
    """A store that takes a second for each write of results by the leader; then it `is_writing`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing = asyncio.Event()

    async def finish(self, batch: str, meta: Meta, ends: Sequence[tuple[int, End, bytes]], holder: str = "") -> int:
        if holder:
            self.is_writing.set()
            await asyncio.sleep(1)
        return await super().finish(batch, meta, ends, holder)


@asynccontextmanager
async def led() -> AsyncIterator[tuple[FakeService, SlowStore, BaseQueue]]:
    """Lead an account on a slow store."""
    store = SlowStore()
    async with led_on(store) as (fake, queue):
        yield fake, store, queue


@asynccontextmanager
async def led_on(store: MemoryStore) -> AsyncIterator[tuple[FakeService, BaseQueue]]:
    """Lead an account; what ends the leader is raised as the block ends, after a minute at most."""
    async with FakeService() as fake, fake.session(rate=1000) as session:
        lease = Lease(store, "test", 86_400)
        await lease.take()
        stop = asyncio.Event()
        leading = asyncio.create_task(Leader(store, session, lease, stall=None, quiet=0).run(stop))
        try:
            async with asyncio.timeout(60):
                yield fake, BaseQueue(store, "default", 600)
        finally:
            stop.set()
            await leading


async def test_a_batch_is_forgotten_while_its_results_are_written() -> None:
    """The leader goes on with the others."""
    async with led() as (fake, store, queue):
        ids = [fake.add_task(Life.succeed(after=0)) for _ in range(3 * WRITTEN)]
        batch = await queue.watch(ids, batch="b")
        other = await queue.watch(ids, batch="other")
        await store.is_writing.wait()
        await asyncio.sleep(0.5)
        await batch.forget()
        assert len([result async for result in other.results()]) == len(ids)


async def test_ids_are_cancelled_while_their_results_are_written() -> None:
    """Each has one result: the one that was first in the store."""
    async with led() as (fake, store, queue):
        ids = [fake.add_task(Life.succeed(after=0)) for _ in range(3 * WRITTEN)]
        batch = await queue.watch(ids)
        await store.is_writing.wait()
        await asyncio.sleep(0.5)
        cancelled = await batch.cancel(ids)
        assert len([result async for result in batch.results()]) == len(ids)
        await asyncio.sleep(5)  # The leader is at the rest of them.
        assert await batch.counts() == Counts(total=len(ids), succeeded=len(ids) - cancelled, cancelled=cancelled)


async def test_an_id_is_handed_in_again_elsewhere_while_its_result_is_written() -> None:
    """The second batch has its result of the same poll."""
    async with led() as (fake, store, queue):
        task_id = fake.add_task(Life.succeed(after=0))
        one = await queue.watch([task_id], batch="one")
        await store.is_writing.wait()
        await asyncio.sleep(0.5)
        two = await queue.watch([task_id], batch="two")
        for batch in (one, two):
            assert [result.task_id async for result in batch.results()] == [task_id]
        assert fake.asked[task_id] + fake.pages[1] == 1


async def test_the_lease_is_kept_while_what_is_pending_is_read() -> None:
    """A batch that takes longer to read than the lease lasts does not cost the lead."""

    class LargeStore(MemoryStore):
        renewed: ClassVar[list[float]] = []

        async def pending(self, batch: str) -> tuple[Meta, set[int]] | None:
            await asyncio.sleep(30)
            return await super().pending(batch)

        async def renew(self, holder: str, seconds: float) -> bool:
            self.renewed.append(asyncio.get_running_loop().time())
            return await super().renew(holder, seconds)

    store = LargeStore()
    async with FakeService() as fake, fake.session() as session:
        await BaseQueue(store, "default", 600).watch([fake.add_task(Life.succeed(after=0))], batch="b")
        lease = Lease(store, "test", 10)
        await lease.take()
        stop = asyncio.Event()
        leading = asyncio.create_task(Leader(store, session, lease, stall=None, quiet=0).run(stop))
        await asyncio.sleep(29)
        assert len([at for at in store.renewed if at < 29]) > 10
        stop.set()
        await leading


async def test_a_lease_that_is_lost_while_what_is_pending_is_read_ends_the_lead() -> None:
    """Nothing is sent then."""

    class LostStore(MemoryStore):
        async def pending(self, batch: str) -> tuple[Meta, set[int]] | None:
            await asyncio.sleep(5)
            return await super().pending(batch)

        async def renew(self, holder: str, seconds: float) -> bool:
            return False

    store = LostStore()
    async with FakeService() as fake, fake.session() as session:
        await BaseQueue(store, "default", 600).watch([fake.add_task(Life.succeed(after=0))], batch="b")
        lease = Lease(store, "test", 10)
        await lease.take()
        with pytest.raises(LeaseLost):
            await Leader(store, session, lease, stall=None, quiet=0).run(asyncio.Event())
        assert fake.requests == 0


async def test_progress_that_redis_refuses_harms_nobody() -> None:
    """It is told again when who follows asks again; no task's exception is left for the loop to tell of."""

    class RefusingStore(MemoryStore):
        refused = 0

        async def tell(self, task_id: int, packed: bytes, *, is_last: bool, is_record: bool = True) -> None:
            self.refused += 1
            raise QueueError("Redis refused: OOM")

    store, told = RefusingStore(), list[dict[str, Any]]()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with led_on(store) as (fake, queue):
            task_id = fake.add_task(Life.succeed(after=3600))
            await queue.watch([task_id])
            for _ in range(2):
                await store.ask_to_follow(task_id)
                await asyncio.sleep(10)
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert (store.refused, told) == (2, [])
