"""Movement of the account's list: how many tasks were made by a moment, `M(t)`, each of which pushes all others on.

Known movement is added as IDs are heard of. Between such moments `M` grows by a rate, the tasks nobody hears of:

    M(t) = M(t0) + rate * (t - t0)    from the last moment t0 on

As an answer is under way for a while, moments of late are kept, and `M` is interpolated between them.
"""

from __future__ import annotations

import math
from bisect import bisect_right

RATE_OVER = 10.0
"""Seconds: an error counts in the rate by the share of this that it arose in."""
MOST_AT_ONCE = 0.5
"""Share, 0 to 1: so much of an error corrects the rate at most."""
SPEED_OVER = 2.0
"""Seconds of movement that make the speed."""
SPEED_LEAST = 1.0
"""Seconds of movement without which the speed is the rate."""
PAST = 256
"""Moments of late that are kept at least, once there were so many."""
PAST_STEP = 0.05
"""Seconds from one of them to the next at least."""


class ListMovement:
    """Tasks made, as far as known. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self._rate = 0.0  # tasks a second that nobody hears of
        self._made = 0.0  # M at the last moment
        self._at = 0.0
        self._past: list[tuple[float, float]] = []  # moments of late, each with M before what was added then

    def made(self, at: float) -> float:
        """Return the number of tasks made by a moment, now or shortly ago."""
        if at >= self._at:
            return self._made + self._rate * (at - self._at)
        index = bisect_right(self._past, (at, math.inf))
        if not index:
            return self._past[0][1] if self._past else self._made
        began, before = self._past[index - 1]
        ended, after = self._past[index] if index < len(self._past) else (self._at, self._made)
        return before + (after - before) * (at - began) / (ended - began) if ended > began else after

    def speed(self, now: float) -> float:
        """Return the tasks made a second of late, heard of or not."""
        began = max(now - SPEED_OVER, self._past[0][0]) if self._past else now
        return (self.made(now) - self.made(began)) / (now - began) if now - began > SPEED_LEAST else self._rate

    def add(self, tasks: float, at: float) -> None:
        """Record that so many more tasks than thought were made by a moment."""
        if at < self._at:
            self._made += tasks
            self._past = [(when, made + tasks if when >= at else made) for when, made in self._past]
            return
        made = self.made(at)
        if not self._past or at - self._past[-1][0] >= PAST_STEP:
            self._past.append((at, made))
            if len(self._past) > 2 * PAST:
                del self._past[:PAST]
        self._made, self._at = made + tasks, at

    def on_unheard(self, tasks: float, seconds: float) -> None:
        """Record that so many tasks were made unheard of in so many seconds, on top of the rate, and correct it."""
        if seconds > 0:
            self._rate = max(0.0, self._rate + min(MOST_AT_ONCE, seconds / RATE_OVER) * tasks / seconds)
