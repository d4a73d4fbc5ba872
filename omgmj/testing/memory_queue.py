"""A queue in memory: the doors and the leader of the real one over a store in memory, and no Redis."""

from __future__ import annotations

import asyncio
from typing import Self

import omgmj  # Annotations find the session by way of the package.
from omgmj.errors import OmgmjError, QueueError, UsageError
from omgmj.testing.memory_store import MemoryStore
from omgmj.validation import check_seconds
from omgmj.worker.leader import STALL, Leader
from omgmj.worker.lease import Lease
from omgmj.worker.queue import TTL, BaseQueue, check_name

FOR_LONG = 86_400.0


class MemoryQueue(BaseQueue):
    """`omgmj.worker.Queue` without Redis and without a worker: a session of yours waits, which stays open.

    It does what the real one does, in virtual time too; `stall` is what a worker is told, in seconds. Where the session
    ends, by a refused token say, whoever reads is told so. Use it as `async with MemoryQueue(session) as queue`, once.

        async with FakeService(tasks=3) as fake, fake.session() as session, MemoryQueue(session) as queue:
            batch = await queue.watch(fake.task_ids)
            async for result in batch.results():
                print(result.task_id, result.task or result.error)
    """

    def __init__(
        self,
        session: omgmj.Session,
        *,
        account: str = "default",
        ttl: float = TTL,
        stall: float | None = STALL,
    ) -> None:
        """Check the arguments; nothing is waited for yet. Raise `UsageError`."""
        self._kept = MemoryStore()
        super().__init__(self._kept, check_name("account", account), ttl)
        self._lease = Lease(self._kept, "memory", FOR_LONG)
        self._leader = Leader(
            self._kept, session, self._lease, stall=check_seconds("stall", stall, none=True), quiet=0.0
        )
        self._stop = asyncio.Event()
        self._leading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._leading is not None:
            raise UsageError("a MemoryQueue is entered once only; make another")
        await self._lease.take()
        self._leading = asyncio.create_task(self._lead(), name="omgmj memory queue")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the waits; results that are there can still be read."""
        self._stop.set()
        if self._leading is not None:
            await self._leading

    async def _lead(self) -> None:
        why: OmgmjError = QueueError("the queue in memory is closed, so nothing is waited for any more")
        try:
            await self._leader.run(self._stop)
        except OmgmjError as error:
            why = error
        finally:
            self._kept.end(why)
