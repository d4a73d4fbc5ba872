"""What the default policy takes in each world, beside a fixed interval, an exponential one and the oracle.

All of them are compared at the mean delay that was measured, which counts from a task's end to the answer that shows
it. Warm: a stream of tasks, of which the first are not counted. Cold: each task alone, with nothing learned. Overload:
a crowd of tasks, with a pace for `OVERLOAD` of the requests that they would take.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import lives
from benchmarks.lives import Score
from benchmarks.report import Bound, Report
from benchmarks.worlds import curves, oracle, references, runner, tuned
from benchmarks.worlds.world import World, draw_stream, latency, write
from omgmj import Adaptive, Policy

HALVES: Mapping[str, Sequence[World]] = {"tuned": tuned.WORLDS}
"""The halves of the worlds."""
ASKED = 1.0
"""Seconds of mean delay."""
AGREE = 0.1
"""By which share the oracle may differ from theory on lives without memory, and be worse than others."""


class Size(NamedTuple):
    """How many tasks there are in a run, and with which seeds."""

    warm: int
    cold: int
    overloaded: int
    seeds: Sequence[int]


FULL, SHORT = Size(600, 300, 900, (1, 2, 3)), Size(60, 10, 60, (1,))


class Measured(NamedTuple):
    """What was taken in one world; the oracle's, where it is known, at the same delay and at `ASKED`."""

    warm: Score
    fixed: float
    exponential: float
    oracle: Score | None
    asked: Score | None
    cold: Score
    cold_fixed: float
    overloaded: Score
    unseen: int

    def ratios(self) -> dict[str, float]:
        """Return what is compared."""
        ratios = {
            "of fixed": self.warm.polls / self.fixed,
            "of exponential": self.warm.polls / self.exponential,
            "cold, of fixed": self.cold.polls / self.cold_fixed,
        }
        return ratios if self.oracle is None else {**ratios, "of the oracle": self.warm.polls / self.oracle.polls}


def measure(world: World, policy: Policy, size: Size, curve: curves.Curve | None) -> Measured:
    """Measure one world."""
    warm = runner.warm(world, policy, size.warm, size.seeds)
    cold = runner.cold(world, policy, size.cold, size.seeds[0])
    scores = runner.score_of(warm), runner.score_of(cold)
    crowd = runner.overloaded(world, policy, size.overloaded, size.seeds[0], scores[0].polls)
    ends = [_ends(world, size.warm, size.seeds), _ends(world, size.cold, size.seeds[:1])]
    way = latency(world)
    return Measured(
        warm=scores[0],
        fixed=references.fixed(ends[0], scores[0].mean, way, made=world.made),
        exponential=references.exponential(ends[0], scores[0].mean, way, made=world.made),
        oracle=curve and curve.at(scores[0].mean),
        asked=curve and curve.at(ASKED),
        cold=scores[1],
        cold_fixed=references.fixed(ends[1], scores[1].mean, way, made=world.made),
        overloaded=runner.score_of(crowd),
        unseen=sum(math.isnan(one.delay) for one in (*warm, *cold, *crowd)),
    )


def _ends(world: World, count: int, seeds: Sequence[int]) -> list[float]:
    streams = [draw_stream(world, count, seed) for seed in seeds]
    return [life.end for stream in streams for life in stream.lives[stream.counted :]]


def without_memory() -> float:
    """Return the oracle's polls on lives without memory, where a fixed interval is best, of the polls of that."""
    world = World("without memory", lambda chance, _: write(lives.silent(chance.expovariate(1 / 60))))
    taken = oracle.look(world, 0.05, oracle.Size(3000, 1000))
    ends = [life.end for drawn in oracle.classes(world, 1000, 2).values() for life in drawn]
    return taken.polls / references.fixed(ends, taken.mean, latency(world), made=True)


def run(*, short: bool) -> Report:
    """Measure all worlds. The figures are the same each time; the oracle's are made where they are not at hand.

    In a short run those that are not at hand are left out.
    """
    size, policy, bounds = SHORT if short else FULL, Adaptive(), []
    rows, bars, told, data = [], [], [], {}
    for half, worlds in HALVES.items():
        found = {
            world: measure(world, policy, size, curves.kept(world) if short else curves.curve(world))
            for world in worlds
        }
        rows += [_row(world.name, one) for world, one in found.items()]
        rows += _summary(half, list(found.values()))
        bars += [(f"omgmj, {world.name}", one.ratios()["of fixed"]) for world, one in found.items()]
        told += [(f"{half} worlds, polls {name}", figure) for name, figure in _told(list(found.values()))]
        data[half] = {world.name: _plain(one) for world, one in found.items()}
        bounds += _bounds(half, found, policy, size)
    bounds.append(Bound("oracle on lives without memory: off theory by", abs(without_memory() - 1), AGREE, ""))
    told.append(("the second run of a script", "as the first: nothing that was learned is kept"))
    head = (
        "world",
        "omgmj: polls; mean, p95 delay, s",
        "fixed at that delay",
        "exponential",
        "oracle",
        "polls, of fixed",
        "of the oracle",
        f"oracle at {ASKED:g} s: polls; p95",
        "cold: polls; mean, p95",
        "cold, of fixed",
        "overload: polls; mean, p95",
    )
    return Report(head, rows, bounds, bars, "polls of a fixed interval of equal mean delay", told, data=data)


def _bounds(half: str, found: Mapping[World, Measured], policy: Policy, size: Size) -> list[Bound]:
    """Return what must hold of a half, whatever the policy is."""
    first = next(iter(found))
    once, again = (runner.warm(first, policy, size.warm, size.seeds[:1]) for _ in range(2))
    pairs = [(one, one.oracle) for one in found.values() if one.oracle is not None]
    bounds = [
        Bound(f"{half}: ends that were never seen", sum(one.unseen for one in found.values()), 0, ""),
        Bound(f"{half}: tasks that differ with the same seed", sum(map(_differ, once, again)), 0, ""),
    ]
    if pairs:
        worse = max(best.polls / min(one.fixed, one.exponential) for one, best in pairs)
        bounds.append(Bound(f"{half}: the oracle, of fixed or exponential, where it is worst", worse, 1.0, room=AGREE))
        worse = max(best.polls / one.warm.polls for one, best in pairs)
        bounds.append(Bound(f"{half}: the oracle, of omgmj, where it is worst", worse, 1.0, room=AGREE))
    return bounds


def _differ(one: runner.Watched, other: runner.Watched) -> bool:
    return one != other


def _row(name: str, one: Measured) -> Sequence[str]:
    ratios = one.ratios()
    of_oracle = ratios.get("of the oracle")
    return (
        name,
        _cell(one.warm),
        f"{one.fixed:.1f}",
        f"{one.exponential:.1f}",
        "-" if one.oracle is None else f"{one.oracle.polls:.2f}",
        f"{ratios['of fixed']:.3f}x",
        "-" if of_oracle is None else f"{of_oracle:.2f}x",
        "-" if one.asked is None else f"{one.asked.polls:.2f}; {one.asked.p95:.2f}",
        _cell(one.cold),
        f"{ratios['cold, of fixed']:.3f}x",
        _cell(one.overloaded),
    )


def _summary(half: str, found: Sequence[Measured]) -> list[Sequence[str]]:
    """Return the geometric means of a half, and the worst of each column."""
    columns = {name: [one.ratios()[name] for one in found if name in one.ratios()] for name in found[0].ratios()}
    mean = {name: f"{statistics.geometric_mean(column):.3f}x" for name, column in columns.items()}
    worst = {name: f"{max(column):.3f}x" for name, column in columns.items()}
    late = [
        ("", "", ""),
        tuple(f"mean {max(s.mean for s in c):.2f}, p95 {max(s.p95 for s in c):.2f}" for c in _columns(found)),
    ]
    means = tuple(f"mean {statistics.geometric_mean([s.mean for s in c]):.2f}" for c in _columns(found))
    late[0] = (means[0], means[1], means[2])
    return [
        (
            f"**{half}, {what}**",
            delay[0],
            "",
            "",
            "",
            ratios["of fixed"],
            ratios.get("of the oracle", "-"),
            "",
            delay[1],
            ratios["cold, of fixed"],
            delay[2],
        )
        for what, ratios, delay in zip(("geometric mean", "worst"), (mean, worst), late, strict=True)
    ]


def _columns(found: Sequence[Measured]) -> tuple[list[Score], ...]:
    return [one.warm for one in found], [one.cold for one in found], [one.overloaded for one in found]


def _told(found: Sequence[Measured]) -> list[tuple[str, str]]:
    names = found[0].ratios()
    columns = {name: [one.ratios()[name] for one in found if name in one.ratios()] for name in names}
    return [
        (name, f"{statistics.geometric_mean(column):.3f}x (worst {max(column):.2f}x)")
        for name, column in columns.items()
    ]


def _cell(found: Score) -> str:
    return f"{found.polls:.2f}; {found.mean:.2f}, {found.p95:.2f}"


def _plain(one: Measured) -> dict[str, Any]:
    """Return what was measured as JSON takes it."""
    return {
        name: {key: round(figure, 4) for key, figure in value._asdict().items()}
        if isinstance(value, Score)
        else value and round(value, 4)
        for name, value in {**one._asdict(), **one.ratios()}.items()
    }
