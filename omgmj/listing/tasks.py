"""All tasks of the account, page after page: `Tasks`, an async iterator, and its filter.

Which page comes next is `page_drift`'s business, how one is fetched the caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Self

import anyio

from omgmj.errors import DecodeError, UsageError
from omgmj.listing.page_drift import Cursor
from omgmj.models import Kind, Status, Task, TaskPage
from omgmj.validation import brief, check_since

SKEW = timedelta(minutes=1)
"""Difference of the clocks that write submit times, at most."""

Fetch = Callable[[int, int], Awaitable[TaskPage]]
Words = str | Iterable[str]


class Tasks:
    """The tasks of the account, newest first and each once: an async iterator of `Task`.

    Pages are asked for as they are needed. After an error the iterator is where it was: reading on asks for the same
    page again. It may be left at any time: between two steps nothing of it is under way. Tasks that are made
    after the first step come only where they stand on a page that is read anyway.

    `status` and `action` (`Task.kind`) are one word or several, as the service writes them; a word that is not known
    may be a new one. `since` is an aware datetime: tasks submitted then or later. A task whose record tells no submit
    time counts as submitted when the one before it in the list was, which is the latest that it can have been. Reading
    ends with the first page whose tasks were all submitted more than a minute before `since`.

    A task that comes up again, pushed to a later page, in a state that fits where the earlier one did not, is returned
    then. One that was returned never comes again, whatever has become of it.
    """

    def __init__(
        self,
        fetch: Fetch,
        size: int,
        *,
        status: Words | None = None,
        action: Words | None = None,
        since: datetime | None = None,
    ) -> None:
        """Begin before the first page, with nothing asked for yet; `Session.tasks` makes these.

        Raise `UsageError` for a filter that is none.
        """
        self._fetch = fetch
        self._size = size
        self._filter = _Filter(status, action, since)
        self._cursor = Cursor(size)
        self._found: deque[Task] = deque()
        self._returned: set[int] = set()
        self._over = False
        self._turn = anyio.Lock()
        self._call: asyncio.Future[TaskPage] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next task; raise what `Session.page` does where a page cannot be had.

        `DecodeError` where the list cannot be read to its end: the service shows one page again and again, or tasks are
        made faster than pages are read.
        """
        while not self._found:
            if self._over:
                raise StopAsyncIteration
            async with self._turn:
                if not self._found and not self._over:
                    await self._read_on()
        return self._found.popleft()

    async def aclose(self) -> None:
        """End the iteration, also for whoever waits for its next task just now."""
        self._over = True
        self._found.clear()
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _read_on(self) -> None:
        """Read the next page, or find that there is none."""
        if trouble := self._cursor.trouble:
            self._over = True
            raise DecodeError(f"$.data.tasks: {trouble}", field="$.data.tasks")
        page = await self._page(self._cursor.number)
        if page is None or not self._cursor.on_page([task.id for task in page.tasks]):
            return
        for task in page.tasks:
            if self._filter.fits(task) and task.id not in self._returned:
                self._returned.add(task.id)
                self._found.append(task)
        self._over = self._cursor.is_over or self._filter.is_behind(page)

    async def _page(self, number: int) -> TaskPage | None:
        """Fetch a page; None where the iteration was closed meanwhile."""
        here = asyncio.current_task()
        cancelling = here.cancelling() if here else 0
        # In a task of its own, so that `aclose` ends it without ending the reader's task.
        call = self._call = asyncio.ensure_future(self._fetch(number, self._size))
        try:
            page = await call
        except asyncio.CancelledError:
            if not self._over or (here and here.cancelling() > cancelling):
                raise
            return None
        finally:
            self._call = None
            call.cancel()
        return None if self._over else page


class _Filter:
    """Filter of tasks by status, kind and submit time; it knows when no more can come."""

    def __init__(self, status: Words | None, action: Words | None, since: datetime | None) -> None:
        self._statuses = _words("status", status, tuple(Status))
        self._kinds = _words("action", action, tuple(Kind))
        self._since = None if since is None else check_since(since)
        self._is_recent = True

    def fits(self, task: Task) -> bool:
        """Whether the task is wanted; to be asked in the order of the list."""
        if self._since is not None and task.submitted_at is not None:
            self._is_recent = task.submitted_at >= self._since
        return (
            self._is_recent
            and (self._statuses is None or task.status in self._statuses)
            and (self._kinds is None or task.kind in self._kinds)
        )

    def is_behind(self, page: TaskPage) -> bool:
        """Whether the page's tasks, as far as they tell a submit time, are all too old, by every clock."""
        if self._since is None:
            return False
        ages = [self._since - task.submitted_at for task in page.tasks if task.submitted_at is not None]
        return bool(ages) and min(ages) > SKEW


def _words(name: str, given: Words | None, known: Sequence[str]) -> frozenset[str] | None:
    """Return the words; `UsageError` for what is no word, and for a known one that is written in another way."""
    if given is None:
        return None
    words: tuple[object, ...] = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    checked: set[str] = set()
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise UsageError(f"{name} must be a word or several, such as {', '.join(known)}; not {brief(word)}")
        if word not in known and (meant := word.strip().upper()) in known:
            raise UsageError(f"{name} must be written as the service does: {meant!r}, not {brief(word)}")
        checked.add(word)
    if not checked:
        raise UsageError(f"{name} must hold a word at least; leave it out to have all")
    return frozenset(checked)
