"""What a leader does for an account: it waits for all pending IDs of all batches, and writes what comes of them.

Redis holds the truth: a leader that dies leaves IDs pending, and the next one waits for them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

from omgmj.errors import OmgmjError, QueueError, UsageError
from omgmj.models import Task
from omgmj.polling.watch import Watch
from omgmj.session import Session
from omgmj.worker import results
from omgmj.worker.lease import Lease
from omgmj.worker.storage import Change, Meta, Storage

STALL = 3600.0
"""Seconds without a change after which an ID is given up, unless told otherwise."""
EVERYTHING = 2**31
"""Bound of what is watched at once: none."""
CHECKED_EVERY = 30.0
"""Seconds after which all batches are looked at, whatever the wake-ups told."""
GATHERED = 0.05
"""Seconds for which results are gathered before they are written."""
WRITTEN = 50
"""Results that are written at once."""
AGAIN = 0.5
"""Seconds after which what goes on although it was cancelled is cancelled again."""
QUIET = 1.0
"""Seconds before a leader's first request, so that none of its seconds holds the last leader's requests too."""


class Leader:
    """The waits of one account, in a session that stays open, under a lease that is held when it runs.

    It begins to send `quiet` seconds after it began to lead.
    """

    def __init__(
        self, store: Storage, session: Session, lease: Lease, *, stall: float | None, quiet: float = QUIET
    ) -> None:
        self._store = store
        self._session = session
        self._lease = lease
        self._stall = stall
        self._quiet = quiet
        self._batches: dict[str, _Known] = {}
        self._of: dict[int, tuple[str, ...]] = {}
        self._ended: dict[int, Task | OmgmjError] = {}
        self._has_ended = asyncio.Event()
        self._follows: dict[int, asyncio.Task[None]] = {}
        self._over = asyncio.Event()

    @property
    def watched(self) -> int:
        """How many IDs are waited for."""
        return len(self._of)

    async def run(self, stop: asyncio.Event) -> None:
        """Lead until told to stop; what is in hand then is written.

        `QueueError` where Redis is gone, `LeaseLost` where another leads, `AuthError` where the token is refused.
        """
        # From the first moment on: to read all that is pending may take longer than the lease.
        keeping = asyncio.create_task(self._lease.keep(), name="omgmj leader lease")
        try:
            after = await self._store.wake_end()
            quiet = asyncio.create_task(asyncio.sleep(self._quiet))
            try:
                await self._look_at_all(None)
                await quiet
            finally:
                quiet.cancel()
            if keeping.done():
                await keeping  # The lease was lost meanwhile, or Redis is gone.
            await self._lead(stop, keeping, after)
        finally:
            await cancel_all([keeping])
        await self._write_all()

    async def _lead(self, stop: asyncio.Event, keeping: asyncio.Task[None], after: str) -> None:
        """Wait for all that is known until told to stop; what ends it before is raised."""
        watch = self._session.watch(
            self._until_over(), stall=self._stall, on_error=self._on_error, max_watched=EVERYTHING
        )
        async with watch:
            watch.add(list(self._of))
            jobs = [
                asyncio.create_task(work, name=f"omgmj leader {name}")
                for name, work in (
                    ("reading", self._read(watch)),
                    ("writing", self._write()),
                    ("wake-ups", self._hear(watch, after)),
                    ("checks", self._check(watch)),
                    ("stop", _wait(stop)),
                )
            ]
            jobs.append(keeping)
            try:
                await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._over.set()
                ended = [job for job in jobs if job.done()]
                jobs += self._follows.values()
                await cancel_all(jobs)
            for job in ended:
                job.result()  # Raise what ended it.

    async def _until_over(self) -> AsyncIterator[int]:
        """Have the watch last: it waits for what is added to it."""
        await self._over.wait()
        nothing: tuple[int, ...] = ()
        for task_id in nothing:
            yield task_id

    async def _read(self, watch: Watch) -> None:
        async for task in watch:
            self._take(task.id, task)

    def _on_error(self, error: OmgmjError) -> None:
        if error.task_id is None or isinstance(error, UsageError):
            raise error  # It is no end of an ID: the session broke.
        self._take(error.task_id, error)

    def _take(self, task_id: int, outcome: Task | OmgmjError) -> None:
        if task_id in self._of:
            self._ended[task_id] = outcome
            self._has_ended.set()

    # Results.

    async def _write(self) -> None:
        while True:
            await self._has_ended.wait()
            await asyncio.sleep(GATHERED)
            self._has_ended.clear()
            await self._write_all()

    async def _write_all(self) -> None:
        by_batch: dict[str, list[int]] = {}
        for task_id in self._ended:
            for batch in self._of.get(task_id, ()):
                by_batch.setdefault(batch, []).append(task_id)
        for batch, ids in by_batch.items():
            for at in range(0, len(ids), WRITTEN):
                part = ids[at : at + WRITTEN]
                await self._finish(batch, part)
                self._drop(batch, part)

    async def _finish(self, batch: str, ids: list[int]) -> None:
        """Write the results of IDs of a batch, unless it was forgotten, or they were taken back, in the meantime."""
        known = self._batches.get(batch)
        outcomes = {task_id: self._ended[task_id] for task_id in ids if task_id in self._ended}
        if known is None or not outcomes:
            return
        ends = [(task_id, results.end_of(outcome), results.encode(outcome)) for task_id, outcome in outcomes.items()]
        while await self._store.finish(batch, known.meta, ends, self._lease.holder) is None:
            meta = await self._store.meta(batch)
            if meta is None:
                return
            known.meta = meta

    # Batches.

    async def _hear(self, watch: Watch, after: str) -> None:
        await self._follow_those_asked_for(watch)  # Of the last leader, or of nobody yet.
        while True:
            after, changes = await self._store.changes(after)
            named = [change for change in changes if change.batch]
            for batch in {change.batch for change in named if not self._apply(change, watch)}:
                await self._look_at(batch, watch)
            if len(named) < len(changes):
                await self._follow_those_asked_for(watch)

    def _apply(self, change: Change, watch: Watch) -> bool:
        """Take in what a wake-up tells, where it tells all."""
        known = self._batches.get(change.batch)
        if known is None or change.version > known.version + 1 or change.version < 0:
            return False
        if change.version <= known.version:
            return True
        if not change.came and not change.went:
            return False
        known.version = change.version
        self._add(change.batch, change.came, watch)
        self._discard(change.batch, change.went, watch)
        return True

    async def _check(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(CHECKED_EVERY)
            await self._look_at_all(watch)

    async def _look_at_all(self, watch: Watch | None) -> None:
        versions = await self._store.batches()
        for batch, version in versions.items():
            known = self._batches.get(batch)
            if known is None or known.version != version:
                await self._look_at(batch, watch)
        for batch in self._batches.keys() - versions.keys():
            self._forget(batch, watch)

    async def _look_at(self, batch: str, watch: Watch | None) -> None:
        """Read a batch anew."""
        found = await self._store.pending(batch)
        if found is None:
            self._forget(batch, watch)
            return
        meta, ids = found
        known = self._batches.setdefault(batch, _Known(meta))
        known.meta, known.version = meta, meta.version
        self._discard(batch, known.ids - ids, watch)
        self._add(batch, ids - known.ids, watch)

    def _add(self, batch: str, ids: Iterable[int], watch: Watch | None) -> None:
        new = []
        for task_id in ids:
            self._batches[batch].ids.add(task_id)
            batches = self._of.get(task_id, ())
            if not batches:
                new.append(task_id)
            elif task_id in self._ended:
                self._has_ended.set()
            if batch not in batches:
                self._of[task_id] = (*batches, batch)
        if watch is not None and new:
            watch.add(new)

    def _discard(self, batch: str, ids: Iterable[int], watch: Watch | None) -> None:
        gone = self._drop(batch, ids)
        if watch is not None and gone:
            watch.discard(gone)

    def _drop(self, batch: str, ids: Iterable[int]) -> list[int]:
        """Know these no longer as of this batch; return those that are of no batch any more."""
        gone = []
        known = self._batches.get(batch)
        for task_id in ids:
            if known is not None:
                known.ids.discard(task_id)
            batches = tuple(one for one in self._of.get(task_id, ()) if one != batch)
            if batches:
                self._of[task_id] = batches
            elif self._of.pop(task_id, None) is not None:
                self._ended.pop(task_id, None)
                gone.append(task_id)
        return gone

    def _forget(self, batch: str, watch: Watch | None) -> None:
        known = self._batches.get(batch)
        if known is not None:
            self._discard(batch, list(known.ids), watch)
            del self._batches[batch]

    # Progress.

    async def _follow_those_asked_for(self, watch: Watch) -> None:
        asked = await self._store.followed()
        if not asked <= self._of.keys():
            await self._look_at_all(watch)  # They may have been handed in just now.
        for task_id, job in list(self._follows.items()):
            if task_id not in asked or job.done():
                job.cancel()
                del self._follows[task_id]
        for task_id in asked - self._follows.keys():
            self._follows[task_id] = asyncio.create_task(self._follow(task_id), name=f"omgmj follow {task_id}")

    async def _follow(self, task_id: int) -> None:
        outcome: Task | OmgmjError
        if task_id not in self._of:
            outcome = UsageError(f"nobody waits for task {task_id} now: hand it in, or read the results of its batch")
            await self._store.tell(task_id, results.encode(outcome), is_last=True, is_record=False)
            return
        try:
            async for task in self._session.follow(task_id, stall=self._stall):
                await self._store.tell(task_id, results.encode(task), is_last=task.is_terminal)
        except QueueError:
            return  # Redis takes nothing now; who follows asks again.
        except OmgmjError as error:
            await self._store.tell(task_id, results.encode(error), is_last=True, is_record=False)


class _Known:
    """What a leader knows of a batch."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.version = meta.version
        self.ids: set[int] = set()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def cancel_all(jobs: Collection[asyncio.Task[Any]]) -> None:
    """Cancel these, and wait until they have ended; again, as a client of Redis may swallow a cancellation."""
    left = {job for job in jobs if not job.done()}
    while left:
        for job in left:
            job.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)
    for job in jobs:
        if not job.cancelled():
            job.exception()  # It is known, and no loop need tell of it.
