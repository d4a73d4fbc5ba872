"""What a session has learned of how long tasks run: the chance that one ends, by its age, for each pool and kind.

The planner tells of each poll how long a task was seen running and whether it ended; policies read. Tasks of long ago
are forgotten slowly, so that a change of the service is followed. Time comes as ages in seconds; no clock is read.

What is kept is two sums for each slot of age: how many tasks ended in it, and how many seconds tasks were seen running
in it, ended or not. Their ratio is the chance per second. That the tasks still running count too matters when many
start at once: of those the short ones end first, and alone they would make all tasks look short.

When to poll follows from the chance by the theory that `inspection` tells. With the chance h per second of an end, the
delay to be expected without a poll for x seconds is h x^2 / 2, and polls are sqrt(2 c / h) apart, where c is the price
of one. Said without the root, the rule serves where h changes on the way too: poll when the delay to be expected has
reached c.

Its numbers were tuned on drawn lives: `python -m benchmarks tune HALF_LIFE`, or another name, shows what other values
of it cost in queries, at the same delay.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

HALF_LIFE = 100
"""After so many ended tasks of its pool and kind a task counts half."""
ENOUGH = 8
"""So many tasks of a pool and kind must have ended before anything is said of it."""
MOST_PLACES = 32
"""Pools, each with its kinds, that are told apart; further ones share one place, as the service makes up names."""

# Slots of age, four to each doubling from 2 seconds to 2 hours, and one below and one above.
_EDGES = (0.0, *(2.0 * 2 ** (step / 4) for step in range(48)), 1e12)
_SLOTS = len(_EDGES) - 1
_MIDDLES = tuple(max(1.0, edge) * 2 ** (1 / 8) for edge in _EDGES[:-1])
_OLDEST = 86_400.0  # seconds: an age above this counts as this
# As if so much of a task had shown in each slot that tasks run for as long again as they have run. It keeps polls from
# growing so seldom where no task ended so far that a change of the service is seen late.
_PRIOR = 0.12
_REFRESH = 8  # the chances are worked out anew after so many ends
_HEAVY = 1e9  # weights are brought down again when they reach this
_MOST = 1e15  # no sum of light weights comes near it


def _slot(age: float) -> int:
    return min(bisect_right(_EDGES, age), _SLOTS) - 1


def _smooth(values: array[float]) -> list[float]:
    padded = (values[0], *values, values[-1])
    return [(padded[slot] + 2 * padded[slot + 1] + padded[slot + 2]) / 4 for slot in range(_SLOTS)]


class _Place:
    """The sums of one pool and kind. A sum grows by `weight`, which grows itself: cheaper than shrinking old ones."""

    __slots__ = ("chances", "ends", "seconds", "seen", "weight")

    def __init__(self) -> None:
        self.weight = 1.0
        self.seen = 0
        self.ends = array("d", [0.0] * _SLOTS)
        self.seconds = array("d", [0.0] * _SLOTS)
        self.chances = array("d")  # per second, in each slot; empty while too little was seen

    def ran(self, since: float, age: float) -> None:
        slot = _slot(since)
        while _EDGES[slot + 1] < age:
            self.seconds[slot] += self.weight * (_EDGES[slot + 1] - since)
            slot += 1
            since = _EDGES[slot]
        self.seconds[slot] += self.weight * (age - since)

    def ended(self, age: float) -> None:
        self.ends[_slot(age)] += self.weight
        self.seen += 1
        self.weight *= 2 ** (1 / HALF_LIFE)
        if self.weight > _HEAVY:
            self._lighten()
        if self.seen >= ENOUGH and self.seen % _REFRESH == ENOUGH % _REFRESH:
            self._work_out()

    def dump(self) -> list[list[float]]:
        self._lighten()
        return [[float(self.seen)], list(self.ends), list(self.seconds)]

    def restore(self, dumped: list[list[float]]) -> None:
        (seen,), ends, seconds = dumped
        sums = (seen, *ends, *seconds)
        if not (len(ends) == len(seconds) == _SLOTS and min(sums) >= 0 and max(sums) <= _MOST):
            raise ValueError("these are not the sums of a pool and kind")
        self.seen, self.ends, self.seconds = int(seen), array("d", ends), array("d", seconds)
        if self.seen >= ENOUGH:
            self._work_out()

    def _lighten(self) -> None:
        self.ends = array("d", [value / self.weight for value in self.ends])
        self.seconds = array("d", [value / self.weight for value in self.seconds])
        self.weight = 1.0

    def _work_out(self) -> None:
        prior = _PRIOR * self.weight
        sums = zip(_smooth(self.ends), _smooth(self.seconds), _MIDDLES, strict=True)
        self.chances = array("d", [(ends + prior) / (seconds + prior * middle) for ends, seconds, middle in sums])


class Durations:
    """How long tasks run, learned from those seen so far; of small and bounded size. The planner writes, others read.

    An age is in seconds since the task started to run; time in the queue is no part of it. What makes no sense, such
    as a negative age, is left out.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[tuple[str | None, str | None], _Place] = {}

    def saw_running(self, pool: str | None, since: float, age: float, kind: str | None = None) -> None:
        """Record that a task is running at `age`; `since` is its age when it was last seen running, else 0.

        A task that is taken in long after its start is told with `since` equal to `age` at first: nobody knows how
        many of its kind had ended by then.
        """
        if 0 <= since <= age:
            self._open(pool, kind).ran(min(since, _OLDEST), min(age, _OLDEST))

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
        ended = min(ended, _OLDEST)
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
        return None if known is None or not age >= 0 else known.chances[_slot(age)]

    def wait(
        self, pool: str | None, age: float, price: float, surprises: float = 0.0, kind: str | None = None
    ) -> float | None:
        """Return the seconds after which to poll a task again of this age; None while too little was seen.

        Each poll comes when the delay to be expected without it has reached the `price`, in seconds: polls are close
        where tasks end and seldom elsewhere. `surprises` is a chance per second beside what was seen. Without a `kind`
        it is as in `hazard`.
        """
        known = self._find(pool, kind)
        if known is None or not age >= 0:
            return None
        start = at = min(age, _OLDEST)
        slot = _slot(at)
        late = over = 0.0  # the delay to be expected, and the chance that the task is over, by `at`
        while True:
            chance, width = known.chances[slot] + surprises, _EDGES[slot + 1] - at
            more = late + over * width + chance * width * width / 2
            if more >= price or slot == _SLOTS - 1:
                break
            late, over, slot = more, over + chance * width, slot + 1
            at = _EDGES[slot]
        rest = (math.sqrt(over * over + 2 * chance * (price - late)) - over) / chance
        return min(_OLDEST, at - start + rest)

    def _find(self, pool: str | None, kind: str | None) -> _Place | None:
        known = self._places.get((pool, kind))
        if known is None and kind is None:
            known = max(
                (place for (of, _), place in self._places.items() if of == pool), key=lambda one: one.seen, default=None
            )
        if known is None:
            known = self._places.get((None, None))
        return known if known is not None and known.chances else None

    def _open(self, pool: str | None, kind: str | None) -> _Place:
        known = self._places.get((pool, kind))
        if known is None:
            # One place is kept for those that find no place of their own, and for tasks that name none.
            key = (pool, kind) if len(self._places) < MOST_PLACES - 1 else (None, None)
            known = self._places.setdefault(key, _Place())
        return known
