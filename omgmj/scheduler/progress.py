"""Progress of tasks: what a good poll says of one, when the next poll is due, whose wait ends.

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
from omgmj.scheduler.registry import IN_FLIGHT, NEVER, PUSHED, UNSEEN, Registry, Subscription, Trait
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


class Found(NamedTuple):
    """A record with what its answer tells beside it.

    `age` is how many seconds the task has been running as the service tells it, `ended_ago` how many seconds ago it
    ended, `hint` how many it asks to be left alone for. `asked_at` is when the page of the list was asked for that
    shows the record; None where it was not a page, which would say nothing of how asking for the ID goes.
    """

    task: Task
    age: float | None = None
    ended_ago: float | None = None
    hint: float | None = None
    asked_at: float | None = None


class Seen(NamedTuple):
    """A record's meaning: whether it is news, who waits for its ID (all of them done, if it is final), who ends."""

    moved: bool
    waiting: tuple[Subscription, ...]
    ended: list[Ended]


class Turn(NamedTuple):
    """An ID to decide on, with its row; the time, also as service time; chance; the service's hint in seconds."""

    task_id: int
    row: int
    now: float
    served: float
    roll: float
    hint: float | None = None


class ServiceClock:
    """Service time: the planner's clock less outages. In an outage it stands still.

    What an outage must not count for is dated in it: stalls, and failures of one ID.
    """

    __slots__ = ("_lost", "_stopped_at")

    def __init__(self) -> None:
        self._lost = 0.0
        self._stopped_at = NEVER

    @property
    def is_stopped(self) -> bool:
        """Whether there is an outage."""
        return self._stopped_at < NEVER

    def at(self, now: float) -> float:
        """Return the service time."""
        return min(now, self._stopped_at) - self._lost

    def stop(self, now: float) -> None:
        """Stand still from now on."""
        self._stopped_at = min(now, self._stopped_at)

    def skip(self, seconds: float) -> None:
        """Leave out the last `seconds`, in which it was not heard whether there was an outage."""
        if not self.is_stopped:
            self._lost += seconds

    def go_on(self, now: float) -> None:
        """Go on, where it stands still."""
        if self.is_stopped:
            self._lost += now - self._stopped_at
            self._stopped_at = NEVER


def lacks(task: Task) -> bool:
    """Whether a record on a page, which says that its task has succeeded, wants to be confirmed by asking."""
    return task.succeeded and task.kind != Kind.DESCRIBE and not (task.image_url and task.actions)


class TaskProgress:
    """The progress of each task, and what comes to that. Times are seconds on the planner's clock.

    While `asking`, a policy is being asked: what that calls must change nothing here.
    """

    def __init__(self, registry: Registry) -> None:
        self.asking: bool = False
        self._registry = registry
        self._durations = Durations()
        self._traits: dict[Trait, Trait] = {}
        self._created: dict[int, float] = {}

    def begin(self, row: int, now: float, served: float) -> None:
        """Begin a row that nobody waited for: nothing is known of its task."""
        registry = self._registry
        registry.rank[row] = registry.progress[row] = -1
        registry.answers[row] = 0
        registry.trait[row] = UNSEEN
        registry.first[row] = registry.moved[row] = now
        registry.born[row] = registry.seen[row] = math.nan
        registry.quiet_since[row] = served

    def forget(self, row: int) -> None:
        """Let go of the last record of a row that nobody waits for."""
        self._registry.last[row] = None

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

    def accept(self, turn: Turn, found: Found) -> bool:
        """Accept a record that is not final, unless it goes back; return whether it is news."""
        registry, row, task = self._registry, turn.row, found.task
        if found.age is not None:
            registry.born[row] = turn.now - found.age
        if self.goes_back(row, task):
            return False
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
            registry.moved[row], registry.quiet_since[row] = turn.now, turn.served
        return moved

    def learn_end(self, row: int, found: Found, now: float) -> None:
        """Tell the durations of a final record."""
        task, age = found.task, found.age
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

    def answered(self, turn: Turn) -> tuple[float, list[Ended]]:
        """Decide on an ID after a good poll that was not final: when its next poll is due, and whose waits end.

        The next poll is due when the first policy says, or when the first wait stalls; infinite where nobody goes on.
        """
        registry, row, now = self._registry, turn.row, turn.now
        if registry.trait[row].status == Status.IN_PROGRESS and not math.isnan(registry.born[row]):
            age = now - registry.born[row]
            self._durations.saw_running(registry.trait[row].pool, self._seen_since(row, age, now), age)
        registry.seen[row] = now
        registry.answers[row] += 1
        quiet_since = registry.quiet_since[row]
        ended: list[Ended] = []
        asked: dict[int, float] = {}
        next_stall = NEVER  # service time
        for subscription in registry.waiting(row):
            stalls_at = max(quiet_since, subscription.served_since) + subscription.stall
            if subscription.once and registry.due[row] == NEVER and not registry.flags[row] & (IN_FLIGHT | PUSHED):
                ended.append(self.end(turn.task_id, row, subscription, Why.TIMEOUT))
                continue
            if stalls_at <= turn.served:
                ended.append(self.end(turn.task_id, row, subscription, Why.STALLED))
                continue
            if (key := id(subscription.policy)) not in asked:
                delay = self._ask(turn, subscription)
                if isinstance(delay, Ended):
                    ended.append(delay)
                    continue
                asked[key] = delay
            next_stall = min(next_stall, stalls_at)
        due = now + min(asked.values(), default=NEVER)
        if (stall := next_stall + (now - turn.served)) < due:
            due = max(now + MIN_DELAY, stall)
        return due, ended

    def created(self, task_id: int, now: float) -> None:
        """Record that a task was made just now: until it has run for a while there is nothing to see."""
        self._created[task_id] = now
        if len(self._created) > CREATED_KEPT:
            del self._created[next(iter(self._created))]

    def is_created(self, task_id: int) -> bool:
        """Whether a task was made here, as far as is remembered."""
        return task_id in self._created

    def first_poll(self, turn: Turn, subscription: Subscription) -> tuple[float, list[Ended]]:
        """Decide on an ID that was not polled yet: at once, but for what was made here as the policy says."""
        made_at = self._created.get(turn.task_id)
        if made_at is None:
            return turn.now, []
        self._registry.first[turn.row] = self._registry.moved[turn.row] = made_at
        self._registry.trait[turn.row] = JUST_MADE
        return self._decide(turn, subscription, made_at)

    def joined(self, turn: Turn, subscription: Subscription) -> tuple[float, list[Ended]]:
        """Decide on an ID that others have seen, for a subscription that comes late."""
        return self._decide(turn, subscription, self._registry.seen[turn.row])

    def _decide(self, turn: Turn, subscription: Subscription, seen: float) -> tuple[float, list[Ended]]:
        """Decide on an ID for a subscription that comes now; its task was seen last at `seen`."""
        delay = self._ask(turn, subscription)
        if isinstance(delay, Ended):
            return NEVER, [delay]
        return max(turn.now, min(seen + delay, turn.now + subscription.stall)), []

    def _ask(self, turn: Turn, subscription: Subscription) -> float | Ended:
        """Ask a policy for the seconds to the next poll; the wait ends where it says stop or makes no sense."""
        registry, row, now = self._registry, turn.row, turn.now
        born = registry.born[row]
        trait = registry.trait[row]
        progress = registry.progress[row]
        facts = Facts(
            task_id=turn.task_id,
            attempt=registry.answers[row],
            age=max(0.0, now - (registry.first[row] if math.isnan(born) else born)),
            pool=trait.pool,
            kind=trait.kind,
            status=trait.status,
            progress=None if progress < 0 else progress,
            changed=now - registry.moved[row],
            hint=turn.hint,
            durations=self._durations,
        )
        why, error = Why.GAVE_UP, None
        self.asking = True
        try:
            delay = check_delay(subscription.policy(facts, turn.roll))
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
            return self.end(turn.task_id, row, subscription, why, error)
        return max(delay, MIN_DELAY)

    def end(
        self, task_id: int, row: int, subscription: Subscription, why: Why, error: OmgmjError | None = None
    ) -> Ended:
        """End one wait for one ID."""
        registry = self._registry
        registry.part(row, subscription)
        return Ended(subscription, task_id, why, error, registry.polls[row], registry.last[row])

    def _seen_since(self, row: int, age: float, now: float) -> float:
        """Return the age at which a running task was seen last; its present one where this poll is the first."""
        seen = self._registry.seen[row]
        return age if math.isnan(seen) else min(age, max(0.0, age - (now - seen)))
