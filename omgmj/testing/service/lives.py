"""The make-believe lives: what a task goes through, scripted by hand or drawn.

Pure: a life knows only seconds since its task was made, and chance comes as a seeded `random.Random`. How it is told is
`fake_task`'s business.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from omgmj.errors import UsageError

STEPS = (0, 15, 31, 46, 62, 78, 93, 100)
"""The percentages at which the service tells progress."""
REASONS = (
    "The prompt was refused by the moderators.",
    "The image could not be made in time.",
    "No account of this pool is free.",
)
PROMPTS = (
    "a cat in the rain --ar 16:9",
    "a lighthouse at dawn, oil on canvas --v 5.2",
    "a city of glass under the sea --ar 3:2",
    "portrait of an old clockmaker, soft light --s 250",
    "a fox reading a newspaper, ink drawing --niji 5",
    "an orchard in fog, film grain --ar 2:3",
)
POOLS = ("NORMAL", "FAST")


def check_number(name: str, value: object, *, least: float = 0.0, most: float = math.inf, whole: bool = False) -> float:
    """Return `value` if it is a finite (and `whole`) number within the bounds; `UsageError` that names it otherwise."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        raise UsageError(f"{name} must be a {'whole' if whole else 'finite'} number, not {value!r}")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise UsageError(f"{name} must be {bounds}, not {value!r}")
    return value


class Moment(NamedTuple):
    """What a task tells from `at` seconds after it was made; `extra` are wire fields told instead of the usual."""

    at: float
    status: str
    progress: str | None = None
    extra: Mapping[str, Any] = {}


def _check_moments(_life: object, _field: object, moments: tuple[Moment, ...]) -> None:
    if not moments or moments[0].at != 0:
        raise UsageError("a life must begin with a moment at 0 seconds")
    for moment in moments:
        check_number("the seconds of a moment", moment.at)
        if not isinstance(moment.status, str):
            raise UsageError(f"a status must be a string, not {moment.status!r}")
        if moment.progress is not None and not isinstance(moment.progress, str):
            raise UsageError(f"progress is a string on the wire, such as '31%', or None; not {moment.progress!r}")
        if not isinstance(moment.extra, Mapping):
            raise UsageError(f"the extra fields of a moment must be a mapping, not {moment.extra!r}")
    if any(later.at < earlier.at for earlier, later in itertools.pairwise(moments)):
        raise UsageError("the moments of a life must be in the order of their seconds")


@attrs.frozen
class Life:
    """What a task goes through, moment by moment; the last one lasts for ever.

    Make one by `succeed`, `fail` or `steps`. `SUCCESS`, `FAILURE` and `CANCEL` set the record's `finishTime` by
    themselves; an unknown word that is to be an end names it in its `extra`.
    """

    moments: tuple[Moment, ...] = attrs.field(validator=_check_moments)

    @classmethod
    def steps(cls, moments: Iterable[Sequence[Any]]) -> Life:
        """Script a life by hand: `(seconds, status, progress)` or `(seconds, status, progress, extra fields)` each."""
        try:
            return cls(tuple(Moment(*moment) for moment in moments))
        except TypeError:
            raise UsageError("each moment must be (seconds, status, progress) and optionally extra fields") from None

    @classmethod
    def succeed(cls, after: float = 40.0, *, queue: float | None = None, steps: Sequence[int] = STEPS) -> Life:
        """Script a task that is done `after` seconds; it waits `queue` (3), then tells `steps` percent evenly."""
        return cls((*_running(after, queue, steps), Moment(after, "SUCCESS", "100%")))

    @classmethod
    def fail(
        cls,
        after: float = 20.0,
        *,
        reason: str = REASONS[0],
        queue: float | None = None,
        steps: Sequence[int] = (0, 15, 31),
    ) -> Life:
        """Script a task that fails `after` seconds with `reason`, having told `steps` percent until then."""
        _check_steps(steps)
        running = _running(after, queue, steps, whole=max((*steps, 0)) + 1)
        return cls((*running, Moment(after, "FAILURE", running[-1].progress, {"failReason": reason})))

    def index(self, age: float) -> int:
        """Return which moment it is `age` seconds after the task was made."""
        return max(bisect.bisect_right(self.moments, age, key=lambda moment: moment.at) - 1, 0)


def with_submitted(life: Life) -> Life:
    """Return the same life with SUBMITTED for the second half of its queue, where it has one."""
    queued, *rest = life.moments
    if queued.status != "NOT_START" or not rest:
        return life
    return Life((queued, Moment(rest[0].at / 2, "SUBMITTED", "0%"), *rest))


def _running(after: float, queue: float | None, steps: Sequence[int], whole: int = 100) -> tuple[Moment, ...]:
    """Return the moments before an end: a queue, then each step when its share of `whole` has passed."""
    check_number("after", after)
    queue = min(3.0, after) if queue is None else check_number("queue", queue, most=after)
    _check_steps(steps)
    queued = (Moment(0.0, "NOT_START", None),) if queue > 0 else ()
    running = [
        Moment(queue + (after - queue) * percent / whole, "IN_PROGRESS", f"{percent}%")
        for percent in sorted(steps)
        if percent < whole
    ]
    if not queued and (not running or running[0].at > 0):
        running.insert(0, Moment(0.0, "IN_PROGRESS", "0%"))
    return (*queued, *running)


def _check_steps(steps: Sequence[int]) -> None:
    for percent in steps:
        check_number("a step", percent, most=100)


@attrs.frozen
class Lives:
    """How lives are drawn: durations lognormal around `median` seconds, some of them long, progress in noisy steps.

    `tail` is the share of tasks that take long instead: evenly up to `longest` seconds. `failures` is the share that
    fails, somewhere on the way. `PRESETS` has those with a name.
    """

    median: float = attrs.field(validator=lambda _, field, value: check_number(field.name, value, least=0.001))
    sigma: float = attrs.field(default=0.4, validator=lambda _, field, value: check_number(field.name, value, most=3))
    tail: float = attrs.field(default=0.0, validator=lambda _, field, value: check_number(field.name, value, most=1))
    longest: float = attrs.field(default=600.0, validator=lambda _, field, value: check_number(field.name, value))
    failures: float = attrs.field(
        default=0.0, validator=lambda _, field, value: check_number(field.name, value, most=1)
    )

    def draw(self, chance: random.Random, *, fails: bool | None = None) -> Life:
        """Draw one life; whether it `fails` is drawn too where it is None."""
        duration = min(self.median * math.exp(chance.gauss(0.0, self.sigma)), max(self.longest, self.median))
        if chance.random() < self.tail:
            duration = chance.uniform(duration, max(self.longest, duration))
        queue = duration * chance.uniform(0.02, 0.1)
        moments = [Moment(0.0, "NOT_START", None)]
        at = queue
        for percent in STEPS[:-1]:
            share = percent / 100 + (chance.gauss(0.0, 0.03) if percent else 0.0)
            at = min(max(at, queue + (duration - queue) * share), duration)
            moments.append(Moment(at, "IN_PROGRESS", f"{percent}%"))
        if fails or (fails is None and chance.random() < self.failures):
            end = chance.uniform(queue, duration)
            moments = [moment for moment in moments if moment.at <= end]
            reason = {"failReason": chance.choice(REASONS)}
            return Life((*moments, Moment(end, "FAILURE", moments[-1].progress, reason)))
        return Life((*moments, Moment(duration, "SUCCESS", "100%")))


PRESETS: Mapping[str, Lives] = {
    "short": Lives(4.0, sigma=0.4, longest=10.0),
    "fast": Lives(40.0, sigma=0.4),
    "mix": Lives(90.0, sigma=0.5, tail=0.05),
}
"""Drawn lives by name: `short` for a demo (some seconds), `fast` around 40 s, `mix` around 90 s with a long tail."""
