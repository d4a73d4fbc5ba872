"""Reading the list deeper: which pages beyond those known are worth it, how many at once, and when to pause.

How many watched IDs a page should show is foretold, and of those it shows a share: less where places are foretold
badly, and none of IDs that do not exist. The lower that share has been of late, the more IDs must be foretold of a
page. So a few pages are tried, each that pays lets one more be read beside it, and where the rest is not worth it any
more there is a pause.
"""

from __future__ import annotations

import math
from typing import NamedTuple

DEEPER = 1.5
"""IDs: a page that is to show fewer watched ones on average is not read."""
SHARE_WEIGHT = 0.25
"""Weight, 0 to 1: the last page's in the share of the foretold IDs that pages show."""
DEEPER_AT_ONCE = 16
"""Pages that may be out at once, at most."""
DEEPER_HOLD = 5.0
"""Seconds: so long may due IDs wait for the pages that are out."""
EMPTY_PAUSE = 5.0
"""Seconds: length of the first pause after a page at the list's end, as that may be an accident."""
VAIN_PAUSE = 60.0
"""Seconds: length of the first pause after pages with too few watched IDs."""
LONGEST_PAUSE = 3600.0
"""Seconds: length of a pause at most."""


class _Out(NamedTuple):
    """A page that is out: since when, and the oldest ID that it may show."""

    at: float
    oldest: int


class ListDepth:
    """Pages that are read deeper. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self.paused_until: float = -math.inf
        self._out: dict[int, _Out] = {}
        self._paid = 0  # pages, half of them forgotten with each that did not pay
        self._share = 1.0  # of the IDs foretold
        self._vain_at = -math.inf  # when a page that did not pay came last
        self._stretch = 1  # factor of the next pause

    @property
    def is_idle(self) -> bool:
        """Whether no page is out."""
        return not self._out

    @property
    def is_full(self) -> bool:
        """Whether as many pages are out as may be: one, and one more for each that paid."""
        return len(self._out) >= min(DEEPER_AT_ONCE, self._paid + 1)

    def awaited_until(self, task_id: int) -> float:
        """Return until when a due ID may wait for pages that are out; in the past where none of them tells of it."""
        if not self._out:
            return -math.inf
        tells = self.is_full or task_id >= min(one.oldest for one in self._out.values())
        return next(iter(self._out.values())).at + DEEPER_HOLD if tells else -math.inf

    def is_worth(self, foretold: int) -> bool:
        """Whether a page is worth reading that should show so many watched IDs."""
        return foretold * self._share >= DEEPER

    def begin(self, page: int, at: float, oldest: int) -> None:
        """Record that a page is out, and the oldest ID that it may show."""
        self._out[page] = _Out(at, oldest)

    def end(self, page: int) -> None:
        """Record that a page is out no more, should it have been."""
        self._out.pop(page, None)

    def on_page(self, watched: int, foretold: int, now: float, *, asked_at: float, is_last: bool) -> None:
        """Record how many watched IDs a page showed, and how many it should have, 0 where nothing was foretold.

        Pages that were out together may all be off by the same error: those in vain count once. There is a pause after
        the last page of the list.
        """
        pays = watched >= DEEPER
        self._paid = self._paid + 1 if pays else self._paid // 2
        if foretold and (pays or asked_at >= self._vain_at):
            self._share += SHARE_WEIGHT * (min(1.0, watched / foretold) - self._share)
        if pays:
            self._stretch = 1
        else:
            self._vain_at = now
        if is_last:
            self._pause(now, EMPTY_PAUSE)

    def on_none(self, now: float) -> None:
        """Record that a page was worth reading but for what others showed: there is a pause, and then another try."""
        self._pause(now, VAIN_PAUSE)

    def _pause(self, now: float, seconds: float) -> None:
        if now >= self.paused_until:
            self.paused_until = now + min(LONGEST_PAUSE, seconds * self._stretch)
            self._share = 1.0
            self._stretch *= 2
