"""Waiting for many tasks: `Watch`, and the sink behind it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Self

from omgmj.errors import OmgmjError, SessionClosed, UsageError, WatchErrors
from omgmj.models import Task
from omgmj.polling.poller import Poller
from omgmj.polling.wait import Bell, Terms
from omgmj.scheduler.registry import Subscription
from omgmj.validation import check_count, check_task_id

CHUNK = 1000
"""IDs taken in at one go; the event loop gets its turn in between."""
MAX_WATCHED = 10_000
"""IDs of an endless source that are watched, or done and not yet fetched, at once."""

KEPT_CONTEXTS = 1000

TaskIds = Iterable[int | str] | Mapping[int, Any] | AsyncIterable[int | str]


class Watch:
    """The final records of many tasks, in the order they finish: an async iterator of `Task`.

    IDs that cannot be brought to an end do not stop the others: their errors are raised together as `WatchErrors` at
    the end, or go to `on_error` one by one. What concerns the whole account is raised at once, after the records
    already in hand.

    Leaving the loop ends the waits at once where nothing else holds the iterator. Who keeps it in a variable uses
    `async with` or `aclose`.
    """

    def __init__(
        self,
        poller: Poller,
        task_ids: TaskIds,
        terms: Terms,
        *,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
    ) -> None:
        """Check everything that was given, then begin to wait; `Session.watch` makes these."""
        if on_error is not None and (not callable(on_error) or _is_async(on_error)):
            raise UsageError("on_error must be a plain function, not an async one, that takes an error")
        if max_watched is not None:
            check_count("max_watched", max_watched)
        endless = isinstance(task_ids, AsyncIterable)
        if endless and on_error is None:
            raise UsageError("an async iterable of IDs may never end: on_error is needed to hear of errors before that")
        self._on_error = on_error
        self._context: dict[int, Any] = {}
        self._errors: list[OmgmjError] = []
        self._fetched: dict[int, None] = {}
        given = () if isinstance(task_ids, AsyncIterable) else self._check(task_ids)
        source = _iterator(task_ids) if isinstance(task_ids, AsyncIterable) else None
        self._inbox = _Inbox(poller, terms, max_watched or (MAX_WATCHED if endless else None))
        poller.open(self._inbox)
        self._inbox.add(given)
        if source is not None:
            self._inbox.feed_from(source)

    def add(self, task_ids: Iterable[int | str] | Mapping[int, Any]) -> None:
        """Wait for these too; an ID that is waited for already is delivered once. `UsageError` after the end."""
        if self._inbox.over:
            raise UsageError("this watch has ended; make a new one")
        self._inbox.add(self._check(task_ids))

    def discard(self, task_ids: Iterable[int | str]) -> None:
        """Wait no longer for these, and drop what came of them; IDs that are not waited for are ignored."""
        gone = {check_task_id(task_id) for task_id in task_ids}
        self._inbox.discard(gone)
        self._errors = [error for error in self._errors if error.task_id not in gone]
        for task_id in gone:
            self._context.pop(task_id, None)
            self._fetched.pop(task_id, None)

    def context(self, task: Task | int | str) -> Any:
        """Return what the mapping of IDs gave for this task; None where it was no mapping.

        It is kept while the task is waited for, and for the last thousand that came to an end.
        """
        return self._context.get(task.id if isinstance(task, Task) else check_task_id(task))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next final record."""
        inbox = self._inbox
        while True:
            if inbox.results:
                result = inbox.fetch()
                self._forget_context(result)
                if isinstance(result, Task):
                    return result
                if self._on_error is None:
                    self._errors.append(result)
                else:
                    try:
                        self._on_error(result)
                    except BaseException:
                        inbox.leave()
                        raise
            elif inbox.fatal is not None:
                fatal, inbox.fatal = inbox.fatal, None
                raise fatal
            elif inbox.over or inbox.finished():
                inbox.leave()
                errors, self._errors = self._errors, []
                if errors:
                    raise WatchErrors(f"{len(errors)} tasks came to no end", errors)
                raise StopAsyncIteration
            else:
                await inbox.bell.heard()

    async def aclose(self) -> None:
        """End all waits; whoever reads gets the end of the iteration."""
        self._errors.clear()
        self._inbox.results.clear()
        self._inbox.fatal = None
        self._inbox.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if (inbox := getattr(self, "_inbox", None)) is not None:
            inbox.abandon()

    def _forget_context(self, result: Task | OmgmjError) -> None:
        task_id = _id_of(result)
        if task_id is not None and task_id in self._context:
            self._fetched.pop(task_id, None)
            self._fetched[task_id] = None
        if len(self._fetched) > KEPT_CONTEXTS:
            oldest = next(iter(self._fetched))
            del self._fetched[oldest]
            self._context.pop(oldest, None)

    def _check(self, task_ids: Iterable[int | str] | Mapping[int, Any]) -> list[int]:
        if isinstance(task_ids, str | bytes) or not isinstance(task_ids, Iterable):
            raise UsageError(f"task IDs must be an iterable of them, not {type(task_ids).__name__}")
        checked = [check_task_id(task_id) for task_id in task_ids]
        for task_id in checked:
            self._fetched.pop(task_id, None)
        if isinstance(task_ids, Mapping):
            self._context.update(zip(checked, task_ids.values(), strict=True))
        return checked


class _Inbox:
    """The sink of one watch: IDs that wait for room, results that wait for their reader, and what is in between."""

    def __init__(self, poller: Poller, terms: Terms, max_watched: int | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.bell = Bell(self.loop)
        self.results: deque[Task | OmgmjError] = deque()
        self.fatal: BaseException | None = None
        self.over = False
        self._poller = poller
        self._terms = terms
        self._max_watched = max_watched
        self._watching = 0
        self._subscriptions: set[Subscription] = set()
        self._backlog: deque[int] = deque()
        self._space = Bell(self.loop)
        self._feeder: asyncio.Task[None] | None = None

    # The reader's side.

    def add(self, task_ids: Iterable[int]) -> None:
        self._backlog.extend(task_ids)
        self._take_in()

    def feed_from(self, source: AsyncIterator[int | str]) -> None:
        self._feeder = self.loop.create_task(self._feed(source), name="omgmj feeder")

    def discard(self, gone: set[int]) -> None:
        self.results = deque(result for result in self.results if _id_of(result) not in gone)
        self._backlog = deque(task_id for task_id in self._backlog if task_id not in gone)
        self._drop(gone)

    def fetch(self) -> Task | OmgmjError:
        result = self.results.popleft()
        if self._max_watched is not None:
            self._take_in()
        return result

    def finished(self) -> bool:
        return not (self._watching or self._backlog or self.results or self._feeder)

    def leave(self) -> None:
        if self._poller.planner.news.asking:
            self._poller.later(self.leave)
            return
        if not self.over:
            self._end()
            for subscription in self._subscriptions:
                self._poller.leave(subscription)
            self._subscriptions.clear()
        self.bell.ring()

    def abandon(self) -> None:
        """Leave on behalf of a handle that is gone; the garbage collector may say so at any moment, in any thread."""
        if not self.over:
            self._poller.later(self.leave)

    # The poller's side.

    def got(self, subscription: Subscription, task: Task, *, moved: bool) -> None:  # noqa: ARG002 (a sink)
        if task.is_terminal:
            self._deliver(subscription, task)

    def lost(self, subscription: Subscription, error: OmgmjError) -> None:
        self._deliver(subscription, error)

    def broke(self, error: OmgmjError) -> None:
        self.fatal = error
        self._end()
        self.bell.ring()

    # In between.

    def _drop(self, gone: set[int]) -> None:
        if self._poller.planner.news.asking:
            self._poller.later(lambda: self._drop(gone))
            return
        for task_id in gone:
            if self._poller.drop(task_id, self):
                self._watching -= 1
        self._subscriptions = {subscription for subscription in self._subscriptions if subscription.pending}
        self._take_in()
        self.bell.ring()

    def _deliver(self, subscription: Subscription, result: Task | OmgmjError) -> None:
        self._watching -= 1
        if not subscription.pending:
            self._subscriptions.discard(subscription)
        self.results.append(result)
        self.bell.ring()

    def _room(self) -> int:
        if self._max_watched is None:
            return CHUNK
        return self._max_watched - self._watching - len(self.results)

    def _take_in(self) -> None:
        """Take in a chunk of the backlog, as far as there is room, and the next when the loop had its turn."""
        if self._poller.planner.news.asking:
            self._poller.later(self._take_in)
            return
        room = self._room()
        if room > 0:
            self._space.ring()
        size = min(CHUNK, room, len(self._backlog))
        if self.over or size <= 0:
            return
        chunk = [self._backlog.popleft() for _ in range(size)]
        try:
            subscription = self._poller.watch(self, chunk, *self._terms)
        except SessionClosed as error:
            self.broke(error)
            return
        self._watching += subscription.joined
        if subscription.pending:
            self._subscriptions.add(subscription)
        if self._backlog:
            self._poller.soon(self._take_in)
        elif not self._watching:
            self.bell.ring()

    def _end(self) -> None:
        self.over = True
        self._backlog.clear()
        self._poller.close(self)
        if self._feeder is not None:
            self._feeder.cancel()

    async def _feed(self, source: AsyncIterator[int | str]) -> None:
        try:
            while not self.over:
                if self._room() <= len(self._backlog):
                    await self._space.heard()
                    continue
                given = await anext(source)
                try:
                    task_id = check_task_id(given)
                except UsageError as error:
                    self.results.append(error)
                    self.bell.ring()
                else:
                    self.add((task_id,))
        except StopAsyncIteration:
            pass
        except asyncio.CancelledError:
            if self.over:
                raise
            self.fatal = OmgmjError("the source of task IDs was cancelled")
            self._feeder = None
            self.leave()
        except Exception as error:  # noqa: BLE001 (the user's own iterable: its reader gets what it raised)
            self.fatal = error
            self._feeder = None
            self.leave()
        finally:
            self._feeder = None
            self.bell.ring()
            await _close_iterator(source)


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _id_of(result: Task | OmgmjError) -> int | None:
    return result.id if isinstance(result, Task) else result.task_id


def _iterator(task_ids: AsyncIterable[int | str]) -> AsyncIterator[int | str]:
    try:
        return aiter(task_ids)
    except TypeError as error:
        raise UsageError(f"the async iterable of task IDs cannot be iterated: {error}") from None


async def _close_iterator(iterator: AsyncIterator[Any]) -> None:
    if (aclose := getattr(iterator, "aclose", None)) is not None:
        with contextlib.suppress(Exception):
            await aclose()
