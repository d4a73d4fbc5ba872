"""Where the watched IDs lie in the account's list of latest tasks, and whether a page of it costs less than asking.

The list is newest first, and new tasks push the older ones to later pages. Kept are the IDs that pages showed, in their
order, and for each page that was read an anchor: one ID, its place, and when that was. The place of any other ID
follows from the nearest anchor, and from how fast new tasks come. A list that errs, that does not show what it should,
or that lags behind is left alone for a while, each time longer.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

from omgmj.roster import IN_FLIGHT, MISSED, NEVER, PUSHED, SINGLE, Roster

SIZE = 20
"""Records on a page, the most the service gives."""
PAYS = 2
"""Due IDs from which on a page costs less than asking for each."""
SHARE = 2
"""Of the watched IDs on a page one in so many should be due, or an ID that is due waits `HOLD` for the others."""
HOLD = 1.5
"""Seconds that a due ID may wait for others of its page, or be looked at early with them."""
FEW = 4
"""Watched IDs below which the list is not looked at."""
DEEPER, DEEP_WEIGHT = 1.5, 0.1
"""Watched IDs that new pages must show on average for the list to be read deeper; how much the last page counts."""
REST, LONGEST_REST = 60.0, 3600.0
"""Seconds that the list is left alone for at first, and at most."""
STRIKES = 3
"""Signs that the list is not what it should be, beyond those of the opposite, after which it is left alone."""
WEIGHT, WORTH = 0.05, 1.0
"""How much the last page counts in what pages show on average, and how many IDs that must be."""
KEPT = 200_000
"""IDs of the list that are kept at most."""


class Sweep(NamedTuple):
    """One page to read: its number, and the watched IDs that it should show, which are in flight with it."""

    page: int
    task_ids: tuple[int, ...]
    deeper: bool
    """Whether the page was never read before."""


class _Anchor(NamedTuple):
    """Where one ID was: its place in the list, counted from 0, and when."""

    task_id: int
    place: float
    at: float


class Sweeps:
    """What is known of the list. Times are seconds on the planner's clock."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._known = array("q")  # ascending: the newest is the last
        self._anchors: list[_Anchor] = []  # by ID, ascending
        self._rate = 0.0  # new tasks a second
        self._out: set[int] = set()
        self._deeper_out = False
        self._deep: float = 2 * PAYS  # watched IDs on new pages, on average
        self._deeper_from = -NEVER
        self._back_at = -NEVER
        self._rest = REST
        self._strikes = 0
        self._worth: float = PAYS  # IDs that a page shows of those it was read for

    # Whether to read a page.

    def holds(self, task_id: int, now: float) -> bool:
        """Whether a due ID should wait a little, as others of its page will be due soon."""
        spot = self._spot(task_id, now)
        if spot is None:
            return False
        watched, due = self._on_page(spot[1], now)
        return len(due) * SHARE < watched and watched >= PAYS * SHARE

    def plan(self, task_id: int, now: float) -> Sweep | None:
        """Return the page to read instead of asking for a due ID; None where asking costs less."""
        if now < self._back_at or self._roster.watched < FEW:
            return None
        if not self._known or task_id < self._known[0]:
            return self._plan_deeper(task_id, now)
        if self._roster.listed[self._roster.rows[task_id]] == MISSED:
            return None
        if not self._is_known(task_id):
            insort(self._known, task_id)  # It is to be expected there, and found out if not.
        spot = self._spot(task_id, now)
        if spot is None:
            return None
        _, due = self._on_page(spot[1], now)
        others = tuple(one for one in due if one != task_id)
        if 1 + len(others) < PAYS:
            return None
        return self._begin(Sweep(spot[0], (task_id, *others), deeper=False))

    def _plan_deeper(self, task_id: int, now: float) -> Sweep | None:
        if now < self._deeper_from or self._deeper_out:
            return None
        page = 1
        if self._known:
            page = int(self._place(self._known[0], now) // SIZE) + 2
        if page in self._out:
            return None
        return self._begin(Sweep(page, (task_id,), deeper=True))

    def _begin(self, sweep: Sweep) -> Sweep:
        self._out.add(sweep.page)
        self._deeper_out |= sweep.deeper
        return sweep

    def _end(self, sweep: Sweep) -> None:
        self._out.discard(sweep.page)
        if sweep.deeper:
            self._deeper_out = False

    # What a page showed.

    def learn(self, sweep: Sweep, shown: Sequence[int], now: float) -> None:
        """Take in which IDs a page showed, in its order."""
        self._end(sweep)
        new = [task_id for task_id in shown if not self._is_known(task_id)]
        for task_id in new:
            insort(self._known, task_id)
        if shown:
            middle = len(shown) // 2
            self._anchor(shown[middle], (sweep.page - 1) * SIZE + middle, min(shown), max(shown), now)
        if sweep.deeper:
            watched = sum(task_id in self._roster.rows for task_id in new)
            self._deep += DEEP_WEIGHT * (watched - self._deep)
            if self._deep < DEEPER or not new:
                self._deep, self._deeper_from = 2 * PAYS, now + REST
        if len(self._known) > KEPT:
            del self._known[: len(self._known) - KEPT]

    def went(self, sweep: Sweep, shown: int, absent: int, now: float) -> None:
        """Take in how many of its IDs a sweep's page showed, and how many it should have shown, but did not."""
        if sweep.deeper:
            return
        self._worth += WEIGHT * (shown - self._worth)
        if self._worth < WORTH:
            self.strike(now, times=STRIKES)
        elif absent > shown:
            self.strike(now)
        elif self._strikes:
            self._strikes -= 1
        else:
            self._rest = max(REST, self._rest * 0.99)

    def failed(self, sweep: Sweep, now: float, *, strikes: int) -> None:
        """Take in that a page could not be read; it counts as so many `strikes`."""
        self._end(sweep)
        self.strike(now, times=strikes)

    def strike(self, now: float, *, times: int = 1) -> None:
        """Take in a sign that the list is not what it should be, that counts as so many."""
        self._strikes += times
        if self._strikes >= STRIKES:
            self._strikes = 0
            self._back_at = now + self._rest
            self._rest = min(LONGEST_REST, self._rest * 2)
            self._worth = PAYS
            self._known = array("q")
            self._anchors.clear()

    # Places.

    def _is_known(self, task_id: int) -> bool:
        at = bisect_left(self._known, task_id)
        return at < len(self._known) and self._known[at] == task_id

    def _newer(self, task_id: int) -> int:
        """How many known IDs are newer."""
        return len(self._known) - bisect_right(self._known, task_id)

    def _nearest(self, task_id: int) -> _Anchor:
        anchors = self._anchors
        at = bisect_left(anchors, (task_id,))
        return anchors[at] if at < len(anchors) else anchors[-1]

    def _place(self, task_id: int, now: float) -> float:
        """Return the place of an ID in the list, as far as can be told; at least one anchor is there."""
        anchor = self._nearest(task_id)
        moved = self._rate * (now - anchor.at)
        return max(0.0, anchor.place + moved + self._newer(task_id) - self._newer(anchor.task_id))

    def _spot(self, task_id: int, now: float) -> tuple[int, int] | None:
        """Return the page of an ID, and how many known IDs are newer than it; None where it is out or not known."""
        if now < self._back_at or not self._known or task_id < self._known[0]:
            return None
        place = 0.0 if task_id > self._known[-1] else self._place(task_id, now)
        page = int(place // SIZE) + 1
        if page in self._out:
            return None
        return page, self._newer(task_id) - round(place - (page - 1) * SIZE)

    def _on_page(self, newer: int, now: float) -> tuple[int, list[int]]:
        """Count the watched IDs on the page that so many known IDs are newer than; return those due by now or soon."""
        roster, known = self._roster, self._known
        end = len(known) - max(0, newer)
        watched = 0
        due = []
        for at in range(max(0, end - SIZE), end):
            row = roster.rows.get(known[at])
            if row is None or roster.who[row] is None or roster.listed[row] == MISSED:
                continue
            watched += 1
            if roster.due[row] <= now + HOLD and not roster.flags[row] & (IN_FLIGHT | PUSHED | SINGLE):
                due.append(known[at])
        return watched, due

    def _anchor(self, task_id: int, place: float, low: int, high: int, now: float) -> None:
        """Note where an ID is, in place of what was noted between `low` and `high`."""
        if self._anchors:
            before = self._nearest(task_id)
            passed = now - before.at
            if passed > 0:
                there = before.place + self._newer(task_id) - self._newer(before.task_id)
                weight = min(0.5, passed / 10.0)
                self._rate += weight * (max(0.0, place - there) / passed - self._rate)
        first, last = bisect_left(self._anchors, (low,)), bisect_right(self._anchors, (high, math.inf))
        self._anchors[first:last] = [_Anchor(task_id, place, now)]
