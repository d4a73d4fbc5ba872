"""Where IDs lie in the account's list, which is newest first: the place of each, foretold from the pages read so far.

IDs are given in order, so an ID's place is how many newer ones there are. Each page read leaves an anchor: its IDs and
their places at that time. From an anchor to an ID beyond it the places between are told by how far apart the numbers of
IDs are on pages. How far the list has moved since is told by new IDs that are heard of, as the list has moved at least
so far that they are in it; and by a rate, for what moves unheard of. Whether a page pays is `sweeps`' business.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

KEPT = 200_000
"""IDs of the list that are kept at most."""
SPACING_WEIGHT = 0.05
"""How much the last page counts in how far apart IDs are."""
CORRECTED = 0.5
"""Which share of an error corrects what the whole list is thought to have moved by: the rest may be one page's own."""
RATE_OVER = 10.0
"""Seconds of movement that make the rate."""


class _Anchor(NamedTuple):
    """A page that was read: its newest and oldest ID, their places, counted from 0, and how far the list had moved."""

    high: int
    low: int
    first: int
    last: int
    moved: float
    at: float


class Places:
    """What is known of the list's order. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self._known = array("q")  # ascending: the newest is the last
        self._anchors: list[_Anchor] = []  # by their newest ID, ascending; they do not overlap
        self._spacing = 1.0  # how far apart the numbers of IDs are that follow each other
        self._spans = 0  # how many pages told of it
        self._rate = 0.0  # new tasks a second
        self._moved = 0.0  # how many new tasks had come at that time
        self._moved_at = 0.0

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self._anchors)

    @property
    def oldest(self) -> int:
        """The oldest ID that a page showed, or that was expected to be shown."""
        return self._known[0]

    def clear(self) -> None:
        """Forget the list, but not how fast it moves."""
        self._known = array("q")
        self._anchors.clear()

    def knows(self, task_id: int) -> bool:
        """Whether a page showed the ID, or it is expected to be there."""
        at = bisect_left(self._known, task_id)
        return at < len(self._known) and self._known[at] == task_id

    def newer(self, task_id: int, most: int) -> Sequence[int]:
        """Return the known IDs that follow on an ID, so many at most."""
        at = bisect_right(self._known, task_id)
        return self._known[at : at + most]

    def expect(self, task_id: int, now: float) -> None:
        """Take in that an ID exists, and is to be found in the list."""
        if not self.knows(task_id):
            insort(self._known, task_id)
            self._move(max(0.0, -self._foretold(task_id, now)), now)

    def learn(self, first: int, shown: Sequence[int], now: float) -> list[int]:
        """Take in a page that showed these IDs from a place on; return those that are new."""
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
                self._correct(high, first, now)
            self._put(_Anchor(high, low, first, last, self.moved(now), now))
        if len(self._known) > KEPT:
            del self._known[: len(self._known) - KEPT]
            del self._anchors[: bisect_left(self._anchors, (self._known[0],))]
        return new

    def moved(self, now: float) -> float:
        """How many new tasks have come so far."""
        return self._moved + self._rate * (now - self._moved_at)

    def place(self, task_id: int, now: float) -> float:
        """Return the place of an ID, as far as can be told; a page was read before."""
        return max(0.0, self._foretold(task_id, now))

    def around(self, task_id: int, before: float, after: float, now: float) -> Iterator[int]:
        """Yield a known ID, and those up to so many places before and after it."""
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
        """How many places two known IDs that follow each other are apart."""
        if anchor.low <= min(one, other) and max(one, other) <= anchor.high:
            return 1.0
        return max(1.0, abs(one - other) / self._spacing)

    def _from(self, anchor: _Anchor, task_id: int) -> float:
        """Return an ID's place as it was when the anchor was noted, less than nothing for one that came later."""
        if task_id > anchor.high:
            return anchor.first - self._count(anchor.high, task_id)
        if task_id < anchor.low:
            return anchor.last + self._count(task_id, anchor.low)
        return float(anchor.first + bisect_right(self._known, anchor.high) - bisect_right(self._known, task_id))

    def _count(self, low: int, high: int) -> float:
        """How many places apart two IDs are, as far as their numbers tell."""
        known = bisect_left(self._known, high) - bisect_left(self._known, low)
        return max(float(known), (high - low) / self._spacing)

    def _nearest(self, task_id: int, now: float) -> _Anchor:
        """Return the anchor that tells most: not far away, and not long ago."""
        anchors = self._anchors
        at = bisect_left(anchors, (task_id,))
        near = anchors[max(0, at - 1) : at + 1]
        if len(near) == 1 or anchors[at].low <= task_id:
            return near[-1]
        older, newer = near
        return min(
            (newer, newer.low - task_id, newer),
            (older, task_id - older.high, older),
            key=lambda one: one[1] / self._spacing + self.moved(now) - one[2].moved,
        )[0]

    def _foretold(self, task_id: int, now: float) -> float:
        """Return the place of an ID; less than nothing where it is newer than the list is thought to go."""
        anchor = self._nearest(task_id, now)
        return self._from(anchor, task_id) + self.moved(now) - anchor.moved

    def _move(self, places: float, now: float) -> None:
        self._moved, self._moved_at = self.moved(now) + places, now

    def _correct(self, task_id: int, place: int, now: float) -> None:
        """Take in where an ID is: what the list moved by unseen is rate."""
        passed = now - self._nearest(task_id, now).at
        foretold = self._foretold(task_id, now)
        if foretold < 0:
            self._move(-foretold, now)
            foretold = 0.0
        error = place - foretold
        self._move(CORRECTED * error, now)
        if passed > 0:
            self._rate = max(0.0, self._rate + min(0.5, passed / RATE_OVER) * error / passed)

    def _put(self, anchor: _Anchor) -> None:
        """Note an anchor in place of those that it overlaps."""
        first = bisect_left(self._anchors, (anchor.low,))
        last = first
        while last < len(self._anchors) and self._anchors[last].low <= anchor.high:
            last += 1
        self._anchors[first:last] = [anchor]
