"""What is left after a step of progress, learned from the ends seen so far.

The straight line through the start says that at p percent, first seen at age a, there is left a (100 - p) / p. What
tasks do beside that is learned by step: the logarithm of what was left over what the line says, as a line on the
logarithm of the age, with a spread (least squares with a ridge, so that few samples say little). As the age is that at
which the step was first *seen*, the line learns how late steps are seen too. For that, sights are told apart by how far
the look before was. Old samples fade.
"""

from __future__ import annotations

import math
from array import array
from typing import NamedTuple

from omgmj.backoff.inspection import Left

BIN = 4
"""Percents that are one step."""
STEPS = 100 // BIN + 1
"""Steps of a task, of which the last is 100 percent of one that has not ended."""
CLOSE = (0.08, 0.3)
"""Shares of the age up to which two looks were close, and near."""
FADE = 0.98
"""What a sample counts after each further one."""
FEW = 3.0
"""Samples below which a step is not known."""
_SPREAD = 0.2  # of what is left, as its logarithm, before any sample
_SPREAD_SAMPLES, _LEVEL_SAMPLES, _RIDGE = 4.0, 1.0, 0.5  # what stands against the samples
_LEAST_SPREAD, _MOST = 0.03, 3.0  # no step foretells better; no sample counts as further off the line
_YOUNGEST, _SHORTEST = 0.5, 0.25  # seconds: ages, and what was left, below these count as these
_UNDONE = 5.0  # percent that count as undone at least: many stand still at their last step
_SUMS = 6  # samples, and the sums of x, xx, y, xy, yy: x is the logarithm of the age, y what was left beside the line
_LARGEST, _ROUNDING = 1e6, 1.001  # no sum comes near the one; how far rounding may bring one above what it can be
_NEARNESSES = len(CLOSE) + 1
_LINES = (0.0, *(math.log(max(_UNDONE, 100 - progress) / progress) for progress in range(1, 101)))


class Sight(NamedTuple):
    """How a step was first seen: its percent, the task's age then, and the seconds since the look before."""

    progress: int
    age: float
    width: float

    def line(self) -> tuple[float, float]:
        """Return the logarithms of the age and of what the straight line says is left of it, as a factor."""
        return math.log(max(self.age, _YOUNGEST)), _LINES[self.progress]

    @property
    def nearness(self) -> int:
        """Which of the three ways the two looks were apart."""
        return _nearness(self.width / max(self.age, _YOUNGEST))


def _nearness(share: float) -> int:
    return 0 if share < CLOSE[0] else 1 if share < CLOSE[1] else 2


class Steps:
    """What is left after each step, of one kind of task. Its size is fixed."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums = array("d", bytes(8 * STEPS * _NEARNESSES * _SUMS))

    def learn(self, sight: Sight, left: float) -> None:
        """Record that this much was left after a step was first seen."""
        progress, age, width = sight
        age = max(age, _YOUNGEST)
        x = math.log(age)
        y = max(-_MOST, min(_MOST, math.log(max(left, _SHORTEST)) - x - _LINES[progress]))
        sums, at = self._sums, _place(progress, _nearness(width / age))
        sums[at] = sums[at] * FADE + 1.0
        sums[at + 1] = sums[at + 1] * FADE + x
        sums[at + 2] = sums[at + 2] * FADE + x * x
        sums[at + 3] = sums[at + 3] * FADE + y
        sums[at + 4] = sums[at + 4] * FADE + x * y
        sums[at + 5] = sums[at + 5] * FADE + y * y

    def left(self, sight: Sight) -> Left | None:
        """Return what is left as this step is seen; None where too few tasks have shown it."""
        for nearness in (sight.nearness, 1, 0, 2):
            first = _place(sight.progress, nearness)
            if self._sums[first] >= FEW:
                return _left(self._sums[first : first + _SUMS], sight)
        return None

    def dump(self) -> dict[str, list[float]]:
        """Return what was learned as JSON takes it: the sums by place, of those that any task has shown."""
        firsts = range(0, len(self._sums), _SUMS)
        return {str(first // _SUMS): list(self._sums[first : first + _SUMS]) for first in firsts if self._sums[first]}

    def restore(self, dumped: dict[str, list[float]]) -> None:
        """Take over what `dump` gave; `ValueError` where it cannot have given that."""
        for place, sums in dumped.items():
            first = int(place) * _SUMS
            samples, _, _, y, _, yy = sums
            most = _MOST * samples * _ROUNDING
            can_be = 0 <= samples * (1 - FADE) <= _ROUNDING and abs(y) <= most and 0 <= yy <= _MOST * most
            if not (0 <= first < len(self._sums) and can_be and all(abs(value) <= _LARGEST for value in sums)):
                raise ValueError(f"{place} is no step, or these are not its sums")
            self._sums[first : first + _SUMS] = array("d", sums)

    def straight(self, sight: Sight) -> Left:
        """Return what is left by the straight line alone."""
        x, line = sight.line()
        return Left(math.exp(x + line), math.sqrt(_prior(sight)))


def _place(progress: int, nearness: int) -> int:
    return (progress // BIN * _NEARNESSES + nearness) * _SUMS


def _prior(sight: Sight) -> float:
    """Return the variance of the logarithm before any sample: the step came at any time since the last look."""
    share = sight.width / max(sight.age, _YOUNGEST)
    return _SPREAD * _SPREAD + share * share / 3


def _left(sums: array[float], sight: Sight) -> Left:
    x, line = sight.line()
    n, sx, sxx, sy, sxy, syy = sums
    mean = sx / n
    slope = (sxy - mean * sy) / (max(0.0, sxx - n * mean * mean) + _RIDGE)
    errors = max(0.0, syy - sy * sy / n - slope * (sxy - mean * sy))
    variance = (_SPREAD_SAMPLES * _prior(sight) + errors) / (_SPREAD_SAMPLES + n)
    level = sy / (n + _LEVEL_SAMPLES) + slope * (x - mean)
    spread = math.sqrt(variance * (1 + 1 / (n + _LEVEL_SAMPLES)))
    return Left(math.exp(x + line + max(-_MOST, min(_MOST, level))), max(_LEAST_SPREAD, spread))
