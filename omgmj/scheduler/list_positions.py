"""Where IDs lie in the account's list, which is newest first: the place of each, foretold from the pages read so far.

IDs are given in order, so an ID's place is how many newer ones there are. Each page read leaves an anchor: its IDs and
their places at that time. From an anchor to an ID beyond it the places between are told by how far apart the numbers of
IDs are on pages. How far the list has moved since is told by new IDs that are heard of, as the list has moved at least
so far that they are in it; and by a rate, for what moves unheard of. As an answer is under way for a while, how far the
list had moved at a moment shortly ago is kept too. Whether a page pays is `sweep_plan`'s business.
"""

from __future__ import annotations

import math
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
RATE_OVER, SPEED_OVER = 10.0, 2.0
"""Seconds of movement that make the rate, and the speed."""
PAST, PAST_STEP = 256, 0.05
"""How many moments of late are kept, and how many seconds they are apart at least."""


class _Anchor(NamedTuple):
    """A page that was read: its newest and oldest ID, their places, counted from 0, and how far the list had moved."""

    high: int
    low: int
    first: int
    last: int
    moved: float
    at: float


class ListPositions:
    """What is known of the list's order. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self._known = array("q")  # ascending: the newest is the last
        self._anchors: list[_Anchor] = []  # by their newest ID, ascending; they do not overlap
        self._spacing = 1.0  # how far apart the numbers of IDs are that follow each other
        self._spans = 0  # how many pages told of it
        self._rate = 0.0  # new tasks a second
        self._moved = 0.0  # how many new tasks had come at that time
        self._moved_at = 0.0
        self._past: list[tuple[float, float]] = []  # the same at moments before, of late

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

    def learn(self, first: int, shown: Sequence[int], at: float) -> list[int]:
        """Take in a page that showed these IDs from a place on, at a moment shortly ago; return those that are new."""
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
            self._put(_Anchor(high, low, first, last, self.moved(at), at))
        if len(self._known) > KEPT:
            del self._known[: len(self._known) - KEPT]
            del self._anchors[: bisect_left(self._anchors, (self._known[0],))]
        return new

    def moved(self, at: float) -> float:
        """How many new tasks had come by a moment that is now or was shortly ago."""
        if at >= self._moved_at:
            return self._moved + self._rate * (at - self._moved_at)
        index = bisect_right(self._past, (at, math.inf))
        if not index:
            return self._past[0][1] if self._past else self._moved
        began, before = self._past[index - 1]
        ended, after = self._past[index] if index < len(self._past) else (self._moved_at, self._moved)
        return before + (after - before) * (at - began) / (ended - began) if ended > began else after

    def speed(self, now: float) -> float:
        """How many new tasks come a second, heard of or not, as far as is known of late."""
        began = max(now - SPEED_OVER, self._past[0][0]) if self._past else now
        return (self.moved(now) - self.moved(began)) / (now - began) if now - began > 1.0 else self._rate

    def place(self, task_id: int, now: float) -> float:
        """Return the place of an ID, as far as can be told; a page was read before."""
        return max(0.0, self._foretold(task_id, now))

    def beyond(self, task_id: int, now: float) -> float:
        """How many places before the first an ID seems to lie, less than nothing for one that the list may show."""
        return -self._foretold(task_id, now)

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

    def _move(self, places: float, at: float) -> None:
        """Take in that so many more tasks than thought had come by a moment."""
        if at < self._moved_at:
            self._moved += places
            self._past = [(when, moved + places if when >= at else moved) for when, moved in self._past]
            return
        moved = self.moved(at)
        if not self._past or at - self._past[-1][0] >= PAST_STEP:
            self._past.append((at, moved))
            if len(self._past) > 2 * PAST:
                del self._past[:PAST]
        self._moved, self._moved_at = moved + places, at

    def _correct(self, task_id: int, place: int, at: float) -> None:
        """Take in where an ID is: what the list moved by unseen is rate."""
        passed = at - self._nearest(task_id, at).at
        foretold = self._foretold(task_id, at)
        if foretold < 0:
            self._move(-foretold, at)
            foretold = 0.0
        error = place - foretold
        self._move(CORRECTED * error, at)
        if passed > 0:
            self._rate = max(0.0, self._rate + min(0.5, passed / RATE_OVER) * error / passed)

    def _put(self, anchor: _Anchor) -> None:
        """Note an anchor in place of those that it overlaps."""
        first = bisect_left(self._anchors, (anchor.low,))
        last = first
        while last < len(self._anchors) and self._anchors[last].low <= anchor.high:
            last += 1
        self._anchors[first:last] = [anchor]
