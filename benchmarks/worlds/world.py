"""What a world is: a named way to draw lives, and how the service answers there."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks import lives
from omgmj import Status


class Step(NamedTuple):
    """What a record shows from `at` on: progress in percent, status, and when its task started; None: not told."""

    at: float
    progress: int | None
    status: Status = Status.IN_PROGRESS
    started: float | None = None


class Life(NamedTuple):
    """A task that shows one step after the other, and is final at `end`; all in seconds since it was submitted.

    `kind` and `pool` stand in its record from the first on. `tells_end`: the final record says when it ended.
    """

    end: float
    steps: tuple[Step, ...]
    fails: bool = False
    kind: str | None = lives.KIND
    pool: str | None = lives.POOL
    tells_end: bool = True

    def at(self, age: float) -> int | None:
        """Return which step is shown at this age; None where the task is final."""
        if age >= self.end:
            return None
        return next(number for number in reversed(range(len(self.steps))) if self.steps[number].at <= age)


Draw = Callable[[random.Random, float], Life]


def _usual(_: random.Random) -> float:
    return 0.1


class World(NamedTuple):
    """Lives, and how they come and are answered.

    `at_once` tasks run at once on average; `batch` of them are made in one go. `latency` draws the seconds that an
    answer takes; half of them pass before the service looks. `skews` are seconds by which a `Date` may be ahead, None
    for no `Date`; each answer has one by chance. `made`: by the session that waits for them, which sees them later
    else. The first share `warm_up` of a run is not counted. `phases`: see the package.
    """

    name: str
    draw: Draw
    at_once: float = 12.0
    batch: int = 1
    latency: Callable[[random.Random], float] = _usual
    skews: Sequence[float | None] = (0.0,)
    made: bool = True
    warm_up: float = 0.4
    phases: int = 1

    def phase(self, where: float) -> int:
        """Return the part of the run, from 0."""
        return int(where * self.phases)


class Stream(NamedTuple):
    """Tasks that are made at `starts`, in order, with the life of each; those from `counted` on count."""

    starts: Sequence[float]
    lives: Sequence[Life]
    counted: int


def draw_stream(world: World, count: int, seed: int) -> Stream:
    """Draw a run of so many tasks. They are made, move and end at whole milliseconds, as records tell no finer ones."""
    chance = random.Random(f"{world.name} {seed}")
    drawn = [milliseconds(world.draw(chance, number / count)) for number in range(count)]
    apart = statistics.mean(life.end for life in drawn) * world.batch / world.at_once
    gaps = (chance.expovariate(1 / apart) if number % world.batch == 0 else 0.0 for number in range(count))
    return Stream([round(at, 3) for at in itertools.accumulate(gaps)], drawn, int(count * world.warm_up))


def latency(world: World) -> float:
    """Return how long an answer takes on average."""
    chance = random.Random(f"{world.name} latency")
    return statistics.mean(world.latency(chance) for _ in range(1000))


def milliseconds(life: Life) -> Life:
    """Return the life with its times rounded."""
    steps = (
        step._replace(at=round(step.at, 3), started=None if step.started is None else round(step.started, 3))
        for step in life.steps
    )
    return life._replace(end=round(life.end, 3), steps=tuple(steps))


def write(
    life: lives.Life,
    *,
    wait: float = 0.0,
    waits_as: Status = Status.IN_PROGRESS,
    kind: str | None = lives.KIND,
    pool: str | None = lives.POOL,
) -> Life:
    """Return a life with its queue and start; it shows no progress for the first `wait` seconds after its start."""
    queued = (Step(0.0, None, Status.SUBMITTED),) if life.queue else ()
    waiting = (Step(life.queue, None, waits_as, life.queue),) if wait else ()
    begun = life.queue + wait
    running = (Step(begun + at, progress, started=life.queue) for at, progress in life.steps if at < life.end)
    return Life(begun + life.end, (*queued, *waiting, *running), life.fails, kind, pool)


def bent(life: lives.Life, share: Callable[[float], float]) -> lives.Life:
    """Return the life with progress bent: what showed after a share x of its run shows after the share `share(x)`."""
    return life._replace(steps=tuple((life.end * share(at / life.end), progress) for at, progress in life.steps))
