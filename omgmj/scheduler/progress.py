"""What a good poll says of its task: whether it is news, when each policy wants the next poll, whose wait it ends.

What is accepted of an ID never goes back: statuses move up the order in `models`, progress only grows within one
status. Polls that fail, flight and due times are `planner`'s business.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import NamedTuple

from omgmj.backoff.durations import Durations
from omgmj.backoff.policies import Facts, check_delay
from omgmj.errors import OmgmjError, UsageError
from omgmj.models import STATUS_ORDER, Kind, Status, Task
from omgmj.scheduler.registry import NEVER, Registry, Subscription, Trait
from omgmj.validation import brief

MIN_DELAY = 0.05
"""Seconds between two polls of one ID at least, whatever the policy says."""

JUST_MADE = Trait(Status.SUBMITTED, None, None)
CREATED_KEPT = 10_000
"""Tasks made here that are remembered."""


class Why(Enum):
    """Why a wait ended although its task did not."""

    TIMEOUT = auto()
    STALLED = auto()
    GAVE_UP = auto()
    FAILED = auto()


class Ended(NamedTuple):
    """A wait that ends without an end: whose, which ID, why, the error behind it, and the polls and record so far."""

    subscription: Subscription
    task_id: int
    why: Why
    error: OmgmjError | None
    polls: int
    last: bytes | None


class Seen(NamedTuple):
    """What a record meant: whether it is news, who waits for its ID (all of them done, where it is final), who ends."""

    moved: bool
    waiting: tuple[Subscription, ...]
    ended: list[Ended]


def lacks(task: Task) -> bool:
    """Whether a record on a page, which says that its task has succeeded, wants to be confirmed by asking."""
    return task.succeeded and task.kind != Kind.DESCRIBE and not (task.image_url and task.actions)


class TaskProgress:
    """What is known of each task, and what comes to that. Times are seconds on the planner's clock.

    `outages` counts the seconds so far in which nobody could succeed: they count for no stall. While `asking`, a policy
    is being asked: what that calls must change nothing here.
    """

    def __init__(self, registry: Registry) -> None:
        self.outages: float = 0.0
        self.asking: bool = False
        self._registry = registry
        self._durations = Durations()
        self._traits: dict[Trait, Trait] = {}
        self._created: dict[int, float] = {}

    def goes_back(self, row: int, task: Task) -> bool:
        """Whether a record says less than what is known, as one that is late does."""
        before = self._registry.rank[row]
        rank = STATUS_ORDER.get(task.status, before)
        less = task.progress is not None and task.progress < self._registry.progress[row]
        return rank < before or (rank == before and less)

    def is_news(self, row: int, task: Task) -> bool:
        """Whether a record that does not go back says more than what is known."""
        more = task.progress is not None and task.progress > self._registry.progress[row]
        return more or task.status != self._registry.trait[row].status

    def accept(self, row: int, task: Task, now: float) -> bool:
        """Take in a record that is not final, unless it goes back; return whether it is news."""
        if self.goes_back(row, task):
            return False
        registry = self._registry
        before = registry.rank[row]
        rank = STATUS_ORDER.get(task.status, before)
        progress = -1 if task.progress is None else task.progress
        trait = Trait(task.status, task.pool, task.kind)
        moved = self.is_news(row, task)
        registry.trait[row] = self._traits.setdefault(trait, trait)
        registry.progress[row] = max(progress, registry.progress[row]) if rank == before else progress
        registry.rank[row] = rank
        registry.last[row] = task.source
        if moved:
            registry.moved[row] = now
        return moved

    def learn_end(self, row: int, task: Task, now: float, age: float | None) -> None:
        """Tell the durations of a final record; `age` is how old the task is by now."""
        if age is None or task.started_at is None:
            return
        registry = self._registry
        ended = None
        if task.finished_at is not None:
            ended = min(age, max(0.0, (task.finished_at - task.started_at).total_seconds()))
        if not registry.answers[row] and ended is None:
            return  # Seen for the first time, and nobody says when it ended.
        since = self._seen_since(row, age, now) if registry.answers[row] else 0.0
        progress, born = registry.progress[row], registry.born[row]
        foretold = (registry.moved[row] - born) * 100 / progress if progress > 0 and not math.isnan(born) else None
        self._durations.saw_end(task.pool, since, age, ended=ended, foretold=foretold)

    def answered(
        self, task_id: int, row: int, now: float, roll: float, hint: float | None, *, moved: bool
    ) -> tuple[float, list[Ended]]:
        """After a good poll that was not final: in how many seconds the next one is due, and who ends."""
        registry = self._registry
        ended: list[Ended] = []
        if moved:
            registry.quiet[row] = 0.0
        elif not math.isnan(registry.seen[row]):
            # Only time between two good polls counts: what lies in an outage says nothing about the task.
            registry.quiet[row] += now - registry.seen[row]
        if registry.trait[row].status == Status.IN_PROGRESS and not math.isnan(registry.born[row]):
            age = now - registry.born[row]
            self._durations.saw_running(registry.trait[row].pool, self._seen_since(row, age, now), age)
        registry.seen[row] = now
        registry.answers[row] += 1
        asked: dict[int, float] = {}
        for subscription in registry.waiting(row):
            if subscription.once:
                ended.append(self.end(task_id, row, subscription, Why.TIMEOUT))
            elif (
                min(registry.quiet[row], now - subscription.since - self.outages + subscription.outages)
                >= subscription.stall
            ):
                ended.append(self.end(task_id, row, subscription, Why.STALLED))
            elif (key := id(subscription.policy)) not in asked:
                delay = self.ask(task_id, row, subscription, now, hint, roll, ended)
                if delay < NEVER:
                    asked[key] = delay
        return min(asked.values(), default=NEVER), ended

    def created(self, task_id: int, now: float) -> None:
        """Take in that a task was made just now: until it has run for a while there is nothing to see."""
        self._created[task_id] = now
        if len(self._created) > CREATED_KEPT:
            del self._created[next(iter(self._created))]

    def is_created(self, task_id: int) -> bool:
        """Whether a task was made here, as far as is remembered."""
        return task_id in self._created

    def first_poll(
        self, task_id: int, row: int, subscription: Subscription, now: float, roll: float, ended: list[Ended]
    ) -> float:
        """Return when to poll an ID for the first time: at once, but for what was made here as the policy says."""
        made_at = self._created.get(task_id)
        if made_at is None or subscription.once:
            return now
        self._registry.first[row] = self._registry.moved[row] = made_at
        self._registry.trait[row] = JUST_MADE
        return max(now, made_at + self.ask(task_id, row, subscription, now, None, roll, ended))

    def ask(
        self,
        task_id: int,
        row: int,
        subscription: Subscription,
        now: float,
        hint: float | None,
        roll: float,
        ended: list[Ended],
    ) -> float:
        """Ask a policy when to poll again; infinite, and the wait ended, where it says stop or makes no sense."""
        registry = self._registry
        born = registry.born[row]
        trait = registry.trait[row]
        progress = registry.progress[row]
        facts = Facts(
            task_id=task_id,
            attempt=registry.answers[row],
            age=max(0.0, now - (registry.first[row] if math.isnan(born) else born)),
            pool=trait.pool,
            kind=trait.kind,
            status=trait.status,
            progress=None if progress < 0 else progress,
            changed=now - registry.moved[row],
            hint=hint,
            durations=self._durations,
        )
        why, error = Why.GAVE_UP, None
        self.asking = True
        try:
            delay = check_delay(subscription.policy(facts, roll))
        except BaseException as cause:
            if isinstance(cause, KeyboardInterrupt | SystemExit):
                raise
            # A policy is the user's code: what it raises, a CancelledError too, ends its own wait only.
            why, delay = Why.FAILED, None
            error = UsageError(f"the backoff policy {brief(subscription.policy)} cannot be used: {brief(cause)}")
            error.__cause__ = cause
        finally:
            self.asking = False
        if delay is None:
            ended.append(self.end(task_id, row, subscription, why, error))
            return NEVER
        return max(delay, MIN_DELAY)

    def end(
        self, task_id: int, row: int, subscription: Subscription, why: Why, error: OmgmjError | None = None
    ) -> Ended:
        """End one wait for one ID."""
        registry = self._registry
        registry.part(row, subscription)
        return Ended(subscription, task_id, why, error, registry.polls[row], registry.last[row])

    def _seen_since(self, row: int, age: float, now: float) -> float:
        """At which age a task that runs was seen last; its present one where this poll is the first."""
        seen = self._registry.seen[row]
        return age if math.isnan(seen) else min(age, max(0.0, age - (now - seen)))
