"""Whether a page of the account's list of latest tasks costs less than asking for those of its IDs that are due.

Where IDs lie in the list, `places` foretells. A due ID may wait a little for others of its page, and one that was made
just now for others that are as new. A list that errs, that does not show what it should, or that lags behind is left
alone for a while, each time longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from omgmj.places import Places
from omgmj.roster import IN_FLIGHT, MISSED, NEVER, PUSHED, SINGLE, Roster

SIZE = 20
"""Records on a page, the most the service gives."""
PAYS = 2
"""Due IDs from which on a page costs less than asking for each."""
SHARE = 2
"""Of the watched IDs on a page one in so many should be due, or an ID that is due waits `HOLD` for the others."""
HOLD = 1.5
"""Seconds that a due ID may wait for others of its page, or be looked at early with them."""
NEW_PAYS = 15
"""New IDs on a page for which the others are not waited for."""
YOUNG = 5.0
"""Seconds since the first page was read in which an ID that it did not show is one that was made just now."""
FEW = 4
"""Watched IDs below which the list is not looked at."""
LAG = 3.0
"""Seconds by which the list may lag behind: more than the clocks of one service differ."""
DEEPER, DEEP_WEIGHT = 1.5, 0.1
"""Watched IDs that new pages must show on average for the list to be read deeper; how much the last page counts."""
REST, LONGEST_REST = 60.0, 3600.0
"""Seconds that the list is left alone for at first, and at most."""
STRIKES = 3
"""Signs that the list is not what it should be, beyond those of the opposite, after which it is left alone."""
WEIGHT, WORTH = 0.05, 1.0
"""How much the last page counts in what pages show on average, and how many IDs that must be."""


class Sweep(NamedTuple):
    """One page to read: its number, and the watched IDs that it should show, which are in flight with it."""

    page: int
    task_ids: tuple[int, ...]
    deeper: bool
    """Whether the page was never read before."""


class _Spot(NamedTuple):
    """Where an ID is: its page, and how many are before it there."""

    page: int
    offset: float


class Sweeps:
    """What is known of the list. Times are seconds on the planner's clock."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._places = Places()
        self._head = 0  # the newest ID when the first page was read last
        self._head_at = -NEVER
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
        watched, due = self._on_page(task_id, spot, now)
        return len(due) * SHARE < watched and watched >= PAYS * SHARE

    def holds_new(self, task_id: int, now: float) -> bool:
        """Whether an ID's first look should wait a little: it was made just now, and more come that one page shows."""
        if now < self._back_at or self._roster.watched < FEW or not self._places:
            return False
        if task_id <= self._head or now - self._head_at > YOUNG:
            return False
        spot = self._spot(task_id, now)
        if spot is None:
            return True
        _, due = self._on_page(task_id, spot, now)
        return len(due) < NEW_PAYS

    def plan(self, task_id: int, now: float) -> Sweep | None:
        """Return the page to read instead of asking for a due ID; None where asking costs less."""
        if now < self._back_at or self._roster.watched < FEW:
            return None
        if not self._places or task_id < self._places.oldest:
            return self._plan_deeper(task_id, now)
        spot = self._spot(task_id, now)
        if spot is None:
            return None
        _, due = self._on_page(task_id, spot, now)
        others = tuple(one for one in due if one != task_id)
        if 1 + len(others) < PAYS and not self._is_first(task_id, spot, now):
            return None
        return self._begin(Sweep(spot.page, (task_id, *others), deeper=False))

    def _is_first(self, task_id: int, spot: _Spot, now: float) -> bool:
        """Whether the first page costs no more than asking for a new ID, and tells which ones are new from now on."""
        return spot.page == 1 and task_id > self._head and now - self._head_at > YOUNG

    def _plan_deeper(self, task_id: int, now: float) -> Sweep | None:
        if now < self._deeper_from or self._deeper_out:
            return None
        page = 1
        if self._places:
            page = int(self._places.place(self._places.oldest, now) // SIZE) + 2
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
        if sweep.page == 1 and shown:
            self._head, self._head_at = max(shown), now
            if sum(self._is_old(one, now) for one in self._places.newer(self._head, SIZE)) >= PAYS:
                self.strike(now, times=STRIKES)
                return
        new = self._places.learn((sweep.page - 1) * SIZE, shown, now)
        if sweep.deeper:
            watched = sum(task_id in self._roster.rows for task_id in new)
            self._deep += DEEP_WEIGHT * (watched - self._deep)
            if self._deep < DEEPER or not new:
                self._deep, self._deeper_from = 2 * PAYS, now + REST

    def _is_old(self, task_id: int, now: float) -> bool:
        """Whether an ID is there, and has been for so long that the list should show it."""
        row = self._roster.rows.get(task_id)
        return row is not None and self._roster.answers[row] > 0 and now - self._roster.first[row] > LAG

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
            self._places.clear()

    # Places.

    def _spot(self, task_id: int, now: float) -> _Spot | None:
        """Return where an ID is; None where its page is out, nothing is known of it, or the list does not hold it."""
        if now < self._back_at or not self._places or task_id < self._places.oldest:
            return None
        if self._roster.listed[self._roster.rows[task_id]] == MISSED:
            return None
        self._places.expect(task_id, now)
        place = self._places.place(task_id, now)
        page = int(place // SIZE)
        return None if page + 1 in self._out else _Spot(page + 1, place - page * SIZE)

    def _on_page(self, task_id: int, spot: _Spot, now: float) -> tuple[int, list[int]]:
        """Count the watched IDs on the page of an ID; return those due by now or soon."""
        roster = self._roster
        watched = 0
        due = []
        for one in self._places.around(task_id, spot.offset, SIZE - 1 - spot.offset, now):
            row = roster.rows.get(one)
            if row is None or roster.who[row] is None or roster.listed[row] == MISSED:
                continue
            watched += 1
            if roster.due[row] <= now + HOLD and not roster.flags[row] & (IN_FLIGHT | PUSHED | SINGLE):
                due.append(one)
        return watched, due
