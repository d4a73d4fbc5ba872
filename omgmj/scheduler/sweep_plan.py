"""Sweep plan: whether a page of the account's list costs less than polling its due IDs one by one.

A due ID may wait a little: for others of its page to fall due, for a page under way, or, if it was made just now, for
others as new. `list_positions` foretells the page of each ID, `list_lag` the moment that a page tells of. The list is
read deeper where watched IDs should lie that no page has shown: `list_backlog` has them in order, and `list_depth`
limits such reading. `list_trust` leaves alone a list that errs, lacks IDs or lags behind. Where few IDs are watched the
list is left alone, save for the first page, once, for what it teaches.

What pages cost and save is measured by `python -m benchmarks sweeps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.list_backlog import ListBacklog
from omgmj.scheduler.list_depth import ListDepth
from omgmj.scheduler.list_lag import ListLag
from omgmj.scheduler.list_positions import KEPT, ListPositions
from omgmj.scheduler.list_trust import LAG, STRIKES, ListTrust, SpotChecks
from omgmj.scheduler.registry import IN_FLIGHT, LISTED, MISSED, NEVER, PUSHED, SINGLE, Registry

PAYS = 2
"""IDs: with so many due on a page, reading it costs less than polling each."""
SHARE = 2
"""Ratio: of the watched IDs on a page one in so many should be due, else a due one waits `HOLD` for the others."""
HOLD = 1.5
"""Seconds: so long may a due ID wait for others of its page, or be polled early with them."""
NEW_PAYS = 15
"""IDs: with so many new ones due on a page, they wait for no others."""
YOUNG = 5.0
"""Seconds since the first page was read: until then an ID it did not show counts as made just now."""
BEYOND = 10 * PAGE_MOST
"""Places before the first: an ID never seen that seems to lie further out may not exist."""
UNSURE = 3
"""Places: an ID that should be so close to the end of a page below those known may be on the next one."""
REPEATED = 5 * PAGE_MOST
"""Places: known IDs that a page shows so far from where they are tell that it is another page."""
DENSE = PAGE_MOST // 2
"""IDs: a page that should show so many is tried again after a pause, and those of one with fewer are asked for."""
LOOKED_AT = 32
"""Pages: so many are looked at for one due ID, at most, before one that is worth reading."""
FEW = 4
"""IDs: with fewer watched, the list is not read to find them."""


class Sweep(NamedTuple):
    """One page to read: its number, the watched IDs in flight with it, and when it was asked for, in seconds."""

    page: int
    task_ids: tuple[int, ...]
    deeper: bool
    """Whether the page lies below all that was read."""
    at: float
    foretold: int = 0
    """How many watched IDs it should show, where it lies below what was read."""
    teaches: bool = False
    """Whether it is read by a session that knows nothing yet, for what it tells of others' tasks."""


class NotShown(NamedTuple):
    """Whereabouts of an ID that its page did not show: nowhere in the list, on another page, or neither is known."""

    absent: bool
    slid: bool


class _Spot(NamedTuple):
    """Page of an ID, and the number of places before it there."""

    page: int
    offset: float


class _Deep(NamedTuple):
    """A page below all that was read: how many watched IDs it should show, and the oldest ID that it may show."""

    page: int
    foretold: int
    oldest: int


class _Head(NamedTuple):
    """Newest ID of the first page, and when that was read last."""

    task_id: int
    at: float


class SweepPlan:
    """The choice between pages and single polls. Times are seconds on the planner's clock."""

    def __init__(self, registry: Registry, *, enabled: bool = True) -> None:
        """Plan for the rows of a registry; where it is not `enabled`, no page is ever read."""
        self._enabled = enabled
        self._registry = registry
        self._positions = ListPositions()
        self._backlog = ListBacklog(registry)
        self._lag = ListLag()
        self._depth = ListDepth()
        self._trust = ListTrust()
        self._spot_checks = SpotChecks()
        self._head = _Head(0, -NEVER)
        self._out: set[int] = set()

    # Whether to read a page.

    def is_in_use(self, now: float) -> bool:
        """Whether the list may be read at all: for a few IDs, or while it rests, each is polled singly."""
        return self._registry.watched >= FEW and self.may_read(now)

    def may_read(self, now: float) -> bool:
        """Whether a page may be read at all, be it for no ID."""
        return self._enabled and now >= self._trust.rests_until

    def on_watch(self, task_ids: Iterable[int]) -> None:
        """Record that IDs are watched from now on."""
        if self._enabled:
            self._backlog.add(task_ids)
            self._expect_passed()

    def expect(self, task_id: int, now: float) -> None:
        """Record that an ID is due, and so stands in the list; one never seen that seems far from it may not exist."""
        row = self._registry.rows[task_id]
        if not self.is_in_use(now) or self._is_deeper(task_id) or self._registry.listed[row] == MISSED:
            return
        if self._registry.answers[row] or not self._is_remote(task_id, now):
            self._positions.expect(task_id, now)

    def awaited_until(self, task_id: int, now: float) -> float:
        """Until when a due ID may wait for pages that are read deeper; in the past where it need not."""
        return self._depth.awaited_until(task_id) if self._may_read_deeper(task_id, now) else -NEVER

    def holds(self, task_id: int, now: float) -> bool:
        """Whether a due ID should wait a little, as its page is under way, or others of it will be due soon."""
        spot = self._locate(task_id, now)
        if spot is None or spot.page in self._out:
            return spot is not None
        watched, due = self._on_page(task_id, spot, now)
        return len(due) * SHARE < watched and watched >= PAYS * SHARE

    def holds_new(self, task_id: int, now: float) -> bool:
        """Whether an ID's first poll should wait a little: it was made just now, and more come on the same page."""
        spot = self._locate(task_id, now)
        if spot is None or spot.page in self._out:
            return spot is not None
        if task_id <= self._head.task_id or now - self._head.at > YOUNG:
            return False
        if self._is_too_new(self._registry.rows[task_id], now + self._lag.ahead):
            return True
        _, due = self._on_page(task_id, spot, now)
        return len(due) < NEW_PAYS

    def plan(self, task_id: int, now: float, *, heard: bool = False) -> Sweep | None:
        """Return the page to read instead of polling a due ID; None where a poll costs less.

        `heard`: callbacks tell of the ID. The page costs no more than a poll, and serves its neighbours too.
        """
        if not self.is_in_use(now) or self._registry.is_short(self._registry.rows[task_id], now):
            return None
        if self._may_read_deeper(task_id, now):
            return self._plan_deeper(task_id, now)
        self.expect(task_id, now)
        spot = self._locate(task_id, now)
        if spot is None or spot.page in self._out:
            return None
        watched, due = self._on_page(task_id, spot, now)
        others = tuple(one for one in due if one != task_id)
        served = watched if heard else 1 + len(others)
        if served < PAYS and not self._is_first(task_id, spot, now):
            return None
        if self._spot_checks.is_due(now) and self._registry.listed[self._registry.rows[task_id]] == LISTED:
            self._spot_checks.on_check(now)
            return None
        self._out.add(spot.page)
        return Sweep(spot.page, (task_id, *others), deeper=False, at=now)

    def plan_first(self, task_id: int, now: float) -> Sweep | None:
        """Return the first page, to be read instead of polling an ID that is due, for what it teaches of others' tasks.

        None where whoever waits does not go by that, or the page cannot be had; where many are watched it is read
        anyway.
        """
        row = self._registry.rows[task_id]
        if self.is_in_use(now) or not self.may_read(now) or 1 in self._out or self._registry.is_short(row, now):
            return None
        waiting = self._registry.who[row].values()
        if not any(one.learns for one in waiting) or any(one.once for one in waiting):
            return None
        self._out.add(1)
        return Sweep(1, (task_id,), deeper=False, at=now, teaches=True)

    def _is_remote(self, task_id: int, now: float) -> bool:
        """Whether an ID seems to lie so far from all that was read that it may not exist."""
        return self._positions.beyond(task_id, now) > BEYOND or self._positions.is_in_gap(task_id)

    def _is_first(self, task_id: int, spot: _Spot, now: float) -> bool:
        """Whether the first page costs no more than polling a new ID, and tells which ones are new from now on."""
        return spot.page == 1 and task_id > self._head.task_id and now - self._head.at > YOUNG

    def _is_deeper(self, task_id: int) -> bool:
        """Whether an ID may only be on a page below all that was read."""
        return not self._positions or task_id < self._positions.oldest

    def _may_read_deeper(self, task_id: int, now: float) -> bool:
        """Whether such a page may be read for an ID."""
        return self.is_in_use(now) and now >= self._depth.paused_until and self._is_deeper(task_id)

    def _plan_deeper(self, task_id: int, now: float) -> Sweep | None:
        deep = None if self._depth.is_full else self._next_page(now)
        if deep is None or deep.page in self._out:
            return None
        self._out.add(deep.page)
        self._depth.begin(deep.page, now, deep.oldest)
        return Sweep(deep.page, (task_id,), deeper=True, at=now, foretold=deep.foretold)

    def _next_page(self, now: float) -> _Deep | None:
        """Return the first page below those known that is worth reading; None where none is found."""
        if not self._positions:
            return _Deep(1, 0, 0)
        below, doubted = self._positions.oldest, False
        for _ in range(LOOKED_AT):
            newest = self._backlog.newest(below)
            place = NEVER if newest is None else self._positions.place(newest, now, self._lag.ahead)
            if newest is None or place >= KEPT:
                break
            page = int((place + UNSURE) // PAGE_MOST)
            below = self._positions.reach(newest, (page + 1) * PAGE_MOST - place)
            if page + 1 in self._out:
                continue
            foretold = self._backlog.count(below + 1, newest)
            if self._depth.is_worth(foretold):
                return _Deep(page + 1, foretold, below + 1)
            if foretold < DENSE:
                self._backlog.discard(below + 1, newest)
            else:
                doubted = True
        if doubted and self._depth.is_idle:
            self._depth.on_none(now)
        return None

    def _expect_passed(self) -> None:
        """Expect those watched IDs in the list that it was read beyond, though no page may have shown them."""
        if self._positions:
            listed, rows = self._registry.listed, self._registry.rows
            passed = self._backlog.pass_by(self._positions.oldest)
            self._positions.expect_all([one for one in passed if one in rows and listed[rows[one]] != MISSED])

    # What became of a page.

    def on_page(self, sweep: Sweep, shown: Sequence[int], now: float) -> dict[int, NotShown]:
        """Record the IDs that a page showed, in its order; return those of the sweep's that it did not show."""
        self.on_lost(sweep)
        self._trust.on_read()
        self._spot_checks.on_page()
        self._lag.on_page(now - sweep.at)
        self._learn(sweep, shown, now)
        not_shown = _not_shown(sweep, shown)
        # One that was never seen may not exist at all.
        absent = sum(one.absent and self._is_seen(task_id) for task_id, one in not_shown.items())
        due = sum(self._wants_answer(one, now) for one in shown)
        signs = 0 if sweep.deeper else self._trust.on_answers(due, len(sweep.task_ids) - len(not_shown), absent)
        if signs:
            self.strike(now, times=signs)
        else:
            self._trust.on_good_page(deeper=sweep.deeper)
        return not_shown

    def on_lost(self, sweep: Sweep) -> None:
        """Record that a sweep is out no more; by itself that says nothing of the list."""
        self._out.discard(sweep.page)
        self._depth.end(sweep.page)

    def on_transient(self, sweep: Sweep, now: float) -> None:
        """Record that a page failed in passing. Where many do the list is left alone, but not forgotten."""
        self.on_lost(sweep)
        self._trust.on_transient(now)

    def on_silence(self, sweep: Sweep, now: float) -> None:
        """Record that a page did not come while its IDs could wait; where several do not, as with `on_transient`."""
        self.on_lost(sweep)
        self._trust.on_silence(now, sweep.at)

    def on_429(self, sweep: Sweep, now: float, held_for: float, *, odd: bool) -> None:
        """Record that a page was refused with 429, as `ListTrust.on_429` has it. The list is not forgotten."""
        self.on_lost(sweep)
        self._trust.on_429(now, held_for, odd=odd)

    def on_refusal(self, sweep: Sweep, now: float) -> None:
        """Record that a page cannot be had, or cannot be read."""
        self.on_lost(sweep)
        self.strike(now, times=STRIKES)

    def on_end(self, now: float, *, ago: float, running_at: float, listed: bool) -> None:
        """Record that a task ended so many seconds ago; the last page that showed it as running came at a moment."""
        self.on_lag(now, asked_at=running_at - self._lag.slowest, seen_at=now - ago, listed=listed)

    def on_lag(self, now: float, *, asked_at: float, seen_at: float, listed: bool) -> None:
        """Record that a page asked for at one moment told of a time before another; `listed`: so says another page."""
        if asked_at - seen_at > LAG and (signs := self._trust.on_lag(now, listed=listed)):
            self.strike(now, times=signs)

    def strike(self, now: float, *, times: int = 1) -> None:
        """Record so many signs against the list; where its rest begins, all places are forgotten."""
        if self._trust.strike(now, times):
            self._positions.clear()
            self._backlog.begin_anew()

    def _learn(self, sweep: Sweep, shown: Sequence[int], now: float) -> None:
        """Learn the places on a page, unless it shows that the list stands still."""
        polled = sweep.at + (now - sweep.at) / 2  # Somewhere in between.
        if sweep.page == 1 and shown:
            self._head = _Head(max(shown), now)
            newer = self._positions.newer(self._head.task_id, PAGE_MOST)
            if sum(self._is_old(one, sweep.at) for one in newer) >= PAYS:
                self.strike(now, times=STRIKES)
                return
            heard_at = self._heard_at(newer[0]) if newer else polled
            self._lag.on_newest(polled - heard_at)
        first, at = (sweep.page - 1) * PAGE_MOST, polled - self._lag.behind
        if sweep.deeper and self._is_repeated(first, shown, at):
            self._depth.on_page(0, sweep.foretold, now, asked_at=sweep.at, is_last=True)
            return
        new = self._positions.learn(first, shown, at)
        self._expect_passed()
        if sweep.deeper:
            watched = sum(one in self._registry.rows for one in new)
            is_last = not new and len(shown) < PAGE_MOST
            self._depth.on_page(watched, sweep.foretold, now, asked_at=sweep.at, is_last=is_last)

    def _is_repeated(self, first: int, shown: Sequence[int], at: float) -> bool:
        """Whether a page from a place on shows what lies far from there: some services repeat the last page so."""
        if not shown or not all(map(self._positions.knows, shown)):
            return False
        return first - self._positions.place(max(shown), at) > REPEATED

    # What the registry tells.

    def _heard_at(self, task_id: int) -> float:
        """When it was first heard of an ID; infinite where it is not watched."""
        row = self._registry.rows.get(task_id)
        return NEVER if row is None else self._registry.first[row]

    def _wants_answer(self, task_id: int, now: float) -> bool:
        """Whether an ID wants an answer, and so has one with any page that shows it."""
        row = self._registry.rows.get(task_id)
        return row is not None and (self._registry.due[row] <= now or bool(self._registry.flags[row] & IN_FLIGHT))

    def _is_seen(self, task_id: int) -> bool:
        """Whether a poll or a page showed a watched ID."""
        row = self._registry.rows.get(task_id)
        return row is not None and self._registry.answers[row] > 0

    def _is_old(self, task_id: int, now: float) -> bool:
        """Whether an ID is there, and has been for so long that the list should show it."""
        row = self._registry.rows.get(task_id)
        return row is not None and self._registry.answers[row] > 0 and now - self._registry.first[row] > LAG

    def _is_too_new(self, row: int, shown_at: float) -> bool:
        """Whether an ID was heard of so late that a page telling of a moment does not show it yet."""
        return not self._registry.answers[row] and self._registry.first[row] > shown_at

    def _locate(self, task_id: int, now: float) -> _Spot | None:
        """Return the spot of an ID that is expected in the list; None where there is none, or no list to read."""
        if not self.is_in_use(now) or self._is_deeper(task_id) or not self._positions.knows(task_id):
            return None
        if self._registry.listed[self._registry.rows[task_id]] == MISSED:
            return None
        place = self._positions.place(task_id, now, self._lag.ahead)
        page = int(place // PAGE_MOST)
        return _Spot(page + 1, place - page * PAGE_MOST)

    def _on_page(self, task_id: int, spot: _Spot, now: float) -> tuple[int, list[int]]:
        """Count the watched IDs on the page of an ID; return those due by now or soon."""
        registry, listed = self._registry, self._registry.listed
        shown_at = now + self._lag.ahead
        watched = 0
        due = []
        for one in self._positions.around(task_id, spot.offset, PAGE_MOST - 1 - spot.offset):
            row = registry.rows.get(one)
            if row is None or not registry.who[row] or listed[row] == MISSED or self._is_too_new(row, shown_at):
                continue
            watched += 1
            if registry.due[row] <= now + HOLD and not registry.flags[row] & (IN_FLIGHT | PUSHED | SINGLE):
                due.append(one)
        return watched, due


def _not_shown(sweep: Sweep, shown: Sequence[int]) -> dict[int, NotShown]:
    """Tell where those IDs are that a sweep was for and its page did not show."""
    if not shown:
        return dict.fromkeys(sweep.task_ids, NotShown(absent=False, slid=False))
    there, low, high = set(shown), min(shown), max(shown)
    found = {}
    for task_id in sweep.task_ids:
        if task_id not in there:
            # Before the first page there is none, nor is there one after a page that is not full.
            slid = (task_id > high and sweep.page > 1) or (task_id < low and len(shown) == PAGE_MOST)
            found[task_id] = NotShown(absent=low < task_id < high, slid=slid)
    return found
