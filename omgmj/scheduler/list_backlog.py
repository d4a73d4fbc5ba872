"""The list's backlog: the watched IDs that lie below all that was read of the account's list, in order.

Those that nobody watches may lie above and between them, by the thousand: only pages that should show several of the
backlog are worth reading. An ascending array, so that the newest is at its end and is found without a walk. It is
brought up to date when it is asked: IDs that ended meanwhile still stand in it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from omgmj.scheduler.registry import MISSED, Registry

SPARE = 64
"""IDs that may have come and are not in order yet, beside twice as many as there are rows."""
FEW = 16
"""IDs: so many are put in their places one by one; where more came, all are sorted."""


class ListBacklog:
    """The watched IDs of a registry that no page has passed."""

    def __init__(self, registry: Registry) -> None:
        """Begin with all rows that there are."""
        self._registry = registry
        self._ids = array("q")  # ascending
        self._came = array("q", registry.rows)  # in no order, some of them twice

    def begin_anew(self) -> None:
        """Have all rows in the backlog: nothing is known of the list any more."""
        self._ids = array("q")
        self._came = array("q", self._registry.rows)

    def add(self, task_ids: Iterable[int]) -> None:
        """Add IDs that are watched from now on."""
        self._came.extend(task_ids)
        if len(self._came) > 2 * len(self._registry.rows) + SPARE:
            self.begin_anew()

    def pass_by(self, oldest: int) -> Sequence[int]:
        """Take out the IDs that lie no deeper than the list was read, down to `oldest`; return them, ascending."""
        if self._came:
            self._put_in_order()
        at = bisect_left(self._ids, oldest)
        passed = self._ids[at:]
        del self._ids[at:]
        return passed

    def newest(self, below: int) -> int | None:
        """Return the newest ID older than `below` that may stand in the list; None where there is none."""
        at = bisect_left(self._ids, below) - 1
        while at >= 0 and not self._may_stand(self._ids[at]):
            at -= 1
        return self._ids[at] if at >= 0 else None

    def count(self, low: int, high: int) -> int:
        """Count the IDs from one to another that may stand in the list."""
        ids = self._ids[bisect_left(self._ids, low) : bisect_right(self._ids, high)]
        return sum(map(self._may_stand, ids))

    def discard(self, low: int, high: int) -> None:
        """Take out the IDs from one to another: they are too few to be looked for."""
        del self._ids[bisect_left(self._ids, low) : bisect_right(self._ids, high)]

    def _may_stand(self, task_id: int) -> bool:
        registry = self._registry
        row = registry.rows.get(task_id)
        return row is not None and bool(registry.who[row]) and registry.listed[row] != MISSED

    def _put_in_order(self) -> None:
        came, self._came = self._came, array("q")
        if len(came) > FEW:
            self._ids = array("q", sorted(dict.fromkeys((*self._ids, *came))))
            return
        for task_id in came:
            at = bisect_left(self._ids, task_id)
            if self._ids[at : at + 1] != array("q", (task_id,)):
                self._ids.insert(at, task_id)
