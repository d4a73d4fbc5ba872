"""What the oracle takes in each world, as a curve of polls by mean delay; kept in a file, as it takes a while.

A curve holds for the lives and the oracle that it was made with: a digest of both stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from bisect import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lives import Score
from benchmarks.worlds import oracle
from benchmarks.worlds.world import World, draw_stream, latency

KEPT = Path(__file__).with_name("oracle.json")
SIZE = oracle.Size(known=5000, watched=500)
FIRST_PRICE = 0.2
LATE = (0.9, 0.9, 0.5, 1.8)
"""Seconds of mean delay, without the way of the answer, that are aimed at after a look at the first price;"""
MET = 1.08
"""one is met where the ratio to it is below this."""
POWER = 0.6
"""With about this power of the price the delay goes."""
APART = 1.15
"""Ratio of the delays of two points that are told apart: nearer ones are chance, and one point."""


class Curve(NamedTuple):
    """What was taken at some prices, by mean delay."""

    points: Sequence[Score]

    def at(self, delay: float) -> Score:
        """Return what is taken at a mean delay: between two points, or on from the outermost two, along a power."""
        points: list[Score] = []
        for one in sorted(self.points, key=lambda one: one.mean):
            if points and one.mean < APART * points[-1].mean:
                points[-1] = Score(*(math.sqrt(a * b) for a, b in zip(points[-1], one, strict=True)))
            else:
                points.append(one)
        number = max(0, min(len(points) - 2, bisect([one.mean for one in points], delay) - 1))
        a, b = points[number : number + 2]
        share = math.log(delay / a.mean) / math.log(b.mean / a.mean)
        return Score(max(1.0, a.polls * (b.polls / a.polls) ** share), delay, a.p95 * (b.p95 / a.p95) ** share)


def kept(world: World) -> Curve | None:
    """Return the curve of a world as it stands in the file; None where there is none that still holds."""
    found = _load().get(world.name)
    if found is None or found["digest"] != _digest(world):
        return None
    return Curve([Score(*point) for point in found["points"]])


def curve(world: World) -> Curve:
    """Return the curve of a world; where there is none it is made, and kept."""
    found = kept(world)
    if found is None:
        found = trace(world, SIZE)
        everything = {**_load(), world.name: {"digest": _digest(world), "points": found.points}}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(everything.items()))
        KEPT.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return found


def trace(world: World, size: oracle.Size) -> Curve:
    """Make a curve: the next price is reckoned from the nearest point so far."""
    way, looks = latency(world) / 2, {FIRST_PRICE: oracle.look(world, FIRST_PRICE, size)}
    for late in LATE:
        missed = {price: late / (one.mean - way) for price, one in looks.items()}
        price, ratio = min(missed.items(), key=lambda one: abs(math.log(one[1])))
        if not 1 / MET < ratio < MET:
            price *= ratio ** (1 / POWER)
            looks[price] = oracle.look(world, price, size)
    return Curve([Score(*(round(figure, 4) for figure in one)) for one in looks.values()])


def _load() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return found


def _digest(world: World) -> str:
    chance = random.Random(f"{world.name} latency")
    latencies = [round(world.latency(chance), 6) for _ in range(20)]
    made = (SIZE, FIRST_PRICE, LATE, world.made, world.warm_up, world.phases, latencies)
    text = repr((made, draw_stream(world, 60, 0).lives)).encode()
    return hashlib.sha256(text + Path(oracle.__file__).read_bytes()).hexdigest()[:16]
