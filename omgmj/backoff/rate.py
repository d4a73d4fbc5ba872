"""How fast the session may send: one budget in requests a second that gives way to the service's 429s.

A bucket of slots that are given at the moment of sending, never ahead, so that a lowered rate holds at once. Time is
handed in as seconds on the caller's clock. Who gets the next slot is `limiter`'s business, whose a 429 is `refusals`'.

After a cut the limit rises by `_SLOW * sqrt(level * rate)` a second to `_WELL_PAST * level`, then by `_FAST * level`:
a binomial algorithm of congestion control. `level` is what the service let through at the cut. Sessions that
share a limit come to equal parts of it, as a rise depends less on one's own part than a cut does. By the part alone
(MIMD) no inequality would ever end. By the rate alone (AIMD) the rise would be too steep where the limit is far below
the rate. (The curve of CUBIC, RFC 9438, shared no better and met more 429s.) The shares were tuned on the limiters of
`tests/backoff/test_noise.py` and are held by `python -m benchmarks pace --check`.

A 429 cuts only where it is more than `noise` explains, and only then its Retry-After holds all. A long hold is tried
once, after a moment: an answer to the one request that may start ends it, as it was not meant for all.
"""

from __future__ import annotations

import math
from collections import deque

from omgmj.backoff.noise import Noise
from omgmj.backoff.retry_after import believed

EARLY = 1e-6
"""Seconds by which a timer may fire early; it must not find itself too early for ever."""
_BURST = 0.02  # seconds of the limit that may be sent in one go
_WINDOW = 2.0  # seconds over which is counted what the service let through
_FEW = 16  # requests: with fewer allowed in that time it is counted over longer
_FLOOR = 0.5  # requests a second: a 429 never cuts below this
_KEEP = 0.92  # share of what the service let through that is left after a cut
_UNKNOWN = 0.6  # share of the limit that is left where the count says nothing, and at least
_WELL_PAST = 1.1  # from this much above the level of the last cut the service seems to allow more than it did
_SLOW = 0.006  # share of the geometric mean of that level and the rate that comes back each second, below that mark
_FAST = 0.1  # share of the level that comes back each second above that mark
_TRAIL = 0.9  # share of the limit that a level is put to where none is known: the limit is well past it
_YOUNG = 0.2  # seconds: what was let through is counted over so long at least
_LOW = 0.97  # share of the level below which a limit would refuse nothing
_TRY = 2.0  # seconds after which a hold is tried, where it lasts twice as long at least
_CREDIT = 1.0  # seconds: one success brings back no more than this, so an idle session does not gain rate


class Rate:
    """A budget of at most `rate` requests a second, less after a 429, recovering with successes.

    In any window of T seconds at most `rate * T + burst` requests start, with `burst = max(1, ceil(0.02 * rate))`;
    the same holds for the `limit` of the moment. `answers` counts those that were no 429.
    """

    __slots__ = (
        "_at",
        "_began",
        "_burst",
        "_credited_at",
        "_cut_at",
        "_held_since",
        "_held_until",
        "_level",
        "_limit",
        "_noise",
        "_passed",
        "_rate",
        "_slots",
        "_successes",
        "_try_at",
        "_window",
        "answers",
    )

    def __init__(self, rate: float, now: float) -> None:
        """Start with a full burst; `rate` is a finite number above 0."""
        self._rate = rate
        self._limit = rate
        self._level = rate  # what the service let through at the last cut, as far as known
        self._burst: int = _burst(rate)  # of the limit of the moment
        self._window = _window(rate)
        self._slots: float = self._burst
        self._began = now
        self._at = now  # when the slots were last counted
        self._cut_at = -math.inf
        self._held_since = self._held_until = -math.inf  # by a Retry-After
        self._try_at = math.inf
        self._noise = Noise(now)
        self._passed = 0  # answers since the last 429
        self.answers: int = 0
        self._credited_at = now
        self._successes: deque[float] = deque()

    @property
    def rate(self) -> float:
        """The most that was configured, in requests a second."""
        return self._rate

    @property
    def limit(self) -> float:
        """What may be sent right now, in requests a second."""
        return self._limit

    def ready_at(self, now: float) -> float:
        """Return when the next request may start: `now`, or the time to come back at."""
        slots = self._slots + (now - self._at) * self._limit  # A burst bounds them, but is never less than one.
        ready = max(min(self._held_until, self._try_at), now + (1 - slots) / self._limit)
        return now if ready <= now + EARLY else ready

    def take(self, now: float) -> None:
        """Use one slot; to be called only when `ready_at(now)` is `now`."""
        self._try_at = math.inf
        self._refill(now)
        self._slots -= 1

    def take_at_once(self, now: float) -> bool:
        """Use one slot where one is free at `now`; return whether it was."""
        self._refill(now)
        if self._slots < 1 or now < self._held_until:
            return False
        self._slots -= 1
        return True

    def saw_success(self, sent_at: float, now: float) -> None:
        """Note that a request sent at `sent_at` got something else than 429, and win back some of what was cut."""
        self._successes.append(now)
        if self._successes[0] <= now - self._window:
            self._successes.popleft()  # One for one: all that are too old are dropped where they are counted.
        credited_at, self._credited_at = self._credited_at, now
        self.answers += 1
        if sent_at > self._cut_at:
            self._passed += 1
            if self._limit < self._level * _LOW and self._noise.on_low_success(now):
                self._unlearn_level()
        if self._limit == self._rate:
            return
        if self._held_since < sent_at and now < self._held_until:
            self._held_until = now
        credit = min(_CREDIT, now - credited_at)
        self._refill(now)
        if self._limit < self._level * _WELL_PAST:
            self._allow(min(self._rate, self._limit + credit * math.sqrt(self._level * self._rate) * _SLOW))
        else:
            self._allow(min(self._rate, self._limit + credit * self._level * _FAST))
            # The old level says nothing up here; one that moves along keeps the climb in proportion.
            self._unlearn_level()

    def saw_429(self, sent_at: float, now: float, retry_after: float | None) -> bool:
        """Note a 429 to a request sent at `sent_at`; `retry_after` in seconds, None where the service gave none.

        It cuts the limit only if it was sent after the last cut, as all else tells of a rate that is no more, and in
        no hold; return whether it did.
        """
        if sent_at <= self._cut_at or now < self._held_until:
            self._hold(now, retry_after)
            return False
        if self._noise.on_429(now, self._limit, self._passed, low=self._limit < self._level * _LOW):
            self._unlearn_level()
        self._passed = 0
        if self._noise.explains(now):
            return False
        self._hold(now, retry_after)
        self._refill(now)
        while self._successes and self._successes[0] <= now - self._window:
            self._successes.popleft()
        seconds = min(self._window, max(_YOUNG, now - self._began))
        through = min(self._limit, len(self._successes) / seconds)
        # Far less than the limit got through: the session was idle or stalled, or the service is far slower than
        # thought. A deep cut finds out; and what is not known needs no careful recovery.
        known = through * _KEEP >= self._limit * _UNKNOWN
        cut = through * _KEEP if known else self._limit * _UNKNOWN
        self._allow(max(cut, min(_FLOOR, self._rate)))
        # A count over less than the window still tells of the burst that the service takes at first.
        is_settled = known and now - self._began >= self._window
        self._level = through if is_settled else self._limit * _TRAIL
        self._cut_at = self._credited_at = now
        self._noise.on_cut(now)
        return True

    def _hold(self, now: float, retry_after: float | None) -> None:
        if retry_after is None:
            return
        until = now + believed(retry_after)
        if now >= self._held_until:
            self._held_since = now
            self._try_at = now + _TRY if until >= now + 2 * _TRY else math.inf
        self._held_until = max(self._held_until, until)

    def _unlearn_level(self) -> None:
        """Take the limit to be well past the level, as that is not known."""
        self._level = self._limit * _TRAIL

    def _allow(self, limit: float) -> None:
        self._limit = limit
        self._burst = _burst(limit)
        self._window = _window(limit)
        # Slots saved up under a higher limit are gone.
        self._slots = min(self._burst, self._slots)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._slots = min(self._burst, self._slots + (now - self._at) * self._limit)
            self._at = now


def _burst(limit: float) -> int:
    return max(1, math.ceil(limit * _BURST))


def _window(limit: float) -> float:
    return max(_WINDOW, _FEW / limit)
