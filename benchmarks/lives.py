"""Drawn lives of many shapes, and how to score who polls of them.

A shape is a function of a seeded `random.Random` and of where in the run the task starts, from 0 to 1, so that lives
can change while the run goes on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from omgmj import testing

STEPS = (15, 31, 46, 62, 78, 93)
LONGEST_QUEUE = 600.0
"""Seconds; a queue is drawn evenly up to it."""
POOL, KIND = "FAST", "IMAGINE"


class Life(NamedTuple):
    """After `queue` seconds the task runs, and `end` seconds later it is final.

    In between it shows percents, each from so many seconds on.
    """

    end: float
    steps: tuple[tuple[float, int | None], ...]
    fails: bool = False
    queue: float = 0.0

    def script(self) -> testing.Life:
        """Return the same life as the fake service takes it."""
        queued = [(0.0, "SUBMITTED", None)] if self.queue else []
        moments = [
            (self.queue + at, "IN_PROGRESS", None if percent is None else f"{percent}%")
            for at, percent in self.steps
            if at < self.end
        ]
        end = ("FAILURE", moments[-1][2]) if self.fails else ("SUCCESS", "100%")
        return testing.Life.steps([*queued, *moments, (self.queue + self.end, *end)])


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
        return told(chance, duration(chance) * (3.0 if 1 <= 3 * where < 2 else 1.0))

    def all_fail(chance: random.Random, where: float) -> Life:
        # From the middle of the run on: one half within seconds, the other on the way.
        life = told(chance, duration(chance))
        if where < 0.5:
            return life
        early = chance.random() < 0.5
        return life._replace(end=chance.uniform(1.0, 6.0) if early else chance.uniform(0.3, 1.0) * life.end, fails=True)

    return {
        "progress": lambda chance, _: told(chance, duration(chance)),
        "no progress": lambda chance, _: silent(duration(chance)),
        "bursts": lambda chance, _: told(chance, duration(chance)),
        "slow hour": slow_hour,
        "everything fails": all_fail,
        "two jumps": lambda chance, _: jumps(chance, duration(chance)),
        "a queue": lambda chance, _: told(chance, duration(chance))._replace(queue=chance.uniform(1.0, LONGEST_QUEUE)),
    }


class Run(NamedTuple):
    """Tasks that are made at `starts` (seconds, in order), with the life of each."""

    starts: Sequence[float]
    lives: Sequence[Life]


def draw_run(shape: str, draw: Draw, count: int, seed: int) -> Run:
    """Draw a run of so many tasks: two a second, a tenth of them every two minutes, or all within three hours.

    They are made, run and end at whole milliseconds, as the service tells no finer ones.
    """
    chance = random.Random(f"{shape} {seed}")
    a_second = count / (3 * 3600.0) if shape == "slow hour" else 2.0
    at, starts = 0.0, []
    for number in range(count):
        at += chance.expovariate(a_second)
        starts.append(number * 10 // count * 120.0 if shape == "bursts" else round(at, 3))
    lives = (draw(chance, number / count) for number in range(count))
    return Run(starts, [life._replace(end=round(life.end, 3), queue=round(life.queue, 3)) for life in lives])


class Score(NamedTuple):
    """Polls a task, and the seconds from the end of a task to when that was seen."""

    polls: float
    mean: float
    p95: float


def score(polls: int, delays: Sequence[float]) -> Score:
    """Make a score of all polls and the delay of each task."""
    ordered = sorted(delays)
    return Score(polls / len(ordered), sum(ordered) / len(ordered), ordered[len(ordered) * 95 // 100])
