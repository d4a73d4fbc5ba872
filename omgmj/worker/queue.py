"""The doors of a queue: batches of IDs that workers wait for, and their results."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from omgmj import log
from omgmj.errors import Cancelled, OmgmjError, UsageError
from omgmj.journal.contexts import NO_CONTEXT, encode
from omgmj.models import Task
from omgmj.validation import check_seconds, check_task_id
from omgmj.worker import results
from omgmj.worker.results import Counts, End, Result
from omgmj.worker.storage import Entry, Storage, patiently

TTL = 7 * 86_400.0
"""Seconds after its last hand-in that a batch is kept."""
PAGE = 100
"""Results that are read at a time."""
MARKED_EVERY = 1.0
"""Seconds after which a reader's place is written, when it comes back for one more, or waits for one for a while."""
ASKED_EVERY = 20.0
"""Seconds after which progress is asked for again."""
UNLED = 30.0
"""Seconds without a result after which a reader is told that no worker leads the account, where none does."""
HANDED_IN = 50_000
"""IDs that are handed in at once."""


class BaseQueue:
    """The doors of a queue over a store, which says where its batches are kept."""

    def __init__(self, store: Storage, account: str, ttl: float) -> None:
        """Check the seconds; the name of the account is checked already."""
        self._ttl = check_seconds("ttl", ttl)
        self._store = store
        self._account = account

    def __repr__(self) -> str:
        return f"<omgmj {type(self).__name__} {self._account}>"

    async def watch(self, task_ids: Iterable[int | str] | Mapping[int, Any], *, batch: str | None = None) -> Batch:
        """Hand in IDs to be waited for, or a mapping of ID to a context of yours; return their batch.

        To hand in again is harmless: a batch has each ID once. A batch without a name has one made of its IDs. IDs that
        a batch does not have yet are added to it. Contexts are JSON values. Raise `UsageError`, `QueueError`.

            batch = await queue.watch([3432, 3433], batch="nightly")
        """
        if isinstance(task_ids, str | bytes) or not isinstance(task_ids, Iterable):
            raise UsageError(f"task IDs must be an iterable of them, not {type(task_ids).__name__}")
        ids = [check_task_id(task_id) for task_id in task_ids]
        texts = None
        if isinstance(task_ids, Mapping):
            texts = ["" if text == NO_CONTEXT else text for text in encode(list(task_ids.values()), ids)]
        name = name_of(ids) if batch is None else check_name("batch", batch)
        new = 0
        for start in range(0, max(len(ids), 1), HANDED_IN):
            part = slice(start, start + HANDED_IN)
            new += await patiently(
                partial(self._store.hand_in, name, ids[part], None if texts is None else texts[part], self._ttl)
            )
        return Batch(self._store, self._account, name, new)

    def batch(self, name: str) -> Batch:
        """Return the batch of this name, which somebody has handed in, or will."""
        return Batch(self._store, self._account, check_name("batch", name))

    async def batches(self) -> list[str]:
        """Return the names of all batches of this account."""
        return sorted(await patiently(self._store.batches))

    async def follow(self, task_id: int | str) -> AsyncGenerator[Task, None]:
        """Yield the records of an ID as it changes, the final one last; it is waited for in some batch.

        `UsageError` where the leader says that nobody waits for it. Errors of the ID are raised.

            async for task in queue.follow(3432):
                print(task.status, task.progress)
        """
        checked = check_task_id(task_id)
        loop = asyncio.get_running_loop()
        asked, after = float("-inf"), "0-0"
        while True:
            if loop.time() - asked > ASKED_EVERY:
                await patiently(partial(self._store.ask_to_follow, checked))
                asked = loop.time()
            for key, packed, is_last in await patiently(partial(self._store.told, checked, after)):
                after = key
                outcome = results.decode(checked, packed)
                if not isinstance(outcome, Task):
                    raise outcome
                yield outcome
                if is_last:
                    return


class Batch:
    """IDs that were handed in together, under a `name`; `Queue.watch` and `Queue.batch` make these.

    `new` is how many of its IDs this hand-in added; 0 where it was not handed in here.
    """

    def __init__(self, store: Storage, account: str, name: str, new: int = 0) -> None:
        self.name: str = name
        self.new: int = new
        self._store = store
        self._account = account

    def __repr__(self) -> str:
        return f"<omgmj.worker.Batch {self.name}>"

    async def results(self, *, reader: str = "default") -> AsyncGenerator[Result, None]:
        """Yield the result of each ID, as they come to their ends; it ends when all have.

        Where a `reader` of this name has come to is kept: after a crash it goes on there, and sees again what it was
        about at most a second before. Readers of different names each get all. Redis may be away for a minute. Raise
        `UsageError` where there is no such batch, `QueueError`.

            async for result in batch.results(reader="bot"):
                print(result.task_id, result.task, result.error)
        """
        check_name("reader", reader)
        loop = asyncio.get_running_loop()
        at = marked = await patiently(partial(self._store.cursor, self.name, reader))
        marked_at = loop.time()
        try:
            async with aclosing(self._entries(at)) as entries:
                async for entry in entries:
                    if at != marked and (entry is None or loop.time() - marked_at > MARKED_EVERY):
                        await patiently(partial(self._store.move_cursor, self.name, reader, at))
                        marked, marked_at = at, loop.time()
                    if entry is not None:
                        yield _result(entry)
                        at = entry.key  # The reader has come back.
        finally:
            if at != marked:
                await self._store.move_cursor(self.name, reader, at)

    async def _entries(self, after: str) -> AsyncGenerator[Entry | None, None]:
        """Yield what is in the stream until the end, and None where nothing came for a while."""
        loop = asyncio.get_running_loop()
        quiet_since, warned = loop.time(), False
        while True:
            # What is counted as done before the stream is read, is in it.
            is_over = not (await self.counts()).pending
            entries = await patiently(partial(self._store.read, self.name, after, PAGE, block=not is_over))
            for entry in entries:
                yield entry
                after = entry.key
            if is_over and not entries:
                return
            if entries:
                quiet_since = loop.time()
                continue
            yield None
            if not warned and loop.time() - quiet_since > UNLED and await patiently(self._store.holder) is None:
                log.nobody_leads(self._account, self.name)
                warned = True

    async def counts(self) -> Counts:
        """Return how many IDs there are, and how they ended. Raise `UsageError` where there is no such batch."""
        meta = await patiently(partial(self._store.meta, self.name))
        if meta is None:
            raise UsageError(f"there is no batch {self.name!r}: it was never handed in, was forgotten, or is too old")
        return meta.counts

    async def cancel(self, task_ids: Iterable[int | str]) -> int:
        """Take back IDs that are still waited for: their results are `Cancelled`. Return how many these were.

        The tasks go on at the service. Raise `UsageError`, `QueueError`.

            await batch.cancel([3433])
        """
        if isinstance(task_ids, str | bytes) or not isinstance(task_ids, Iterable):
            raise UsageError(f"task IDs must be an iterable of them, not {type(task_ids).__name__}")
        ids = list(dict.fromkeys(check_task_id(task_id) for task_id in task_ids))
        ends: list[tuple[int, End, bytes]] = []
        for task_id in ids:
            error = Cancelled(f"the wait for task {task_id} was cancelled", task_id=task_id)
            ends.append((task_id, End.CANCELLED, results.encode(error)))
        return sum([await self._cancel(ends[at : at + PAGE]) for at in range(0, len(ends), PAGE)])

    async def _cancel(self, ends: list[tuple[int, End, bytes]]) -> int:
        while True:
            meta = await patiently(partial(self._store.meta, self.name))
            if meta is None:
                return 0
            written = await patiently(partial(self._store.finish, self.name, meta, ends))
            if written is not None:
                return written

    async def forget(self) -> None:
        """Drop all of it from Redis, results and readers' places too; what is pending is waited for no longer."""
        await patiently(partial(self._store.forget, self.name))


def check_name(what: str, name: object) -> str:
    """Return the name of an account, a batch or a reader; `UsageError` where it cannot be one."""
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable() or "{" in name or "}" in name:
        raise UsageError(f"the name of the {what} must be 1 to 200 printable characters without braces")
    return name


def name_of(ids: Iterable[int]) -> str:
    """Return a name made of the IDs: the same ones, in whatever order, have the same."""
    return hashlib.sha256(",".join(map(str, sorted(set(ids)))).encode()).hexdigest()[:16]


def _result(entry: Entry) -> Result:
    outcome: Task | OmgmjError = results.decode(entry.task_id, entry.packed)
    if isinstance(outcome, Task):
        return Result(entry.task_id, task=outcome, context=entry.context)
    return Result(entry.task_id, error=outcome, context=entry.context)
