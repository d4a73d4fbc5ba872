"""What a session tells its journal: who holds which ID, which submissions are under way.

It belongs to one event loop, and answers from memory: only what reads, and what says so, waits for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from omgmj.journal.account import Account, check_account
from omgmj.journal.contexts import NO_CONTEXT, decode, decode_submission, encode, encode_submission
from omgmj.journal.journal import FIRST, IdRow, Journal, SubmissionRow
from omgmj.journal.writer import Writer
from omgmj.models import Submission


class Unsettled(NamedTuple):
    """A submission that may have made a task, and is not known to have."""

    key: int
    submission: Submission
    context: Any


class Ledger:
    """A journal as its session uses it. `bind` comes first; IDs that are held before are written then."""

    def __init__(self, journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        self._journal = journal
        self._writer = Writer(journal, loop)
        self._account: Account | None = None
        self._held: set[int] = set()
        self._more: dict[int, int] = {}  # Holders beyond the first.
        self._left: set[int] = set()  # Held, and left unfinished by somebody.
        self._made: set[int] = set()  # Those that have a submission's row.
        self._last_key = 0
        self._under_way: dict[int, Any] = {}  # Contexts, by key.
        self._contexts: dict[int, Any] = {}

    async def bind(self, host: str, token: str) -> None:
        """Begin to write; `JournalError` where the journal is of another account."""
        stored = await self._writer.call(self._journal.read_account)
        self._account = check_account(stored, host, token, self._journal.account_name)
        made, self._last_key = await self._writer.call(self._journal.read_made)
        self._made |= made
        if self._account != stored:
            self._writer.pending.account = self._account
        self._writer.begin()

    def learn(self, token: str) -> None:
        """Know the account by this token too."""
        if self._account is not None and (account := self._account.with_token(token)) is not self._account:
            self._account = self._writer.pending.account = account
            self._writer.soon()

    async def written(self) -> None:
        """Wait until all that was told before is on the disk, or could not be written, as the log tells."""
        await self._writer.written()

    async def aclose(self) -> None:
        """Write all that is pending, and close the journal."""
        await self._writer.aclose()

    # IDs that are waited for.

    def hold(self, task_ids: Sequence[int], contexts: Sequence[Any] | None = None) -> None:
        """Note that somebody waits for these; one that stands there twice counts once.

        `contexts` are theirs, in the same order. None keeps what the journal has, and so does a context None.
        `UsageError`, and nothing noted, where one is not JSON.
        """
        self._writer.check_open()
        pending = self._writer.pending
        if contexts is None:
            pending.held.update(task_ids)
        else:
            texts = encode(contexts, task_ids)
            pairs: Iterable[tuple[int, str]] = zip(task_ids, texts, strict=True)
            if NO_CONTEXT in texts:
                pending.held.update(task_ids)
                pairs = [pair for pair in pairs if pair[1] != NO_CONTEXT]
            pending.contexts.update(pairs)
        self._count(task_ids)
        self._writer.soon()

    def done(self, task_id: int) -> None:
        """Note that a holder's consumer has had the end of this ID, and came back.

        With the last holder the row goes, unless another holder had left it unfinished.
        """
        if task_id not in self._held:
            return
        if task_id in self._more:
            self._uncount(task_id)
        else:
            self._held.discard(task_id)
            if task_id in self._left:
                self._left.discard(task_id)
            else:
                self._remove((task_id,))
                self._writer.linger()

    def leave(self, task_ids: Iterable[int]) -> None:
        """Note that a holder of these is gone: the rows stay, to be resumed."""
        gone = self._held.intersection(task_ids)
        shared = gone.intersection(self._more)
        for task_id in shared:
            self._uncount(task_id)
        self._left |= shared
        gone -= shared
        self._held -= gone
        self._left -= gone

    def forget(self, task_ids: Iterable[int]) -> None:
        """Have the rows of these go, whoever holds them."""
        self._writer.check_open()
        gone = set(task_ids)
        self._held -= gone
        self._left -= gone
        for task_id in gone.intersection(self._more):
            del self._more[task_id]
        self._remove(gone)
        self._writer.soon()

    async def resume(self) -> AsyncIterator[tuple[list[int], list[Any]]]:
        """Yield all IDs that nobody holds, with their contexts, in chunks; each is held from then on.

        First come those that were waited for, then those of submissions whose tasks never were.
        """
        await self._writer.written()
        after = FIRST
        while rows := await self._writer.call(partial(self._journal.read_ids, after)):
            after = rows[-1].task_id
            if free := self._take(row for row in rows if not self._writer.is_gone(row.task_id)):
                yield free
        after = FIRST
        while sent := await self._writer.call(partial(self._journal.read_submissions, after)):
            after = sent[-1].key
            made = filter(None, map(self._writer.as_changed, sent))
            rows = [IdRow(row.task_id, row.context) for row in made if row.task_id is not None]
            self._writer.pending.hold(row for row in rows if row.task_id not in self._held)
            self._writer.soon()
            if free := self._take(rows):
                yield free
        # What a full disk keeps from being written.
        if free := self._take(self._writer.unwritten()):
            yield free

    # Submissions.

    async def intend(self, submission: Submission, context: Any = None) -> int:
        """Write that this is about to be sent, and return its key; it is on the disk then, and under way.

        `JournalError` where it cannot be written: then it must not be sent. `UsageError` where the context is not JSON.
        """
        text = None if context is None else encode([context])[0]
        self._last_key += 1
        key = self._last_key
        self._under_way[key] = context
        try:
            await self._writer.intend(SubmissionRow(key, encode_submission(submission), text))
        except BaseException:
            self.refused(key)
            raise
        return key

    def made(self, key: int, task_id: int) -> None:
        """Note the ID that a submission was answered with."""
        context = self._under_way.pop(key)
        if context is not None:
            self._contexts[task_id] = context
        self._made.add(task_id)
        self._writer.pending.made[key] = task_id
        self._writer.soon()

    def refused(self, key: int) -> None:
        """Note that a submission made nothing."""
        self._under_way.pop(key, None)
        self.drop((key,))

    def uncertain(self, key: int) -> None:
        """Note that the answer to a submission was lost."""
        self._under_way.pop(key, None)

    def drop(self, keys: Iterable[int]) -> None:
        """Have the rows of these submissions go."""
        self._writer.pending.dropped.update(keys)
        self._writer.soon()

    def settle(self, task_id: int) -> None:
        """Note that the end of a task that was made here has been delivered: its submission's row goes."""
        if task_id in self._made:
            self._made.discard(task_id)
            self._contexts.pop(task_id, None)
            self._writer.pending.settled.add(task_id)
            self._writer.linger()

    def context(self, task_id: int) -> Any:
        """Return the context of a task that this session made; None where it has none."""
        return self._contexts.get(task_id)

    async def unsettled(self) -> list[Unsettled]:
        """Return the submissions that may have made a task, and are not under way."""
        found: list[Unsettled] = []
        after = FIRST
        while sent := await self._writer.call(partial(self._journal.read_submissions, after)):
            after = sent[-1].key
            for row in filter(None, map(self._writer.as_changed, sent)):
                if row.task_id is None and row.key not in self._under_way:
                    with contextlib.suppress(ValueError):  # It is damaged.
                        found.append(Unsettled(row.key, decode_submission(row.submission), *decode([row.context])))
        return found

    def _take(self, rows: Iterable[IdRow]) -> tuple[list[int], list[Any]] | None:
        """Hold those that nobody holds; None where there are none."""
        free = [row for row in rows if row.task_id not in self._held]
        task_ids = [row.task_id for row in free]
        self._count(task_ids)
        return (task_ids, decode([row.context for row in free])) if free else None

    def _count(self, task_ids: Sequence[int]) -> None:
        if not self._held.isdisjoint(task_ids):
            for task_id in self._held.intersection(task_ids):
                self._more[task_id] = self._more.get(task_id, 0) + 1
        self._held.update(task_ids)

    def _uncount(self, task_id: int) -> None:
        self._more[task_id] -= 1
        if not self._more[task_id]:
            del self._more[task_id]

    def _remove(self, task_ids: Collection[int]) -> None:
        self._writer.pending.remove(task_ids)
        for task_id in self._made.intersection(task_ids):
            self.settle(task_id)
