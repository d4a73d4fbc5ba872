"""Positions of IDs in the account's list, which is newest first: the place of each, foretold from the pages read.

The model. IDs ascend as tasks are made, so an ID's place is the number of newer ones, 0 for the newest.

    M(t)         tasks made by t, heard of or not: `list_movement`, which knows their rate r unheard of, and the speed v
    s            numbers from one ID to the next: the moving mean of (high - low) / (n - 1) over pages of n IDs
    d(x, y)      places from x to y: the greater of |x - y| / s and the number of known IDs from one to the other
    a            anchor, a page read: its IDs from a.high to a.low, places from a.first to a.last, and a.moved = M then
    p(x, a)      place of x back then: a.first - d(x, a.high) if newer, a.last + d(x, a.low) if older, else by counting
    p(x, t)      place of x at t: p(x, a) + M(t) - a.moved, of the nearest anchor, where M(t) - a.moved is distance too
    p(x, t) + u v    place of x in u seconds; neither is below 0

    x is heard of, and p(x, t) < 0: at least so many more tasks were made, M(t) := M(t) - p(x, t).
    A page shows its newest x at place q, which is e = q - p(x, t) off: M(t) := M(t) + e / 2, the rest may be its own;
    and as e tasks came unheard of in the dt seconds since the anchor, r := r + e / dt * min(1/2, dt / 10).

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

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from omgmj.scheduler.list_movement import ListMovement

KEPT = 200_000
"""IDs of the list that are kept at most."""
SPACING_WEIGHT = 0.05
"""Weight, 0 to 1: the last page's in how far apart IDs are, once there are many."""
CORRECTED = 0.5
"""Share, 0 to 1: so much of an error corrects the whole list's movement, as the rest may be one page's own."""


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
        self._spans = 0  # how many pages told of it
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
        """Record that an ID exists, and so stands in the list."""
        if not self.knows(task_id):
            insort(self._known, task_id)
            self._movement.add(max(0.0, -self._foretold(task_id, now)), now)

    def learn(self, first: int, shown: Sequence[int], at: float) -> list[int]:
        """Record a page: the IDs it showed from a place on, at a moment shortly ago; return those that are new."""
        new = [task_id for task_id in shown if not self.knows(task_id)]
        for task_id in new:
            insort(self._known, task_id)
        if shown:
            high, low, last = max(shown), min(shown), first + len(shown) - 1
            if high > low:
                self._spans += 1
                weight = max(SPACING_WEIGHT, 1 / self._spans)
                self._spacing += weight * ((high - low) / (len(shown) - 1) - self._spacing)
            if self._anchors:
                self._correct(high, first, at)
            self._put(_Anchor(high, low, first, last, self._movement.made(at), at))
        if len(self._known) > KEPT:
            del self._known[: len(self._known) - KEPT]
            del self._anchors[: bisect_left(self._anchors, (self._known[0],))]
        return new

    def place(self, task_id: int, now: float, ahead: float = 0.0) -> float:
        """Return the place of an ID so many seconds ahead of now, as far as can be told; a page was read before."""
        place = max(0.0, self._foretold(task_id, now))
        return max(0.0, place + self._movement.speed(now) * ahead)

    def beyond(self, task_id: int, now: float) -> float:
        """Return how many places before the first an ID seems to lie; below 0 for one that the list may show."""
        return -self._foretold(task_id, now)

    def around(self, task_id: int, before: float, after: float, now: float) -> Iterator[int]:
        """Yield a known ID, and the known ones up to so many places before and after it."""
        known = self._known
        anchor = self._nearest(task_id, now)
        middle = bisect_left(known, task_id)
        yield task_id
        for step, room in ((1, before), (-1, after)):
            at, left = middle, room
            while 0 <= at + step < len(known):
                left -= self._between(anchor, known[at], known[at + step])
                if left < 0:
                    break
                at += step
                yield known[at]

    def _between(self, anchor: _Anchor, one: int, other: int) -> float:
        """Return the places from one known ID to the next, either way."""
        if anchor.low <= min(one, other) and max(one, other) <= anchor.high:
            return 1.0
        return max(1.0, abs(one - other) / self._spacing)

    def _from(self, anchor: _Anchor, task_id: int) -> float:
        """Return an ID's place at the time of an anchor, below 0 for one that came later."""
        if task_id > anchor.high:
            return anchor.first - self._count(anchor.high, task_id)
        if task_id < anchor.low:
            return anchor.last + self._count(task_id, anchor.low)
        return float(anchor.first + bisect_right(self._known, anchor.high) - bisect_right(self._known, task_id))

    def _count(self, low: int, high: int) -> float:
        """Return the places from one ID to another."""
        known = bisect_left(self._known, high) - bisect_left(self._known, low)
        return max(float(known), (high - low) / self._spacing)

    def _nearest(self, task_id: int, now: float) -> _Anchor:
        """Return the nearest anchor: not far away, and not long ago."""
        anchors = self._anchors
        at = bisect_left(anchors, (task_id,))
        near = anchors[max(0, at - 1) : at + 1]
        if len(near) == 1 or anchors[at].low <= task_id:
            return near[-1]
        older, newer = near
        return min(
            (newer, newer.low - task_id, newer),
            (older, task_id - older.high, older),
            key=lambda one: one[1] / self._spacing + self._movement.made(now) - one[2].moved,
        )[0]

    def _foretold(self, task_id: int, now: float) -> float:
        """Return the place of an ID, below 0 where it is newer than the list is thought to go."""
        anchor = self._nearest(task_id, now)
        return self._from(anchor, task_id) + self._movement.made(now) - anchor.moved

    def _correct(self, task_id: int, place: int, at: float) -> None:
        """Correct the movement by where an ID is."""
        passed = at - self._nearest(task_id, at).at
        foretold = self._foretold(task_id, at)
        if foretold < 0:
            self._movement.add(-foretold, at)
            foretold = 0.0
        error = place - foretold
        self._movement.add(CORRECTED * error, at)
        self._movement.on_unheard(error, passed)

    def _put(self, anchor: _Anchor) -> None:
        """Record an anchor in place of those that it overlaps."""
        first = bisect_left(self._anchors, (anchor.low,))
        last = first
        while last < len(self._anchors) and self._anchors[last].low <= anchor.high:
            last += 1
        self._anchors[first:last] = [anchor]
