"""When to poll again: poll policies for a task that runs, the retry policy for a request that failed.

Both are frozen values that answer in seconds. They read no clock and draw no numbers: what is known of the task comes
as `Facts`, chance as `roll` in [0, 1). How many requests the session may send at all is `rate`'s business.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import attrs

from omgmj.backoff.durations import Durations
from omgmj.backoff.price import Prices
from omgmj.backoff.residual_life import ResidualLife
from omgmj.backoff.retry_after import LEAST, LEAST_POLL, believed
from omgmj.backoff.silences import Silence
from omgmj.backoff.steps import Sight
from omgmj.errors import UsageError
from omgmj.models import Status
from omgmj.validation import brief, check_count, check_number, check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Adaptive", "Durations", "Exponential", "Facts", "Fixed", "Policy", "Retry"]


class Facts(NamedTuple):
    """What a policy may know of a task when it decides.

    That is right after a poll that the service answered, and when a callback is heard for the first time in a
    while; then the answer counts from the last poll, and can only put the next one off. `attempt` counts those
    polls; it is 0 where a task was made by this session and was not polled yet. `age` is in seconds, since the task
    started to run where the service tells it, else since it was first seen. `progress` is in percent, None where
    the service gave none. `changed` is the number of seconds since status or progress was last seen to change.
    `hint` is the Retry-After, in seconds, that came with the answer, as sent. `durations` is what this session has
    learned of how long tasks run, to be read only. `heard` is the number of seconds since a callback last claimed
    that the task goes on: from 0 to `HEARD_FOR`, None where none did, or where somebody follows the task and wants
    to see each change. Nothing else of a callback is told, as none can be believed.

    What the session has learned beside that is for `Adaptive`: `life`, what is left of tasks; `prices`, what a poll
    costs. `waited` is the number of seconds since the task was first known here, `unseen` that for which nobody had
    looked when it first showed what it shows, `left` that which was left then by a line through its last two steps;
    None where they are not known. An answer takes `answers` seconds on average. `load` is by which factor there is more
    to poll than there is pace for, 1 where there is enough.
    """

    task_id: int
    attempt: int
    age: float
    pool: str | None
    kind: str | None
    status: Status | str
    progress: int | None
    changed: float
    hint: float | None
    durations: Durations | None = None
    heard: float | None = None
    life: ResidualLife | None = None
    prices: Prices | None = None
    waited: float = 0.0
    unseen: float | None = None
    left: float | None = None
    answers: float = 0.0
    load: float = 1.0


HEARTBEAT = 60.0
"""Seconds between two polls of a task that callbacks tell of, should the one be lost that tells of its end."""
HEARD_FOR = 120.0
"""Seconds for which a callback is heard."""


class Policy(Protocol):
    """Seconds until the next poll, or None to stop; any function of this shape will do."""

    def __call__(self, facts: Facts, roll: float, /) -> float | None:
        """Decide from `facts`, and from `roll` in [0, 1) where chance is wanted."""


def check_policy(policy: object, default: Policy) -> Policy:
    """Return `policy`, or `default` for None; `UsageError` where it is none."""
    if policy is None:
        return default
    if not callable(policy) or isinstance(policy, type):
        raise UsageError(f"backoff must be a policy such as omgmj.Adaptive(), not {brief(policy)}")
    return cast("Policy", policy)


def check_delay(value: object) -> float | None:
    """Return what a policy answered as seconds, 0 or more, or None to stop; else raise `UsageError`."""
    if type(value) is float and 0.0 <= value < math.inf:
        return value
    return check_seconds("what the backoff policy returns", value, zero=True, none=True)


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_seconds(f"{type(instance).__name__}.{attribute.name}", value)


def _count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_count(f"{type(instance).__name__}.{attribute.name}", value)


def _between(low: float, high: float, rule: str) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        name = f"{type(instance).__name__}.{attribute.name}"
        if not low <= check_number(name, value, rule, zero=True) <= high:
            raise UsageError(f"{name} must be {rule}; got {brief(value)}")

    return validate


_factor = _between(1.0, math.inf, "a finite number, 1 or more")
_share = _between(0.0, 1.0, "a number from 0 to 1")


def _check_order(policy: object, *names: str) -> None:
    cap = getattr(policy, "cap")  # noqa: B009 - three classes share this check, each with fields of its own
    for name in names:
        if getattr(policy, name) > cap:
            raise UsageError(f"{type(policy).__name__}.{name} must not be above cap, which is {cap}")


def _grown(initial: float, factor: float, cap: float, steps: int) -> float:
    try:
        return min(cap, initial * factor**steps)
    except OverflowError:
        return cap


def _heeding(delay: float, facts: Facts) -> float:
    """Return the longest of a delay, of the service's hint and, where callbacks tell of the task, of the heartbeat."""
    if facts.hint is not None:
        delay = max(delay, believed(facts.hint, LEAST_POLL))
    return delay if facts.heard is None else max(delay, HEARTBEAT)


@attrs.frozen
class Fixed:
    """Poll every so many `seconds`; a hint of the service makes it longer, and so do callbacks: `HEARTBEAT` then."""

    seconds: float = attrs.field(default=2.0, validator=_seconds)

    def __call__(self, facts: Facts, roll: float, /) -> float:  # noqa: ARG002 - the shape of a policy
        """Return the same number of seconds, or what is wanted beside it where that is larger."""
        return _heeding(self.seconds, facts)


@attrs.frozen
class Exponential:
    """Poll after `initial` seconds, then `factor` times as long each time, up to `cap`.

    From each delay a part is taken by chance, at most `jitter` of it. As the cap comes first, polls that have all
    reached it still fall apart.
    """

    initial: float = attrs.field(default=1.0, validator=_seconds)
    factor: float = attrs.field(default=1.5, validator=_factor)
    cap: float = attrs.field(default=30.0, validator=_seconds)
    jitter: float = attrs.field(default=0.5, validator=_share)

    def __attrs_post_init__(self) -> None:
        _check_order(self, "initial")

    def __call__(self, facts: Facts, roll: float, /) -> float:
        """Return the seconds that belong to `facts.attempt`, or what is wanted beside them where that is larger."""
        delay = _grown(self.initial, self.factor, self.cap, max(0, facts.attempt - 1))
        return _heeding(delay * (1 - self.jitter * roll), facts)


# What `Adaptive` does until enough ends were seen. `python -m benchmarks tune _AIM`, or another name of these or of a
# field, shows what other values of it cost.
_AIM = 0.6  # go this share of the way to the foretold end: the rest is walked in ever smaller steps
_MARGIN = 0.04  # and be early by this share of the foretold duration, as the foretelling is not exact
_OVERDUE = 0.05  # when the foretold end has passed, wait this share of the time by which it has
_NEAR = 1.1  # polls are so many times the delay apart at least,
_LEAST = 1.4  # `least` of earlier versions was so many times the delay
_BLIND = 2.1  # or so many times where nothing foretells an end,
_BLIND_GROWTH = 0.02  # or this share of the age, where that is longer
_QUEUED = 0.1  # while it queues, wait this share of the time it has queued
_YOUNG = 30.0  # seconds: who shows 0 % later than this does not report progress, or is slow
_SHORT_CAP = 5.0  # seconds: the cap as long as nothing foretells the end
_COLD_CAP = 20.0  # seconds: and the cap until enough ends were seen
_NEAREST = 0.4  # polls are this share of the delay apart at least, whatever was learned
_INSURED = 10.0  # seconds between polls at most before a step is seen, as all may have begun to fail,
_INSURED_GROWTH = 0.2  # with this share of the seconds for which that has been waited for,
_QUEUE_CAP = 30.0  # and while it queues


def _warn_of_least(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    _seconds(instance, attribute, value)
    import warnings  # noqa: PLC0415 (only where it is needed)

    warnings.warn("Adaptive(least=…) goes: say Adaptive(delay=…), the mean delay in seconds", DeprecationWarning, 3)


def _none_or_number(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        name = f"{type(instance).__name__}.{attribute.name}"
        check_number(name, value, "None, or a finite number above 0", zero=False)


def _delay_of_least(policy: Adaptive) -> float:
    if policy.least is None:
        return 1.0
    return check_seconds("Adaptive.least", policy.least) / _LEAST  # before the validators run


@attrs.frozen
class Adaptive:
    """Poll when the delay to be expected without a poll has reached one price, so that few polls see ends in time.

    Ends are seen `delay` seconds late on average, or tasks take `polls` polls on average where that is given. Which
    price does it is measured as tasks end. What is left of a task is learned from those seen to end in this session, by
    pool, kind and what it shows; before some have ended, progress is taken for a straight line, and tasks are polled
    every few seconds, after `first`, the number of seconds that any task runs at least.

    `cap` bounds the seconds between two polls, whatever is foretold; up to the share `jitter` of them is taken off by
    chance. A status word that is not known, and one that waits for its user, gets the cap. While callbacks tell how a
    task goes on, it is polled each `HEARTBEAT`. `least`, of earlier versions, is 1.4 times the delay.
    """

    first: float = attrs.field(default=8.0, validator=_seconds)
    least: float | None = attrs.field(default=None, validator=_warn_of_least)
    cap: float = attrs.field(default=60.0, validator=_seconds)
    jitter: float = attrs.field(default=0.1, validator=_share)
    delay: float = attrs.field(
        default=attrs.Factory(_delay_of_least, takes_self=True), kw_only=True, validator=_seconds
    )
    polls: float | None = attrs.field(default=None, kw_only=True, validator=_none_or_number)

    def __attrs_post_init__(self) -> None:
        _check_order(self, "first", "delay")

    def __call__(self, facts: Facts, roll: float, /) -> float:
        """Return the seconds until the next poll, or what is wanted beside them where that is larger."""
        return _heeding(self._plan(facts) * (1 - self.jitter * roll), facts)

    def _plan(self, facts: Facts) -> float:
        if facts.status not in (Status.NOT_START, Status.SUBMITTED, Status.IN_PROGRESS):
            return self.cap
        # Where there is more to poll than there is pace for, even what is not learned waits longer, as Keller's root.
        load = math.sqrt(facts.load)
        learned = storm = None
        if facts.life is not None and facts.prices is not None:
            price = facts.prices.under(self.delay, self.polls).value * facts.load
            learned = _learned(facts, facts.life, price)
            storm = facts.life.in_storm((facts.pool, facts.kind), facts.age, price)
        delay = load * self._unlearned(facts) if learned is None else min(learned, load * _most(facts))
        if storm is not None:
            delay = min(delay, storm)
        # Two looks are as far apart as two polls, which begin an answer's time before what they tell is known.
        return min(self.cap, max(_NEAREST * self.delay, delay - facts.answers))

    def _unlearned(self, facts: Facts) -> float:
        if facts.progress:
            return self._by_line(facts, facts.progress)
        silence = _silence(facts)
        if silence is Silence.MADE:
            return self.first
        if silence is Silence.QUEUED:
            return min(_COLD_CAP, max(self.first, _QUEUED * facts.age))
        if facts.progress == 0 and facts.age < _YOUNG:
            delay = _SHORT_CAP
        else:
            delay = min(_SHORT_CAP, max(_BLIND * self.delay, _BLIND_GROWTH * facts.age))
        return max(delay, self.first - facts.age)

    def _by_line(self, facts: Facts, progress: int) -> float:
        """Go a part of the way to the end, of two that progress foretells to the earlier one, and never past it.

        One is that of the straight line through the start, the other that of the line through the last two steps. After
        the first step the task may have stood still until it was looked at before, and go on as fast. A step was
        reached when it was first seen, or before: not now.
        """
        left = max(0.0, facts.age - facts.changed) * 100 / progress - facts.age
        if facts.left is not None:
            left = min(left, facts.left - facts.changed)
        elif facts.unseen is not None:
            left = min(left, (100 - progress) * (facts.unseen + facts.changed) / progress)
        duration = facts.age + left
        delay = _AIM * left - _MARGIN * duration if left > 0 else _OVERDUE * -left
        return min(_COLD_CAP, max(_NEAR * self.delay, delay))


def _learned(facts: Facts, life: ResidualLife, price: float) -> float | None:
    """Return the seconds to the poll that the ends seen so far ask for; None where they say nothing."""
    key = facts.pool, facts.kind
    if facts.progress:
        age = max(0.0, facts.age - facts.changed)
        sight = Sight(facts.progress, age, age if facts.unseen is None else min(age, facts.unseen))
        return life.after_step(key, sight, facts.changed, price)
    return life.in_silence(key, _silence(facts), facts.waited, facts.age, price)


def _silence(facts: Facts) -> Silence:
    """Return how a task is silent that tells no progress."""
    if facts.attempt == 0:
        return Silence.MADE
    return Silence.STILL if facts.status == Status.IN_PROGRESS else Silence.QUEUED


def _most(facts: Facts) -> float:
    """Return the seconds to the next poll at most, whatever was learned."""
    if facts.progress:
        return math.inf
    if _silence(facts) is Silence.QUEUED:
        return _QUEUE_CAP
    return _INSURED + _INSURED_GROWTH * facts.waited


@attrs.frozen
class Retry:
    """How long to wait after a request that failed in passing, and how often a direct call is tried.

    `initial` seconds, `factor` times as many after each further failure, up to `cap`; up to the share `jitter` of them
    is taken off by chance. `attempts` bounds direct calls only; a wait goes on.
    """

    initial: float = attrs.field(default=1.0, validator=_seconds)
    factor: float = attrs.field(default=2.0, validator=_factor)
    cap: float = attrs.field(default=20.0, validator=_seconds)
    jitter: float = attrs.field(default=0.5, validator=_share)
    attempts: int = attrs.field(default=4, validator=_count)

    def __attrs_post_init__(self) -> None:
        _check_order(self, "initial")

    def delay(self, failures: int, roll: float, hint: float | None = None) -> float:
        """Return the seconds to wait after so many `failures` in a row, 1 or more.

        `hint` is the service's Retry-After in seconds; it is taken as 0.5 at least and 60 at most, and the longer of
        the two delays counts. Chance shortens our own part only.
        """
        own = _grown(self.initial, self.factor, self.cap, failures - 1) * (1 - self.jitter * roll)
        return own if hint is None else max(own, believed(hint, LEAST))
