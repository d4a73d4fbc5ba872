"""What others would take over the same lives: a fixed interval, and an exponential one, at an equal mean delay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

STEPS = 40
"""Halvings of the range in which an interval is searched."""
INITIAL = 1.0
"""Seconds to the first poll of the exponential one."""


def fixed(ends: Sequence[float], delay: float, latency: float, *, made: bool) -> float:
    """Return the polls a task at the fixed interval whose mean delay is this; the first one comes after an interval.

    Where the task was not made here it comes at once, as it does with omgmj. `latency` is the mean of an answer's.
    """

    def cost(interval: float) -> tuple[float, float]:
        polls = [math.ceil(end / interval) for end in ends]
        late = sum(count * interval - end for count, end in zip(polls, ends, strict=True))
        return sum(polls) / len(ends), late / len(ends) + latency / 2

    return _level(cost, max(0.05, latency), 2 * max(ends), delay) + (not made)


def exponential(ends: Sequence[float], delay: float, latency: float, *, made: bool) -> float:
    """Return the polls a task where each interval is so many times the last as makes the mean delay this."""

    def cost(growth: float) -> tuple[float, float]:
        times: list[float] = []
        at, longest = 0.0, max(ends)
        while at < longest:
            at += max(latency, INITIAL * growth ** len(times))
            times.append(at)
        polls, late, ordered = 0, 0.0, sorted(ends)
        number = 0
        for end in ordered:
            while times[number] < end:
                number += 1
            polls += number + 1
            late += times[number] - end
        return polls / len(ends), late / len(ends) + latency / 2

    return _level(cost, 1.0, 3.0, delay) + (not made)


def _level(cost: Callable[[float], tuple[float, float]], low: float, high: float, delay: float) -> float:
    """Return the polls where the delay, which grows from `low` to `high`, is this, as near as it comes."""
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if cost(middle)[1] < delay else (low, middle)
    return cost(low)[0]
