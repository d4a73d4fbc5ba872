"""The time of day: by this machine's clock, and by the service's own, as its answers tell it.

Seconds that are waited for are the event loop's; these two date what is sent, and what is searched for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from omgmj.protocol.responses import served_at

SET = 30 * 86_400.0
"""Seconds by which this machine's clock may run ahead of the loop's, as it does while the machine sleeps; where it is
more, or less than nothing, somebody has set it."""
_BEHIND = -5.0


class Clock:
    """The two clocks of one session.

    `told` is what the latest answer tells: its headers, and when it came, by the loop's clock and by this machine's. It
    is set from outside, as each answer sets it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.told: tuple[Mapping[str, str], float, float] = ({}, 0.0, 0.0)
        self._loop = loop
        self._began = loop.time() - time.monotonic()

    def now(self) -> datetime:
        """Return the time by this machine's clock, moved on by what a virtual clock of the loop's makes of it."""
        surplus = self._loop.time() - time.monotonic() - self._began
        return datetime.fromtimestamp(time.time() + max(0.0, surplus), UTC)

    def served(self) -> datetime | None:
        """Return the time by the service's clock, as the latest answer told it; None where it did not."""
        headers, at_loop, at = self.told
        date = served_at(headers)
        if date is None:
            return None
        by_loop, by_clock = self._loop.time() - at_loop, time.time() - at
        return date + timedelta(seconds=by_clock if _BEHIND < by_clock - by_loop < SET else by_loop)
