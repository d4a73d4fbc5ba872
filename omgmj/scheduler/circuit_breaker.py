"""Whether the service answers at all: after failures in a row the session sends one probe at a time.

It counts failures in passing (no connection, 5xx, …) of the whole session; which error is one, `protocol` says. Time
and chance are handed in.
"""

from __future__ import annotations

import math

_MANY = 8  # failures in a row, without a success in between, from which on it is an outage
_FEW, _LONG = 3, 10.0  # so many failures are enough where the first of them was so many seconds ago
_FIRST, _FACTOR, _CAP = 1.0, 2.0, 30.0  # seconds before the first probe, growth, seconds at most
_JITTER = 0.25  # share of the delay that chance may take off, so that many sessions do not come back in step


class CircuitBreaker:
    """Closed as long as the service answers; open in an outage, then one probe at a time until one gets through.

    Who sends while it is open calls `probing`, and afterwards tells how that one request ended: by `saw_success` or by
    `saw_failure(…, probe=True)`. `failures` counts those since the last success; `next_at` is when the next request may
    go, `-inf` while closed, `inf` while a probe is out.
    """

    __slots__ = ("_delay", "_since", "failures", "is_open", "next_at")

    def __init__(self) -> None:
        """Start closed."""
        self.failures: int = 0
        self.is_open: bool = False
        self.next_at: float = -math.inf
        self._since = 0.0
        self._delay = _FIRST

    def probing(self) -> None:
        """Note that a request goes out although the circuit breaker is open: no other until it has ended."""
        self.next_at = math.inf

    def saw_failure(self, now: float, roll: float, *, probe: bool = False, blames: bool = True) -> bool:
        """Count a failure; return whether this one opened the circuit breaker.

        `probe` says that the failed request was the probe. While open all others are old news: they were sent before
        it opened, and neither count nor move the next probe. `blames` says that nothing else explains the failure than
        the service; where it is the task's own, it does not count, and another probe goes soon.
        """
        if self.is_open:
            if probe:
                self._delay = min(_CAP, self._delay * _FACTOR) if blames else self._delay
                self.next_at = now + (self._delay if blames else _FIRST) * (1 - _JITTER * roll)
            return False
        if not blames:
            return False
        if not self.failures:
            self._since = now
        self.failures += 1
        if self.failures < _MANY and (self.failures < _FEW or now - self._since < _LONG):
            return False
        self.is_open = True
        self._delay = _FIRST
        self.next_at = now + self._delay * (1 - _JITTER * roll)
        return True

    def hasten(self, at: float, now: float) -> None:
        """Let the next probe go at a moment to come, where it would go later."""
        if self.is_open and now <= at < self.next_at:
            self.next_at = at

    def saw_success(self) -> bool:
        """Close on any success, be it the probe's or not; return whether this one closed the circuit breaker."""
        was_open = self.is_open
        self.is_open = False
        self.failures = 0
        self.next_at = -math.inf
        return was_open
