"""Positions of IDs in the account's list, which is newest first: the place of each, foretold from the pages read.

The model. IDs ascend as tasks are made, so an ID's place is the number of newer ones, 0 for the newest.

    M(t)         tasks made by t, heard of or not: `list_movement`, which knows their rate r unheard of, and the speed v
    s            numbers from one ID to the next: the moving mean of (high - low) / (n - 1) over pages of n IDs; between
                 two pages read it is what lies between them
    d(x, y)      places from x to y: the greater of |x - y| / s and the number of known IDs from one to the other
    a            anchor, a page read: its IDs from a.high to a.low, places from a.first to a.last, and a.moved = M then
    p(x, a)      place of x back then: a.first - d(x, a.high) if newer, a.last + d(x, a.low) if older, else by counting
    p(x, t)      place of x at t: p(x, a) + M(t) - a.moved, of the nearest anchor, where M(t) - a.moved is distance too
    p(x, t) + u v    place of x in u seconds; neither is below 0

    x is heard of, and p(x, t) < 0: at least so many more tasks were made, M(t) := M(t) - p(x, t).
    A page shows its newest x at place q, which is e = q - p(x, t) off: M(t) := M(t) + e / 2, the rest may be its own;
    and as e tasks came unheard of in the dt seconds since the anchor, r := r + e / dt * min(1/2, dt / 10).
    Of an x outside all anchors, d(x, a) may be wrong by as much as it is: only what of e is beyond that counts. Where
    it lies far below them, what is between tells s anew.

Page 2 shows every other number, so that the newest ID is about 180. An ID is heard of that is 20 places newer, and
after 10 s one is found 4 places further on than foretold:

    >>> positions = ListPositions()
    >>> new = positions.learn(20, range(140, 100, -2), at=0.0)
    >>> [positions.place(task_id, now=0.0) for task_id in (180, 160, 140, 120, 102, 62)]
    [0.0, 10.0, 20.0, 30.0, 39.0, 59.0]
    >>> positions.expect(220, now=0.0)
    >>> [positions.place(task_id, now=0.0) for task_id in (220, 180, 140)]
    [0.0, 20.0, 40.0]
    >>> new = positions.learn(44, range(140, 100, -2), at=10.0)
    >>> [round(positions.place(140, now), 1) for now in (10.0, 20.0)]
    [44.0, 46.0]

What is known of the list is the most recent, as many IDs as `KEPT`. Whether a page pays is `sweep_plan`'s business.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.list_movement import ListMovement

KEPT = 200_000
"""IDs of the list that are kept at most."""
SPACING_WEIGHT = 0.05
"""Weight, 0 to 1: the last page's in how far apart IDs are, once there are many."""
CORRECTED = 0.5
"""Share, 0 to 1: so much of an error corrects the whole list's movement, as the rest may be one page's own."""

FAR = 2 * PAGE_MOST
"""Places: further below all pages read, a page tells how far apart IDs are; further between them, it may be that an ID
does not exist."""


class _Anchor(NamedTuple):
    """Anchor, a page that was read: its newest and oldest ID, their places, the list's movement, and the moment."""

    high: int
    low: int
    first: int
    last: int
    moved: float
    at: float


class ListPositions:
    """The list's order as far as known. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self._known = array("q")  # ascending: the newest is the last
        self._anchors: list[_Anchor] = []  # by their newest ID, ascending; they do not overlap
        self._spacing = 1.0  # s
        self._spans = 0.0  # how many pages told of it
        self._movement = ListMovement()  # M

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self._anchors)

    @property
    def oldest(self) -> int:
        """Oldest ID that a page showed, or should show."""
        return self._known[0]

    def clear(self) -> None:
        """Forget the list, but not how fast it moves."""
        self._known = array("q")
        self._anchors.clear()

    def knows(self, task_id: int) -> bool:
        """Whether a page showed the ID, or should show it."""
        at = bisect_left(self._known, task_id)
        return at < len(self._known) and self._known[at] == task_id

    def newer(self, task_id: int, most: int) -> Sequence[int]:
        """Return the known IDs next newer than an ID, so many at most, ascending."""
        at = bisect_right(self._known, task_id)
        return self._known[at : at + most]

    def expect(self, task_id: int, now: float) -> None:
        """Record that an ID exists, and so stands in the list, unless a page shows that it does not."""
        if not self.knows(task_id) and not self._is_within(task_id):
            insort(self._known, task_id)
            self._movement.add(max(0.0, -self._foretold(task_id, now)), now)

    def expect_all(self, task_ids: Sequence[int]) -> None:
        """Record the same of many, ascending, but of those that are newer than all that is known."""
        newest = self._known[-1]
        new = [one for one in task_ids if one < newest and not self._is_within(one)]
        if new:
            begin, end = bisect_left(self._known, new[0]), bisect_right(self._known, new[-1])
            self._known[begin:end] = array("q", sorted({*self._known[begin:end], *new}))

    def learn(self, first: int, shown: Sequence[int], at: float) -> list[int]:
        """Record a page: the IDs it showed from a place on, at a moment shortly ago; return those that no page showed.

        What else was known between its newest and its oldest does not stand in the list.
        """
        if not shown:
            return []
        high, low, last = max(shown), min(shown), first + len(shown) - 1
        begin, end = bisect_left(self._known, low), bisect_right(self._known, high)
        new = [task_id for task_id in shown if not self._is_within(task_id)]
        self._known[begin:end] = array("q", sorted(shown))
        if high > low:
            self._learn_spacing(high - low, len(shown) - 1)
        if self._anchors:
            self._correct(high, first, at)
        self._put(_Anchor(high, low, first, last, self._movement.made(at), at))
        if len(self._known) > KEPT:
            del self._known[: len(self._known) - KEPT]
            del self._anchors[: bisect_left(self._anchors, (self._known[0],))]
        return new

    def _is_within(self, task_id: int) -> bool:
        """Whether an ID lies between two that a page showed."""
        at = bisect_left(self._anchors, (task_id,))
        return at < len(self._anchors) and self._anchors[at].low <= task_id

    def place(self, task_id: int, now: float, ahead: float = 0.0) -> float:
        """Return the place of an ID so many seconds ahead of now, as far as can be told; a page was read before."""
        place = max(0.0, self._foretold(task_id, now))
        return max(0.0, place + self._movement.speed(now) * ahead)

    def beyond(self, task_id: int, now: float) -> float:
        """Return how many places before the first an ID seems to lie; below 0 for one that the list may show."""
        return -self._foretold(task_id, now)

    def is_in_gap(self, task_id: int) -> bool:
        """Whether an ID lies between two pages that were read, and far from both."""
        anchor, spacing = self._near(task_id)
        return _apart(anchor, task_id) > FAR * spacing and self._anchors[0].low < task_id < self._anchors[-1].high

    def around(self, task_id: int, before: float, after: float) -> Iterator[int]:
        """Yield a known ID, and the known ones up to so many places before and after it."""
        known = self._known
        anchor, spacing = self._near(task_id)
        middle = bisect_left(known, task_id)
        yield task_id
        for step, room in ((1, before), (-1, after)):
            at, left = middle, room
            while 0 <= at + step < len(known):
                left -= _between(anchor, spacing, known[at], known[at + step])
                if left < 0:
                    break
                at += step
                yield known[at]

    def reach(self, task_id: int, places: float) -> int:
        """Return the number of the ID that should lie so many places further on than one below all that is known."""
        return task_id - int(places * self._spacing)

    def _from(self, anchor: _Anchor, spacing: float, task_id: int) -> float:
        """Return an ID's place at the time of an anchor, below 0 for one that came later."""
        if task_id > anchor.high:
            return anchor.first - self._count(anchor.high, task_id, spacing)
        if task_id < anchor.low:
            return anchor.last + self._count(task_id, anchor.low, spacing)
        return float(anchor.first + bisect_right(self._known, anchor.high) - bisect_right(self._known, task_id))

    def _count(self, low: int, high: int, spacing: float) -> float:
        """Return the places from one ID to another."""
        known = bisect_left(self._known, high) - bisect_left(self._known, low)
        return max(float(known), (high - low) / spacing)

    def _near(self, task_id: int) -> tuple[_Anchor, float]:
        """Return the nearest anchor, not far away and not long ago; and the numbers from one ID to the next there."""
        anchors = self._anchors
        at = bisect_left(anchors, (task_id,))
        near = anchors[max(0, at - 1) : at + 1]
        if len(near) == 1 or near[1].low <= task_id:
            return near[-1], self._spacing
        older, newer = near
        spacing = (newer.low - older.high) / max(1.0, older.first - older.moved - newer.last + newer.moved)
        from_newer = (newer.low - task_id) / spacing - newer.moved
        from_older = (task_id - older.high) / spacing - older.moved
        return newer if from_newer <= from_older else older, spacing

    def _foretold(self, task_id: int, now: float) -> float:
        """Return the place of an ID, below 0 where it is newer than the list is thought to go."""
        anchor, spacing = self._near(task_id)
        return self._from(anchor, spacing, task_id) + self._movement.made(now) - anchor.moved

    def _correct(self, task_id: int, place: int, at: float) -> None:
        """Correct the movement by where an ID is, and far below all pages read how far apart IDs are.

        The further an ID is from a page, the more of the error may be in the distance, which says nothing of movement.
        """
        anchor, spacing = self._near(task_id)
        moved = self._movement.made(at) - anchor.moved
        foretold = self._from(anchor, spacing, task_id) + moved
        if foretold < 0:
            self._movement.add(-foretold, at)
            foretold = 0.0
        error = place - foretold
        if task_id < self._anchors[-1].low:
            doubt = max(0, _apart(anchor, task_id)) / spacing
            if doubt > FAR and task_id < self._anchors[0].low:
                self._learn_spacing(anchor.low - task_id, max(1.0, place - anchor.last - moved))
            error = math.copysign(max(0.0, abs(error) - doubt), error)
        self._movement.add(CORRECTED * error, at)
        self._movement.on_unheard(error, at - anchor.at)

    def _learn_spacing(self, numbers: int, places: float) -> None:
        """Record that so many numbers make so many places, which may be those of many pages."""
        pages = max(1.0, places / PAGE_MOST)
        self._spans += pages
        weight = max(1 - (1 - SPACING_WEIGHT) ** pages, pages / self._spans)
        self._spacing += weight * (numbers / places - self._spacing)

    def _put(self, anchor: _Anchor) -> None:
        """Record an anchor in place of those that it overlaps."""
        first = bisect_left(self._anchors, (anchor.low,))
        last = first
        while last < len(self._anchors) and self._anchors[last].low <= anchor.high:
            last += 1
        self._anchors[first:last] = [anchor]


def _apart(anchor: _Anchor, task_id: int) -> int:
    """Return the numbers from an anchor to an ID, below 0 for one within."""
    return max(anchor.low - task_id, task_id - anchor.high)


def _between(anchor: _Anchor, spacing: float, one: int, other: int) -> float:
    """Return the places from one known ID to the next, either way."""
    if anchor.low <= min(one, other) and max(one, other) <= anchor.high:
        return 1.0
    return max(1.0, abs(one - other) / spacing)
