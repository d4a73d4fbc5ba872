"""Whether a page of the account's list of latest tasks costs less than asking for those of its IDs that are due.

Where IDs lie in the list, `list_positions` foretells. A due ID may wait a little for others of its page, for a page
that is under way and shows it, and one that was made just now for others that are as new. A list that errs, that does
not show what it should, or that lags behind is left alone for a while, each time longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.list_positions import ListPositions
from omgmj.scheduler.registry import IN_FLIGHT, LISTED, MISSED, NEVER, PUSHED, SINGLE, Registry

PAYS = 2
"""Due IDs from which on a page costs less than asking for each."""
SHARE = 2
"""Of the watched IDs on a page one in so many should be due, or an ID that is due waits `HOLD` for the others."""
HOLD = 1.5
"""Seconds that a due ID may wait for others of its page, or be polled early with them."""
NEW_PAYS = 15
"""New IDs on a page for which the others are not waited for."""
YOUNG = 5.0
"""Seconds since the first page was read in which an ID that it did not show is one that was made just now."""
BEYOND = 10 * PAGE_MOST
"""Places before the first that an ID may seem to lie until it was seen: one that is newer by more may not exist."""
FEW = 4
"""Watched IDs below which the list is not read."""
LAG = 2.0
"""Seconds by which the list may lag behind: more than the clocks of one service differ."""
DEEPER, DEEP_WEIGHT = 1.5, 0.1
"""Watched IDs that new pages must show on average for the list to be read deeper; how much the last page counts."""
DEEPER_AT_ONCE = 16
"""Pages that are read deeper at once, at most, as long as they pay."""
DEEPER_HOLD = 5.0
"""Seconds that due IDs may wait for them."""
REST, LONGEST_REST = 60.0, 3600.0
"""Seconds that the list is left alone for at first, and at most."""
STRIKES = 3
"""Signs that the list is not what it should be, beyond those of the opposite, after which it is left alone."""
FAILED_WEIGHT, FAILING = 0.08, 0.5
"""How much the last page counts in the share of pages that fail in passing, and the share that is too much."""
LATENCY_WEIGHT, SLOW_WEIGHT, BEHIND_WEIGHT = 0.1, 0.01, 0.2
"""How much the last page counts in how long pages take, on average and at most, and in how far the list is behind."""
CHECK_PAGES, CHECK_SECONDS = 4, 5.0
"""After so many pages over so many seconds one ID that pages show is asked for singly: a list may stand still."""
WEIGHT, WORTH = 0.04, 1.0
"""How much the last page counts in what pages show on average, and how many IDs that must be."""


class Sweep(NamedTuple):
    """One page to read: its number, the watched IDs that it should show, in flight with it, and since when."""

    page: int
    task_ids: tuple[int, ...]
    deeper: bool
    """Whether the page was never read before."""
    at: float


class _Spot(NamedTuple):
    """Where an ID is: its page, and how many are before it there."""

    page: int
    offset: float


class SweepPlan:
    """What is known of the list. Times are seconds on the planner's clock."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._positions = ListPositions()
        self._head = 0  # the newest ID when the first page was read last
        self._head_at = -NEVER
        self._out: set[int] = set()
        self._deeper_out: dict[int, float] = {}  # since when
        self._deeper_paid = 0  # pages in a row that were read deeper and paid
        self._deep: float = 2 * PAYS  # watched IDs on new pages, on average
        self._deeper_from = -NEVER
        self._in_vain = 1  # how many times as long the next pause is
        self._back_at = -NEVER
        self._rest = REST
        self._strikes = 0
        self._lagged_at = -NEVER
        self._checked_at = -NEVER
        self._unchecked = 0  # pages since then
        self._failing = 0.0  # the share of pages that fail in passing
        self._latency = 0.0  # seconds that a page takes, on average
        self._behind = 0.0  # seconds that the list is behind, on average
        self.slowest: float = 0.0  # the same at most, of late
        self._worth: float = PAYS  # IDs that a page shows of those it was read for

    # Whether to read a page.

    def awaited_until(self, task_id: int, now: float) -> float:
        """Until when all due IDs may wait, as pages that are read deeper may show them; in the past where none is."""
        if self._registry.watched < FEW or now < max(self._back_at, self._deeper_from) or not self._is_deeper(task_id):
            return -NEVER
        out = self._deeper_out
        return next(iter(out.values())) + DEEPER_HOLD if len(out) >= self._deeper_most() else -NEVER

    def holds(self, task_id: int, now: float) -> bool:
        """Whether a due ID should wait a little, as its page is under way, or others of it will be due soon."""
        spot = self._spot(task_id, now)
        if spot is None or spot.page in self._out:
            return spot is not None
        watched, due = self._on_page(task_id, spot, now)
        return len(due) * SHARE < watched and watched >= PAYS * SHARE

    def holds_new(self, task_id: int, now: float) -> bool:
        """Whether an ID's first poll should wait a little: it was made just now, and more come that one page shows."""
        spot = self._spot(task_id, now)
        if spot is None or spot.page in self._out:
            return spot is not None
        if task_id <= self._head or now - self._head_at > YOUNG:
            return False
        if self._is_too_new(self._registry.rows[task_id], now):
            return True
        _, due = self._on_page(task_id, spot, now)
        return len(due) < NEW_PAYS

    def plan(self, task_id: int, now: float) -> Sweep | None:
        """Return the page to read instead of asking for a due ID; None where asking costs less."""
        if self._is_deeper(task_id):
            return self._plan_deeper(task_id, now)
        spot = self._spot(task_id, now)
        if spot is None or spot.page in self._out:
            return None
        _, due = self._on_page(task_id, spot, now)
        others = tuple(one for one in due if one != task_id)
        if 1 + len(others) < PAYS and not self._is_first(task_id, spot, now):
            return None
        if self._singles_out(task_id, now):
            return None
        return self._begin(Sweep(spot.page, (task_id, *others), deeper=False, at=now))

    def _singles_out(self, task_id: int, now: float) -> bool:
        """Return whether an ID is to tell if pages speak the truth: once in a while it is the turn of one they show."""
        if self._unchecked < CHECK_PAGES or now - self._checked_at < CHECK_SECONDS:
            return False
        if self._registry.listed[self._registry.rows[task_id]] != LISTED:
            return False
        self._checked_at, self._unchecked = now, 0
        return True

    def _is_first(self, task_id: int, spot: _Spot, now: float) -> bool:
        """Whether the first page costs no more than asking for a new ID, and tells which ones are new from now on."""
        return spot.page == 1 and task_id > self._head and now - self._head_at > YOUNG

    def _is_deeper(self, task_id: int) -> bool:
        """Whether an ID may only be on a page that was not read yet."""
        return not self._positions or task_id < self._positions.oldest

    def _deeper_most(self) -> int:
        """How many pages may be read deeper at once: each one that paid lets one more be out."""
        return min(DEEPER_AT_ONCE, self._deeper_paid + 1)

    def _plan_deeper(self, task_id: int, now: float) -> Sweep | None:
        if self._registry.watched < FEW or now < max(self._back_at, self._deeper_from):
            return None
        if len(self._deeper_out) >= self._deeper_most():
            return None
        page = 1
        if self._positions:
            page = int(self._place_of(self._positions.oldest, now) // PAGE_MOST) + 2
        while page in self._deeper_out:
            page += 1
        if page in self._out:
            return None
        return self._begin(Sweep(page, (task_id,), deeper=True, at=now))

    def _begin(self, sweep: Sweep) -> Sweep:
        self._out.add(sweep.page)
        if sweep.deeper:
            self._deeper_out[sweep.page] = sweep.at
        return sweep

    def _end(self, sweep: Sweep) -> None:
        self._out.discard(sweep.page)
        self._deeper_out.pop(sweep.page, None)

    # What a page showed.

    def learn(self, sweep: Sweep, shown: Sequence[int], now: float) -> None:
        """Take in which IDs a page showed, in its order."""
        self._end(sweep)
        self._failing -= FAILED_WEIGHT * self._failing
        self._unchecked += 1
        took = now - sweep.at
        polled = sweep.at + took / 2  # Somewhere in between.
        self._latency += LATENCY_WEIGHT * (took - self._latency)
        self.slowest = max(took, self.slowest - SLOW_WEIGHT * self.slowest)
        if sweep.page == 1 and shown:
            self._head, self._head_at = max(shown), now
            if sum(self._is_old(one, sweep.at) for one in self._positions.newer(self._head, PAGE_MOST)) >= PAYS:
                self.strike(now, times=STRIKES)
                return
            heard_at = next((self._heard_at(one) for one in self._positions.newer(self._head, 1)), polled)
            self._behind += BEHIND_WEIGHT * (max(0.0, polled - heard_at) - self._behind)
        new = self._positions.learn((sweep.page - 1) * PAGE_MOST, shown, polled - self._behind)
        if sweep.deeper:
            self._learn_deeper(sum(task_id in self._registry.rows for task_id in new), now, is_new=bool(new))

    def _learn_deeper(self, watched: int, now: float, *, is_new: bool) -> None:
        """Take in how many watched IDs a page showed that was read deeper; where that does not pay, pause."""
        self._deep += DEEP_WEIGHT * (watched - self._deep)
        if is_new and self._deep >= DEEPER:
            self._deeper_paid += 1
            if watched >= DEEPER:
                self._in_vain = 1
        elif now >= self._deeper_from:
            # That there is nothing new may be an accident.
            pause = min(LONGEST_REST, (REST if is_new else YOUNG) * self._in_vain)
            self._deep, self._deeper_paid, self._deeper_from = 2 * PAYS, 0, now + pause
            self._in_vain *= 2

    def _heard_at(self, task_id: int) -> float:
        """When it was first heard of an ID that is watched; of others that is not known."""
        row = self._registry.rows.get(task_id)
        return NEVER if row is None else self._registry.first[row]

    def _is_old(self, task_id: int, now: float) -> bool:
        """Whether an ID is there, and has been for so long that the list should show it."""
        row = self._registry.rows.get(task_id)
        return row is not None and self._registry.answers[row] > 0 and now - self._registry.first[row] > LAG

    def went(self, sweep: Sweep, shown: int, absent: int, now: float) -> None:
        """Take in how many of its IDs a sweep's page showed, and how many it should have shown, but did not."""
        if not sweep.deeper:
            self._worth += WEIGHT * (shown - self._worth)
            if self._worth < WORTH or absent > shown:
                self.strike(now, times=STRIKES if self._worth < WORTH else 1)
                return
        if self._strikes:
            self._strikes -= 1
        elif not sweep.deeper:
            self._rest = max(REST, self._rest * 0.99)

    def failed(self, sweep: Sweep, now: float, *, strikes: int) -> None:
        """Take in that a page could not be read; it counts as so many `strikes`."""
        self._end(sweep)
        self.strike(now, times=strikes)

    def broke(self, sweep: Sweep, now: float) -> None:
        """Take in that a page failed in passing. Where many do the list is left alone, but not forgotten."""
        self._end(sweep)
        self._failing += FAILED_WEIGHT * (1 - self._failing)
        if self._failing > FAILING:
            self._leave_alone(now)

    def ended(self, now: float, *, ago: float, running_at: float, listed: bool) -> None:
        """Take in that a task had ended so many seconds ago which pages showed as running, the last one at a moment."""
        self.lagged(now, asked_at=running_at - self.slowest, seen_at=now - ago, listed=listed)

    def lagged(self, now: float, *, asked_at: float, seen_at: float, listed: bool) -> None:
        """Take in that a page that was asked for at one moment told of a time before another.

        `listed`: another page says so, and as pages may come from several places it is one sign for all on that page.
        Where asking for the ID says so there is no doubt.
        """
        if asked_at - seen_at > LAG and (now > self._lagged_at or not listed):
            self._lagged_at = now
            # A page that lags is a page that came, which takes one off.
            self.strike(now, times=2 if listed else STRIKES)

    def strike(self, now: float, *, times: int = 1) -> None:
        """Take in a sign that the list is not what it should be, that counts as so many."""
        if now < self._back_at:
            return  # It is left alone already: a page or a poll was under way.
        self._strikes += times
        if self._strikes >= STRIKES:
            self._leave_alone(now)
            self._positions.clear()

    def _leave_alone(self, now: float) -> None:
        self._strikes, self._failing, self._worth = 0, 0.0, PAYS
        self._back_at = now + self._rest
        self._rest = min(LONGEST_REST, self._rest * 2)

    # Places.

    def _place_of(self, task_id: int, now: float) -> float:
        """Return the place that an ID is going to have on a page asked for now, as all moves on till then."""
        ahead = self._positions.speed(now) * (self._latency / 2 - self._behind)
        return max(0.0, self._positions.place(task_id, now) + ahead)

    def _spot(self, task_id: int, now: float) -> _Spot | None:
        """Return where an ID is going to be; None where that is not known, or the list is left alone or lacks it."""
        registry = self._registry
        if now < self._back_at or registry.watched < FEW or self._is_deeper(task_id):
            return None
        row = registry.rows[task_id]
        if registry.listed[row] == MISSED:
            return None
        if (
            not self._positions.knows(task_id)
            and not registry.answers[row]
            and self._positions.beyond(task_id, now) > BEYOND
        ):
            return None
        self._positions.expect(task_id, now)
        place = self._place_of(task_id, now)
        page = int(place // PAGE_MOST)
        return _Spot(page + 1, place - page * PAGE_MOST)

    def _is_too_new(self, row: int, now: float) -> bool:
        """Whether the list, as far as it is behind, does not show an ID yet that was heard of just now."""
        return not self._registry.answers[row] and self._registry.first[row] > now + self._latency / 2 - self._behind

    def _on_page(self, task_id: int, spot: _Spot, now: float) -> tuple[int, list[int]]:
        """Count the watched IDs on the page of an ID; return those due by now or soon."""
        registry = self._registry
        watched = 0
        due = []
        for one in self._positions.around(task_id, spot.offset, PAGE_MOST - 1 - spot.offset, now):
            row = registry.rows.get(one)
            if row is None or registry.who[row] is None or registry.listed[row] == MISSED or self._is_too_new(row, now):
                continue
            watched += 1
            if registry.due[row] <= now + HOLD and not registry.flags[row] & (IN_FLIGHT | PUSHED | SINGLE):
                due.append(one)
        return watched, due
