"""Tune one number of the default policy: how many queries each of several values costs, at the same delay.

    python -m benchmarks tune NAME [--short]

NAME is a field of `Adaptive`, or a constant beside `Adaptive` or `Durations`. All else stays as it is, save for
`least`, which trades queries for delay: for each value it is set so that ends are seen `DELAY` seconds late, a mean
over all lives of `lives`. Values are then compared by the queries a task, a geometric mean over the same lives, which
are drawn alike for all values. Differences below a percent or two are chance. For `least` itself the rows show the
trade.

Only the delay of ends is held. A number that puts off the first poll, or those of a queue, looks the better the larger
it is: `first`, `_QUEUED`. What it costs is not shown here, such as how late a task is seen to run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple
from unittest import mock

import attrs

from benchmarks.lives import BASES, Run, draw_run, shapes
from benchmarks.report import Report
from benchmarks.simulation import rolled, simulate
from omgmj import Adaptive
from omgmj.backoff import Durations

HOMES = [sys.modules[one.__module__] for one in (Adaptive, Durations)]
"""Where the constants stand."""
FIELDS = {field.name for field in attrs.fields(Adaptive)}
FACTORS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0)
DELAY = 1.0
SEED = 7
STEPS = 4
"""So often `least` is set right: the delay is nearly proportional to it."""


class Cost(NamedTuple):
    """Queries a task, the mean delay in seconds, and the `least` that gave it."""

    queries: float
    delay: float
    least: float


def weigh(policy: Adaptive, runs: Sequence[Run]) -> Cost:
    """Return what the policy costs over all runs."""
    scores = [simulate(run, rolled(policy, SEED)) for run in runs]
    queries = statistics.geometric_mean(score.polls for score in scores)
    return Cost(queries, statistics.mean(score.mean for score in scores), policy.least)


def level(policy: Adaptive, runs: Sequence[Run]) -> Cost:
    """Return what the policy costs when `least` is set so that the mean delay is `DELAY`."""
    for _ in range(STEPS):
        cost = weigh(policy, runs)
        policy = attrs.evolve(policy, least=min(policy.cap, policy.least * DELAY / cost.delay))
    return cost


def cost_of(name: str, value: float, runs: Sequence[Run]) -> Cost:
    """Return what a value of the number costs."""
    if name == "least":
        return weigh(Adaptive(least=value), runs)
    if name in FIELDS:
        return level(Adaptive(**{name: value}), runs)
    home = next(module for module in HOMES if name in vars(module))
    with mock.patch.object(home, name, value):
        return level(Adaptive(), runs)


def value_of(name: str) -> float:
    """Return the number as it is; `KeyError` where there is none."""
    known = {constant: value for module in HOMES for constant, value in vars(module).items()}
    value = (known | attrs.asdict(Adaptive()))[name]
    if not isinstance(value, int | float):
        raise KeyError(name)
    return value


def main(arguments: list[str]) -> None:
    """Print what each value costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tune", description=__doc__.partition("\n")[0])
    parser.add_argument("name", metavar="NAME", help="such as _AIM, HALF_LIFE, or first")
    parser.add_argument("--short", action="store_true", help="a short pass: that it runs, not what it finds")
    chosen = parser.parse_args(arguments)
    try:
        now = value_of(chosen.name)
    except KeyError:
        parser.error(f"there is no number {chosen.name}")
    count, factors = (20, (0.5, 1.0)) if chosen.short else (400, FACTORS)
    runs = [draw_run(shape, draw, count, SEED) for base in BASES.values() for shape, draw in shapes(base).items()]
    values = sorted({type(now)(now * factor) for factor in factors})
    costs = {value: cost_of(chosen.name, value, runs) for value in values}
    fewest = min(costs, key=lambda value: costs[value].queries)
    rows = [
        (
            f"{value:g}{' (now)' if value == now else ''}{' (fewest)' if value == fewest else ''}",
            f"{cost.queries:.2f}",
            f"{cost.queries / costs[now].queries:.3f}x",
            f"{cost.delay:.2f}",
            f"{cost.least:.2f}",
        )
        for value, cost in costs.items()
    ]
    print(Report((chosen.name, "queries a task", "of now", "mean delay, s", "least"), rows, [], [], "", []))
