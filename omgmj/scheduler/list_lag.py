"""The moment that a page of the list tells of: pages take a while, and may show the list as it was before.

A page asked for at `t` and here at `t + took` was made in between, at about `t + took / 2`, from a list that is
`behind` by some seconds. Both are averages of the pages so far.
"""

from __future__ import annotations

LATENCY_WEIGHT = 0.1
"""Weight, 0 to 1: the last page's in how long pages take on average."""
SLOW_WEIGHT = 0.01
"""Weight, 0 to 1: the last page's in how long pages take at most, of late."""
BEHIND_WEIGHT = 0.2
"""Weight, 0 to 1: the last first page's in how far the list is behind."""


class ListLag:
    """Averages of how late pages are. All are seconds."""

    def __init__(self) -> None:
        self.slowest: float = 0.0
        self.behind: float = 0.0
        self._took = 0.0

    @property
    def ahead(self) -> float:
        """Seconds from asking for a page to the moment it tells of; below 0 where that was before."""
        return self._took / 2 - self.behind

    def on_page(self, took: float) -> None:
        """Record how long a page took."""
        self._took += LATENCY_WEIGHT * (took - self._took)
        self.slowest = max(took, self.slowest - SLOW_WEIGHT * self.slowest)

    def on_newest(self, behind: float) -> None:
        """Record by how much a first page was made after the first ID that it lacks; below 0 where it lacks none."""
        self.behind += BEHIND_WEIGHT * (max(0.0, behind) - self.behind)
