"""When to look next: where the delay to be expected without a look has reached the price of one.

This is optimal inspection of what ends unseen (Barlow, Hunter, Proschan, "Optimum checking procedures", J. SIAM 11,
1963, 1078-1095; Keller, "Optimum checking schedules for systems subject to random failure", Management Science 21,
1974, 256-260). A look costs `price` seconds of delay, the Lagrangian price under a bound on the mean delay. Where F(u)
is the chance that the end has come by u, the delay to be expected from now to u is the integral of F. For a constant
chance h per second that is h u^2 / 2, and looks are sqrt(2 price / h) apart, as Keller has it.

What is left is taken as lognormal, for which the integral is known:

    E[(u - L)+] = u N(z) - m exp(s^2 / 2) N(z - s),    z = ln(u / m) / s

with the median m, the spread s of the logarithm, and the normal distribution N. Some tasks do what nothing foretold,
with a hazard of their own: a share `RARE` beside what is foretold, and surprises, which may be many at times.
"""

from __future__ import annotations

import math
from typing import NamedTuple

RARE = 0.04
"""The share of tasks that do not end as foretold, however well others do."""
LONGEST = 3600.0
"""Seconds: no look is put off for longer."""
_CLOSE, _NEARLY = 0.02, 0.005  # seconds, and a share of them: a smaller step of Newton's is the last
_ROOT = math.sqrt(0.5)
_NEVER = 1e-6  # a chance of nothing, and a hazard of nothing


class Left(NamedTuple):
    """What was left when it began to be reckoned: its median in seconds, and the spread of its logarithm."""

    median: float
    spread: float

    def over(self, seconds: float) -> tuple[float, float]:
        """Return the delay to be expected after so many seconds, and the chance that the end has come by then."""
        median, spread = self
        share = seconds / median
        if share <= 0:  # also where a moment is so small a share that no number is
            return 0.0, 0.0
        z = math.log(share) / spread
        chance = 0.5 + 0.5 * math.erf(z * _ROOT)
        early = 0.5 + 0.5 * math.erf((z - spread) * _ROOT)
        return seconds * chance - median * math.exp(spread * spread / 2) * early, chance


def wait(left: Left, since: float, price: float, hazard: float, surprises: float) -> float:
    """Return the seconds to the next look, as `since` seconds of what was left have passed, and it goes on.

    `hazard` is that of tasks that do not end as foretold, `surprises` that of ends before their time; both a second.
    """
    late, over = left.over(since)
    alive = 1.0 - over
    foretold = (1 - RARE) * alive
    foretold /= foretold + RARE * math.exp(-min(50.0, hazard * since))
    rare = (1 - foretold) * hazard + surprises + _NEVER
    if alive < _NEVER:
        return min(LONGEST, math.sqrt(2 * price / rare))
    scale = foretold / alive
    # From the right of it: the delay is convex in time, so that Newton's steps never pass what is sought.
    seconds = max(left.median * (1 + left.spread) - since, 0.0) + 2 * price + _CLOSE
    for _ in range(30):
        later, chance = left.over(since + seconds)
        cost = scale * (later - late - over * seconds) + rare * seconds * seconds / 2
        step = (cost - price) / (scale * (chance - over) + rare * seconds)
        seconds = min(max(seconds - step, _CLOSE), LONGEST)
        if abs(step) < _CLOSE + _NEARLY * seconds:
            break
    return seconds


def constant(price: float, hazard: float) -> float:
    """Return the seconds between two looks where the chance of an end is the same in each second."""
    return min(LONGEST, math.sqrt(2 * price / max(hazard, _NEVER)))


def seen_late(left: Left, since: float, until: float) -> float | None:
    """Return how late an end is seen, on average, that came between two looks; None where none was to be expected."""
    late, over = left.over(since)
    later, chance = left.over(until)
    if chance - over < _CLOSE:
        return None
    return (later - late - over * (until - since)) / (chance - over)
