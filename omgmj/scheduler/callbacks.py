"""Callbacks: what a webhook's call changes of the schedule.

The rule: nothing that a callback says is believed. One that claims an end brings a poll now, at most one a second an
ID. One that claims that the task goes on brings none: policies see it as `Facts.heard`, and so put the next poll off,
at most by the heartbeat from the last one. Where callbacks foretell an end, the next poll is due then. Where somebody
follows the ID nothing is put off, and a claim brings a poll `FOLLOW_SPACING` seconds after the last one.

So who knows the URL of a webhook can cost a poll a second an ID, or delay one by the heartbeat, and nothing else.
"""

from __future__ import annotations

from omgmj.protocol.callbacks import Callback
from omgmj.scheduler.claims import Claims
from omgmj.scheduler.due_queue import DueQueue
from omgmj.scheduler.first_polls import FirstPolls
from omgmj.scheduler.progress import TaskProgress, Turn
from omgmj.scheduler.registry import NEVER, Registry

FOLLOW_SPACING = 5.0
"""Seconds from the last poll of an ID that somebody follows to one that a claim of progress brings."""


class Callbacks:
    """The way of callbacks into the schedule. Times are seconds on the planner's clock."""

    def __init__(
        self, registry: Registry, due_queue: DueQueue, claims: Claims, progress: TaskProgress, first_polls: FirstPolls
    ) -> None:
        self._registry = registry
        self._due_queue = due_queue
        self._claims = claims
        self._progress = progress
        self._first_polls = first_polls

    def hear(self, callback: Callback, now: float, served: float, roll: float) -> None:
        """Take in a callback; it changes when its ID is polled next, where somebody waits for that."""
        task_id = callback.task_id
        self._first_polls.on_callback(callback)
        row = self._registry.rows.get(task_id)
        if row is None or not self._registry.who[row]:
            return
        if not callback.goes_on:
            self._claims.on_end(task_id, now)
            self._due_queue.push(task_id, now)
            return
        was_heard = self._claims.heard(task_id, now)
        self._claims.on_progress(task_id, callback.progress, now)
        if not self._progress.may_wait(task_id, row):
            return
        if was_heard is None and self._claims.heard(task_id, now) is not None:
            # From now on the policies go by it when they are asked after a poll.
            self._due_queue.put_off(task_id, row, self._progress.on_heard(Turn(task_id, row, now, served, roll)))
        due = self._claims.ends_at(task_id, now)
        if any(subscription.follows for subscription in self._registry.who[row].values()):
            due = min(due, max(now, self._progress.seen_at(row) + FOLLOW_SPACING))
        self._due_queue.bring(task_id, row, due)

    def after_poll(self, task_id: int, row: int, now: float) -> None:
        """Have an ID polled when claims foretell its end, where the policies would poll it later."""
        ends_at = self._claims.ends_at(task_id, now)
        if ends_at < NEVER:
            self._due_queue.bring(task_id, row, ends_at)
