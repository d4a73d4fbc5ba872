"""The sink behind a watch: IDs waiting for room, subscriptions, and results waiting for their reader."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from omgmj.errors import OmgmjError, SessionClosed, UsageError, WatchErrors
from omgmj.models import Task
from omgmj.polling.hold import Hold
from omgmj.polling.poller import Poller
from omgmj.polling.sinks import ReaderSink, Terms
from omgmj.scheduler.registry import Subscription
from omgmj.validation import check_task_id

T = TypeVar("T")
CHUNK = 1000
"""IDs taken in at one go; the event loop gets its turn in between."""


class Inbox(ReaderSink):
    """The sink of one watch. `max_watched` bounds the IDs that are watched, or done and not yet taken; None: no bound.

    It is the one owner of the results, of the errors for the end, and of the cause that ends the watch.
    """

    def __init__(self, poller: Poller, terms: Terms, max_watched: int | None, hold: Hold | None) -> None:
        super().__init__(poller, hold)
        self._terms = terms
        self._max_watched = max_watched
        self._results: deque[Task | OmgmjError] = deque()
        self._put_aside: list[OmgmjError] = []
        self._fatal: BaseException | None = None
        self._left: tuple[int, ...] = ()
        self._watching = 0
        self._subscriptions: set[Subscription] = set()
        self._backlog: deque[int] = deque()
        self._resumed: deque[int] = deque()  # the same of those that were waited for before
        self._unwritten: deque[tuple[Sequence[int], Sequence[Any] | None]] = deque()
        self._all_noted = asyncio.Event()
        self._all_noted.set()
        self._space = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None

    # The reader's side.

    @property
    def over(self) -> bool:
        """Whether the watch has ended, in whatever way."""
        return self._over

    def pending(self) -> tuple[int, ...]:
        """Return the IDs that are waited for; after the end those that it left."""
        if self._over:
            return self._left
        registry = self._poller.planner.registry
        watched = (task_id for subscription in self._subscriptions for task_id in subscription.ids)
        return (
            *(one for one in watched if one in registry.rows and self in registry.who[registry.rows[one]]),
            *self._resumed,
            *self._backlog,
        )

    def open(self) -> None:
        """Begin; `SessionClosed` where it is too late."""
        self._poller.open(self)

    def feed(self, source: AsyncIterator[T], take_in: Callable[[T], None]) -> None:
        """Draw from `source` as there is room, and have what it gives taken in."""
        self._feeder = self._loop.create_task(self._feed(source, take_in), name="omgmj feeder")

    def add(self, task_ids: Sequence[int], contexts: Sequence[Any] | None = None) -> None:
        """Wait for these too. Their contexts go into the journal: `UsageError` where JSON cannot hold one."""
        if self.hold is not None and task_ids:
            self.hold.take_in(task_ids[:CHUNK], contexts and contexts[:CHUNK])
            self._unwritten.extend(
                (task_ids[at : at + CHUNK], contexts and contexts[at : at + CHUNK])
                for at in range(CHUNK, len(task_ids), CHUNK)
            )
            if self._unwritten and self._all_noted.is_set():
                self._all_noted.clear()
                self._poller.soon(self._write)
        self._backlog.extend(task_ids)
        self._take_in()

    def add_one(self, given: int | str) -> None:
        """Wait for one more ID; one that is none becomes a result."""
        try:
            task_id = check_task_id(given)
        except UsageError as error:
            self._results.append(error)
            self._told.set()
        else:
            self.add((task_id,))

    def resume(self, task_ids: Sequence[int]) -> None:
        """Wait again for these, which the journal has handed out."""
        if self.hold is not None:
            self.hold.resume(task_ids)
        self._resumed.extend(task_ids)
        self._take_in()

    async def written(self) -> None:
        """Wait until what the watch began with is in the journal."""
        await self._all_noted.wait()
        if self.hold is not None:
            await self.hold.written()

    def discard(self, gone: set[int]) -> None:
        """Wait no longer for these, and drop what came of them."""
        self._results = deque(result for result in self._results if id_of(result) not in gone)
        self._put_aside = [error for error in self._put_aside if error.task_id not in gone]
        self._backlog = deque(task_id for task_id in self._backlog if task_id not in gone)
        self._resumed = deque(task_id for task_id in self._resumed if task_id not in gone)
        if self.hold is not None:
            while self._unwritten:
                self._write()
            self.hold.discard(gone)
        self._drop(gone)

    def take(self) -> Task | OmgmjError | None:
        """Take the next result; None where it is still to come.

        At the end raise its cause, else the errors put aside, then `StopAsyncIteration`.
        """
        if self._results:
            result = self._results.popleft()
            if self._max_watched is not None:
                self._take_in()
            return result
        if self._fatal is not None:
            fatal, self._fatal = self._fatal, None
            self.release()
            raise fatal
        if not self._over and (self._watching or self._backlog or self._resumed or self._feeder):
            return None
        self.leave()
        errors, self._put_aside = self._put_aside, []
        if errors:
            self.hand(*errors)
            raise WatchErrors(f"{len(errors)} tasks came to no end", errors)
        raise StopAsyncIteration

    def put_aside(self, error: OmgmjError) -> None:
        """Keep an error, to be raised at the end."""
        self._put_aside.append(error)

    def close(self) -> None:
        """Leave, and drop what is in hand."""
        self._put_aside.clear()
        self._results.clear()
        self._fatal = None
        self.release()

    # The poller's side.

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:  # noqa: ARG002 (a sink)
        """Deliver a final record."""
        if task.is_terminal:
            self._deliver(subscription, task)

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:
        """Deliver an error."""
        self._deliver(subscription, error)

    def broke(self, error: OmgmjError) -> None:
        """End the watch with an error."""
        self._fatal = error
        self._end()
        self._told.set()

    # In between.

    def _drop(self, gone: set[int]) -> None:
        if self._poller.planner.progress.asking:
            self._poller.later(lambda: self._drop(gone))
            return
        for task_id in gone:
            if self._poller.drop(task_id, self):
                self._watching -= 1
        self._subscriptions = {subscription for subscription in self._subscriptions if subscription.pending}
        self._take_in()
        self._told.set()

    def _deliver(self, subscription: Subscription, result: Task | OmgmjError) -> None:
        self._watching -= 1
        if not subscription.pending:
            self._subscriptions.discard(subscription)
        self._results.append(result)
        self._told.set()

    def _room(self) -> int:
        if self._max_watched is None:
            return CHUNK
        return self._max_watched - self._watching - len(self._results)

    def _take_in(self) -> None:
        """Subscribe to a chunk of the backlog, as far as there is room, and to the next when the loop had its turn."""
        if self._poller.planner.progress.asking:
            self._poller.later(self._take_in)
            return
        room = self._room()
        if room > 0:
            self._space.set()
        backlog = self._resumed or self._backlog
        size = min(CHUNK, room, len(backlog))
        if self._over or size <= 0:
            return
        chunk = [backlog.popleft() for _ in range(size)]
        try:
            subscription = self._poller.watch(self, chunk, *self._terms, known=backlog is self._resumed)
        except SessionClosed as error:
            self.broke(error)
            return
        self._watching += subscription.joined
        if subscription.pending:
            self._subscriptions.add(subscription)
        if self._resumed or self._backlog:
            self._poller.soon(self._take_in)
        elif not self._watching:
            self._told.set()

    def _end(self) -> None:
        self._left = self.pending()
        super()._end()
        self._backlog.clear()
        self._resumed.clear()
        if self._feeder is not None:
            self._feeder.cancel()

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._poller.leave(subscription)
        self._subscriptions.clear()

    def _write(self) -> None:
        """Write a chunk of IDs into the journal, and the next when the loop had its turn."""
        try:
            if self._unwritten and self.hold is not None:
                self.hold.take_in(*self._unwritten.popleft())
        except UsageError as error:
            self._unwritten.clear()
            self._fail(error)
        if self._unwritten:
            self._poller.soon(self._write)
        else:
            self._all_noted.set()

    async def _feed(self, source: AsyncIterator[T], take_in: Callable[[T], None]) -> None:
        try:
            await asyncio.sleep(0)  # A task that starts eagerly could end before `open` has it.
            while not self._over:
                if self._room() <= len(self._backlog) + len(self._resumed):
                    self._space.clear()
                    await self._space.wait()
                    continue
                take_in(await anext(source))
        except StopAsyncIteration:
            pass
        except asyncio.CancelledError:
            if self._over:
                raise
            self._fail(OmgmjError("the source of task IDs was cancelled"))
        except Exception as error:  # noqa: BLE001 (the user's own iterable: its reader gets what it raised)
            self._fail(error)
        finally:
            self._feeder = None
            self._told.set()
            await _close_iterator(source)

    def _fail(self, error: Exception) -> None:
        """End the watch with what the source raised."""
        self._fatal = error
        self._feeder = None  # It ends by itself.
        self.leave()


def id_of(result: Task | OmgmjError) -> int | None:
    """Return the ID that a result is of; None for what concerns no single one."""
    return result.id if isinstance(result, Task) else result.task_id


async def _close_iterator(iterator: AsyncIterator[Any]) -> None:
    if (aclose := getattr(iterator, "aclose", None)) is not None:
        with contextlib.suppress(Exception):
            await aclose()
