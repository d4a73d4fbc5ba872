"""The make-believe service's list: the account's tasks in pages, newest first, as JSON, and what goes wrong with it.

Pure, with the wire's names in a copy of its own, as in `fake_task`. Who may read a page, and whether anything goes
wrong with it, is `simulator`'s business.
"""

from __future__ import annotations

import bisect
import json
import math
import operator
from typing import NamedTuple

from omgmj.testing.service.endpoints import ListPage
from omgmj.testing.service.fake_task import FakeTask
from omgmj.testing.service.faults import OF_ANY_RECORD
from omgmj.testing.service.odd_records import foreign, odd

KEPT = 5000
"""Records that are kept as JSON, so that a page of tasks that have not moved costs next to nothing."""
_NEED_RECORDS = OF_ANY_RECORD | {"list_duplicates", "list_foreign_shape", "list_empty"}
"""Faults that befall a page with records only."""


class _Kept(NamedTuple):
    """A record as JSON, and from when until when the task is told so."""

    since: float
    until: float
    text: bytes


def write(value: object) -> bytes:
    """Write JSON as the service does: half a character, which UTF-8 has no bytes for, stays escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


class TaskList:
    """The list. It shows each task as it was `lag` seconds ago, and none that was not known by then."""

    def __init__(self, lag: float) -> None:
        self.lag = lag
        self._tasks: list[FakeTask] = []
        self._kept: dict[int, _Kept] = {}

    def add(self, task: FakeTask) -> None:
        """Add a task; it comes up when it is known."""
        bisect.insort_right(self._tasks, task, key=_known_from)

    def forget(self) -> None:
        """Write every record anew: those of tasks that have not moved have changed too."""
        self._kept.clear()

    def page(self, asked: ListPage, now: float) -> bytes:
        """Return the page as JSON, the answer's `data`."""
        total, tasks = self._shown(asked, now)
        return _data(total, [self._text(task, now - self.lag) for task in tasks])

    def applies(self, fault: str, asked: ListPage, now: float) -> bool:
        """Whether a fault can befall the page: some need a record on it, or one that has an earlier state."""
        _, tasks = self._shown(asked, now)
        if fault == "list_twice":
            return any(task.moment(now - self.lag) for task in tasks)
        return bool(tasks) or fault not in _NEED_RECORDS

    def spoil(self, fault: str, asked: ListPage, now: float) -> bytes:
        """Return the page as JSON with a fault that applies to it."""
        total, tasks = self._shown(asked, now)
        then = now - self.lag
        texts = [self._text(task, then) for task in tasks]
        match fault:
            case "list_wrong_shape":
                return b'{"count":%d,"items":[%b]}' % (total, b",".join(texts))
            case "list_empty":
                texts = []
            case "list_duplicates":
                texts.append(texts[0])
            case "list_twice":
                place = next(place for place, task in enumerate(tasks) if task.moment(then))
                texts.insert(place, write(tasks[place].record(tasks[place].moment(then) - 1)))
            case _ if fault in OF_ANY_RECORD:
                texts = [write(odd(fault, task.record(task.moment(then)))) for task in tasks]
            case "list_foreign_shape":
                texts[::2] = [write(foreign(task.record(task.moment(then)))) for task in tasks[::2]]
            case _:
                total = 3 * total + 41
        return _data(total, texts)

    def _shown(self, asked: ListPage, now: float) -> tuple[int, list[FakeTask]]:
        """Return how many tasks there are, and those on the page."""
        total = bisect.bisect_right(self._tasks, now - self.lag, key=_known_from)
        end = max(total - (asked.number - 1) * asked.size, 0)
        return total, self._tasks[max(end - asked.size, 0) : end][::-1]

    def _text(self, task: FakeTask, then: float) -> bytes:
        kept = self._kept.get(task.id)
        if kept is None or not kept.since <= then < kept.until:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            index = task.moment(then)
            moments = task.life.moments
            since = task.made + moments[index].at if index else -math.inf
            until = task.made + moments[index + 1].at if index + 1 < len(moments) else math.inf
            kept = self._kept[task.id] = _Kept(since, until, write(task.record(index)))
        return kept.text


_known_from = operator.attrgetter("known_from")


def _data(total: int, texts: list[bytes]) -> bytes:
    return b'{"total":%d,"tasks":[%b]}' % (total, b",".join(texts))
