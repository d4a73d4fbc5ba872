"""The time of day: by this machine's clock, and by the service's own, as its answers tell it.

Seconds that are waited for are the event loop's; these two date what is sent, and what is searched for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from omgmj.protocol.responses import served_at

SET = 30 * 86_400.0
"""Seconds by which this machine's clock may run ahead of the loop's, as it does while the machine sleeps; where it is
more, or less than nothing, somebody has set it."""
_BEHIND = -5.0
FRESH = 10.0
"""Seconds for which what an answer told of the service's clock will do."""


class Clock:
    """The two clocks of one session."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = loop.time() - time.monotonic()
        self._headers: Mapping[str, str] = {}
        self._at = 0.0
        self._at_loop = 0.0
        self._stale_at = -math.inf

    def now(self) -> datetime:
        """Return the time by this machine's clock."""
        return datetime.fromtimestamp(self._time(), UTC)

    def saw(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer that came just now; one without a date tells nothing."""
        now = self._loop.time()
        if now >= self._stale_at and "date" in headers:
            self._headers, self._at, self._at_loop = headers, self._time(), now
            self._stale_at = now + FRESH

    def served(self) -> datetime | None:
        """Return the time by the service's clock, as the latest answer told it; None where none did."""
        told = served_at(self._headers)
        if told is None:
            return None
        by_loop = self._loop.time() - self._at_loop
        by_clock = self._time() - self._at
        return told + timedelta(seconds=by_clock if _BEHIND < by_clock - by_loop < SET else by_loop)

    def _time(self) -> float:
        """Return seconds since the epoch, moved on by what an event loop with a clock of its own has made of them."""
        return time.time() + max(0.0, self._loop.time() - time.monotonic() - self._began)
