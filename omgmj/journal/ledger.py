"""What a session tells its journal: who holds which ID, which submissions are under way.

It belongs to one event loop, and answers from memory: only what reads, and what says so, waits for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from omgmj.errors import JournalError, OmgmjError
from omgmj.journal.account import Account, check_account
from omgmj.journal.contexts import NO_CONTEXT, decode, decode_submission, encode, encode_submission
from omgmj.journal.journal import FIRST, IdRow, Journal, SubmissionRow
from omgmj.journal.writer import Writer
from omgmj.models import Submission, Unsettled


class Masked(Protocol):
    """A token that is shown only where it is revealed."""

    def reveal(self) -> str:
        """Return the token itself."""
        ...


class Tokens(Protocol):
    """Whoever has the account's token."""

    known: Any
    """The token, a `Masked`; None where it is still to be asked for."""

    async def current(self) -> Masked:
        """Return the token."""
        ...


CLOSING = 5.0
"""Seconds that a session which is closed waits for its token, to learn whose the journal is."""
_users: weakref.WeakKeyDictionary[Journal, weakref.ref[Ledger]] = weakref.WeakKeyDictionary()
"""Whose each journal is."""


class Ledger:
    """A journal as its session uses it, whose service has these `hosts`, addresses of one.

    At the first use it is looked whether the journal is of this account: nothing is written before that.
    """

    def __init__(
        self, journal: Journal, hosts: Collection[str], tokens: Tokens, loop: asyncio.AbstractEventLoop
    ) -> None:
        user = _users.get(journal)
        if user is not None and user() is not None:
            raise JournalError(f"{journal.name} is in use by another session; each needs one of its own")
        _users[journal] = weakref.ref(self)
        self._journal = journal
        self._hosts = hosts
        self._tokens = tokens
        self._loop = loop
        self._binding: asyncio.Task[None] | None = None
        self._proven: Masked | None = None
        self._writer = Writer(journal, loop)
        self._account: Account | None = None
        self._held: set[int] = set()
        self._more: dict[int, int] = {}  # Holders beyond the first.
        self._left: set[int] = set()  # Held, and left unfinished by somebody.
        self._made: set[int] = set()  # Those that have a submission's row.
        self._last_key = 0
        self._under_way: dict[int, Any] = {}  # Contexts, by key.
        self._contexts: dict[int, Any] = {}

    def begin(self) -> asyncio.Task[None]:
        """Look whose the journal is, once; begin to write where it is this account's."""
        if self._binding is None or (self._binding.done() and not self._writer.begun):
            # An empty context, as it is nobody's in particular.
            self._binding = self._loop.create_task(self._bind(), name="omgmj journal", context=contextvars.Context())
            self._binding.add_done_callback(_ignore_error)  # Who waits for it is told.
        return self._binding

    async def _bound(self) -> None:
        """Wait until it is known whose the journal is."""
        try:
            await asyncio.shield(self.begin())
        except OmgmjError as error:
            # A copy: the task keeps its own, and a traceback holds all that it passed, such as a reader's handle.
            error.__traceback__ = None
            raise error.about(error.task_id) from error.__cause__

    async def _bind(self) -> None:
        token = await self._tokens.current()
        stored = await self._writer.call(self._journal.read_account)
        self._account = check_account(stored, self._hosts, token.reveal(), self._journal.account_name)
        made, self._last_key = await self._writer.call(self._journal.read_made)
        self._made |= made
        if self._account != stored:
            self._writer.pending.account = self._account
        self._writer.begin()

    def prove(self) -> None:
        """Note that the service takes the token: the account is known by it from now on."""
        token = self._tokens.known
        if token is self._proven or token is None or self._account is None:
            return
        self._proven = token
        if (account := self._account.with_token(token.reveal())) is not self._account:
            self._account = self._writer.pending.account = account
            self._writer.soon()

    async def written(self) -> None:
        """Wait until all that was told before is on the disk, or could not be written, as the log tells.

        `JournalError` where the journal is of another account.
        """
        await self._bound()
        await self._writer.written()

    async def aclose(self) -> None:
        """Write all that is pending, and close the journal; where it is not this account's, nothing is written."""
        if self._binding is not None and not self._binding.done():
            await asyncio.wait((self._binding,), timeout=CLOSING)
            self._binding.cancel()
        await self._writer.aclose()
        _users.pop(self._journal, None)

    # IDs that are waited for.

    def hold(self, task_ids: Sequence[int], contexts: Sequence[Any] | None = None) -> None:
        """Write these as `put` does, and note that somebody holds them; one that stands there twice counts once."""
        self.put(task_ids, contexts)
        self._count(task_ids)

    def put(self, task_ids: Sequence[int], contexts: Sequence[Any] | None = None) -> None:
        """Write that these are waited for.

        `contexts` are theirs, in the same order. None keeps what the journal has, and so does a context None.
        `UsageError`, and nothing written, where one is not JSON.
        """
        self._writer.check_open()
        self.begin()
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
        await self.written()
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
        await self._bound()
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
        self.prove()
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

    def is_made(self, task_id: int) -> bool:
        """Whether a task is known to have come of a submission whose end was not delivered yet."""
        return task_id in self._made

    def contexts(self, task_ids: Iterable[int]) -> list[Any] | None:
        """Return the contexts that tasks were made with in this session, None for one without; None where all are."""
        found = list(map(self._contexts.get, task_ids)) if self._contexts else []
        return found if any(one is not None for one in found) else None

    async def unsettled(self) -> list[Unsettled]:
        """Return the submissions that may have made a task, and are not under way."""
        await self._bound()
        found: list[Unsettled] = []
        after = FIRST
        while sent := await self._writer.call(partial(self._journal.read_submissions, after)):
            after = sent[-1].key
            for row in filter(None, map(self._writer.as_changed, sent)):
                if row.task_id is None and row.key not in self._under_way:
                    with contextlib.suppress(ValueError):  # It is damaged.
                        found.append(
                            Unsettled(decode_submission(row.submission), decode([row.context])[0], key=row.key)
                        )
        return found

    def _take(self, rows: Iterable[IdRow]) -> tuple[list[int], list[Any]] | None:
        """Hold those that nobody holds; None where there are none."""
        free = [row for row in rows if row.task_id not in self._held]
        task_ids = [row.task_id for row in free]
        self._count(task_ids)
        return (task_ids, decode([row.context for row in free])) if free else None

    def _count(self, task_ids: Collection[int]) -> None:
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


def _ignore_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
