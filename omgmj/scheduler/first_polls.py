"""First polls: when an ID is polled first, and what it changes that one more waits for it.

The rule: an ID is polled at once when somebody begins to wait for it; a task that this session made itself when the
policy says, as there is nothing to see yet. To the policy a webhook that the task was made with is a callback that was
heard, so that the first one is waited for. Who comes later shares the polls that are made anyway, sooner where the
policy or the stall limit wants them sooner. What comes after an answer is decided in `progress`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from omgmj.backoff.policies import HEARTBEAT
from omgmj.protocol.callbacks import Callback
from omgmj.scheduler.claims import Claims
from omgmj.scheduler.due_queue import DueQueue
from omgmj.scheduler.progress import Ended, TaskProgress, Turn
from omgmj.scheduler.registry import IN_FLIGHT, NEVER, Registry, Subscription

CREATED_KEPT = 10_000
"""Tasks made here that are remembered."""
ENDED_KEPT = 1000
"""IDs that nobody waits for yet and whose end was claimed, which are remembered."""


class _Made(NamedTuple):
    """A task made here: when, whether it has a webhook, its pool and kind as its submission says."""

    at: float
    webhook: bool
    pool: str | None
    kind: str | None


class FirstPolls:
    """The way into the schedule. Times are seconds on the planner's clock."""

    def __init__(self, registry: Registry, due_queue: DueQueue, claims: Claims, progress: TaskProgress) -> None:
        self._registry = registry
        self._due_queue = due_queue
        self._claims = claims
        self._progress = progress
        self._created: dict[int, _Made] = {}
        self._ended: dict[int, None] = {}
        self._silent_since = NEVER

    def created(
        self, task_id: int, now: float, *, webhook: bool = False, pool: str | None = None, kind: str | None = None
    ) -> None:
        """Record that a task was made just now: until it has run for a while there is nothing to see."""
        self._created[task_id] = _Made(now, webhook, pool, kind)
        if webhook:
            self._silent_since = min(now, self._silent_since)
        if len(self._created) > CREATED_KEPT:
            del self._created[next(iter(self._created))]

    def on_callback(self, callback: Callback) -> None:
        """Record that callbacks do come here; one may claim an end before anybody waits, or the ID is known."""
        if callback.task_id in self._created:
            self._silent_since = NEVER
        if not callback.goes_on and callback.task_id not in self._registry.rows:
            self._ended[callback.task_id] = None
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]

    def is_created(self, task_id: int) -> bool:
        """Whether a task was made here, as far as is remembered."""
        return task_id in self._created

    def begin(self, subscription: Subscription, now: float) -> Sequence[int]:
        """Begin rows for those IDs of a subscription that are new here, all in one go; return the others."""
        ids, known, created = subscription.ids, self._registry.rows, self._created
        new = [task_id for task_id in ids if task_id not in known and task_id not in created]
        if not new:
            return ids
        rows = self._registry.open_all(new, subscription)
        self._due_queue.begin_all(new, rows, now)
        self._progress.begin(rows, now, subscription)
        if len(new) == len(ids):
            return ()
        begun = set(new)
        return [task_id for task_id in ids if task_id not in begun]

    def join(self, task_id: int, subscription: Subscription, now: float, roll: float) -> list[Ended]:
        """Add a subscription to an ID that is known here; return its end, where its policy ends it at once."""
        registry, due_queue, served = self._registry, self._due_queue, subscription.served_since
        row = registry.open(task_id)
        if not registry.who[row]:
            due_queue.begin(row)
            self._progress.begin((row,), now, subscription)
        if subscription.known:
            self._progress.remember(row)
        if not registry.join(row, subscription) or registry.flags[row] & IN_FLIGHT:
            return []
        if subscription.once:
            due_queue.schedule(task_id, row, min(now, registry.due[row]), fresh=True)
            return []
        there_at = registry.seen[row]
        is_seen = not math.isnan(there_at)
        if not is_seen:
            made = self._created.get(task_id)
            if registry.polls[row] or made is None:
                return []  # The first poll is due already, or all failed so far: who comes shares the next one.
            self._progress.begin_made(task_id, row, made.at, made.pool, made.kind)
            there_at = made.at
            if task_id in self._ended:
                del self._ended[task_id]
                due_queue.hasten(task_id, row, now, fresh=True)
            elif made.webhook and now < self._silent_since + HEARTBEAT and self._claims.heard(task_id, now) is None:
                # Where none of many came for so long, they go elsewhere.
                self._claims.expect(task_id, made.at)
        due, ended, _ = self._progress.on_join(Turn(task_id, row, now, served, roll), subscription, there_at)
        due_queue.hasten(task_id, row, due, fresh=not is_seen)
        return ended
