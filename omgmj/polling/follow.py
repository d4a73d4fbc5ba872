"""Following one task: `Follow`, the iterator of its changes, and the sink behind it."""

from __future__ import annotations

from typing import Self

from omgmj.errors import OmgmjError
from omgmj.models import Task
from omgmj.polling.hold import Hold
from omgmj.polling.poller import Poller
from omgmj.polling.sinks import ReaderSink, Terms
from omgmj.polling.wait_errors import record_of
from omgmj.scheduler.registry import Subscription


class Follow:
    """Each change of one task, the final record last: an async iterator of `Task`.

    A reader that is slow gets the latest state, and in any case the final record. It ends by itself after that; who
    leaves early, and keeps the iterator in a variable, uses `async with` or `aclose`.
    """

    def __init__(self, poller: Poller, task_id: int, terms: Terms, hold: Hold | None = None) -> None:
        """Begin to wait; `Session.follow` makes these."""
        self._latest = _Latest(poller, task_id, hold)
        self._latest.start(terms)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next change; raise a `WaitError`, or an error of the account, if the task comes to no end."""
        if (hold := self._latest.hold) is not None:
            hold.come_back()
            if not hold.is_written:
                await hold.written()
        while (task := self._latest.take()) is None:
            await self._latest.told()
        return task

    async def aclose(self) -> None:
        """End the wait; whoever reads gets the end of the iteration."""
        self._latest.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if (latest := getattr(self, "_latest", None)) is not None:
            latest.abandon()


class _Latest(ReaderSink):
    """The sink of one follow: the latest news, until it is read."""

    def __init__(self, poller: Poller, task_id: int, hold: Hold | None) -> None:
        super().__init__(poller, hold)
        self._task_id = task_id
        self._task: Task | None = None
        self._error: OmgmjError | None = None
        self._hungry = True

    # The reader's side.

    def start(self, terms: Terms) -> None:
        """Begin to wait."""
        self._poller.open(self)
        if self.hold is not None:
            self.hold.take_in((self._task_id,))
        self._join(terms)

    def take(self) -> Task | None:
        """Take the latest news, None where there is none yet; at the end raise the error, then `StopAsyncIteration`."""
        if (task := self._task) is not None:
            self._task = None
            if task.is_terminal:
                self.hand(task)
            return task
        if (error := self._error) is not None:
            self._error = None
            self.hand(error)
            raise error
        if self._over:
            raise StopAsyncIteration
        return None

    # The poller's side.

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:  # noqa: ARG002 (a sink)
        if moved or self._hungry:
            self._hungry = False
            self._task = task
            if task.is_terminal:
                self._end()
            self._told.set()

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:  # noqa: ARG002 (a sink)
        self.broke(error)

    def broke(self, error: OmgmjError) -> None:
        self._error = error
        self._end()
        self._told.set()

    # In between.

    def _join(self, terms: Terms) -> None:
        if self._poller.planner.progress.asking:
            self._poller.later(lambda: self._join(terms))
            return
        if self._over:
            return
        self._poller.watch(self, (self._task_id,), *terms, follows=True)
        self._task = record_of(self._poller.planner.last(self._task_id), self._task_id)
        self._hungry = self._task is None

    def _unsubscribe(self) -> None:
        self._poller.drop(self._task_id, self)
