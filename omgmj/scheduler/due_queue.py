"""The due queue of the registry's rows: two timer wheels, one for first polls and pushed IDs, one for the rest.

A row is either in flight or has a due time; the wheels may hold times that are not meant any more. They are thrown out
when they come up to the head. Each change notes the heads anew, so that whoever asks only reads. What a due time is
computed from is `planner`'s business.

In a timer wheel adding and taking cost the same with a hundred IDs as with a hundred thousand, an ID costs eight bytes
and no object, and the garbage collector finds nothing to walk.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from omgmj.scheduler.registry import BROUGHT, FRESH, HELD, IN_FLIGHT, NEVER, PUSHED, SINGLE, Registry

PUSH_SPACING = 1.0
"""Seconds between two polls of one ID on a callback's word, at least."""

SPARE = 64
"""Due times that are not meant any more, which the wheels may hold beside as many as there are IDs."""


TICKS = 64
"""Ticks a second. A power of two, so that whole and half seconds are met exactly; a key is up to 16 ms late."""
FAR = 2.0**40
"""Seconds beyond which all times are one: no number of ticks could tell the largest."""


class Head(NamedTuple):
    """The next poll of a class: when it is due, infinite where there is none, and of which ID."""

    due: float
    task_id: int


NONE = Head(NEVER, 0)


class TimerWheel:
    """Which keys are due at a time, the most overdue first: buckets of one tick each, and a heap of those ticks.

    A key is never taken out before its time: whoever puts in a key again keeps the time that counts, and drops what
    comes out and is not meant any more.
    """

    __slots__ = ("_buckets", "_ticks", "size")

    def __init__(self) -> None:
        self._buckets: dict[int, deque[int]] = {}
        self._ticks: list[int] = []
        self.size: int = 0  # how many keys there are

    def add(self, keys: Iterable[int], due: float) -> float:
        """Put keys in to come out at `due` or just after it; return that time, rounded up to the tick."""
        tick = math.ceil(min(due, FAR) * TICKS)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = deque()
            heapq.heappush(self._ticks, tick)
        before = len(bucket)
        bucket.extend(keys)
        self.size += len(bucket) - before
        return tick / TICKS

    def next(self) -> tuple[float, int] | None:
        """Return the earliest due time and the key that will be taken for it; None where the wheel is empty."""
        ticks = self._ticks
        return (ticks[0] / TICKS, self._buckets[ticks[0]][0]) if ticks else None

    def turn(self, roll: float) -> None:
        """Choose by `roll`, in [0, 1), which of the keys with the earliest due time comes next."""
        if self._ticks:
            bucket = self._buckets[self._ticks[0]]
            bucket.rotate(-int(roll * len(bucket)))

    def take(self) -> int:
        """Take out the key that `next` showed."""
        tick = self._ticks[0]
        bucket = self._buckets[tick]
        key = bucket.popleft()
        self.size -= 1
        if not bucket:
            del self._buckets[tick]
            heapq.heappop(self._ticks)
        return key

    def clear(self) -> None:
        """Take out everything."""
        self._buckets.clear()
        self._ticks.clear()
        self.size = 0


class DueQueue:
    """The due times of a registry's rows. `in_flight` counts the polls that are out.

    `heads` holds the next poll of each class, by `fresh`: first and pushed ones, or the rest.
    """

    def __init__(self, registry: Registry) -> None:
        self.in_flight: int = 0
        self.heads: list[Head] = [NONE, NONE]
        self._registry = registry
        self._fresh = TimerWheel()
        self._polls = TimerWheel()
        self._pushed: dict[int, float] = {}  # when the last poll on a callback's word went
        self._usual: dict[int, float] = {}  # when a poll that a callback brought forward is due else

    def mix(self, roll: float, *, fresh: bool) -> None:
        """Have chance choose among the IDs that are equally overdue."""
        (self._fresh if fresh else self._polls).turn(roll)
        self._note_head(fresh=fresh)

    def take(self, now: float, *, fresh: bool) -> tuple[int, float, int]:
        """Take the ID at the head: it is in flight from now on.

        Return it with when it was due and the flags it had.
        """
        task_id = (self._fresh if fresh else self._polls).take()
        due, flags = self.take_along(task_id, now)
        return task_id, due, flags

    def take_along(self, task_id: int, now: float) -> tuple[float, int]:
        """Take an ID whatever is due: it is in flight from now on. Return when it was due and the flags it had."""
        registry = self._registry
        row = registry.rows[task_id]
        due, flags = registry.due[row], registry.flags[row]
        if flags & (PUSHED | BROUGHT):
            self._pushed[task_id] = now
        registry.due[row] = NEVER
        registry.flags[row] = IN_FLIGHT
        fresh = bool(flags & FRESH)
        if task_id == self.heads[fresh].task_id:
            self._note_head(fresh=fresh)
        registry.polls[row] += 1
        self.in_flight += 1
        return due, flags

    def hold(self, task_id: int, until: float) -> None:
        """Hold a poll until others of its page are due."""
        row = self._registry.rows[task_id]
        flags = self._registry.flags[row]
        self.schedule(task_id, row, until, fresh=bool(flags & FRESH))
        self._registry.flags[row] |= HELD | flags & BROUGHT

    def held_enough(self, row: int) -> None:
        """Have a poll held no more: its ID has waited long enough for others of its page."""
        self._registry.flags[row] |= HELD

    def single_out(self, task_id: int, now: float) -> None:
        """Have an ID asked for singly, at once; who waits for a first poll already keeps that turn."""
        registry = self._registry
        row = registry.rows[task_id]
        if not (registry.flags[row] & FRESH and registry.due[row] <= now):
            self.schedule(task_id, row, min(now, registry.due[row]), fresh=False)
        registry.flags[row] |= SINGLE

    def home(self, row: int) -> None:
        """Bring a row's poll home, for nobody or with a final record."""
        self._registry.flags[row] &= ~IN_FLIGHT
        self.in_flight -= 1

    def push(self, task_id: int, now: float) -> None:
        """Poll the ID once more, for pushes at most once a second; an ID that nobody waits for is ignored."""
        row = self._registry.rows.get(task_id)
        if row is None or not self._registry.who[row]:
            return
        if self._registry.flags[row] & IN_FLIGHT:
            self._registry.flags[row] |= PUSHED
        elif not self._registry.flags[row] & PUSHED:
            self._schedule_push(task_id, row, now)

    def bring(self, task_id: int, row: int, due: float) -> None:
        """Make the next poll due sooner on a callback's word, where `due` is sooner: no sooner than a push might.

        It is instead of what an earlier callback brought.
        """
        flags = self._registry.flags[row]
        if flags & (IN_FLIGHT | PUSHED | HELD | SINGLE):
            return
        usual = self._usual[task_id] if flags & BROUGHT else self._registry.due[row]
        due = min(usual, math.ceil(min(FAR, self._after_push(task_id, due)) * TICKS) / TICKS)
        if due != self._registry.due[row]:
            self.schedule(task_id, row, due, fresh=bool(flags & FRESH))
        if due < usual:
            self._usual[task_id] = usual
            self._registry.flags[row] |= BROUGHT

    def put_off(self, task_id: int, row: int, due: float) -> None:
        """Make the next poll due later, where `due` is later: unless a push or a page wants it, or it is out."""
        flags = self._registry.flags[row]
        if due > self._registry.due[row] and not flags & (PUSHED | HELD | SINGLE | BROUGHT):
            self.schedule(task_id, row, due, fresh=bool(flags & FRESH))

    def once_more(self, task_id: int, row: int, now: float) -> None:
        """Poll a row's ID at once; after the poll that is out, where one is."""
        if self._registry.flags[row] & IN_FLIGHT:
            self.push(task_id, now)
        else:
            self.hasten(task_id, row, now)

    def land(self, task_id: int, row: int, now: float, due: float, *, poll: bool) -> None:
        """Bring a row's poll home, where it was one, and give the row its next due time, unless another is out."""
        flags = self._registry.flags
        if poll:
            self.home(row)
        elif flags[row] & IN_FLIGHT:
            return
        if not flags[row] & PUSHED:
            self.schedule(task_id, row, due, fresh=False)
        elif self._registry.due[row] < NEVER:
            # The answer came from elsewhere, maybe from before the push: the poll that the push wants stays.
            self.hasten(task_id, row, due)
        else:
            self.schedule(task_id, row, due, fresh=False)
            self._schedule_push(task_id, row, now)

    def hasten(self, task_id: int, row: int, due: float, *, fresh: bool = False) -> None:
        """Make the next poll due sooner, where `due` is sooner; one that is held is due, and not held once more."""
        if due < self._registry.due[row] and not self._registry.flags[row] & (HELD | SINGLE):
            self.schedule(task_id, row, due, fresh=fresh)

    def schedule(self, task_id: int, row: int, due: float, *, fresh: bool) -> None:
        """Make the next poll due at `due`, in one of the two classes."""
        registry = self._registry
        if self._fresh.size + self._polls.size > 2 * len(registry.rows) + SPARE:
            self._tidy()
        flags = registry.flags[row]
        registry.flags[row] = flags & PUSHED | (FRESH if fresh else 0)
        due = registry.due[row] = (self._fresh if fresh else self._polls).add((task_id,), due)
        was_fresh = bool(flags & FRESH)
        if task_id == self.heads[was_fresh].task_id:
            self._note_head(fresh=was_fresh)
        if due < self.heads[fresh].due:
            self.heads[fresh] = Head(due, task_id)

    def begin(self, row: int) -> None:
        """Begin a row that nobody waited for: a poll that is out yet counts as its first."""
        registry = self._registry
        registry.due[row] = NEVER
        registry.polls[row] = 1 if registry.flags[row] & IN_FLIGHT else 0

    def begin_all(self, task_ids: Sequence[int], rows: Iterable[int], now: float) -> None:
        """Begin rows that were not in use: each has its first poll now."""
        registry = self._registry
        at = self._fresh.add(task_ids, now)
        due, flags, polls = registry.due, registry.flags, registry.polls
        for row in rows:
            due[row], flags[row], polls[row] = at, FRESH, 0
        if at < self.heads[True].due:
            self.heads[True] = Head(at, task_ids[0])

    def forget(self, task_id: int, row: int) -> None:
        """Forget an ID that nobody waits for."""
        self._registry.due[row] = NEVER
        self._registry.flags[row] &= IN_FLIGHT
        self._pushed.pop(task_id, None)
        self._usual.pop(task_id, None)
        for fresh in (False, True):
            if task_id == self.heads[fresh].task_id:
                self._note_head(fresh=fresh)
        if self._fresh.size + self._polls.size > 2 * len(self._registry.rows) + SPARE:
            self._tidy()

    def _schedule_push(self, task_id: int, row: int, now: float) -> None:
        """Make a poll due for a push; a poll that is due sooner anyway will do."""
        at = self._after_push(task_id, now)
        if at <= self._registry.due[row]:
            self.schedule(task_id, row, at, fresh=True)
        self._registry.flags[row] |= PUSHED

    def _after_push(self, task_id: int, at: float) -> float:
        """Return `at`, or when the ID may be polled again on a callback's word where that is later."""
        return max(at, self._pushed.get(task_id, -NEVER) + PUSH_SPACING)

    def _note_head(self, *, fresh: bool) -> None:
        """Note the head of a class anew; what stands before it and is not meant any more is thrown out."""
        registry = self._registry
        wheel = self._fresh if fresh else self._polls
        while (head := wheel.next()) is not None:
            due, task_id = head
            row = registry.rows.get(task_id)
            if row is not None and registry.due[row] == due and bool(registry.flags[row] & FRESH) == fresh:
                break
            wheel.take()
        self.heads[fresh] = NONE if head is None else Head(*head)

    def _tidy(self) -> None:
        """Throw out due times that are not meant any more: they are the most of what the wheels hold."""
        self._fresh.clear()
        self._polls.clear()
        for task_id, row in self._registry.rows.items():
            if self._registry.due[row] < NEVER:
                fresh = self._registry.flags[row] & FRESH
                (self._fresh if fresh else self._polls).add((task_id,), self._registry.due[row])
        for fresh in (False, True):
            self._note_head(fresh=fresh)
