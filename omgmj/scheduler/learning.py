"""What a session learns of tasks as they end, and by what it plans its polls: what policies are told beside a task.

It follows the states of live tasks (`trails`) and the service's clock (`clock_offset`); what is left of tasks is
learned in `backoff`. It keeps the prices of polls, how long answers take, and how much more there is to poll than there
is pace for. Moments are seconds on the planner's clock; it only reads the registry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from omgmj.backoff.price import LEAST, MOST, Price, Prices
from omgmj.backoff.residual_life import Key, Lived, ResidualLife
from omgmj.backoff.silences import Silence
from omgmj.models import Status, Task
from omgmj.protocol.responses import ages
from omgmj.scheduler.clock_offset import ClockOffset
from omgmj.scheduler.registry import Registry
from omgmj.scheduler.trails import Trails
from omgmj.validation import brief, check_seconds

_ANSWERS = 0.05  # how much an answer counts in the mean of how long they take
_SLACK = 0.5  # seconds above twice the mean that an answer counts as at most: one that hung makes no slow service
_SLOWEST = 60.0  # seconds that a mean taken over from an earlier run may be
_IN_TIME, _RISES, _FALLS, _MOST_LOAD = 0.5, 0.0015, 0.004, 1000.0
"""Seconds late up to which a poll is in time; how fast the load moves with each poll, up and down; how far."""
_WAITED, _CALM, _CALMING = 0.25, 20.0, 10.0
"""Seconds late from which a poll had to wait; for how long none does before the load falls by itself; how fast."""
_BLIND = 0.5  # of the time between two looks: where more was a gap, no price decided how late an end is seen
_LOADED = 1.05  # above this load ends are late for want of pace, and no price could help
_UNSURE = 2.0  # seconds by which answers' `Date`s may vary and be believed
_AHEAD = 5.0  # seconds by which a moment may be ahead of the `Date`
_DATES = 0.1  # how much an answer counts in the mean of how far its `Date` is off
_MOST_PRICES = 8  # that are taken over from an earlier run
_DAY = 86_400.0
_STILL, _QUEUED = int(Silence.STILL), int(Silence.QUEUED)
_PRESENT = 10.0  # seconds ago that something must have happened which a page tells of, so that it tells of the present
_OF_LATE = 600.0  # seconds since which others failed, where that counts
_DATE = 1.0  # seconds to which an answer's `Date` is cut


class Found(NamedTuple):
    """A record with what its answer tells beside it.

    `age` is how many seconds the task has been running by the answer's `Date`, `ended_ago` how many seconds ago it
    ended; both are below 0 where that clock is behind. `hint` is how many seconds it asks to be left alone for.
    `asked_at` is when the page of the list was asked for that shows the record; None where it was not a page, which
    would say nothing of how asking for the ID goes.
    """

    task: Task
    age: float | None = None
    ended_ago: float | None = None
    hint: float | None = None
    asked_at: float | None = None


class Learning:
    """What was learned. `life` is what is left of tasks, `trails` are the states of live ones.

    `answer_time` is how many seconds an answer takes on average, `last_price` the price that an end moved last.
    `wants_page`: no end was seen, nor was a page of the list read instead of a poll, which teaches how long others ran.
    """

    def __init__(self, registry: Registry) -> None:
        self.life: ResidualLife = ResidualLife()
        self.prices: Prices = Prices()
        self.answer_time: float = 0.0
        self.last_price: Price | None = None
        self._registry = registry
        self.trails: Trails = Trails()
        self._clock = ClockOffset()
        self._date_error = 0.0  # seconds by which ages that answers tell are too large, on average
        self._date_spread = 0.0  # and how much that varies
        self._asked: dict[int, float] = {}  # polls that are out, and since when
        self._wanted: dict[int, float] = {}  # since when the first was wanted of those that failed since an answer
        self._kept: dict[int, tuple[float, float]] = {}  # IDs whose page is asked for late: due when, since when
        self._load = 1.0  # when a poll began last
        self._waited_at = -math.inf  # when the last one began that had to wait
        self.wants_page: bool = True
        self._is_told = False
        self._gap = (-math.inf, -math.inf)  # the last time in which nobody could look

    # Polls and answers.

    def on_swept(self, dues: Mapping[int, float], due: float, now: float) -> None:
        """Record that a page is asked for, and when each of its IDs was due.

        The page is for the ID whose turn it was, which was `due` then: where that had to wait for a slot, all had to.
        """
        if now - due > _WAITED:
            self._waited_at = now
            self._kept.update((task_id, (at, now)) for task_id, at in dues.items())

    def on_asked(self, task_id: int, now: float) -> None:
        """Record that a poll goes out."""
        before = self._asked.get(task_id)
        if before is not None:
            self._wanted.setdefault(task_id, before)
        self._asked[task_id] = now

    def on_began(self, due: float, now: float) -> None:
        """Record that a poll goes out, and when it was due; none of the first ones, which no price puts off.

        Where polls are late the load rises, and with it the price for all alike. A gap makes none late.
        """
        late = now - max(due, self._gap[1])
        self._load = self.load(now)
        if late > _WAITED:
            self._waited_at = now
        if late <= _IN_TIME and self._load <= 1.0:
            return
        off = max(-1.0, min(1.0, late - _IN_TIME))
        self._load *= math.exp(off * (_RISES if off > 0 else _FALLS))
        self._load = min(_MOST_LOAD, max(1.0, self._load))

    def on_gap(self, since: float, now: float) -> None:
        """Record that nobody could look for a while until now: an outage is over, or the process stood still."""
        self._gap = since, now
        self._asked.clear()
        self._wanted.clear()
        self._kept.clear()

    def on_answered(self, task_id: int, now: float) -> None:
        """Record that a poll was answered."""
        asked_at = self._asked.pop(task_id, None)
        if self._wanted:
            self._wanted.pop(task_id, None)
        if self._kept:
            self._kept.pop(task_id, None)
        if asked_at is not None:
            self.answer_time += _ANSWERS * (self._took(asked_at, now) - self.answer_time)

    def age(self, found: Found, now: float) -> float | None:
        """Return for how many seconds a task has been running: by the service's clock, or as its answer tells it."""
        started, told = found.task.started_at, found.age
        if started is None or self._clock.seconds is None:
            return self.corrected(told)
        age = max(0.0, now - self._clock.seconds - started.timestamp())
        if told is not None and abs(told - age) < _DAY:
            off = told - age - self._date_error
            self._date_error += _DATES * off
            self._date_spread += _DATES * (min(_DAY, abs(off)) - self._date_spread)
        return age

    def corrected(self, told: float | None) -> float | None:
        """Return the seconds since a moment as an answer's `Date` tells them; None where it cannot be believed."""
        if told is None or self._date_spread >= _UNSURE or told - self._date_error < -_AHEAD:
            return None
        return max(0.0, told - self._date_error)

    # The life of a task.

    def on_made(self, task_id: int, made_as: Key) -> None:
        """Record the pool and kind of a task that was made here, as its submission says."""
        self.trails.made(task_id, made_as)

    def on_state(self, task: Task, row: int, now: float) -> None:
        """Record that a task shows for the first time what it shows."""
        registry = self._registry
        place = task.progress or (_STILL if task.status == Status.IN_PROGRESS else _QUEUED)
        self.trails.saw(task.id, place, now, registry.seen[row], self.present_age(row, now))

    def on_running(self, row: int, now: float) -> None:
        """Record that a task goes on."""
        registry = self._registry
        (status, pool, kind), born = registry.trait[row], registry.born[row]
        if status == Status.IN_PROGRESS and not math.isnan(born):
            age, seen = now - born, registry.seen[row]
            since = age if math.isnan(seen) else min(age, max(0.0, seen - born))
            self.life.durations.saw_running(pool, since, age, kind)

    def on_end(self, found: Found, row: int, now: float, *, heard: bool = False) -> None:
        """Learn of a final record when such tasks end, and how late that was seen.

        `heard`: callbacks told of the task, so that no price decided when it was polled.
        """
        registry, task = self._registry, found.task
        seen, key = registry.seen[row], (task.pool, task.kind)
        ended_at = self._ended_at(found, seen, now)
        states, made_as = self.trails.close(task.id)
        age = self.age(found, now)
        is_blind = self._gap_in(seen, now) > _BLIND * (now - seen)
        if is_blind and math.isnan(ended_at):
            return
        moves = self.life.is_known(key) and not (heard or is_blind)
        first_look = registry.first[row] if math.isnan(seen) and made_as is not None else seen
        late = self.life.learn(
            key, Lived(states, registry.first[row], first_look, now, ended_at, made_as, self.answer_time)
        )
        if late is not None and self.load(now) < _LOADED:
            late += self.answer_time / 2 * math.isnan(ended_at) - self._gap_in(now - late, now)
            self._move_prices(task.id, row, late, now, moves=moves)
        if age is not None and (registry.answers[row] or not math.isnan(ended_at)):
            ended = None if math.isnan(ended_at) else min(age, max(0.0, age - (now - ended_at)))
            seen_for = 0.0 if math.isnan(seen) else now - seen
            since = max(0.0, age - seen_for) if registry.answers[row] else 0.0
            self.life.durations.saw_end(task.pool, since, age, ended=ended, kind=task.kind)
            self.wants_page = False

    # What others' tasks tell.

    @property
    def is_taught(self) -> bool:
        """Whether an end was seen, or a page told of others."""
        return self._is_told or not self.life.durations.is_empty

    def on_told(self, others: Sequence[Found], now: float) -> None:
        """Learn of the tasks on a page that nobody watched, newest first: how long they have been running, or ran."""
        if not others:
            return
        self._is_told, self.wants_page = True, False
        for found in others:
            age = self.age(found, now) if found.task.status == Status.IN_PROGRESS else None
            if age is not None:
                self.life.durations.saw_running(found.task.pool, 0.0, age, found.task.kind)
        late, failed = 0, 0
        for found in reversed(others):
            task = found.task
            if not task.is_terminal or task.started_at is None or task.finished_at is None:
                continue
            ran = (task.finished_at - task.started_at).total_seconds()
            if 0 <= ran < _DAY:
                self.life.learn_told((task.pool, task.kind), ran)
                ago = self.corrected(found.ended_ago)
                is_late = ago is not None and ago < _OF_LATE
                late, failed = late + is_late, failed + (is_late and not task.succeeded)
        self.life.most_fail = 2 * failed > late

    def is_present(self, task_id: int, page: Sequence[Found], headers: Mapping[str, str], now: float) -> bool:
        """Whether what a page says of an ID is of the present, as far as can be known: a list may lag behind.

        It is where its task was made here just now, or where something on the page has just begun, or ended.
        """
        first = self._registry.first[self._registry.rows[task_id]]
        if self.trails.is_made(task_id) and now - first < _PRESENT:
            return True
        moments = ((one.task.submitted_at, one.task.started_at, one.task.finished_at) for one in page)
        agos = (self.corrected(told) for three in moments for told in ages(headers, *three))
        return any(ago is not None and ago < _PRESENT for ago in agos)

    def _ended_at(self, found: Found, seen: float, now: float) -> float:
        """Return when a task ended, as its record tells; not a number where it does not."""
        if found.task.finished_at is None:
            return math.nan
        moment = found.task.finished_at.timestamp()
        self._clock.saw(moment, seen, now)
        if self._clock.seconds is not None:
            # The service looked half an answer's time ago, here as in what is known of its clock.
            return moment + self._clock.seconds - self.answer_time / 2
        ago = self.corrected(found.ended_ago)
        return math.nan if ago is None else now - ago - _DATE / 2

    def _move_prices(self, task_id: int, row: int, late: float, now: float, *, moves: bool) -> None:
        """Tell the prices of an ID's waits how late its end was seen. It `moves` the one that decided."""
        if (asked_at := self._asked.get(task_id)) is not None:
            # That polls failed meanwhile, or that an answer hung, is nothing that more polls would help.
            wanted_at = self._wanted.get(task_id, asked_at)
            late = min(late, max(0.0, wanted_at - (now - late)) + self._took(asked_at, now))
        # Nor is it what an ID had to wait for its page; against the same of polls the load stands.
        due, began = self._kept.get(task_id) or (self._registry.due[row], now)
        if now - self._waited_at < _CALM:
            late -= max(0.0, began - max(due, now - late))
        asked = {subscription.price for subscription in self._registry.who[row].values()}
        prices = sorted((price for price in asked if price is not None), key=lambda price: -price.value)
        # Of several the lowest decided, unless somebody polls by none: what it did says nothing of the others.
        is_decided = moves and None not in asked
        for price in prices:
            is_lowest = price is prices[-1]
            polls, half = self._registry.polls[row], self.answer_time / 2
            price.saw(late, polls, now, half, moves=is_decided and is_lowest)
            self.last_price = price

    def forget(self, task_id: int) -> None:
        """Let go of an ID that nobody waits for."""
        self.trails.close(task_id)
        self._asked.pop(task_id, None)
        self._wanted.pop(task_id, None)
        self._kept.pop(task_id, None)

    # What a policy is told.

    def load(self, now: float) -> float:
        """Return the factor by which there is more to poll than pace; it is no larger than the number of watched IDs.

        It falls while no poll has to wait.
        """
        if self._load <= 1.0:
            return 1.0
        calm = max(0.0, now - self._waited_at - _CALM)
        return max(1.0, min(self._registry.watched, self._load * math.exp(-calm / _CALMING)))

    def present_age(self, row: int, now: float) -> float:
        """Return for how many seconds a task has been running; where nobody tells, how long it has been known."""
        born = self._registry.born[row]
        return max(0.0, now - (self._registry.first[row] if math.isnan(born) else born))

    # What is kept between runs.

    def dump(self) -> dict[str, Any]:
        """Return what was learned as JSON takes it: of tasks, and what a poll costs where it was measured."""
        prices = [[*bound, value] for bound, value in self.prices.measured().items()]
        return {
            **self.life.dump(),
            "prices": prices,
            "answer_time": self.answer_time,
            "date": [self._date_error, self._date_spread],
        }

    def restore(self, dumped: dict[str, Any], ago: float = 0.0) -> None:
        """Take over what `dump` gave so many seconds `ago`.

        Where it cannot have given that it is a `ValueError`, and nothing is taken over. What was learned here before is
        forgotten: it is called before anything was.
        """
        life, prices = ResidualLife(), Prices()
        try:
            life.restore(dumped, ago)
            for delay, polls, value in dumped["prices"][-_MOST_PRICES:]:
                check_seconds("delay", delay)
                check_seconds("polls", polls, none=True)
                if not LEAST <= value <= MOST:
                    raise ValueError(f"no price is {value}")
                prices.open(delay, polls, float(value))
            answer_time = check_seconds("answer_time", dumped["answer_time"], zero=True)
            if answer_time > _SLOWEST:
                raise ValueError(f"no answer takes {answer_time:g} s")
            date_error, date_spread = map(float, dumped["date"])
            if not (abs(date_error) < _DAY and 0 <= date_spread < _DAY):
                raise ValueError("no clock is off by a day")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"this was not learned here: {brief(error)}") from error
        self.life, self.prices, self.wants_page = life, prices, life.durations.is_empty
        self.answer_time, self._date_error, self._date_spread = answer_time, date_error, date_spread

    def _took(self, asked_at: float, now: float) -> float:
        """Return the seconds that an answer took, or counts as where it hung."""
        return min(now - asked_at, 2 * self.answer_time + _SLACK)

    def _gap_in(self, since: float, now: float) -> float:
        """Return how many of the seconds since a moment the last gap took."""
        return max(0.0, min(now, self._gap[1]) - max(since, self._gap[0]))
