"""Progress of tasks: what a good poll says of one, when the next poll is due, whose wait ends.

What is accepted of an ID never goes back: statuses move up the order in `models`, progress only grows within one
status. Polls that fail, flight and due times are `planner`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from omgmj.backoff.policies import Adaptive, Facts, check_delay
from omgmj.backoff.price import Price
from omgmj.backoff.residual_life import Lived, ResidualLife, State
from omgmj.backoff.silences import Silence
from omgmj.errors import OmgmjError, UsageError
from omgmj.models import STATUS_ORDER, Kind, Status, Task
from omgmj.protocol.responses import dump_brief
from omgmj.scheduler.claims import Claims
from omgmj.scheduler.registry import NEVER, PUSHED, REMEMBERED, UNSEEN, Registry, Subscription, Trait
from omgmj.scheduler.service_clock import ServiceClock
from omgmj.scheduler.trails import Trails
from omgmj.validation import brief

ANSWERS = 0.05
"""How much an answer counts in the mean of how long they take."""
IN_TIME, LOAD_RATE, MOST_LOAD = 1.0, 0.003, 1000.0
DATE = 1.0
"""Seconds to which an answer's `Date` is cut."""
MIN_DELAY = 0.05
"""Seconds between two polls of one ID at least, whatever the policy says."""

JUST_MADE = Trait(Status.SUBMITTED, None, None)


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
    were seen or made here. `last_price` is the price that an end moved last.
    """

    def __init__(self, registry: Registry, claims: Claims) -> None:
        self.asking: bool = False
        self.met: int = 0
        self.last_price: Price | None = None
        self._registry = registry
        self._claims = claims
        self._life = ResidualLife()
        self._trails = Trails()
        self._clock = ServiceClock()
        self._prices: dict[tuple[float, float | None], Price] = {}
        self._asked: dict[int, float] = {}  # polls that are out, and since when
        self._load = 1.0  # the factor by which there is more to poll than there is pace for
        self._answer_time = 0.0  # seconds that an answer takes, on average
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

    def on_asked(self, task_id: int, now: float, due: float) -> None:
        """Record that a poll goes out that was due at a moment: where polls are late, the price rises for all alike."""
        self._asked[task_id] = now
        late = max(-1.0, min(1.0, now - due - IN_TIME))
        self._load = min(MOST_LOAD, max(1.0, self._load * math.exp(LOAD_RATE * late)))

    def begin_made(self, task_id: int, row: int, made_at: float, kind: str) -> None:
        """Begin a row of a task that was made at a moment, of this kind as its submission says; it is there."""
        self._trails.made(task_id, kind)
        registry = self._registry
        registry.first[row] = registry.moved[row] = made_at
        self._know(row, JUST_MADE._replace(kind=kind))

    def remember(self, row: int) -> None:
        """Take a task for known that was waited for before."""
        if not self.is_known(row):
            self._know(row, REMEMBERED)

    def forget(self, task_id: int, row: int) -> None:
        """Let go of what is known of an ID that nobody waits for."""
        self._registry.last[row] = None
        self._trails.close(task_id)
        self._asked.pop(task_id, None)
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

    def learn_end(self, row: int, found: Found, now: float) -> None:
        """Learn of a final record when such tasks end, and how late that was seen."""
        registry, task = self._registry, found.task
        seen, first = registry.seen[row], registry.first[row]
        ended_at = math.nan
        # The service looked half an answer's time ago, here as in what is known of its clock.
        half = self._answer_time / 2
        if task.finished_at is not None:
            moment = task.finished_at.timestamp()
            self._clock.saw(moment, seen, now)
            if self._clock.behind is not None:
                ended_at = moment + self._clock.behind - half
            elif found.ended_ago is not None:
                ended_at = now - found.ended_ago - DATE / 2  # It was cut to the second.
        states, made_as = self._trails.close(task.id)
        last = first if math.isnan(seen) and made_as is not None else seen
        age = self._age(found, now)
        lived = Lived(states, first, last, now, ended_at, made_as)
        late = self._life.learn((task.pool, task.kind), lived)
        if late is not None and self._load < 1.05:
            for price in {id(one): one for one in map(self._price, registry.who[row].values()) if one}.values():
                price.saw(late + half * math.isnan(ended_at), registry.polls[row], half)
                self.last_price = price
        if age is not None and (registry.answers[row] or not math.isnan(ended_at)):
            ended = None if math.isnan(ended_at) else min(age, max(0.0, age - (now - ended_at)))
            since = self._seen_since(row, age, now) if registry.answers[row] else 0.0
            self._life.durations.saw_end((task.pool, task.kind), since, age, ended=ended)

    def _price(self, subscription: Subscription) -> Price | None:
        """Return the price of polls under a policy that has one."""
        policy = subscription.policy
        if not isinstance(policy, Adaptive):
            return None
        key = (policy.delay, policy.polls)
        price = self._prices.get(key)
        if price is None:
            price = self._prices[key] = Price(*key)
        return price

    def _age(self, found: Found, now: float) -> float | None:
        """Return for how many seconds a task has been running: by the service's clock, or as its answer tells it."""
        started = found.task.started_at
        if started is None or self._clock.behind is None:
            return found.age
        return max(0.0, now - self._clock.behind - started.timestamp())

    def on_answer(self, turn: Turn, found: Found | None) -> Decision:
        """Accept what a good poll found that is not final, None for the last record again; decide what comes next."""
        registry, row, now = self._registry, turn.row, turn.now
        if turn.poll and (asked_at := self._asked.pop(turn.task_id, None)) is not None:
            self._answer_time += ANSWERS * (now - asked_at - self._answer_time)
        moved = found is not None and self._accept(turn, found)
        status, pool, kind = registry.trait[row]
        if status == Status.IN_PROGRESS and not math.isnan(registry.born[row]):
            age = now - registry.born[row]
            self._life.durations.saw_running((pool, kind), self._seen_since(row, age, now), age)
        registry.seen[row] = now
        registry.answers[row] += 1
        return self._decide(turn, moved=moved)

    def _accept(self, turn: Turn, found: Found) -> bool:
        """Accept a record that is not final, unless it goes back; return whether it is news."""
        registry, row, task = self._registry, turn.row, found.task
        age = self._age(found, turn.now)
        if age is not None:
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
            place = progress if progress > 0 else Silence.STILL if task.status == Status.IN_PROGRESS else Silence.QUEUED
            born = registry.born[row]
            age = max(0.0, turn.now - (registry.first[row] if math.isnan(born) else born))
            self._trails.saw(task.id, State(place, turn.now, registry.seen[row], age))
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
        registry, row, now = self._registry, turn.row, turn.now
        listens = turn.task_id in self._claims.of and not subscription.follows
        born = registry.born[row]
        trait = registry.trait[row]
        progress = registry.progress[row]
        state, price = self._trails.present(turn.task_id), self._price(subscription)
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
            durations=self._life.durations,
            heard=self._claims.heard(turn.task_id, now) if listens else None,
            life=self._life,
            price=None if price is None else price.value * self._load,
            waited=now - registry.first[row],
            unseen=None if state is None or math.isnan(state.before) else state.at - state.before,
            left=self._trails.line(turn.task_id),
            answers=self._answer_time,
            load=self._load,
        )
        self.asking = True
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
        return None if delay is None else max(delay, MIN_DELAY)

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
