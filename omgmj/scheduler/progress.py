"""Progress of tasks: what a good poll says of one, when the next poll is due, whose wait ends.

What is accepted of an ID never goes back: statuses move up the order in `models`, progress only grows within one
status. Polls that fail, flight and due times are `planner`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from omgmj.backoff.policies import Facts, check_delay
from omgmj.errors import OmgmjError, UsageError
from omgmj.models import STATUS_ORDER, Kind, Status, Task
from omgmj.protocol.responses import dump_brief
from omgmj.scheduler.claims import Claims
from omgmj.scheduler.learning import Found, Learning
from omgmj.scheduler.registry import NEVER, PUSHED, REMEMBERED, UNSEEN, Registry, Subscription, Trait
from omgmj.validation import brief

MIN_DELAY = 0.05
"""Seconds between two polls of one ID at least, whatever the policy says."""


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
    """A record's meaning: whether it is news, who waits for its ID (all of them done, if it is final), who ends."""

    moved: bool
    waiting: tuple[Subscription, ...]
    ended: list[Ended]


class Decision(NamedTuple):
    """When the next poll is due, infinite where nobody goes on; whose waits end; whether what was found is news."""

    due: float
    ended: list[Ended]
    moved: bool = False


class Turn(NamedTuple):
    """An ID to decide on, with its row; the time, also as service time; chance; the service's hint in seconds.

    `poll`: a poll has found what is decided on.
    """

    task_id: int
    row: int
    now: float
    served: float
    roll: float
    hint: float | None = None
    poll: bool = True


IMAGE_DELAYS = (2.0, 4.0, 8.0)
"""Seconds to the polls after a task has succeeded and its image is still to come."""
IMAGE_PATIENCE = 15.0
"""Seconds for which an image may come after its task has succeeded."""
_CARRY_IMAGES = frozenset(Kind) - {Kind.DESCRIBE}
LARGEST_LAST = 64 * 1024
"""Bytes of a last record that is kept as it came; of a larger one its short values are."""
TRAITS = 1000
"""Traits that are kept once for many IDs."""


def lacks(task: Task) -> bool:
    """Whether a record on a page, which says that its task has succeeded, wants to be confirmed by asking."""
    return task.succeeded and task.kind != Kind.DESCRIBE and not (task.image_url and task.actions)


def _is_met(trait: Trait) -> bool:
    return trait is not UNSEEN and trait is not REMEMBERED


class TaskProgress:
    """The progress of each task, and what comes to that. Times are seconds on the planner's clock.

    While `asking`, a policy is being asked: what that calls must change nothing here. `met` is how many watched IDs
    were seen or made here.
    """

    def __init__(self, registry: Registry, claims: Claims, learning: Learning) -> None:
        self.asking: bool = False
        self.met: int = 0
        self._registry = registry
        self._claims = claims
        self._learning = learning
        self._traits: dict[Trait, Trait] = {}
        self._bare: dict[int, tuple[int, float]] = {}  # succeeded without an image: polls since, and since when

    def begin(self, rows: Sequence[int], now: float, subscription: Subscription) -> None:
        """Begin rows that nobody waited for: of their tasks at most that they are there is known."""
        registry, served = self._registry, subscription.served_since
        unseen = REMEMBERED if subscription.known else UNSEEN
        rank, progress, answers, trait = registry.rank, registry.progress, registry.answers, registry.trait
        first, moved, quiet_since = registry.first, registry.moved, registry.quiet_since
        born, seen = registry.born, registry.seen
        for row in rows:
            rank[row] = progress[row] = -1
            answers[row], trait[row] = 0, unseen
            first[row] = moved[row] = now
            born[row] = seen[row] = math.nan
            quiet_since[row] = served

    def begin_made(self, task_id: int, row: int, made_at: float, pool: str | None, kind: str | None) -> None:
        """Begin a row of a task that was made at a moment; its pool and kind are as its submission says."""
        self._learning.on_made(task_id, (pool, kind))
        registry = self._registry
        registry.first[row] = registry.moved[row] = made_at
        self._know(row, Trait(Status.SUBMITTED, pool, kind))

    def remember(self, row: int) -> None:
        """Take a task for known that was waited for before."""
        if not self.is_known(row):
            self._know(row, REMEMBERED)

    def forget(self, task_id: int, row: int) -> None:
        """Let go of what is known of an ID that nobody waits for."""
        self._registry.last[row] = None
        self._learning.forget(task_id)
        self._bare.pop(task_id, None)
        self._know(row, UNSEEN)

    def is_known(self, row: int) -> bool:
        """Whether it is known that a task is there: it was seen, made here, or waited for before."""
        return self._registry.trait[row] is not UNSEEN

    def _know(self, row: int, trait: Trait) -> None:
        before = self._registry.trait[row]
        if trait is not before:
            self.met += _is_met(trait) - _is_met(before)
            self._registry.trait[row] = trait

    def image_due(self, task: Task, now: float) -> float | None:
        """Return when to look for the image of a task that has ended; None where there is none to wait for."""
        if not task.succeeded or task.image_url or task.stored_image_url or task.kind not in _CARRY_IMAGES:
            return None
        polls, since = self._bare.get(task.id, (0, now))
        if polls >= len(IMAGE_DELAYS) or now - since >= IMAGE_PATIENCE:
            return None
        self._bare[task.id] = polls + 1, since
        return now + IMAGE_DELAYS[polls]

    def awaits_image(self, task_id: int) -> bool:
        """Whether a task was seen to have succeeded whose image is waited for."""
        return task_id in self._bare

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

    def on_answer(self, turn: Turn, found: Found | None) -> Decision:
        """Accept what a good poll found that is not final, None for the last record again; decide what comes next."""
        registry, row, now = self._registry, turn.row, turn.now
        if turn.poll:
            self._learning.on_answered(turn.task_id, now)
        moved = found is not None and self._accept(turn, found)
        self._learning.on_running(row, now)
        registry.seen[row] = now
        registry.answers[row] += 1
        return self._decide(turn, moved=moved)

    def _accept(self, turn: Turn, found: Found) -> bool:
        """Accept a record that is not final, unless it goes back; return whether it is news."""
        registry, row, task = self._registry, turn.row, found.task
        age = self._learning.age(found, turn.now)
        if age is not None:
            if self._learning.trails.is_made(task.id):
                age = min(age, turn.now - registry.first[row])  # whatever clocks say
            registry.born[row] = turn.now - age
        if self.goes_back(row, task):
            return False
        before = registry.rank[row]
        rank = STATUS_ORDER.get(task.status, before)
        progress = -1 if task.progress is None else task.progress
        trait = Trait(task.status, task.pool, task.kind)
        moved = self.is_news(row, task)
        if len(self._traits) >= TRAITS:
            self._traits.clear()  # The service makes up words.
        self._know(row, self._traits.setdefault(trait, trait))
        registry.progress[row] = max(progress, registry.progress[row]) if rank == before else progress
        registry.rank[row] = rank
        registry.last[row] = task.source if len(task.source) <= LARGEST_LAST else dump_brief(task)
        if moved:
            registry.moved[row], registry.quiet_since[row] = turn.now, turn.served
        if moved or not registry.answers[row]:
            self._learning.on_state(task, row, turn.now)
        return moved

    def _decide(self, turn: Turn, *, moved: bool) -> Decision:
        """Decide when an ID is polled next, and whose waits end.

        The next poll is due when the first policy says, or when the first wait stalls; infinite where nobody goes on.
        """
        registry, row, now = self._registry, turn.row, turn.now
        quiet_since = registry.quiet_since[row]
        ended: list[Ended] = []
        asked: dict[tuple[int, bool], float] = {}
        next_stall = NEVER  # service time
        for subscription in tuple(registry.who[row].values()):
            stalls_at = max(quiet_since, subscription.served_since) + subscription.stall
            if subscription.once and turn.poll and not registry.flags[row] & PUSHED:
                ended.append(self.end(turn.task_id, row, subscription, Why.TIMEOUT))
                continue
            if stalls_at <= turn.served:
                ended.append(self.end(turn.task_id, row, subscription, Why.STALLED))
                continue
            if (key := (id(subscription.policy), subscription.follows)) not in asked:
                delay = self._ask(turn, subscription)
                if delay is None or isinstance(delay, UsageError):
                    ended.append(self._stop(turn, subscription, delay))
                    continue
                asked[key] = delay
            next_stall = min(next_stall, stalls_at)
        due = now + min(asked.values(), default=NEVER)
        if (stall := next_stall + (now - turn.served)) < due:
            due = max(now + MIN_DELAY, stall)
        return Decision(due, ended, moved)

    def on_join(self, turn: Turn, subscription: Subscription, seen_at: float) -> Decision:
        """Decide for a subscription that comes now to an ID, whose task is known to have been there at a moment."""
        delay = self._ask(turn, subscription)
        if delay is None or isinstance(delay, UsageError):
            return Decision(NEVER, [self._stop(turn, subscription, delay)])
        return Decision(max(turn.now, min(seen_at + delay, turn.now + subscription.stall)), [])

    def may_wait(self, task_id: int, row: int) -> bool:
        """Whether the next poll of an ID may be put off: its task is there, and nobody wants one poll only."""
        waiting = self._registry.who[row].values()
        is_running = self.is_known(row) and task_id not in self._bare
        return is_running and not any(subscription.once for subscription in waiting)

    def seen_at(self, row: int) -> float:
        """Return when a task was seen last, or when it was made here; before both, when its row began."""
        seen = self._registry.seen[row]
        return self._registry.first[row] if math.isnan(seen) else seen

    def on_heard(self, turn: Turn) -> float:
        """Return when the next poll is due as a callback is heard now; in the past where a policy does not say.

        It counts from the last poll, or from when the task was made. No wait ends here: that is for polls to bring.
        """
        registry, row = self._registry, turn.row
        due, seen_at = NEVER, self.seen_at(row)
        for subscription in tuple(registry.who[row].values()):
            delay = self._ask(turn, subscription)
            if delay is None or isinstance(delay, UsageError):
                return -NEVER
            stalls_at = max(registry.quiet_since[row], subscription.served_since) + subscription.stall
            due = min(due, seen_at + delay, stalls_at + (turn.now - turn.served))
        return due

    def _stop(self, turn: Turn, subscription: Subscription, error: UsageError | None) -> Ended:
        """End the wait of one whose policy says stop, or makes no sense."""
        why = Why.GAVE_UP if error is None else Why.FAILED
        return self.end(turn.task_id, turn.row, subscription, why, error)

    def _ask(self, turn: Turn, subscription: Subscription) -> float | UsageError | None:
        """Return the seconds that a policy wants to the next poll, None where it says stop, an error for nonsense."""
        registry, learning, row, now = self._registry, self._learning, turn.row, turn.now
        listens = turn.task_id in self._claims.of and not subscription.follows
        trait, progress = registry.trait[row], registry.progress[row]
        unseen, left = learning.trails.present(turn.task_id)
        facts = Facts(
            turn.task_id,
            registry.answers[row],
            learning.present_age(row, now),
            trait.pool,
            trait.kind,
            trait.status,
            None if progress < 0 else progress,
            now - registry.moved[row],
            turn.hint,
            learning.life.durations,
            self._claims.heard(turn.task_id, now) if listens else None,
            learning.life,
            learning.prices,
            now - registry.first[row],
            unseen,
            left,
            learning.answer_time,
            learning.load(now),
        )
        self.asking, learning.prices.asked = True, None
        try:
            delay = check_delay(subscription.policy(facts, turn.roll))
        except BaseException as cause:
            if isinstance(cause, KeyboardInterrupt | SystemExit):
                raise
            # A policy is the user's code: what it raises, a CancelledError too, ends its own wait only.
            error = UsageError(f"the backoff policy {brief(subscription.policy)} cannot be used: {brief(cause)}")
            error.__cause__ = cause
            return error
        finally:
            self.asking = False
        subscription.goes_by(learning.prices.asked)
        return None if delay is None else max(delay, MIN_DELAY)

    def end(
        self, task_id: int, row: int, subscription: Subscription, why: Why, error: OmgmjError | None = None
    ) -> Ended:
        """End one wait for one ID."""
        registry = self._registry
        registry.part(row, subscription)
        return Ended(subscription, task_id, why, error, registry.polls[row], registry.last[row])
