"""The cursor of a reader of the account's list: which page comes next, although the list moves while it is read.

The list is newest first and grows at its top: tasks made meanwhile push the others to later pages. So what was read
comes again, and nothing slips past.
"""

from __future__ import annotations

STUCK = 5
"""Pages: so often may the very same one come again, under other numbers, until the service is said to turn none."""

PATIENCE = 100
"""Pages in a row that lead no deeper, until tasks are said to be made faster than the list can be read."""


class Cursor:
    """The number of the next page: few are read twice, and no task is skipped, however the list moves.

    Right after a page comes the next one. Where a page shows tasks read before, their depth tells how far down the list
    goes on. Where a page shows nothing but tasks made since, the cursor goes down in growing steps. A page reached by
    such a leap counts only with a known task on it: else others may lie before it, and the cursor halves its way back.
    """

    def __init__(self, size: int) -> None:
        self.number: int = 1
        """The page to ask for."""
        self.is_over: bool = False
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
        """Reason against reading on; empty where there is none."""
        if self._same >= STUCK:
            return f"the same tasks again and again, up to page {self._reached}; the service does not turn pages"
        if self._idle >= PATIENCE:
            return (
                f"{PATIENCE} pages in a row led no deeper, up to page {self._reached}; tasks are made faster than"
                " pages are read, or the service does not turn pages"
            )
        return ""

    def on_page(self, ids: list[int]) -> bool:
        """Record the IDs on page `number`, and choose the next page; return whether this one counts."""
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
        """Return whether nothing can lie between this page and those before; else choose another page."""
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
        """Give new IDs their depths; return whether there are any."""
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
