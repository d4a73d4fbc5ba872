"""What brings changes to a journal: from the event loop, in a thread of its own, one batch at a time.

Changes gather while a batch is out, and for a moment after. A batch that cannot be written is tried again, and nobody
waits for that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from omgmj import log
from omgmj.errors import JournalError, SessionClosed
from omgmj.journal.journal import Changes, IdRow, Journal, SubmissionRow
from omgmj.threads import own_thread

PAUSE = 0.005
"""Seconds from one batch to the next."""
LINGER = 0.02
"""The same, where there is nothing but rows that go."""
RETRY = 5.0
"""The same, where a batch failed."""

T = TypeVar("T")
Waiters = list[asyncio.Future[None]]


class Writer:
    """The one way to a journal. Nothing is written before `begin`; what is changed before is kept.

    Who changes `pending` calls `soon`, or `linger` where rows go and nothing else.
    """

    def __init__(self, journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        self.pending: Changes = Changes()
        self.out: Changes = Changes()
        """The batch that is being written."""
        self._journal = journal
        self._loop = loop
        self._thread = own_thread()
        self._begun = False
        self._fails = False
        self._closed: asyncio.Future[None] | None = None
        self._intents: list[SubmissionRow] = []
        self._intending: Waiters = []
        self._waiting: Waiters = []
        self._waiting_for_out: Waiters = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf  # not every loop's handle tells it
        self._latest = -RETRY
        self._job: asyncio.Future[JournalError | None] | None = None  # Held: a virtual clock forgets what nobody holds.

    @property
    def begun(self) -> bool:
        """Whether the journal is known to be this account's, and is written."""
        return self._begun

    def begin(self) -> None:
        """Write what was changed, and what will be."""
        self._begun = True
        self._plan()

    def soon(self) -> None:
        """Have what is pending written."""
        if self._job is None:
            self._plan()

    def linger(self) -> None:
        """Have what is pending written, when others had time to join."""
        if self._job is None and self._timer is None:
            self._plan()

    def is_gone(self, task_id: int) -> bool:
        """Whether an ID that was read from the journal is to go, or has gone, by what was changed since."""
        for changes in (self.pending, self.out):
            if task_id in changes.held or task_id in changes.contexts:
                return False
            if task_id in changes.gone:
                return True
        return False

    def unwritten(self) -> list[IdRow]:
        """Return the IDs that are to be in the journal, and may not be yet."""
        contexts = self.out.contexts | self.pending.contexts
        found = self.out.held | self.pending.held | contexts.keys()
        return [IdRow(task_id, contexts.get(task_id)) for task_id in found if not self.is_gone(task_id)]

    def as_changed(self, row: SubmissionRow) -> SubmissionRow | None:
        """Return a submission that was read from the journal as what was changed since has it; None where it goes."""
        for changes in (self.out, self.pending):
            row = row._replace(task_id=changes.made.get(row.key, row.task_id))
            if row.key in changes.dropped or row.task_id in changes.settled:
                return None
        return row

    async def written(self) -> None:
        """Wait until all that was changed before this is on the disk, or could not be written, as the log tells."""
        if self._fails or self._is_over():
            return
        if self.pending:
            await self._wait(self._waiting)
        elif self.out:
            await self._wait(self._waiting_for_out)

    async def intend(self, intent: SubmissionRow) -> None:
        """Write an intent, in one batch with those of others; `JournalError` where it cannot be written."""
        self.check_open()
        self._intents.append(intent)
        await self._wait(self._intending)

    async def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done in the journal's thread, after what is out.

        Who awaits this goes on before the end of a later batch is noticed: what that removes still stands in `out`.
        """
        self.check_open()
        return await self._loop.run_in_executor(self._thread, work)

    def check_open(self) -> None:
        """Raise `SessionClosed` after the end."""
        if self._closed is not None:
            raise SessionClosed("the session was closed, and its journal with it")

    async def aclose(self) -> None:
        """Write all that is pending, and close the journal."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            self.soon()
        await asyncio.shield(self._closed)

    def _is_over(self) -> bool:
        return self._closed is not None and self._closed.done()

    async def _wait(self, waiters: Waiters) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        waiters.append(done)
        self.soon()
        await done

    def _plan(self) -> None:
        """Send the next batch when it is due; none may be out."""
        due = self._due()
        if due is None:
            return
        if due <= self._loop.time():
            self._send()
        elif due < self._timer_at:
            self._stop_timer()
            self._timer, self._timer_at = self._loop.call_at(due, self._send), due

    def _due(self) -> float | None:
        if self._is_over():
            return None
        if self._closed is not None or self._intents:
            return self._latest
        if not self._begun or not self.pending:
            return None
        if self._fails:
            return self._latest + RETRY
        if self._waiting:
            return self._latest
        return self._latest + (PAUSE if self.pending.urgent else LINGER)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf

    def _send(self) -> None:
        """Send the next batch. Intents go first, and apart: what is large may not fit on a full disk, where they do."""
        self._stop_timer()
        if self._intents:
            intents, self._intents = self._intents, []
            waiters, self._intending = self._intending, []
            self._do(partial(self._journal.write, Changes(intents=intents)), partial(self._on_intents, waiters))
        elif self._begun and self.pending:
            self.out, self.pending = self.pending, Changes()
            self._waiting_for_out, self._waiting = self._waiting, []
            self._latest = self._loop.time()
            self._do(partial(self._journal.write, self.out), self._on_batch)
        elif self._closed is not None:
            self._do(self._journal.close, partial(self._on_close, self._closed))

    def _do(self, work: Callable[[], None], then: Callable[[JournalError | None], None]) -> None:
        self._job = self._loop.run_in_executor(self._thread, partial(_try, work))
        self._job.add_done_callback(partial(self._on_done, then))

    def _on_done(self, then: Callable[[JournalError | None], None], job: asyncio.Future[JournalError | None]) -> None:
        self._job = None
        then(job.result())

    def _on_intents(self, waiters: Waiters, error: JournalError | None) -> None:
        _tell(waiters, error)
        self._plan()

    def _on_batch(self, error: JournalError | None) -> None:
        if error is None:
            if self._fails:
                log.journal_is_well(self._journal.name)
        else:
            if not self._fails:
                log.journal_fails(error)
            self.out.follow_with(self.pending)
            self.pending = self.out
        self._fails = error is not None
        self.out = Changes()
        _tell(self._waiting_for_out)
        if self._fails:
            _tell(self._waiting)
            if self._closed is not None:
                self.pending = Changes()  # There is no next time.
        self._plan()

    def _on_close(self, closed: asyncio.Future[None], _: JournalError | None) -> None:
        self._thread.shutdown(wait=False)
        _tell((*self._waiting, closed))


def _try(work: Callable[[], None]) -> JournalError | None:
    try:
        work()
    except JournalError as error:
        return error
    except Exception as error:  # noqa: BLE001 (who waits has to hear of it)
        failed = JournalError(f"the journal failed: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed
    return None


def _tell(waiters: Iterable[asyncio.Future[None]], error: JournalError | None = None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(JournalError(*error.args))
