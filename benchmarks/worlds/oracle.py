"""The oracle: dynamic programming over when to look next, for somebody who knows how the lives of a world are drawn.

A look costs `price` seconds of delay, and the sum of looks and delay is made least: the Lagrangian of looking seldom
under a bound on the mean delay. What is known is the last record: the look at `since` did not show it yet, the one at
`seen` did, and it tells when its task started. The lives that agree with that are a sample of what may come
(`Sample.belief`). Against it a row of looks is chosen, backwards from the last (`Plan`). Each one finds the end, the
same record, or another one, whose worth stands in a table by record, age, and how long before the last look was
(`Worth`). The table is filled from late to early and read between its places. When lives are watched each decision is
made anew, for the exact times.

It is a policy that can be followed, so what is best takes as many looks at most. Left out is what records before the
last one tell beside it. It knows the clocks of the service and what an answer takes on average. On lives without memory
theory says that a fixed interval is best; there it takes as many looks to a few percent, which `--check` holds. With
half as many samples the sum is 2 to 5 % higher, with half as many ages again or the table filled more than once it is
the same to 1 %.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
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
FEWEST, MOST = 40, 4000
"""Lives that a belief is made of: so many at least, and at most as many records as that."""
SLICES = 24
"""Parts of a belief, each with as many ends, in which the best interval is reckoned from the chance of an end;"""
FINE, MOST_MOMENTS = 4.0, 1000
"""so many moments to look at are thought of in such an interval, and at most so many altogether."""
BAND = 24
"""Moments up to which the next look may be put off."""
NOISE = 6
"""Percents."""
REACH, MOST_COPIES = 3, 16
"""Over the room to so many neighbours on both sides an end of a belief is spread, in at most so many copies."""


class Sample:
    """Lives of one class as arrays, and which of them agree with what was seen."""

    def __init__(self, lives: Sequence[Life]) -> None:
        self.percents: Mapping[int, int] = _percents(lives)
        rows = [records_of(life, self.percents) for life in lives]
        names = sorted({one.name for row in rows for one in row}, key=repr)
        self.number: dict[object, int] = {name: number for number, name in enumerate(names)}
        shape = (len(rows), max(len(row) for row in rows))
        self._most = MOST // shape[1]
        self.ends: Floats = np.array([life.end for life in lives])
        self.begins: Floats = np.full(shape, np.inf)
        self.starts: Floats = np.zeros(shape)
        self.shows: Ints = np.zeros(shape, dtype=np.int64)
        until = np.repeat(self.ends[:, None], shape[1], axis=1)
        for index, row in enumerate(rows):
            for place, one in enumerate(row):
                self.begins[index, place], self.starts[index, place] = one.at, one.start
                self.shows[index, place] = self.number[one.name]
                if place:
                    until[index, place - 1] = one.at
        self._of: list[tuple[Floats, Floats, Floats, Ints]] = []
        for number in range(len(names)):
            lines, columns = np.nonzero((self.shows == number) & np.isfinite(self.begins))
            start = self.starts[lines, columns]
            begins, ends = self.begins[lines, columns] - start, until[lines, columns] - start
            order = np.argsort(begins, kind="stable")
            self._of.append((begins[order], ends[order], start[order], lines[order]))

    def all(self) -> Belief:
        """Return what is known of a task that was just made."""
        which = np.arange(0, len(self.ends), max(1, len(self.ends) // self._most))
        return Belief(np.zeros(len(which)), which, np.zeros(len(which)))

    def belief(self, record: int, start: float, since: float, seen: float) -> Belief:
        """Return lives that showed this record between two looks, as long after their start as this one.

        Of such as nearly did where those are few.
        """
        begins, until, starts, which = self._of[record]
        since, seen = since - start, seen - start
        low = int(np.searchsorted(begins, since, "right")) if since > 0 else 0
        high = int(np.searchsorted(begins, seen, "right"))
        more = 0
        while True:
            found = slice(max(0, low - more), high + more)
            begun = begins[found]
            moved = np.clip(begun, min(seen, max(since, 0.0)), seen) - begun
            keeps = until[found] + moved > seen
            if int(keeps.sum()) >= FEWEST or (high + more >= len(begins) and more >= low):
                break
            more = max(8, 2 * more)
        if not keeps.any():  # Never seen at such an age: as if it came just now.
            moved, keeps = seen - begun, np.ones(len(begun), dtype=bool)
        chosen = np.flatnonzero(keeps)
        chosen = chosen[:: max(1, len(chosen) // self._most)]
        moved = moved[chosen] + start
        return Belief((until[found])[chosen] + moved, which[found][chosen], moved - starts[found][chosen])

    def has(self, record: int, seen: float) -> bool:
        """Whether some life shows this record so long after its start, or nearly."""
        begins, until, *_ = self._of[record]
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

    def at(self, record: Ints, age: Floats, width: Floats) -> Floats:
        """Return the worths of records that were seen first at an age, so many seconds after the look before."""
        step = math.log(self.ages[1] / self.ages[0])
        x = np.clip(np.log(np.maximum(age, YOUNGEST) / YOUNGEST) / step, 0, PLACES - 1.001)
        share = np.clip(width / np.maximum(age, 1e-9), WIDTHS[0], WIDTHS[-1])
        y = np.clip(np.interp(np.log(share), np.log(WIDTHS), np.arange(len(WIDTHS))), 0, len(WIDTHS) - 1.001)
        i, j = x.astype(np.int64), y.astype(np.int64)
        x, y, table = x - i, y - j, self.table
        near = table[i, j, record] * (1 - y) + table[i, j + 1, record] * y
        far = table[i + 1, j, record] * (1 - y) + table[i + 1, j + 1, record] * y
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
        return self._plan(self.sample.all(), 0.0, band=MOST_MOMENTS)

    def then(self, record: int, start: float, since: float, seen: float) -> Plan:
        """Return when to look after a look that showed a record for the first time."""
        return self._plan(self.sample.belief(record, start, since, seen), seen)

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
                    table[place, number, record] = self.then(record, 0.0, seen * (1 - width), seen).cost

    def _plan(self, belief: Belief, now: float, band: int = BAND) -> Plan:
        """Plan looks. What they find is counted by moment, and by how many moments before the record changed."""
        sample, records = self.sample, len(self.sample.number)
        times = self._moments(now, np.sort(sample.ends[belief.which] + belief.moved))
        belief, weights = self._spread(belief, now)
        moments, band = len(times), min(band, len(times) - 1)
        changes = np.maximum(1, np.searchsorted(times, belief.until, "left"))
        life, after = np.nonzero(changes[:, None] + np.arange(band) < moments)
        moment = changes[life] + after
        cell, when, weight = moment * band + after, times[moment], weights[life]
        late = when - (sample.ends[belief.which] + belief.moved)[life]
        delays = np.bincount(cell, weight * np.maximum(0.0, late), moments * band).reshape(moments, band)
        left = late < 0
        life, when = life[left], when[left]
        which, moved = belief.which[life], belief.moved[life]
        place = np.maximum(0, (sample.begins[which] <= (when - moved)[:, None]).sum(axis=1) - 1)
        key = cell[left] * records + sample.shows[which, place]
        starts = sample.starts[which, place] + moved
        sizes = (moments, band, records)
        others = np.bincount(key, weight[left], math.prod(sizes)).reshape(sizes).cumsum(axis=1)
        begun = np.bincount(key, weight[left] * starts, math.prod(sizes)).reshape(sizes).cumsum(axis=1)
        at, steps, record = np.nonzero(others)
        share = others[at, steps, record]
        widths = times[at] - times[np.maximum(0, at - 1 - steps)]
        worths = self._worth.at(record, times[at] - begun[at, steps, record] / share, widths)
        paid: Floats = delays.cumsum(axis=1).astype(np.float64)
        np.add.at(paid, (at, steps), share * worths)
        stay = weights.sum() - np.bincount(changes, weights, moments)[:moments].cumsum()
        return self._backwards(times, paid, self._price * stay, float(weights.sum()))

    def _spread(self, belief: Belief, now: float) -> tuple[Belief, Floats]:
        """Return a belief whose ends are spread over the room to their neighbours, with the weight of each life.

        Else looks are set just behind the ends of the sample, where few come.
        """
        ends = self.sample.ends[belief.which] + belief.moved
        order = np.argsort(ends)
        ends = ends[order]
        count = len(ends)
        number = np.arange(count)
        low = np.maximum(now, ends[np.maximum(0, number - REACH)])
        high = ends[np.minimum(count - 1, number + REACH)]
        usual = np.sqrt((high - low) / (2 * self._price * (count - number)))
        copies = np.clip(np.ceil(2 * usual), 1, MOST_COPIES).astype(np.int64)
        which = np.repeat(np.arange(count), copies)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(copies) - copies, copies)
        aim = low[which] + (high - low)[which] * (nth + 0.5) / copies[which]
        shift = aim - ends[which]
        chosen = order[which]
        until = belief.until[chosen]
        until = np.where(until > now, np.maximum(until + shift, now + 1e-9), until)
        return Belief(until, belief.which[chosen], belief.moved[chosen] + shift), 1.0 / copies[which]

    def _backwards(self, times: Floats, paid: Floats, asked: Floats, count: float) -> Plan:
        """Choose looks from the last to the first: what each finds is paid for, and what is `asked` at each moment."""
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

    def _moments(self, now: float, ends: Floats) -> Floats:
        """Return `now` and when a look is thought of: where ends are likely as many as the best interval asks for."""
        count = len(ends)
        group = max(1, count // SLICES)
        edges = np.unique(np.append(np.append(now, ends[group - 1 :: group]), ends[-1]))
        left = np.maximum(1, count - np.searchsorted(ends, edges[:-1], "right"))
        widths = np.diff(edges)
        usual = np.sqrt(group * widths / (2 * self._price * left))
        parts = np.maximum(1, np.ceil(FINE * usual)).astype(np.int64)
        parts[0] = max(parts[0], 8)
        fewer = np.minimum(parts * MOST_MOMENTS // parts.sum(), (4 * widths / self._gap).astype(np.int64))
        parts = np.maximum(1, np.minimum(parts, fewer))
        pieces = [np.linspace(a, b, n + 1)[1:] for a, b, n in zip(edges[:-1], edges[1:], parts, strict=True)]
        return np.concatenate((edges[:1], *pieces, edges[-1:] + 0.01))


class Record(NamedTuple):
    """What is shown from when on, all that tells it from others in its name, and when its task started, as it says."""

    at: float
    name: object
    start: float


def records_of(life: Life, percents: Mapping[int, int]) -> list[Record]:
    """Return what the records of a life say, one after the other, with percents that are one step named alike.

    Who says nothing of its start has started when it was submitted.
    """
    found: list[Record] = []
    for step in life.steps:
        shown = None if step.progress is None else percents.get(step.progress, step.progress)
        name = (str(step.status), shown, step.started is None)
        if step.at < life.end and (not found or found[-1].name != name):
            found.append(Record(step.at, name, step.started or 0.0))
    return found


def _percents(lives: Sequence[Life]) -> Mapping[int, int]:
    """Return the percents that are shown, each with the first of its step: those in a row are one, up to `NOISE`."""
    found: dict[int, int] = {}
    for percent in sorted({step.progress for life in lives for step in life.steps if step.progress is not None}):
        first = found.get(percent - 1, percent)
        found[percent] = first if percent - first < NOISE else percent
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
    polls = 0
    delays: list[float] = []
    for name, lives in classes(world, size.watched, 2).items():
        if name in oracles:
            more, late = _watch(oracles[name], world, lives, chance)
            polls, delays = polls + more, delays + late
    return score(polls, delays)


def _watch(oracle: Oracle, world: World, lives: Sequence[Life], chance: random.Random) -> tuple[int, list[float]]:
    """Return the polls of all lives, and the delay of each, the way of the answer included."""
    polls, first = 0, oracle.first().looks
    delays: list[float] = []
    for life in lives:
        records = records_of(life, oracle.sample.percents)
        way = world.latency(chance) / 2
        since, now, known = 0.0, way, -1
        looks = iter(first if world.made else (way,))
        while True:
            # Further on, where it takes longer than any that is known.
            now = next(looks, now + max(0.5, now - since))
            if known >= 0:
                now = max(now, since + 2 * way)
            polls += 1
            way = world.latency(chance) / 2
            if now >= life.end:
                delays.append(now - life.end + way)
                break
            record = next(one for one in reversed(records) if one.at <= now)
            number = oracle.sample.number.get(record.name, known)
            if number != known:
                looks = iter(oracle.then(number, record.start, since, now).looks)
                known = number
            since = now
    return polls, delays
