"""Ends that nothing foretold, and the hazard that they come to: when all tasks begin to fail, say.

Some are always there, as no model is exact; what passes that share is a storm. It fades within a few tens of tasks.
"""

from __future__ import annotations

FADE = 0.9
"""What a task counts after each further one."""
CALM = 0.1
"""The share of surprises that means nothing."""
HALF_LIFE = 600.0
"""Seconds between two runs after which what was seen in the first counts half: a storm passes."""
_RUN = 20.0  # seconds in which none came, as if they had been seen
_TASKS, _ROUNDING = 1 / (1 - FADE), 0.01  # that count at all, from the first on
_MOST_SECONDS = 1e9  # no sum of them comes near


class Surprises:
    """The surprises of late, of all tasks of a session, and the seconds for which those were watched.

    `hazard` is the chance a second that a task ends before its time.
    """

    __slots__ = ("_count", "_seconds", "_tasks", "hazard")

    def __init__(self) -> None:
        self.hazard: float = 0.0
        self._count = self._seconds = 0.0
        self._tasks = _TASKS  # as if as many had ended in time as count at all

    def saw(self, seconds: float, *, surprised: bool) -> None:
        """Record the end of a task that was watched for so many seconds."""
        self._count = self._count * FADE + surprised
        self._seconds = self._seconds * FADE + max(0.0, seconds) * surprised
        self._tasks = self._tasks * FADE + 1
        self._work_out()

    def dump(self) -> list[float]:
        """Return what was seen of late as JSON takes it."""
        return [self._count, self._seconds, self._tasks]

    def restore(self, dumped: list[float], ago: float = 0.0) -> None:
        """Take over what `dump` gave so many seconds `ago`; `ValueError` where it cannot have given that."""
        count, seconds, tasks = map(float, dumped)
        if not (abs(tasks - _TASKS) < _ROUNDING and 0 <= count <= tasks and 0 <= seconds <= _MOST_SECONDS):
            raise ValueError("these are not the surprises of late")
        share = 0.5 ** (ago / HALF_LIFE)
        self._count, self._seconds, self._tasks = share * count, share * seconds, tasks
        self._work_out()

    def _work_out(self) -> None:
        share = max(0.0, self._count / self._tasks - CALM)
        self.hazard = share * (self._count + 1) / (self._seconds + _RUN)
