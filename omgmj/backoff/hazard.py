"""Hazard rate: the chance a second that something ends, by its age, learned from what ended and from what went on.

What is kept is two sums for each slot of age: how many ended in it, and how many seconds any were seen going on in it,
ended or not. Their ratio is the chance (an occurrence-exposure rate; Aalen, "Nonparametric inference for a family of
counting processes", Annals of Statistics 6, 1978, 701-726). That those still going on count too matters when many start
at once: of those the short ones end first, and alone they would make all look short. Old ends fade.

When to look follows from the chance by the theory that `inspection` tells. With the chance h per second of an end, the
delay to be expected without a look for x seconds is h x^2 / 2, and looks are sqrt(2 c / h) apart, where c is the price
of one. Said without the root, the rule serves where h changes on the way too: look when the delay to be expected has
reached c.

Its numbers were tuned on drawn lives: `python -m benchmarks tune HALF_LIFE`, or another name, shows what other values
of it cost in queries, at the same delay.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

HALF_LIFE = 100
"""After so many further ends one counts half."""
OLDEST = 86_400.0
"""Seconds: an age above this counts as this."""
# As if so much of a task had shown in each slot that tasks run for as long again as they have run. It keeps looks from
# growing so seldom where none ended so far that a change of the service is seen late.
_PRIOR = 0.12
_REFRESH = 8  # the chances are worked out anew after so many ends
_HEAVY = 1e9  # weights are brought down again when they reach this
_MOST = 1e15  # no sum of light weights comes near it


class Slots:
    """Slots of age: so many to each doubling of the first edge, in seconds, and one below and one above."""

    __slots__ = ("count", "edges", "middles")

    def __init__(self, first: float, doublings: int, to_each: int) -> None:
        steps = range(doublings * to_each)
        self.edges: tuple[float, ...] = (0.0, *(first * 2 ** (step / to_each) for step in steps), 1e12)
        self.count: int = len(self.edges) - 1
        self.middles: tuple[float, ...] = tuple(
            max(first / 2, edge) * 2 ** (1 / (2 * to_each)) for edge in self.edges[:-1]
        )

    def of(self, age: float) -> int:
        """Return the slot that an age lies in, `OLDEST` at most."""
        return bisect_right(self.edges, age) - 1


class Hazard:
    """The chance a second of an end, by age, of one kind of thing. A sum grows by a weight, which grows itself.

    That is cheaper than shrinking old ones. `seen` is how many ended; `is_known` from `enough` of them on.
    """

    __slots__ = ("_chances", "_ends", "_enough", "_seconds", "_slots", "_weight", "seen")

    def __init__(self, slots: Slots, enough: int) -> None:
        self.seen: int = 0
        self._slots = slots
        self._enough = enough
        self._weight = 1.0
        self._ends = array("f", bytes(4 * slots.count))
        self._seconds = array("f", bytes(4 * slots.count))
        self._chances = array("f")  # per second, in each slot; empty while too little was seen

    @property
    def is_known(self) -> bool:
        """Whether enough ended for anything to be said."""
        return bool(self._chances)

    def ran(self, since: float, age: float) -> None:
        """Record that one went on from an age to another."""
        edges = self._slots.edges
        slot = bisect_right(edges, since) - 1
        while edges[slot + 1] < age:
            self._seconds[slot] += self._weight * (edges[slot + 1] - since)
            slot += 1
            since = edges[slot]
        self._seconds[slot] += self._weight * (age - since)

    def ended(self, age: float) -> None:
        """Record that one ended at an age, up to which it is recorded to have gone on."""
        self._ends[self._slots.of(age)] += self._weight
        self.seen += 1
        self._weight *= 2 ** (1 / HALF_LIFE)
        if self._weight > _HEAVY:
            self._lighten()
        if self.seen >= self._enough and self.seen % _REFRESH == self._enough % _REFRESH:
            self._work_out()

    def at(self, age: float) -> float:
        """Return the chance a second of an end at an age, where it `is_known`."""
        return self._chances[self._slots.of(min(age, OLDEST))]

    def wait(self, age: float, price: float, more: float = 0.0) -> float:
        """Return the seconds to the next look at an age, where it `is_known`; `more` is a chance beside what was seen.

        Looks are close where things end and seldom elsewhere.
        """
        edges = self._slots.edges
        start = at = min(age, OLDEST)
        slot = self._slots.of(at)
        late = over = 0.0  # the delay to be expected, and the chance that it is over, by `at`
        while True:
            chance, width = self._chances[slot] + more, edges[slot + 1] - at
            further = late + over * width + chance * width * width / 2
            if further >= price or slot == self._slots.count - 1:
                break
            late, over, slot = further, over + chance * width, slot + 1
            at = edges[slot]
        rest = (math.sqrt(over * over + 2 * chance * (price - late)) - over) / chance
        return min(OLDEST, at - start + rest)

    def dump(self) -> list[list[float]]:
        """Return what was learned as JSON takes it: how many ended, and the sums."""
        self._lighten()
        return [[float(self.seen)], list(self._ends), list(self._seconds)]

    def restore(self, dumped: list[list[float]]) -> None:
        """Take over what `dump` gave; `ValueError` where it cannot have given that."""
        (seen,), ends, seconds = dumped
        sums = (seen, *ends, *seconds)
        if not (len(ends) == len(seconds) == self._slots.count and min(sums) >= 0 and max(sums) <= _MOST):
            raise ValueError("these are not the sums of a hazard")
        self.seen, self._ends, self._seconds = int(seen), array("f", ends), array("f", seconds)
        if self.seen >= self._enough:
            self._work_out()

    def _lighten(self) -> None:
        self._ends = array("f", [value / self._weight for value in self._ends])
        self._seconds = array("f", [value / self._weight for value in self._seconds])
        self._weight = 1.0

    def _work_out(self) -> None:
        prior = _PRIOR * self._weight
        sums = zip(_smooth(self._ends), _smooth(self._seconds), self._slots.middles, strict=True)
        self._chances = array("f", [(ends + prior) / (seconds + prior * middle) for ends, seconds, middle in sums])


def _smooth(values: array[float]) -> list[float]:
    padded = (values[0], *values, values[-1])
    return [(padded[slot] + 2 * padded[slot + 1] + padded[slot + 2]) / 4 for slot in range(len(values))]
