"""What a session has learned of how long tasks run: the chance that one ends, by its age, for each pool and kind.

The planner tells of each poll how long a task was seen running and whether it ended; policies read. Tasks of long ago
are forgotten slowly, so that a change of the service is followed. Time comes as ages in seconds; no clock is read.
"""

from __future__ import annotations

import math

from omgmj.backoff.hazard import OLDEST, Hazard, Slots

ENOUGH = 8
"""So many tasks of a pool and kind must have ended before anything is said of it."""
MOST_PLACES = 32
"""Pools, each with its kinds, that are told apart; further ones share one place, as the service makes up names."""
_SLOTS = Slots(2.0, doublings=12, to_each=4)  # up to 2 hours


class Durations:
    """How long tasks run, learned from those seen so far; of small and bounded size. The planner writes, others read.

    An age is in seconds since the task started to run; time in the queue is no part of it. What makes no sense, such
    as a negative age, is left out.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[tuple[str | None, str | None], Hazard] = {}

    def saw_running(self, pool: str | None, since: float, age: float, kind: str | None = None) -> None:
        """Record that a task is running at `age`; `since` is its age when it was last seen running, else 0.

        A task that is taken in long after its start is told with `since` equal to `age` at first: nobody knows how
        many of its kind had ended by then.
        """
        if 0 <= since <= age:
            self._open(pool, kind).ran(min(since, OLDEST), min(age, OLDEST))

    def saw_end(
        self, pool: str | None, since: float, age: float, *, ended: float | None = None, kind: str | None = None
    ) -> None:
        """Record that a task is final at `age`; `since` is its age when it was last seen running, else 0.

        `ended` is its age at its end as the record tells it; None where it does not: then the end lies somewhere
        between the two polls, and the middle is taken.
        """
        if ended is None:
            ended = (since + age) / 2
        if not (0 <= since <= age < math.inf and 0 <= ended <= age):
            return
        known = self._open(pool, kind)
        ended = min(ended, OLDEST)
        known.ran(min(since, ended), ended)
        known.ended(ended)

    @property
    def is_empty(self) -> bool:
        """Whether no end was seen so far."""
        return not any(place.seen for place in self._places.values())

    def dump(self, pool: str | None, kind: str | None) -> list[list[float]] | None:
        """Return what was learned of one kind as JSON takes it; None where it was not seen."""
        known = self._places.get((pool, kind))
        return None if known is None else known.dump()

    def restore(self, pool: str | None, kind: str | None, dumped: list[list[float]]) -> None:
        """Take over what `dump` gave; `ValueError` where it cannot have given that."""
        self._open(pool, kind).restore(dumped)

    def hazard(self, pool: str | None, age: float, kind: str | None = None) -> float | None:
        """Return the chance per second that a task of this age ends; None while too little was seen.

        Without a `kind` it is of the kind of which most ended in the pool.
        """
        known = self._find(pool, kind)
        return None if known is None or not age >= 0 else known.at(age)

    def wait(
        self, pool: str | None, age: float, price: float, surprises: float = 0.0, kind: str | None = None
    ) -> float | None:
        """Return the seconds after which to poll a task again of this age; None while too little was seen.

        Each poll comes when the delay to be expected without it has reached the `price`, in seconds: polls are close
        where tasks end and seldom elsewhere. `surprises` is a chance per second beside what was seen. Without a `kind`
        it is as in `hazard`.
        """
        known = self._find(pool, kind)
        return None if known is None or not age >= 0 else known.wait(age, price, surprises)

    def _find(self, pool: str | None, kind: str | None) -> Hazard | None:
        known = self._places.get((pool, kind))
        if known is None and kind is None:
            known = max(
                (place for (of, _), place in self._places.items() if of == pool), key=lambda one: one.seen, default=None
            )
        if known is None:
            known = self._places.get((None, None))
        return known if known is not None and known.is_known else None

    def _open(self, pool: str | None, kind: str | None) -> Hazard:
        known = self._places.get((pool, kind))
        if known is None:
            # One place is kept for those that find no place of their own, and for tasks that name none.
            key = (pool, kind) if len(self._places) < MOST_PLACES - 1 else (None, None)
            known = self._places.setdefault(key, Hazard(_SLOTS, ENOUGH))
        return known
