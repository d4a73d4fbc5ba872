"""A timer wheel as a value: which keys are due at `now`, the most overdue first.

Adding and taking cost the same with a hundred keys as with a hundred thousand, a key costs eight bytes and no object,
and the garbage collector finds nothing to walk. A key is never taken out before its time: whoever puts in a key again
keeps the time that counts, and drops what comes out and is not meant any more.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

TICKS = 64
"""Ticks a second. A power of two, so that whole and half seconds are met exactly; a key is up to 16 ms late."""
FAR = 2.0**40
"""Seconds beyond which all times are one: no number of ticks could tell the largest."""


class TimerWheel:
    """Keys in buckets of one tick each, and a heap of the ticks that have a bucket."""

    __slots__ = ("_buckets", "_ticks", "size")

    def __init__(self) -> None:
        self._buckets: dict[int, deque[int]] = {}
        self._ticks: list[int] = []
        self.size: int = 0  # how many keys there are

    def add(self, key: int, due: float) -> float:
        """Put `key` in to come out at `due` or just after it; return that time, rounded up to the tick."""
        tick = math.ceil(min(due, FAR) * TICKS)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = deque()
            heapq.heappush(self._ticks, tick)
        bucket.append(key)
        self.size += 1
        return tick / TICKS

    def next(self) -> tuple[float, int] | None:
        """Return the earliest due time and the key that will be taken for it; None where the wheel is empty."""
        ticks = self._ticks
        return (ticks[0] / TICKS, self._buckets[ticks[0]][0]) if ticks else None

    def turn(self, roll: float) -> None:
        """Choose by `roll`, in [0, 1), which of the keys with the earliest due time comes next."""
        if self._ticks:
            bucket = self._buckets[self._ticks[0]]
            bucket.rotate(-int(roll * len(bucket)))

    def take(self) -> int:
        """Take out the key that `next` showed."""
        tick = self._ticks[0]
        bucket = self._buckets[tick]
        key = bucket.popleft()
        self.size -= 1
        if not bucket:
            del self._buckets[tick]
            heapq.heappop(self._ticks)
        return key

    def clear(self) -> None:
        """Take out everything."""
        self._buckets.clear()
        self._ticks.clear()
        self.size = 0
