"""Drawn lives of many shapes, and the bare simulation: a poll policy that looks at them, in plain virtual time.

Nothing of the stack runs here but the policy and `Durations`; the planner's part is a heap of due times. A shape is a
function of a seeded `random.Random` and of where in the run the task starts, from 0 to 1, so that lives can change
while the run goes on.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from omgmj.backoff import Facts, Policy
from omgmj.durations import Durations
from omgmj.models import Status

STEPS = (15, 31, 46, 62, 78, 93)
POOL, KIND = "FAST", "IMAGINE"


class Life(NamedTuple):
    """`end` seconds after its start the task is final; until then it shows percents, each from so many seconds on."""

    end: float
    steps: tuple[tuple[float, int | None], ...]


Draw = Callable[[random.Random, float], Life]
Duration = Callable[[random.Random], float]


def fast(chance: random.Random) -> float:
    """Draw a duration around 40 seconds."""
    return chance.lognormvariate(math.log(40), 0.4)


def mix(chance: random.Random) -> float:
    """Draw a duration around 90 seconds, one in twenty up to ten minutes."""
    duration = chance.lognormvariate(math.log(90), 0.4)
    return chance.uniform(min(duration, 599.0), 600.0) if chance.random() < 0.05 else duration


BASES: Mapping[str, Duration] = {"fast": fast, "mix": mix}


def told(chance: random.Random, end: float) -> Life:
    """Tell progress in noisy steps."""
    at = sorted(min(0.995, max(0.005, step / 100 + chance.gauss(0, 0.02))) * end for step in STEPS)
    shown = ((when, max(1, min(99, step + chance.randint(-2, 2)))) for when, step in zip(at, STEPS, strict=True))
    return Life(end, ((0.0, 0), *shown))


def silent(end: float) -> Life:
    """Tell no progress at all."""
    return Life(end, ((0.0, None),))


def jumps(chance: random.Random, end: float) -> Life:
    """Tell progress in two jumps."""
    return Life(end, ((0.0, 0), (end * chance.uniform(0.4, 0.6), 50), (end * chance.uniform(0.85, 0.95), 93)))


def shapes(duration: Duration) -> dict[str, Draw]:
    """Return the shapes by name, with durations drawn from `duration`."""

    def slow_hour(chance: random.Random, where: float) -> Life:
        return told(chance, duration(chance) * (3.0 if 0.4 < where < 0.6 else 1.0))

    def all_fail(chance: random.Random, where: float) -> Life:
        life = told(chance, duration(chance))
        return life if where < 0.5 else life._replace(end=chance.uniform(1.0, 6.0))

    return {
        "progress": lambda chance, _: told(chance, duration(chance)),
        "no progress": lambda chance, _: silent(duration(chance)),
        "bursts": lambda chance, _: told(chance, duration(chance)),
        "slow hour": slow_hour,
        "everything fails": all_fail,
        "two jumps": lambda chance, _: jumps(chance, duration(chance)),
    }


class Run(NamedTuple):
    """Tasks that are made at `starts` (seconds), with the life of each."""

    starts: Sequence[float]
    lives: Sequence[Life]


def draw_run(shape: str, draw: Draw, count: int, seed: int) -> Run:
    """Draw a run of so many tasks, two a second on average, or in bursts of a tenth of them every two minutes."""
    chance = random.Random(f"{shape} {seed}")
    at, starts = 0.0, []
    for number in range(count):
        at += chance.expovariate(2.0)
        starts.append(number * 10 // count * 120.0 if shape == "bursts" else at)
    return Run(starts, [draw(chance, number / count) for number in range(count)])


class Score(NamedTuple):
    """Looks a task, and the seconds from the end of a task to when that was seen."""

    looks: float
    mean: float
    p95: float


def score(looks: int, delays: Sequence[float]) -> Score:
    """Make a score of all looks and the delay of each task."""
    ordered = sorted(delays)
    return Score(looks / len(ordered), sum(ordered) / len(ordered), ordered[len(ordered) * 95 // 100])


def simulate(run: Run, policy: Policy, seed: int) -> Score:
    """Look at each task of the run from its start until its end is seen."""
    chance = random.Random(seed)
    durations = Durations()
    due = [(at, number) for number, at in enumerate(run.starts)]
    heapq.heapify(due)
    looks = [0] * len(due)
    shown: list[int | None] = [-1] * len(due)
    moved, seen = list(run.starts), list(run.starts)
    delays = []
    while due:
        now, number = heapq.heappop(due)
        start, life = run.starts[number], run.lives[number]
        age, since = now - start, seen[number] - start
        looks[number] += 1
        if age >= life.end:
            delays.append(age - life.end)
            percent = shown[number]
            foretold = (moved[number] - start) * 100 / percent if percent is not None and percent > 0 else None
            durations.saw_end(POOL, since, age, ended=life.end, foretold=foretold)
            continue
        progress = next(step for at, step in reversed(life.steps) if at <= age)
        if progress != shown[number]:
            shown[number], moved[number] = progress, now
        durations.saw_running(POOL, since, age)
        seen[number] = now
        facts = Facts(
            task_id=number + 1,
            attempt=looks[number],
            age=age,
            pool=POOL,
            kind=KIND,
            status=Status.IN_PROGRESS,
            progress=progress,
            changed=now - moved[number],
            hint=None,
            durations=durations,
        )
        delay = policy(facts, chance.random())
        assert delay is not None
        heapq.heappush(due, (now + delay, number))
    return score(sum(looks), delays)
