"""The oracle: dynamic programming over when to look next, for somebody who knows how the lives of a world are drawn.

A look costs `price` seconds of delay, and the sum of looks and delay is least where each look is chosen for that sum:
the Lagrangian of looking seldom under a bound on the delay. What is known is the last record, which says the same as
some look at `since` did not and each one from `seen` on did. The lives that agree with that are a sample of what may
come (`Sample.belief`), and against it a row of looks is chosen, backwards from the last (`Plan`): each one ends with
the end, with the same record, or with another one, whose worth stands in a table by record, `seen` and how long before
it the last look was (`Worth`). The table is filled from late to early and read between its places. When lives are
polled (`go`) each decision is made anew, for the exact times.

It is an approximation from above: a policy that can be followed, so what is best takes as many looks at most. What it
leaves out: records before the last but one, and what an earlier step's moment tells beside the last one's. Twice as
many samples and places between looks took at most a few percent off where it was tried (`python -m
benchmarks.worlds.oracle NAME`). On lives without memory it takes what theory says: a fixed interval, to a percent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.lives import Score, score
from benchmarks.worlds.world import Life, World, latency, milliseconds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PLACES, WIDTHS = 24, (0.02, 0.1, 0.35, 1.0)
"""Ages, and shares of an age between two looks, at which the table has a worth."""
YOUNGEST = 0.5
"""Seconds: the first of those ages."""
FEWEST, MOST = 80, 4000
"""Lives that a belief is made of."""
SLICES = 24
"""Parts of a belief's ends, each of which has places to look at as far apart as the chance of an end asks for,"""
FINE = 4.0
"""divided by this."""
BAND = 24
"""Places up to which the next look may be put off."""
MOST_PLACES, MOST_COPIES = 1000, 16
REACH = 3
LEAST_COPIES = 1


class Sample:
    """Lives of one class as arrays, and which of them agree with what was seen."""

    def __init__(self, lives: Sequence[Life]) -> None:
        rows = [_records(life) for life in lives]
        names = sorted({name for row in rows for _, name in row}, key=repr)
        self.number: dict[object, int] = {name: number for number, name in enumerate(names)}
        width = max(len(row) for row in rows)
        self._most = MOST // width
        self.begins: Floats = np.full((len(rows), width), np.inf)
        self.shows: Ints = np.zeros((len(rows), width), dtype=np.int64)
        self.ends: Floats = np.array([life.end for life in lives])
        for index, row in enumerate(rows):
            for place, (at, name) in enumerate(row):
                self.begins[index, place], self.shows[index, place] = at, self.number[name]
        until = np.minimum(np.append(self.begins[:, 1:], np.full((len(rows), 1), np.inf), axis=1), self.ends[:, None])
        self._of: list[tuple[Floats, Floats, Ints]] = []
        for number in range(len(names)):
            which, place = np.nonzero((self.shows == number) & np.isfinite(self.begins))
            order = np.argsort(self.begins[which, place], kind="stable")
            which, place = which[order], place[order]
            self._of.append((self.begins[which, place], until[which, place], which))

    def all(self) -> Belief:
        """Return what is known of a task that was just made."""
        which = np.arange(0, len(self.ends), max(1, len(self.ends) // self._most))
        nothing = np.zeros(len(which))
        return Belief(nothing + 1e-9, which, nothing)

    def belief(self, record: int, since: float, seen: float) -> Belief:
        """Return lives whose record became this one between two looks; of such as nearly did where those are few."""
        begins, until, which = self._of[record]
        low = int(np.searchsorted(begins, since, "right")) if since > 0 else 0
        high = int(np.searchsorted(begins, seen, "right"))
        more = 0
        while True:
            found = slice(max(0, low - more), high + more)
            begun = begins[found]
            moved = np.clip(begun, since if since > 0 else 0.0, seen) - begun
            keeps = until[found] + moved > seen
            if int(keeps.sum()) >= FEWEST or (high + more >= len(begins) and more >= low):
                break
            more = max(8, 2 * more)
        if not keeps.any():  # Never seen at such an age: as if it came just now.
            moved, keeps = seen - begun, np.ones(len(begun), dtype=bool)
        chosen = np.flatnonzero(keeps)
        chosen = chosen[:: max(1, len(chosen) // self._most)]
        return Belief((until[found] + moved)[chosen], which[found][chosen], moved[chosen])

    def has(self, record: int, seen: float) -> bool:
        """Whether some life shows this record at such an age, or nearly."""
        begins, until, _ = self._of[record]
        return bool(((begins <= 1.2 * seen) & (until > 0.8 * seen)).any())


class Belief(NamedTuple):
    """Lives that may be the one watched: until when the record stays the same, which they are, by how much moved."""

    until: Floats
    which: Ints
    moved: Floats


class Worth:
    """What is still to be paid from a look on that showed a record for the first time: by age, width, record."""

    def __init__(self, records: int, oldest: float) -> None:
        self.ages: Floats = np.geomspace(YOUNGEST, max(2 * YOUNGEST, oldest), PLACES)
        self.table: Floats = np.zeros((PLACES, len(WIDTHS), records))

    def at(self, seen: Floats, since: Floats) -> Floats:
        """Return the worth of each record, in a last axis, for looks at `seen` after one at `since`."""
        step = math.log(self.ages[1] / self.ages[0])
        age = np.clip(np.log(np.maximum(seen, YOUNGEST) / self.ages[0]) / step, 0, PLACES - 1.001)
        share = np.clip((seen - since) / np.maximum(seen, 1e-9), WIDTHS[0], 1.0)
        width = np.clip(np.interp(np.log(share), np.log(WIDTHS), np.arange(len(WIDTHS))), 0, len(WIDTHS) - 1.001)
        i, j = age.astype(np.int64), width.astype(np.int64)
        x, y = (age - i)[..., None], (width - j)[..., None]
        near = self.table[i, j] * (1 - y) + self.table[i, j + 1] * y
        far = self.table[i + 1, j] * (1 - y) + self.table[i + 1, j + 1] * y
        found: Floats = near * (1 - x) + far * x
        return found


class Plan(NamedTuple):
    """What is to be paid from now on, and when to look for as long as the record stays the same."""

    cost: float
    looks: list[float]


class Oracle:
    """The way to look at the lives of one class at a price, with answers that take `gap` seconds."""

    def __init__(self, sample: Sample, price: float, gap: float) -> None:
        self.sample: Sample = sample
        self._price = price
        self._gap = gap
        self._worth = Worth(len(sample.number), float(sample.ends.max()))
        self._fill()

    def first(self) -> Plan:
        """Return when to look first at a task that was just made."""
        return self._plan(self.sample.all(), 0.0, band=MOST_PLACES)

    def then(self, record: int, since: float, seen: float) -> Plan:
        """Return when to look after a look that showed a record for the first time."""
        return self._plan(self.sample.belief(record, since, seen), seen)

    def _fill(self) -> None:
        """Fill the table from late to early; where a record is never shown it has the worth of the age after.

        A place leans on itself for looks before the next one: for that it is taken to be as that one.
        """
        ages, table = self._worth.ages, self._worth.table
        table[-1] = self._price
        for place in reversed(range(PLACES)):
            table[place] = table[min(place + 1, PLACES - 1)]
            for record in range(len(self.sample.number)):
                if not self.sample.has(record, float(ages[place])):
                    continue
                for number, width in enumerate(WIDTHS):
                    seen = float(ages[place])
                    table[place, number, record] = self.then(record, seen * (1 - width), seen).cost

    def _plan(self, belief: Belief, now: float, band: int = BAND) -> Plan:
        sample = self.sample
        times = self._places(now, np.sort(sample.ends[belief.which] + belief.moved))
        belief, weights = self._spread(belief, now)
        ends = sample.ends[belief.which] + belief.moved
        last = len(times) - 1
        band = min(band, last)
        first = np.searchsorted(times, belief.until, "left")
        # For each life and each place at which its record is another one, `after` places after the first such.
        after = np.arange(band)
        place = first[:, None] + after
        inside = place <= last
        row, column = np.nonzero(inside)
        at = place[row, column]
        when = times[at]
        is_over = ends[row] <= when
        cells = (last + 1) * band
        cell = at * band + column
        weight = weights[row]
        late = np.bincount(cell[is_over], (weight * (when - ends[row]))[is_over], cells).reshape(last + 1, band)
        goes_on = ~is_over
        life, moment = row[goes_on], when[goes_on] - belief.moved[row[goes_on]]
        begun = (sample.begins[belief.which][life] <= moment[:, None]).sum(axis=1) - 1
        shown = sample.shows[belief.which[life], np.maximum(begun, 0)]
        records = len(sample.number)
        key = cell[goes_on] * records + shown
        others = np.bincount(key, weight[goes_on], cells * records).reshape(last + 1, band, records)
        others, late = np.cumsum(others, axis=1), np.cumsum(late, axis=1)
        before = np.maximum(0, np.arange(last + 1)[:, None] - 1 - after)
        worths = self._worth.at(np.broadcast_to(times[:, None], before.shape), times[before])
        paid = late + (others * worths).sum(axis=2)  # by place, and how many places before it the look before was
        changed = np.bincount(np.searchsorted(times, belief.until, "left"), weights, last + 1)
        stay = weights.sum() - np.cumsum(changed)
        return self._backwards(times, paid, self._price * stay, float(weights.sum()))

    def _spread(self, belief: Belief, now: float) -> tuple[Belief, Floats]:
        """Return a belief whose ends are spread evenly over the room to the next ones, with the weight of each life.

        Else looks are set just behind the few ends that the sample has where few come.
        """
        ends = self.sample.ends[belief.which] + belief.moved
        order = np.argsort(ends)
        ends = ends[order]
        count = len(ends)
        number = np.arange(count)
        low = np.maximum(now, ends[np.maximum(0, number - REACH)])
        high = ends[np.minimum(count - 1, number + REACH)]
        usual = np.sqrt((high - low) / (2 * self._price * (count - number)))
        copies = np.clip(np.ceil(2 * usual), LEAST_COPIES, MOST_COPIES).astype(np.int64)
        which = np.repeat(np.arange(count), copies)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(copies) - copies, copies)
        aim = low[which] + (high - low)[which] * (nth + 0.5) / copies[which]
        shift = aim - ends[which]
        chosen = order[which]
        until = np.maximum(belief.until[chosen] + shift, np.minimum(belief.until[chosen], now + 1e-9))
        return Belief(until, belief.which[chosen], belief.moved[chosen] + shift), 1.0 / copies[which]

    def _backwards(self, times: Floats, paid: Floats, asked: Floats, count: float) -> Plan:
        last, band = len(times) - 1, paid.shape[1]
        steps = np.arange(band)
        target = np.arange(last)[:, None] + 1 + steps
        costs = paid[np.minimum(target, last), steps] + asked[:-1, None]
        soon = (times[np.minimum(target, last)] < times[:-1, None] + self._gap) & (target < last)
        costs[soon | (target > last)] = np.inf
        rest = np.zeros(last + 1)
        choice = np.zeros(last + 1, dtype=np.int64)
        for index in range(last - 1, -1, -1):
            ahead = rest[index + 1 : index + 1 + band]
            sums = costs[index, : len(ahead)] + ahead
            best = int(sums.argmin())
            rest[index], choice[index] = sums[best], index + 1 + best
        looks, index = [], 0
        while index < last:
            index = int(choice[index])
            looks.append(float(times[index]))
        return Plan(float(rest[0]) / count, looks)

    def _places(self, now: float, ends: Floats) -> Floats:
        """Return `now` and when a look is thought of: where ends are likely as many as the best interval asks for."""
        count = len(ends)
        group = max(1, count // SLICES)
        edges = np.unique(np.append(np.append(now, ends[group - 1 :: group]), ends[-1]))
        left = np.maximum(1, count - np.searchsorted(ends, edges[:-1], "right"))
        widths = np.diff(edges)
        usual = np.sqrt(group * widths / (2 * self._price * left))
        parts = np.maximum(1, np.ceil(FINE * usual)).astype(np.int64)
        parts[0] = max(parts[0], 8)
        fewer = np.minimum(parts * MOST_PLACES // parts.sum(), (4 * widths / self._gap).astype(np.int64))
        parts = np.maximum(1, np.minimum(parts, fewer))
        pieces = [np.linspace(a, b, n + 1)[1:] for a, b, n in zip(edges[:-1], edges[1:], parts, strict=True)]
        return np.concatenate((edges[:1], *pieces, edges[-1:] + 0.01))


def _records(life: Life) -> list[tuple[float, object]]:
    """Return what the records of a life say, and from when on: percents by tens, as they are drawn with noise."""
    found: list[tuple[float, object]] = []
    for step in life.steps:
        shown = (str(step.status), None if step.progress is None else step.progress // 10, step.started is None)
        if step.at < life.end and (not found or found[-1][1] != shown):
            found.append((step.at, shown))
    return found


class Size(NamedTuple):
    """How many lives are known, and how many are watched."""

    known: int
    watched: int


Class = tuple[int, str | None, str | None]
"""What is known of a task from the first: its part of the run, kind and pool."""


def classes(world: World, count: int, seed: int) -> dict[Class, list[Life]]:
    """Draw as many lives of the part that counts, by class."""
    chance = random.Random(f"{world.name} {seed} oracle")
    found: dict[Class, list[Life]] = {}
    for _ in range(count):
        where = chance.uniform(world.warm_up, 1.0)
        life = milliseconds(world.draw(chance, where))
        found.setdefault((world.phase(where), life.kind, life.pool), []).append(life)
    return found


def look(world: World, price: float, size: Size) -> Score:
    """Return what an oracle takes at a price."""
    chance = random.Random(f"{world.name} latency")
    gap = latency(world)
    oracles = {name: Oracle(Sample(lives), price, gap) for name, lives in classes(world, size.known, 1).items()}
    polls, delays = 0, []
    for name, lives in classes(world, size.watched, 2).items():
        if name in oracles:
            more, late = _watch(oracles[name], world, lives, chance)
            polls, delays = polls + more, delays + late
    return score(polls, delays)


def _watch(oracle: Oracle, world: World, lives: Sequence[Life], chance: random.Random) -> tuple[int, list[float]]:
    """Return the polls of all lives, and the delay of each, the way of the answer included."""
    polls, delays, first = 0, [], oracle.first().looks
    for life in lives:
        records = _records(life)
        way = world.latency(chance) / 2
        since, now, record = 0.0, way, -1
        plan = iter(first if world.made else (way,))
        while True:
            # Where it takes longer than any that is known.
            now = next(plan, now + max(0.5, now - since))
            if record >= 0:
                now = max(now, since + 2 * way)
            polls += 1
            way = world.latency(chance) / 2
            if now >= life.end:
                delays.append(now - life.end + way)
                break
            shown = oracle.sample.number.get(next(name for at, name in reversed(records) if at <= now), record)
            if shown != record:
                plan = iter(oracle.then(shown, since, now).looks)
                record = shown
            since = now
    return polls, delays
