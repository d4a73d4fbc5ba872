"""All tasks of the account, page after page: `Tasks`, which hides that pages drift while they are read, and filters.

The list is newest first and grows at its top: tasks that are made meanwhile push the others to later pages. So what
was read comes again, and nothing slips past. How a page is fetched is `session`'s business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Self

import anyio

from omgmj.errors import DecodeError, UsageError
from omgmj.models import Kind, Status, Task, TaskPage
from omgmj.validation import brief, check_since

STUCK = 5
"""How often the very same page may come again, asked for by other numbers, until the service does not turn pages."""

PATIENCE = 100
"""Pages in a row that lead no deeper, until tasks are taken to be made faster than the list can be read."""

SKEW = timedelta(minutes=1)
"""By how much the clocks that write submit times may differ."""

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
        self._course = _Course(size)
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
        """Take in the next page, or find that there is none."""
        if trouble := self._course.trouble:
            self._over = True
            raise DecodeError(f"$.data.tasks: {trouble}", field="$.data.tasks")
        page = await self._page(self._course.number)
        if page is None or not self._course.take([task.id for task in page.tasks]):
            return
        for task in page.tasks:
            if self._filter.fits(task) and task.id not in self._returned:
                self._returned.add(task.id)
                self._found.append(task)
        self._over = self._course.is_over or self._filter.is_behind(page)

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


class _Course:
    """Which page comes next, so that few are read twice and no task is skipped, however the list moves.

    Right after a page comes the next one. Where a page shows what was read before, its place tells how far down the
    list goes on. Where a page shows nothing but tasks made since, the course goes down in growing steps. A page that
    was reached by such a leap counts only where it shows a task that is known: else others may lie before it, and the
    course halves its way back.
    """

    def __init__(self, size: int) -> None:
        self.number = 1
        """The page to ask for."""
        self.is_over = False
        self._size = size
        self._depths: dict[int, int] = {}  # of each ID, counted from the newest at the beginning; -1 of newer ones
        self._deepest = -1
        self._newest: int | None = None  # the first ID of all, where IDs go down along the list
        self._reached = 0  # the last page that counted
        self._above = 0  # the last page that is known not to lie too far down
        self._beyond = 0  # a page that seemed to lie too far down, or 0
        self._stride = 1
        self._must_count = False
        self._shown: list[int] = []
        self._was_short = self._was_empty = False
        self._asked_again = 0
        self._same = 0
        self._idle = 0

    @property
    def trouble(self) -> str:
        """Why there is no reading on; empty where there is."""
        if self._same >= STUCK:
            return f"the same tasks again and again, up to page {self._reached}; the service does not turn pages"
        if self._idle >= PATIENCE:
            return (
                f"{PATIENCE} pages in a row led no deeper, up to page {self._reached}; tasks are made faster than"
                " pages are read, or the service does not turn pages"
            )
        return ""

    def take(self, ids: list[int]) -> bool:
        """Note the IDs that page `number` shows, and choose the next; return whether this page counts."""
        if not self._counts(ids):
            self._idle += 1
            self._same = 0
            return False
        deepest = self._deepest
        is_new = self._note(ids)
        is_short = len(ids) < self._size
        # One short page may be an accident.
        self.is_over = is_short and self._was_short and not is_new
        self._was_short, self._was_empty = is_short, not ids
        self._reached = self._above = self.number
        self._must_count = False
        depth = self._depths[ids[-1]] if ids else self._deepest
        # A page that does not end with the deepest task was pushed here, even if it is the one that was shown before.
        self._same = self._same + 1 if ids and ids == self._shown and depth == self._deepest else 0
        self._shown = ids
        if depth > deepest:
            self._idle = self._beyond = 0
        else:
            self._idle += 1
        # To the page that shows the deepest task, so that it can be seen that none was skipped.
        step = 1 + max(self._deepest - depth - 1, 0) // self._size
        self._stride = 2 * self._stride if self._same else 1
        self._aim(self._reached + max(step, self._stride // 2))
        return True

    def _counts(self, ids: list[int]) -> bool:
        """Return whether nothing can lie between this page and those before; where it may, choose another page."""
        if self._must_count or any(task_id in self._depths for task_id in ids):
            return True
        if ids and self._was_empty and self._asked_again != self._reached:
            # The list goes on beyond a page that was empty: what should have stood there is asked for once more.
            self._asked_again = self.number = self._reached
            self._reached = self._above = self.number - 1
            self._was_short = self._was_empty = False
            return False
        if ids and self._is_newer(ids[-1]):
            self._above = self.number
            self._aim(self.number + self._stride)
            self._stride *= 2
            return False
        if self.number > self._reached + 1:
            self._beyond = self.number
            self._aim(self.number)
            return False
        return True

    def _aim(self, number: int) -> None:
        """Choose page `number`, or one halfway to it where it would lie too far down."""
        if self._beyond > self._above and number >= self._beyond:
            number = (self._above + self._beyond) // 2
        if number <= self._above:
            # Nothing known in between: the list moved during the search, or IDs tell nothing about it.
            number = self._reached + 1
            self._must_count = True
            self._beyond = 0
        self.number = number

    def _note(self, ids: list[int]) -> bool:
        """Give IDs that are new their depths; return whether there is any."""
        if not self._depths and ids == sorted(ids, reverse=True):
            self._newest = ids[0] if ids else None
        new = [task_id for task_id in ids if task_id not in self._depths]
        for task_id in new:
            if self._is_newer(task_id):
                self._depths[task_id] = -1
            else:
                self._deepest += 1
                self._depths[task_id] = self._deepest
        return bool(new)

    def _is_newer(self, task_id: int) -> bool:
        return self._newest is not None and task_id > self._newest


class _Filter:
    """Which tasks are wanted, and when no more of them can come."""

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
