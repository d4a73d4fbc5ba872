"""The service's clock, as far as it can be told from its records: how many seconds it is behind the planner's.

A moment that a record tells, such as when a task ended, lies between two looks: the one that did not show it yet and
the one that did. That bounds by how much the clocks differ, and the difference is where most of the last such bounds
overlap. It needs no `Date`, which a proxy may have written, and which tells whole seconds only.
"""

from __future__ import annotations

from collections import deque

KEPT = 24
"""Bounds that are kept."""
FEW = 3
"""Bounds below which nothing is said."""
_EVERY = 8  # bounds after which the overlap is sought anew


class ServiceClock:
    """The service's clock. `behind` is by how many seconds the planner's is ahead of it; None: too little tells."""

    def __init__(self) -> None:
        self.behind: float | None = None
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._count = 0

    def saw(self, moment: float, after: float, by: float) -> None:
        """Record that a moment of the service's, in seconds, lies between two of the planner's."""
        if not after <= by:
            return
        self._bounds.append((after - moment, by - moment))
        self._count += 1
        if self._count < _EVERY or self._count % _EVERY == 0:
            self._work_out()

    def _work_out(self) -> None:
        if len(self._bounds) < FEW:
            return
        edges = sorted([(low, 0) for low, _ in self._bounds] + [(high, 1) for _, high in self._bounds])
        depth = most = best = 0
        for place, (_, closes) in enumerate(edges):
            depth += -1 if closes else 1
            if depth > most:
                most, best = depth, place
        self.behind = (edges[best][0] + edges[best + 1][0]) / 2
