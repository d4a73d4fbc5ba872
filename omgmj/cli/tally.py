"""The tally of a run: which tasks are left, how many came to what, and the bytes of their images."""

from __future__ import annotations

from collections.abc import Iterable


class Tally:
    """Counts of one run.

    `left` are the IDs still to come, `total` counts all that were ever expected. `failed` counts the tasks that ended
    and not well, `lost` the IDs that came to no record or no image.
    """

    def __init__(self) -> None:
        self.left: dict[int, None] = {}
        self.total: int = 0
        self.failed: int = 0
        self.lost: int = 0
        self._kept = 0
        self._bytes = 0
        self._received: dict[int, int] = {}

    def expect(self, ids: Iterable[int]) -> None:
        """Add IDs whose records are to come."""
        before = len(self.left)
        self.left.update(dict.fromkeys(ids))
        self.total += len(self.left) - before

    def record(self, task_id: int, *, failed: bool) -> None:
        """Count a task that has ended."""
        self._end(task_id)
        self.failed += failed

    def save(self, task_id: int, *, before: bool) -> None:
        """Count an image on disk; `before` says that it was there already."""
        self._end(task_id)
        self._kept += before

    def lose(self, task_id: int | None) -> None:
        """Count an expected ID that came to nothing; None: nobody knows which."""
        if task_id is not None:
            self._end(task_id)
        self.lost += 1

    def refuse(self) -> None:
        """Count a line that names no task, as one more that came to nothing."""
        self.total += 1
        self.lost += 1

    def receive(self, task_id: int, size: int) -> None:
        """Set the bytes of a task's image that have come by now."""
        self._bytes += size - self._received.get(task_id, 0)
        self._received[task_id] = size

    @property
    def is_well(self) -> bool:
        """Whether nothing failed or was lost so far."""
        return not self.failed and not self.lost

    def __str__(self) -> str:
        said = f"{self.total - len(self.left) - self.lost} of {self.total} done, {self.failed} failed"
        if self.lost:
            said += f", {self.lost} unresolved"
        if self._kept:
            said += f", {self._kept} there already"
        return f"{said}, {self._bytes / 1e6:.1f} MB" if self._bytes else said

    def _end(self, task_id: int) -> None:
        self.left.pop(task_id, None)
        self._received.pop(task_id, None)  # There may be no end of them.
