"""Waiting for one task's final record."""

from __future__ import annotations

import asyncio

from omgmj.errors import OmgmjError
from omgmj.models import Task
from omgmj.polling.poller import Poller
from omgmj.polling.sinks import Terms
from omgmj.scheduler.registry import Subscription


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
