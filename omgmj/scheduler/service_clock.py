"""Service time: what outages do not count in."""

from __future__ import annotations

from omgmj.scheduler.registry import NEVER


class ServiceClock:
    """Service time: the planner's clock less outages. In an outage it stands still.

    What an outage must not count for is dated in it: stalls, and failures of one ID. `stopped_at` is when the outage
    began, infinite where there is none.
    """

    __slots__ = ("_lost", "stopped_at")

    def __init__(self) -> None:
        self._lost = 0.0
        self.stopped_at: float = NEVER

    @property
    def is_stopped(self) -> bool:
        """Whether there is an outage."""
        return self.stopped_at < NEVER

    def at(self, now: float) -> float:
        """Return the service time."""
        return min(now, self.stopped_at) - self._lost

    def stop(self, now: float) -> None:
        """Stand still from now on."""
        self.stopped_at = min(now, self.stopped_at)

    def skip(self, seconds: float) -> None:
        """Leave out the last `seconds`, in which it was not heard whether there was an outage."""
        if not self.is_stopped:
            self._lost += seconds

    def go_on(self, now: float) -> None:
        """Go on, where it stands still."""
        if self.is_stopped:
            self._lost += now - self.stopped_at
            self.stopped_at = NEVER
