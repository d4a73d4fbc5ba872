"""Ends that nothing foretold, and the hazard that they come to: when all tasks begin to fail, say.

Some are always there, as no model is exact; what passes that share is a storm. It fades within a few tens of tasks.
"""

from __future__ import annotations

FADE = 0.9
"""What a task counts after each further one."""
CALM = 0.1
"""The share of surprises that means nothing."""
_RUN = 20.0  # seconds in which none came, as if they had been seen


class Surprises:
    """The surprises of late, of all tasks of a session, and the seconds for which those were watched."""

    __slots__ = ("_count", "_seconds", "_tasks")

    def __init__(self) -> None:
        self._count = self._seconds = 0.0
        self._tasks = 1 / (1 - FADE)  # as if as many had ended in time as count at all

    def saw(self, seconds: float, *, surprised: bool) -> None:
        """Record the end of a task that was watched for so many seconds."""
        self._count = self._count * FADE + surprised
        self._seconds = self._seconds * FADE + max(0.0, seconds) * surprised
        self._tasks = self._tasks * FADE + 1

    @property
    def hazard(self) -> float:
        """Chance a second that a task ends before its time."""
        return max(0.0, self._count / self._tasks - CALM) * (self._count + 1) / (self._seconds + _RUN)
