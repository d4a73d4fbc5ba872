"""Waiting for one task: for its final record, or for each change; and what all who read have in common.

The poller tells sinks; a sink holds what it was told until its reader comes. A reader's handle (`Follow`, `Watch`) and
its sink are two objects, so that a handle that is dropped is noticed at once and its waits end.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Self

from omgmj.backoff.policies import Policy
from omgmj.errors import OmgmjError, UsageError
from omgmj.models import Task
from omgmj.polling.poller import Poller
from omgmj.polling.wait_errors import record_of
from omgmj.scheduler.registry import Subscription


class Terms(NamedTuple):
    """On which terms one waits: when to poll, and for how many seconds at most (None: for ever)."""

    policy: Policy
    timeout: float | None
    stall: float | None


async def wait_for(poller: Poller, task_id: int, terms: Terms) -> Task:
    """Wait for one ID's final record."""
    ticket = _Ticket(asyncio.get_running_loop().create_future())
    poller.open(ticket)
    try:
        poller.watch(ticket, (task_id,), *terms)
        return await ticket.future
    finally:
        poller.close(ticket)
        poller.drop(task_id, ticket)
        if not ticket.future.cancel() and not ticket.future.cancelled():
            ticket.future.exception()  # Seen, should the caller have been cancelled just then.


class _Ticket:
    """The sink of one wait."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Task]) -> None:
        self.future = future

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:  # noqa: ARG002 (a sink)
        if task.is_terminal and not self.future.done():
            self.future.set_result(task)

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:  # noqa: ARG002 (a sink)
        self.broke(error)

    def broke(self, error: OmgmjError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Bell:
    """Wakes all who wait for it."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    async def heard(self) -> None:
        """Wait until it rings next."""
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("this belongs to the event loop in which it was made, and ends with it")
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def ring(self) -> None:
        """Wake them."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Follow:
    """Each change of one task, the final record last: an async iterator of `Task`.

    A reader that is slow gets the latest state, and in any case the final record. It ends by itself after that; who
    leaves early, and keeps the iterator in a variable, uses `async with` or `aclose`.
    """

    def __init__(self, poller: Poller, task_id: int, terms: Terms) -> None:
        """Begin to wait; `Session.follow` makes these."""
        self._latest = _Latest(poller, task_id, asyncio.get_running_loop())
        self._latest.start(terms)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next change; `WaitError` or what concerns the account where the wait ends without an end."""
        latest = self._latest
        while True:
            if (task := latest.task) is not None:
                latest.task = None
                return task
            if (error := latest.error) is not None:
                latest.error = None
                raise error
            if latest.over:
                raise StopAsyncIteration
            await latest.bell.heard()

    async def aclose(self) -> None:
        """End the wait; whoever reads gets the end of the iteration."""
        self._latest.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if (latest := getattr(self, "_latest", None)) is not None:
            latest.abandon()


class _Latest:
    """The sink of one follow: the latest news, until it is read."""

    def __init__(self, poller: Poller, task_id: int, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = Bell(loop)
        self.task: Task | None = None
        self.error: OmgmjError | None = None
        self.over = False
        self._poller = poller
        self._task_id = task_id
        self._hungry = True

    def start(self, terms: Terms) -> None:
        self._poller.open(self)
        self._join(terms)

    def _join(self, terms: Terms) -> None:
        if self._poller.planner.news.asking:
            self._poller.later(lambda: self._join(terms))
            return
        if self.over:
            return
        self._poller.watch(self, (self._task_id,), *terms)
        self.task = record_of(self._poller.planner.last(self._task_id), self._task_id)
        self._hungry = self.task is None

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:  # noqa: ARG002 (a sink)
        if moved or self._hungry:
            self._hungry = False
            self.task = task
            if task.is_terminal:
                self._end()
            self.bell.ring()

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:  # noqa: ARG002 (a sink)
        self.broke(error)

    def broke(self, error: OmgmjError) -> None:
        self.error = error
        self._end()
        self.bell.ring()

    def leave(self) -> None:
        if self._poller.planner.news.asking:
            self._poller.later(self.leave)
            return
        if not self.over:
            self._poller.drop(self._task_id, self)
            self._end()
        self.bell.ring()

    def abandon(self) -> None:
        """Leave on behalf of a handle that is gone; the garbage collector may say so at any moment, in any thread."""
        if not self.over:
            self._poller.later(self.leave)

    def _end(self) -> None:
        self.over = True
        self._poller.close(self)
