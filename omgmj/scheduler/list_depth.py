"""Reading the list deeper: how many pages beyond those known may be read at once, and when to pause.

IDs older than all the list has shown may be on its next pages, or on none for a long way. So a first page is tried;
each that pays lets one more be read beside it, and where new pages show too few watched IDs there is a pause.
"""

from __future__ import annotations

import math

HOPED = 4.0
"""IDs a page: what new pages are thought to show of those that are watched, at first and after a pause."""
DEEPER = 1.5
"""IDs a page: where new pages show fewer on average, the list is read no deeper for a while."""
DEEP_WEIGHT = 0.1
"""Weight, 0 to 1: the last page's in that average."""
DEEPER_AT_ONCE = 16
"""Pages that may be out at once, at most."""
DEEPER_HOLD = 5.0
"""Seconds: so long may due IDs wait for the pages that are out."""
EMPTY_PAUSE = 5.0
"""Seconds: length of the first pause after a page without a new ID, as that may be an accident."""
VAIN_PAUSE = 60.0
"""Seconds: length of the first pause after pages with too few watched IDs."""
LONGEST_PAUSE = 3600.0
"""Seconds: length of a pause at most."""


class ListDepth:
    """Pages that are read deeper. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self.paused_until: float = -math.inf
        self._out: dict[int, float] = {}  # since when
        self._paid = 0  # pages in a row
        self._average = HOPED  # watched IDs a page
        self._stretch = 1  # factor of the next pause

    @property
    def is_full(self) -> bool:
        """Whether as many pages are out as may be: one, and one more for each that paid."""
        return len(self._out) >= min(DEEPER_AT_ONCE, self._paid + 1)

    @property
    def awaited_until(self) -> float:
        """Time until which due IDs may wait for pages that are out; in the past unless all that may be are out."""
        return next(iter(self._out.values())) + DEEPER_HOLD if self.is_full else -math.inf

    def next_page(self, page: int) -> int:
        """Return the first page that is not out, from a page on."""
        while page in self._out:
            page += 1
        return page

    def begin(self, page: int, at: float) -> None:
        """Record that a page is out."""
        self._out[page] = at

    def end(self, page: int) -> None:
        """Record that a page is out no more, should it have been."""
        self._out.pop(page, None)

    def on_page(self, watched: int, now: float, *, is_new: bool) -> None:
        """Record how many watched IDs a page showed, and whether it showed any new one; pause where that is too few."""
        self._average += DEEP_WEIGHT * (watched - self._average)
        if is_new and self._average >= DEEPER:
            self._paid += 1
            if watched >= DEEPER:
                self._stretch = 1
        elif now >= self.paused_until:
            pause = min(LONGEST_PAUSE, (VAIN_PAUSE if is_new else EMPTY_PAUSE) * self._stretch)
            self.paused_until = now + pause
            self._average, self._paid = HOPED, 0
            self._stretch *= 2
