"""The price of a look in seconds of delay: one for all that is decided, moved slowly until the mean is what was asked.

It is the multiplier of the bound on the mean (Everett, "Generalized Lagrange multiplier method", Operations Research
11, 1963, 399-417), found as the means are measured. It moves with each end that is seen, further at the first ones
(Robbins, Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951, 400-407). What a price
does is known only as further ends are seen, some seconds later: a loop any faster overshoots, so that where many end
at once they move it no further than a few do.
"""

from __future__ import annotations

import math

FIRST = 0.12
"""Seconds of delay that a look costs before anything was measured."""
LEAST, MOST = 0.008, 50.0
RATE, EARLY = 0.03, 0.3
"""How far the logarithm moves at an end that is off by all that was asked for; a share of the other more at the first
such end, half of it at the second, and so on."""
MOST_BOUNDS = 64
"""Bounds that are told apart."""
_SPEED, _AT_ONCE = 0.4, 1.5  # how far the logarithm may move in a second, and at once after a while without an end
_SETTLED = 30  # ends that have moved a price that was measured before, at least
_AIMED = 0.96  # of the delay that was asked for: the first ends, before the price is found, are later
_REST = 0.7  # of the delay that was asked for, beside the time on the way
_FADE = 0.98  # of the means that are told


class Price:
    """The price under which ends are seen `delay` seconds late on average, or tasks cost `polls` on average.

    `value` is where it begins, if it was measured before; it `is_measured` then, and from the first end on.
    `mean_delay` and `mean_polls` are those of late; not a number before the first end.
    """

    __slots__ = (
        *("_delay", "_moved", "_moved_at", "_polls", "_room", "_weight"),
        *("is_measured", "mean_delay", "mean_polls", "value"),
    )

    def __init__(self, delay: float, polls: float | None = None, value: float | None = None) -> None:
        self._delay = delay
        self._polls = polls
        self._weight = 0.0
        self._moved = 0 if value is None else _SETTLED
        self._moved_at, self._room = -math.inf, 0.0
        self.is_measured: bool = value is not None
        self.value: float = FIRST * delay if value is None else min(MOST, max(LEAST, value))
        self.mean_delay: float = math.nan
        self.mean_polls: float = math.nan

    def saw(self, delay: float, polls: int, now: float, half: float = 0.0, *, moves: bool = True) -> None:
        """Record an end that was seen `now`: how late, and what it took; `half` the time of an answer was on the way.

        It `moves` the price, unless its polls went by none.
        """
        self.is_measured = True
        self._weight = self._weight * _FADE + 1
        first = math.isnan(self.mean_delay)
        self.mean_delay = delay if first else self.mean_delay + (delay - self.mean_delay) / self._weight
        self.mean_polls = polls if first else self.mean_polls + (polls - self.mean_polls) / self._weight
        if not moves:
            return
        self._moved += 1
        # What is on the way cannot be helped by polls: where that is much, less is asked.
        asked = max(_AIMED * self._delay, half + _REST * self._delay)
        off = 1 - delay / asked if self._polls is None else polls / self._polls - 1
        room = min(_AT_ONCE, self._room + _SPEED * (now - self._moved_at))
        far = max(-room, min(room, (RATE + EARLY / self._moved) * max(-5.0, min(5.0, off))))
        self._room, self._moved_at = room - abs(far), now
        self.value = min(MOST, max(LEAST, self.value * math.exp(far)))


class Prices:
    """The prices of a session: one for each bound that its policies ask under.

    `asked` is the one that was asked for last, until somebody takes note of it. Beyond `MOST_BOUNDS` all begin anew.
    """

    __slots__ = ("_of", "asked")

    def __init__(self) -> None:
        self.asked: Price | None = None
        self._of: dict[tuple[float, float | None], Price] = {}

    def under(self, delay: float, polls: float | None = None) -> Price:
        """Return the price under a bound, which is kept from now on."""
        price = self._of.get((delay, polls))
        if price is None:
            price = self.open(delay, polls)
        self.asked = price
        return price

    def open(self, delay: float, polls: float | None, value: float | None = None) -> Price:
        """Begin a price, at a value where one was measured before."""
        if len(self._of) >= MOST_BOUNDS:
            self._of.clear()
        price = self._of[delay, polls] = Price(delay, polls, value)
        return price

    def measured(self) -> dict[tuple[float, float | None], float]:
        """Return the prices that ends have moved, now or before, by their bounds."""
        return {bound: price.value for bound, price in self._of.items() if price.is_measured}
