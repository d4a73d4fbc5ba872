"""All tasks of the account, page after page: `Tasks`, which hides that pages drift while they are read.

Newest first: tasks that are made meanwhile push the others to later pages, so that what was read comes again, and
nothing slips past as long as pages are read from the first onwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import anyio

from omgmj.errors import DecodeError
from omgmj.models import Task, TaskPage

STUCK = 3
"""Pages in a row that lead no further down the list, until it is taken for one that cannot be read to its end."""

Fetch = Callable[[int, int], Awaitable[TaskPage]]


class Tasks:
    """The tasks of the account, newest first and each once: an async iterator of `Task`.

    Pages are asked for as they are needed. After an error the iterator is where it was: reading on asks for the same
    page again. It may be left at any time: between two steps nothing of it is under way.
    """

    def __init__(self, fetch: Fetch, size: int) -> None:
        """Begin before the first page, with nothing asked for yet; `Session.tasks` makes these."""
        self._fetch = fetch
        self._size = size
        self._number = 1
        self._found: deque[Task] = deque()
        self._ranks: dict[int, int] = {}
        self._depth = -1
        self._stuck = 0
        self._last_was_short = False
        self._last_was_empty = False
        self._over = False
        self._turn = anyio.Lock()
        self._call: asyncio.Future[TaskPage] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        """Return the next task; what `Session.page` raises where a page cannot be had."""
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
        """Take in the next page, or find that there is none."""
        page = await self._page(self._number)
        if page is None:
            return
        if page.tasks and self._last_was_empty:
            # The list went on beyond a page that was empty: what should have stood there is asked for once more.
            skipped = await self._page(self._number - 1)
            if skipped is None:
                return
            self._take_in(skipped)
        new = self._take_in(page)
        is_short = len(page.tasks) < self._size
        # One short page may be an accident. What is full shows nothing new where many tasks were made meanwhile.
        self._over = is_short and self._last_was_short and not new
        self._last_was_short, self._last_was_empty = is_short, not page.tasks
        if is_short:
            self._stuck = 0
        else:
            self._mind_depth(page)
        self._number += 1

    def _take_in(self, page: TaskPage) -> bool:
        """Keep what the page shows for the first time; return whether there is any."""
        new = [task for task in page.tasks if task.id not in self._ranks]
        for task in new:
            self._ranks[task.id] = len(self._ranks)
        self._found.extend(new)
        return bool(new)

    def _mind_depth(self, page: TaskPage) -> None:
        """Raise `DecodeError` where one page after the other ends no deeper in the list than the one before."""
        depth = self._ranks[page.tasks[-1].id]
        self._stuck = 0 if depth > self._depth else self._stuck + 1
        self._depth = depth
        if self._stuck >= STUCK:
            self._over = True
            first = page.number - STUCK
            raise DecodeError(
                f"$.data.tasks: pages {first} to {page.number} show the same tasks; the service does not turn them,"
                " or tasks are made faster than pages are read",
                field="$.data.tasks",
            )

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
