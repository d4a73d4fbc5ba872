"""Polls against delay: what the default policy takes where other delays are asked for, beside the references.

Over the worlds that are held back, on which no number was tuned; each is compared at the mean delay that was measured
in it. The picture is that of README.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from benchmarks.report import Bound, Report
from benchmarks.worlds import curves, held_back, references, runner
from benchmarks.worlds.world import World, draw_stream, latency
from omgmj import Adaptive

ASKED = (0.5, 1.0, 2.0, 4.0)
"""Seconds of mean delay."""
MET = 0.15
"""By which share the mean delay over all worlds may be off what was asked for."""
SEED = 1


class Polls(NamedTuple):
    """Polls a task, at one mean delay in seconds."""

    delay: float
    omgmj: float
    fixed: float
    exponential: float
    oracle: float


def measure(world: World, asked: float, count: int) -> Polls:
    """Return what was taken in a world where a delay was asked for; the oracle's is nan where it is unknown."""
    score = runner.score_of(runner.warm(world, Adaptive(delay=asked), count, (SEED,)))
    stream, curve = draw_stream(world, count, SEED), curves.kept(world)
    ends, way = [life.end for life in stream.lives[stream.counted :]], latency(world)
    return Polls(
        score.mean,
        score.polls,
        references.fixed(ends, score.mean, way, made=world.made),
        references.exponential(ends, score.mean, way, made=world.made),
        math.nan if curve is None else curve.at(score.mean).polls,
    )


def run(*, short: bool) -> Report:
    """Measure all delays; a short run is too short to meet them."""
    worlds, count = (held_back.WORLDS[::6], 40) if short else (held_back.WORLDS, 600)
    means: dict[float, Polls] = {}
    rows, told = [], []
    for asked in ASKED:
        found = [measure(world, asked, count) for world in worlds]
        delays = [one.delay for one in found]
        means[asked] = Polls(*(statistics.geometric_mean(column) for column in zip(*found, strict=True)))
        mean = statistics.mean(delays)
        polls = means[asked]
        rows.append(
            (
                f"{asked:g}",
                f"{mean:.2f} ({min(delays):.2f} to {max(delays):.2f})",
                *(f"{one:.1f}" for one in polls[1:]),
                f"{polls.omgmj / polls.fixed:.2f}x",
                f"{polls.omgmj / polls.oracle:.2f}x",
            )
        )
        told.append((f"mean delay where {asked:g} s is asked for", f"{mean:.2f} s, at {polls.omgmj:.1f} polls a task"))
        means[asked] = polls._replace(delay=mean)
    off = max(abs(polls.delay / asked - 1) for asked, polls in means.items())
    head = ("asked for, s", "mean delay (worlds), s", *Polls._fields[1:], "of fixed", "of the oracle")
    lines = {
        name: [(polls.delay, getattr(polls, name)) for polls in means.values()] for name in reversed(Polls._fields[1:])
    }
    bounds = [] if short else [Bound("furthest off what was asked for, over all worlds", off, MET, "")]
    return Report(head, rows, bounds, [], "polls a task", told, lines=lines, across="mean delay of an end, s")
