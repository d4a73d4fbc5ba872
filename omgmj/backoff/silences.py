"""What is left of tasks that tell no progress: just made, queued, or running at 0 percent.

For each such state the last tasks that were in it are kept: at what age each left it, and at what age it ended. One
that is still in it at an age is as those that left it later. Ages count from where the state's do: for one that is
just made, or queues, from when it was first known, else from its start.
"""

from __future__ import annotations

import math
from array import array
from enum import IntEnum

from omgmj.backoff.inspection import RARE, constant

KEPT = 48
"""Tasks that are kept of each state."""
FEW = 6
"""Tasks that must have left the state later: nothing is said with fewer."""
FEW_MADE = 3
"""Tasks that must have been made: to guess the first poll of one is dear."""
EARLY = 8
"""Of so many tasks one ends early, even where all goes on as ever."""
_LARGEST = 1e9  # seconds: no age comes near it
_MUTE = 0.7  # where this share ended in the state itself, there is nothing but their durations


class Silence(IntEnum):
    """States that tell no progress; below any progress that is told."""

    MADE = -3
    QUEUED = -2
    STILL = -1


class Silences:
    """The last tasks that were in each of these states, of one kind of task."""

    __slots__ = ("_ages", "_next")

    def __init__(self) -> None:
        self._ages: dict[Silence, array[float]] = {}  # each row: the age when it left, the age when it ended
        self._next: dict[Silence, int] = {}

    def learn(self, silence: Silence, left_at: float, ended_at: float) -> None:
        """Record at what age a task left the state, and at what age it ended."""
        ages = self._ages.setdefault(silence, array("d"))
        if len(ages) < 2 * KEPT:
            ages.extend((left_at, ended_at))
            return
        place = self._next.get(silence, 0)
        ages[2 * place], ages[2 * place + 1] = left_at, ended_at
        self._next[silence] = (place + 1) % KEPT

    def wait(self, silence: Silence, age: float, price: float, hazard: float, surprises: float) -> float | None:
        """Return the seconds to the next look at a task in this state; None where too little was seen.

        The ends of those that it is as are spread evenly between each and the next.
        """
        ends = self._ends(silence, age)
        if not ends:
            return None if ends is None else constant(price, hazard + surprises)
        rare = RARE * hazard + surprises
        late = chance = 0.0
        before = max(age, ends[0] - (ends[-1] - ends[0]) / len(ends))
        surprised = constant(price, surprises)
        if age + surprised <= before:
            return surprised  # A storm does not wait for what was foretold; what is rare at all times does.
        for number, end in enumerate(ends):
            more = 1 / len(ends)
            width = end - before
            later = late + (chance + more / 2) * width
            if (1 - RARE) * later + rare * (end - age) ** 2 / 2 >= price:
                return _within(before, width, (late, chance, more), age, price, rare) - age
            late, chance, before = later, (number + 1) / len(ends), end
        return before - age + min(price, constant(price, rare))

    def early(self, silence: Silence, age: float) -> float | None:
        """Return the age by which one in `EARLY` had ended of those that were in the state at this age; None: unknown.

        It is not the first of them: after one odd end, others like it would be no surprise any more.
        """
        ends = self._ends(silence, age)
        return ends[len(ends) // EARLY] if ends else None

    def dump(self) -> dict[str, list[list[float]]]:
        """Return what was learned as JSON takes it: by state the pairs of ages."""
        return {
            silence.name: [list(pair) for pair in zip(ages[::2], ages[1::2], strict=True)]
            for silence, ages in self._ages.items()
        }

    def restore(self, dumped: dict[str, list[list[float]]]) -> None:
        """Take over what `dump` gave; `KeyError`, `TypeError` or `ValueError` where it cannot have given that."""
        for name, pairs in dumped.items():
            for left_at, ended_at in pairs[-KEPT:]:
                if not -_LARGEST <= left_at <= ended_at <= _LARGEST:
                    raise ValueError(f"no task was {name} for so long")
                self.learn(Silence[name], left_at, ended_at)

    def _ends(self, silence: Silence, age: float) -> list[float] | None:
        """Return when those ended that were in the state at this age, in order; empty where all had ended by then."""
        ages = self._ages.get(silence)
        if ages is None:
            return None
        left, ended = ages[::2], ages[1::2]
        if silence is not Silence.MADE:
            mute = sum(end <= gone for gone, end in zip(left, ended, strict=True))
            if mute > _MUTE * len(left):
                return None
        ends = sorted(end for gone, end in zip(left, ended, strict=True) if gone > age)
        is_enough = len(left) >= FEW_MADE if silence is Silence.MADE else len(ends) >= FEW
        return [max(age, end) for end in ends] if is_enough else None


def _within(
    before: float, width: float, told: tuple[float, float, float], age: float, price: float, rare: float
) -> float:
    """Return when the delay reaches the price, which it does within this width: a root of a square equation."""
    late, chance, more = told
    bend = ((1 - RARE) * more / max(width, 1e-9) + rare) / 2
    slope = (1 - RARE) * chance + rare * (before - age)
    missing = max(0.0, price - (1 - RARE) * late - rare * (before - age) ** 2 / 2)
    return before + (math.sqrt(slope * slope + 4 * bend * missing) - slope) / (2 * bend)
