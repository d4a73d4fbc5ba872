"""The clock offset: by how many seconds the planner's clock is ahead of the service's, as far as records tell.

A moment that a record tells, such as when a task ended, lies between two looks: the one that did not show it yet and
the one that did. That bounds the offset, and it is where most of the last such bounds overlap (Marzullo, Owicki,
"Maintaining the time in a distributed system", ACM SIGOPS Operating Systems Review 19(3), 1985, 44-54). It needs no
`Date`, which a proxy may have written, and which tells whole seconds only.
"""

from __future__ import annotations

from collections import deque

KEPT = 24
"""Bounds that are kept."""
FEW = 3
"""Bounds below which nothing is said."""
_EVERY = 8  # bounds after which the overlap is sought anew


class ClockOffset:
    """The offset of the service's clock. `seconds` is None as long as too little tells it."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._count = 0

    def saw(self, moment: float, after: float, by: float) -> None:
        """Record that a moment of the service's, in seconds, lies between two of the planner's, if there were two."""
        low, high = after - moment, by - moment
        if not low <= high:
            return
        self._bounds.append((low, high))
        self._count += 1
        if self._count >= FEW and (self._count < _EVERY or self._count % _EVERY == 0):
            self._work_out()

    def _work_out(self) -> None:
        edges = sorted([(low, 0) for low, _ in self._bounds] + [(high, 1) for _, high in self._bounds])
        depth = most = best = 0
        for place, (_, closes) in enumerate(edges):
            depth += -1 if closes else 1
            if depth > most:
                most, best = depth, place
        # Fewer than half agree by chance: the service's clock was set, or its moments make no sense.
        self.seconds = (edges[best][0] + edges[best + 1][0]) / 2 if 2 * most > len(self._bounds) else None
