"""When to poll again: poll policies for a task that runs, the retry policy for a request that failed.

Both are frozen values that answer in seconds. They read no clock and draw no numbers: what is known of the task comes
as `Facts`, chance as `roll` in [0, 1). How many requests the session may send at all is `rate`'s business.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import attrs

from omgmj.backoff.durations import Durations
from omgmj.backoff.retry_after import LEAST, LEAST_POLL, believed
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


# What `Adaptive` rests on beside its fields. All were tuned together on simulated lives (median 40 and 90 seconds, a
# tail to 10 minutes, progress in seven noisy steps): few queries, seen at most a second after the end on average.
# `python -m benchmarks tune _AIM`, or another name of these or of a field, shows what other values of it cost. Those of
# what is not known yet (`_YOUNG` to `_BLIND_GROWTH`) are flat: values around them cost a percent more or less.
_AIM = 0.6  # go this share of the way to the foretold end: the rest is walked in ever smaller steps
_MARGIN = 0.04  # and be early by this share of the foretold duration, as the foretelling is not exact
_OVERDUE = 0.05  # when the foretold end has passed, wait this share of the time by which it has
_LOST = 0.25  # and when it has by this share of the foretold duration, progress has foretold nothing
_QUEUED = 0.1  # while it queues, wait this share of the time it has queued: more costs less, and sees it run later
_YOUNG = 20.0  # seconds: who shows 0 % later than this does not report progress, or is slow
_SHORT_CAP = 5.0  # seconds: the cap as long as nothing foretells the end
_BLIND = 1.5  # without progress: so many times `least`,
_BLIND_GROWTH = 0.02  # or this share of the age, where that is longer
_LEARNED = 1.5  # with durations learned: so many times `least` on average, spread by the chance of an end
_BEARABLE = 0.75  # foretold ends may be seen so many times `least` late, as a root mean square:
_BOLD, _CAUTIOUS = 0.7, 4.0  # the margin shrinks and grows with the square of that, between these bounds


@attrs.frozen
class Adaptive:
    """Poll seldom while a task queues, then close to the end that its progress or the tasks before it foretell.

    `least` and `cap` bound the seconds between two polls, whatever is foretold; up to the share `jitter` of them is
    taken off by chance. The policy goes only a part of the way to the end that progress foretells and never past it.

    While progress is 0 or unknown, polls are close where tasks of this pool ended so far in this session, and seldom
    elsewhere; the same where progress is seen to foretell nothing. How late foretold ends were seen makes it bolder or
    more cautious. Before enough tasks have ended it polls every few seconds, after `first`, the number of seconds that
    any task runs at least.

    A status word that is not known, and one that waits for its user, gets the cap. While callbacks tell how a task goes
    on, it is polled each `HEARTBEAT`.
    """

    first: float = attrs.field(default=8.0, validator=_seconds)
    least: float = attrs.field(default=1.4, validator=_seconds)
    cap: float = attrs.field(default=20.0, validator=_seconds)
    jitter: float = attrs.field(default=0.1, validator=_share)

    def __attrs_post_init__(self) -> None:
        _check_order(self, "first", "least")

    def __call__(self, facts: Facts, roll: float, /) -> float:
        """Return the seconds until the next poll, or what is wanted beside them where that is larger."""
        return _heeding(self._plan(facts) * (1 - self.jitter * roll), facts)

    def _plan(self, facts: Facts) -> float:
        if facts.status not in (Status.NOT_START, Status.SUBMITTED, Status.IN_PROGRESS):
            return self.cap
        if facts.progress:
            delay = self._foretold(facts, facts.progress)
        elif facts.status == Status.IN_PROGRESS:
            delay = self._unforetold(facts)
        else:
            return min(self.cap, max(self.first, _QUEUED * facts.age))
        return min(self.cap, max(self.least, delay))

    def _foretold(self, facts: Facts, progress: int) -> float:
        # The step was reached when it was first seen, or before: not now.
        duration = max(0.0, facts.age - facts.changed) * 100 / progress
        left = duration - facts.age
        if left < -_LOST * duration and (learned := self._learned(facts)) is not None:
            return learned
        caution, surprise = self._experience(facts)
        delay = _AIM * left - _MARGIN * caution * duration if left > 0 else _OVERDUE * -left
        unforetold = self._learned(facts, surprise * caution)
        return delay if unforetold is None else min(delay, unforetold)

    def _experience(self, facts: Facts) -> tuple[float, float]:
        """Return how cautious to be with what progress foretells, and the share of ends that it does not foretell."""
        if facts.durations is None or (late := facts.durations.lateness(facts.pool)) is None:
            return 1.0, 0.0
        ratio = late / (_BEARABLE * self.least)
        return min(_CAUTIOUS, max(_BOLD, ratio * ratio)), facts.durations.surprise(facts.pool)

    def _unforetold(self, facts: Facts) -> float:
        learned = self._learned(facts)
        if learned is not None:
            return learned
        if facts.progress == 0 and facts.age < _YOUNG:
            delay = _SHORT_CAP
        else:
            delay = min(_SHORT_CAP, max(_BLIND * self.least, _BLIND_GROWTH * facts.age))
        return max(delay, self.first - facts.age)

    def _learned(self, facts: Facts, share: float = 1.0) -> float | None:
        """Return the seconds to the poll that the durations seen so far ask for; None where they say nothing."""
        if facts.durations is None:
            return None
        return facts.durations.interval(facts.pool, facts.age, _LEARNED * self.least, share)


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
