"""What the default policy takes in each world, beside a fixed interval, an exponential one and the oracle.

All of them are compared at the mean delay that was measured, which counts from a task's end to the answer that shows
it. Warm: a stream of tasks, of which the first are not counted. Cold: each task alone, with nothing learned. Overload:
a crowd of tasks, with a pace for `OVERLOAD` of the requests that they would take. Second run: each task alone, with
what an earlier run learned from others. Everything fails where each task that counts does. Figures of the two halves
are never put together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks import lives
from benchmarks.lives import Score
from benchmarks.report import Bound, Report
from benchmarks.worlds import curves, held_back, oracle, references, runner, tuned
from benchmarks.worlds.world import Life, World, draw_stream, latency, write
from omgmj import Adaptive, Policy

HALVES: Mapping[str, Sequence[World]] = {"tuned": tuned.WORLDS, "held-back": held_back.WORLDS}
"""The halves of the worlds;"""
EACH = 3
"""in a short run each third world of one."""
ASKED = 1.0
"""Seconds of mean delay."""
OF_FIXED, COLD_OF_FIXED, OF_ORACLE = "of fixed", "cold, of fixed", "of the oracle"
SECOND_OF_FIXED = "second run, of fixed"
EARLIER = 1000
"""What the seed of the run before is further on by: its tasks are others."""
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
    cold: Score
    second: Score
    overloaded: Score
    fixed: float
    exponential: float
    cold_fixed: float
    second_fixed: float
    oracle: Score | None
    asked: Score | None
    unseen: int
    failing: bool

    def ratios(self) -> dict[str, float]:
        """Return what is compared; without the oracle where it is not known."""
        ratios = {
            OF_FIXED: self.warm.polls / self.fixed,
            COLD_OF_FIXED: self.cold.polls / self.cold_fixed,
            SECOND_OF_FIXED: self.second.polls / self.second_fixed,
        }
        return ratios if self.oracle is None else {**ratios, OF_ORACLE: self.warm.polls / self.oracle.polls}


def measure(world: World, policy: Policy, size: Size, curve: curves.Curve | None) -> Measured:
    """Measure one world."""
    warm = runner.warm(world, policy, size.warm, size.seeds)
    cold = runner.cold(world, policy, size.cold, size.seeds[0])
    learned = runner.second(world, policy, size.cold, size.seeds[0] + EARLIER)
    second = runner.cold(world, policy, size.cold, size.seeds[0], learned)
    scores = runner.score_of(warm), runner.score_of(cold), runner.score_of(second)
    crowd = runner.overloaded(world, policy, size.overloaded, size.seeds[0], scores[0].polls)
    counted = _counted(world, size.warm, size.seeds)
    ends = [life.end for life in counted]
    cold_ends = [life.end for life in _counted(world, size.cold, size.seeds[:1])]
    way = latency(world)
    return Measured(
        *scores,
        runner.score_of(crowd),
        fixed=references.fixed(ends, scores[0].mean, way, made=world.made),
        exponential=references.exponential(ends, scores[0].mean, way, made=world.made),
        cold_fixed=references.fixed(cold_ends, scores[1].mean, way, made=world.made),
        second_fixed=references.fixed(cold_ends, scores[2].mean, way, made=world.made),
        oracle=curve and curve.at(scores[0].mean),
        asked=curve and curve.at(ASKED),
        unseen=sum(math.isnan(one.delay) for one in (*warm, *cold, *second, *crowd)),
        failing=all(life.fails for life in counted),
    )


def _counted(world: World, count: int, seeds: Sequence[int]) -> list[Life]:
    streams = [draw_stream(world, count, seed) for seed in seeds]
    return [life for stream in streams for life in stream.lives[stream.counted :]]


def without_memory() -> float:
    """Return the oracle's polls on lives without memory, where a fixed interval is best, of the polls of that."""
    world = World("without memory", lambda chance, _: write(lives.silent(chance.expovariate(1 / 60))))
    taken = oracle.look(world, 0.05, oracle.Size(3000, 1000))
    ends = [life.end for drawn in oracle.classes(world, 1000, 2).values() for life in drawn]
    return taken.polls / references.fixed(ends, taken.mean, latency(world), made=True)


def waited(policy: Policy) -> float:
    """Return for how many seconds tasks of 2 s are waited for, on average, after the third of their kind."""
    world = World("2 seconds", lambda *_: write(lives.silent(2.0), kind="UPSCALE"), at_once=0.05, warm_up=0.0)
    return statistics.mean(2.0 + one.delay for one in runner.warm(world, policy, 60, (1,))[3:])


def run(*, short: bool, half: str | None = None) -> Report:
    """Measure all worlds, or those of one half. What the oracle takes is made where it is not at hand.

    The figures are the same each time. In a short run what is not at hand is left out.
    """
    size, policy, curve = (SHORT if short else FULL), Adaptive(), (curves.kept if short else curves.curve)
    rows: list[Sequence[str]] = []
    bounds: list[Bound] = []
    bars: list[tuple[str, float]] = []
    told: list[tuple[str, str]] = []
    data: dict[str, object] = {}
    for part in HALVES if half is None else (half,):
        worlds = HALVES[part][::EACH] if short else HALVES[part]
        found = {world.name: measure(world, policy, size, curve(world)) for world in worlds}
        measured = list(found.values())
        columns = _columns(measured)
        rows += [_row(name, one) for name, one in found.items()]
        rows += _summary(part, measured, columns)
        bars += [(f"omgmj, {name}", one.ratios()[OF_FIXED]) for name, one in found.items()]
        told += _told(part, measured, columns)
        data[part] = {name: _plain(one) for name, one in found.items()}
        bounds += _bounds(part, measured, short=short)
        bounds.append(Bound(f"{part}: tasks that differ with the same seed", _differ(worlds[0], policy, size), 0, ""))
    bounds.append(Bound("the oracle on lives without memory: off theory by", abs(without_memory() - 1), AGREE, ""))
    told.append(("a task of 2 s after the third of its kind, waited for", f"{waited(policy):.1f} s"))
    head = (
        "world",
        "omgmj: polls; mean, p95 delay, s",
        "fixed at that delay",
        "exponential",
        "oracle: polls; p95",
        OF_FIXED,
        OF_ORACLE,
        f"oracle at {ASKED:g} s: polls; p95",
        "cold",
        COLD_OF_FIXED,
        "second run",
        SECOND_OF_FIXED,
        "overload",
    )
    return Report(head, rows, bounds, bars, "polls of a fixed interval of equal mean delay", told, data=data)


def _columns(found: Sequence[Measured]) -> dict[str, list[float]]:
    """Return what is compared, over all worlds; without what is not known of all of them."""
    ratios = [one.ratios() for one in found]
    return {name: [one[name] for one in ratios] for name in ratios[0] if all(name in one for one in ratios)}


def _told(half: str, found: Sequence[Measured], columns: Mapping[str, Sequence[float]]) -> list[tuple[str, str]]:
    """Return the figures of a half: geometric means, and between which values its worlds are."""
    told = {f"polls {name}": _middle(column, "x") for name, column in columns.items()}
    told["mean delay"] = _middle([one.warm.mean for one in found], " s")
    told["p95 of delay"] = _middle([one.warm.p95 for one in found], " s")
    told["cold, mean delay"] = _middle([one.cold.mean for one in found], " s")
    told["second run, mean delay"] = _middle([one.second.mean for one in found], " s")
    told["overload, mean delay"] = _middle([one.overloaded.mean for one in found], " s")
    failing = [one.warm for one in found if one.failing]
    if failing:
        told["everything fails, mean delay"] = _middle([one.mean for one in failing], " s")
        told["everything fails, p95 of delay"] = _middle([one.p95 for one in failing], " s")
    return [(f"{half} worlds, {name}", figure) for name, figure in told.items()]


def _middle(column: Sequence[float], unit: str) -> str:
    return f"{statistics.geometric_mean(column):.2f}{unit} ({min(column):.2f} to {max(column):.2f}{unit})"


def _bounds(half: str, found: Sequence[Measured], *, short: bool) -> list[Bound]:
    """Return what must hold of a half, whatever the policy is; in a short run chance is too large for the oracle's."""
    bounds = [Bound(f"{half}: ends that were never seen", sum(one.unseen for one in found), 0, "")]
    known = [(one, one.oracle) for one in found if one.oracle is not None]
    if known and not short:
        of_others = max(oracle.polls / min(one.fixed, one.exponential) for one, oracle in known)
        of_omgmj = max(oracle.polls / one.warm.polls for one, oracle in known)
        bounds += [
            Bound(f"{half}: the oracle, of fixed or exponential, worst", of_others, 1.0, room=AGREE),
            Bound(f"{half}: the oracle, of omgmj, worst", of_omgmj, 1.0, room=AGREE),
        ]
    return bounds


def _differ(world: World, policy: Policy, size: Size) -> int:
    """Return how many tasks differ between two runs with the same seed."""
    once, again = (runner.warm(world, policy, size.warm, size.seeds[:1]) for _ in range(2))
    return sum(one != other for one, other in zip(once, again, strict=True))


def _row(name: str, one: Measured) -> Sequence[str]:
    ratios = one.ratios()
    return (
        name,
        _cell(one.warm),
        f"{one.fixed:.1f}",
        f"{one.exponential:.1f}",
        "-" if one.oracle is None else f"{one.oracle.polls:.2f}; {one.oracle.p95:.2f}",
        f"{ratios[OF_FIXED]:.3f}x",
        f"{ratios[OF_ORACLE]:.2f}x" if OF_ORACLE in ratios else "-",
        "-" if one.asked is None else f"{one.asked.polls:.2f}; {one.asked.p95:.2f}",
        _cell(one.cold),
        f"{ratios[COLD_OF_FIXED]:.3f}x",
        _cell(one.second),
        f"{ratios[SECOND_OF_FIXED]:.3f}x",
        _cell(one.overloaded),
    )


def _summary(half: str, found: Sequence[Measured], columns: Mapping[str, Sequence[float]]) -> list[Sequence[str]]:
    """Return two rows: geometric means over the worlds of a half, and the worst of them, each column for itself."""
    ways: Mapping[str, Callable[[Sequence[float]], float]] = {"geometric mean": statistics.geometric_mean, "worst": max}
    scores = [(one.warm, one.cold, one.second, one.overloaded) for one in found]
    rows: list[Sequence[str]] = []
    for what, way in ways.items():
        late = [
            f"{way([one.mean for one in mode]):.2f}, {way([one.p95 for one in mode]):.2f}"
            for mode in zip(*scores, strict=True)
        ]
        ratios = {name: f"{way(column):.3f}x" for name, column in columns.items()}
        compared = (ratios[OF_FIXED], ratios.get(OF_ORACLE, "-"))
        alone = (late[1], ratios[COLD_OF_FIXED], late[2], ratios[SECOND_OF_FIXED])
        rows.append((f"**{half}, {what}**", late[0], "", "", "", *compared, "", *alone, late[3]))
    return rows


def _cell(found: Score) -> str:
    return f"{found.polls:.2f}; {found.mean:.2f}, {found.p95:.2f}"


def _plain(one: Measured) -> dict[str, object]:
    """Return what was measured as JSON takes it."""
    figures: dict[str, object] = {}
    for name, value in {**one._asdict(), **one.ratios()}.items():
        is_score = isinstance(value, Score)
        figures[name] = {key: round(figure, 4) for key, figure in value._asdict().items()} if is_score else value
    return figures
