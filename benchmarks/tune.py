"""Tune one number of the default policy: what several values of it cost in the tuned worlds, at the same mean delay.

    python -m benchmarks tune NAME [--short]

NAME is a field of `Adaptive`, or a constant beside `Adaptive` or of what is learned. All else stays as it is. Values
are compared by their polls, of those of a fixed interval of the mean delay that was measured: a geometric mean over the
worlds, which are drawn alike for all values. Differences below a percent or two are chance. No number is tuned on the
worlds that are held back.

Only the delay of ends is held. A number that puts off the first poll, or those of a queue, looks the better the larger
it is: `first`. What it costs is not shown here, such as how late a task is seen to run.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from typing import NamedTuple
from unittest import mock

import attrs

from benchmarks.report import Report
from benchmarks.worlds import references, runner, tuned
from benchmarks.worlds.world import draw_stream, latency
from omgmj import Adaptive
from omgmj.backoff import (
    durations,
    hazard,
    inspection,
    policies,
    price,
    residual_life,
    silences,
    stays,
    steps,
    surprises,
)

HOMES = (policies, residual_life, steps, stays, silences, surprises, durations, hazard, inspection, price)
"""Where the constants stand, and where they are imported."""
FIELDS = {field.name for field in attrs.fields(Adaptive)} - {"least", "polls"}
FACTORS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0)
TASKS, SHORT_TASKS = 400, 30
SEEDS = (7, 8)


class Cost(NamedTuple):
    """Polls of those of a fixed interval; the least and the largest mean delay of a world, and the largest p95."""

    polls: float
    least: float
    most: float
    p95: float


def weigh(policy: Adaptive, tasks: int) -> Cost:
    """Return what the policy costs over all worlds."""
    shares, scores = [], []
    for world in tuned.WORLDS:
        score = runner.score_of(runner.warm(world, policy, tasks, SEEDS))
        streams = [draw_stream(world, tasks, seed) for seed in SEEDS]
        ends = [life.end for stream in streams for life in stream.lives[stream.counted :]]
        shares.append(score.polls / references.fixed(ends, score.mean, latency(world), made=world.made))
        scores.append(score)
    means = [score.mean for score in scores]
    return Cost(statistics.geometric_mean(shares), min(means), max(means), max(score.p95 for score in scores))


def cost_of(name: str, value: float, tasks: int) -> Cost:
    """Return what a value of the number costs."""
    if name in FIELDS:
        return weigh(Adaptive(**{name: value}), tasks)
    with ExitStack() as stack:
        for home in HOMES:
            if name in vars(home):
                stack.enter_context(mock.patch.object(home, name, value))
        return weigh(Adaptive(), tasks)


def value_of(name: str) -> float:
    """Return the number as it is; `KeyError` where there is none."""
    known = {constant: value for module in HOMES for constant, value in vars(module).items()}
    value = (known | {field: getattr(Adaptive(), field) for field in FIELDS})[name]
    if not isinstance(value, int | float):
        raise KeyError(name)
    return value


def main(arguments: list[str]) -> None:
    """Print what each value costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tune", description=__doc__.partition("\n")[0])
    parser.add_argument("name", metavar="NAME", help="such as _AIM, FADE, or first")
    parser.add_argument("--short", action="store_true", help="a short pass: that it runs, not what it finds")
    chosen = parser.parse_args(arguments)
    try:
        now = value_of(chosen.name)
    except KeyError:
        parser.error(f"there is no number {chosen.name}")
    tasks, factors = (SHORT_TASKS, (0.5, 1.0)) if chosen.short else (TASKS, FACTORS)
    values = sorted({type(now)(now * factor) for factor in factors})
    costs = {value: cost_of(chosen.name, value, tasks) for value in values}
    fewest = min(costs, key=lambda value: costs[value].polls)
    rows = [
        (
            f"{value:g}{' (now)' if value == now else ''}{' (fewest)' if value == fewest else ''}",
            f"{cost.polls:.3f}x",
            f"{cost.polls / costs[now].polls:.3f}x",
            f"{cost.least:.2f} to {cost.most:.2f}",
            f"{cost.p95:.2f}",
        )
        for value, cost in costs.items()
    ]
    print(Report((chosen.name, "polls, of fixed", "of now", "mean delays, s", "p95, s"), rows, [], [], "", []))
