"""The held-back half: worlds that no constant is tuned on, written without a look at the policy."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from benchmarks import lives
from benchmarks.worlds.world import Life, Step, World, bent, write

TENS, EIGHTHS, QUARTERS = tuple(range(10, 100, 10)), (12, 25, 37, 50, 62, 75, 87), (25, 50, 75)
UNEVEN = (6, 21, 33, 52, 70, 81, 96)


def gamma(chance: random.Random, mean: float, shape: float) -> float:
    """Draw a duration with this mean, the nearer to it the larger its shape."""
    return chance.gammavariate(shape, mean / shape)


def walk(chance: random.Random, end: float, percents: Sequence[int], evenness: float) -> lives.Life:
    """Tell these percents, each after a stay of its own; what one stay was too long the rest of the way is behind."""
    stays = [(b - a) * gamma(chance, 1.0, evenness) for a, b in itertools.pairwise((0, *percents, 100))]
    share = end / sum(stays)
    at = itertools.accumulate(stays[:-1])
    return lives.Life(end, ((0.0, 0), *((when * share, percent) for when, percent in zip(at, percents, strict=True))))


def stay(life: lives.Life, number: int, seconds: float) -> lives.Life:
    """Return the life with so many seconds more at a step."""
    steps = ((at + seconds * (place > number), percent) for place, (at, percent) in enumerate(life.steps))
    return life._replace(end=life.end + seconds, steps=tuple(steps))


def failed(life: Life, end: float) -> Life:
    """Return the life as it is where it fails on its way."""
    return life._replace(end=end, steps=tuple(step for step in life.steps if step.at < end), fails=True)


def _turbo(chance: random.Random, _: float) -> Life:
    return write(walk(chance, chance.uniform(11.0, 24.0), QUARTERS, 20), pool="TURBO")


def _shared(chance: random.Random, _: float) -> Life:
    """Draw one of a machine that others use at times: steps in a row take three times as long then."""
    work, slow, at, steps = chance.triangular(120.0, 480.0, 200.0), chance.random() < 1 / 3, 0.0, [(0.0, 0)]
    for percent in range(4, 104, 4):
        at += work / 25 * (3.0 if slow else 1.0) * chance.uniform(0.8, 1.2)
        steps.append((at, percent))
        slow = chance.random() < (0.7 if slow else 0.15)
    share = min(1.0, 900.0 / at)
    shown = tuple((when * share, percent) for when, percent in steps[:-1])
    return write(lives.Life(at * share, shown, queue=chance.expovariate(1 / 45)), pool="RELAX")


def _seconds(chance: random.Random, _: float) -> Life:
    end = 3.5 + gamma(chance, 2.5, 2) + (chance.uniform(6.0, 20.0) if chance.random() < 0.04 else 0.0)
    return write(lives.Life(end, ((0.0, 0),)), kind="UPSCALE")


def _kinds(chance: random.Random, _: float) -> Life:
    kinds = ("IMAGINE", "UPSCALE", "VARIATION", "DESCRIBE", "SHORTEN", "VIDEO")
    kind = chance.choices(kinds, (5, 5, 2, 1, 1, 1))[0]
    if kind == "VIDEO":
        return write(walk(chance, chance.uniform(150.0, 260.0), (20, 40, 60, 80), 30), kind=kind)
    if kind in ("IMAGINE", "VARIATION"):
        return write(walk(chance, gamma(chance, 50 if kind == "IMAGINE" else 32, 8), UNEVEN, 25), kind=kind)
    low, high = {"UPSCALE": (4.0, 9.0), "DESCRIBE": (7.0, 14.0), "SHORTEN": (2.5, 5.0)}[kind]
    return write(lives.silent(chance.uniform(low, high)), kind=kind)


def _two_models(chance: random.Random, _: float) -> Life:
    end = gamma(chance, 30, 20) if chance.random() < 0.7 else chance.uniform(85.0, 120.0)
    return write(walk(chance, end, TENS, 8))


def _stalls(chance: random.Random, _: float) -> Life:
    """Draw one of which three in ten stand still at some step, be it the first."""
    life = walk(chance, chance.uniform(35.0, 65.0), EIGHTHS, 30)
    stuck = chance.random() < 0.3
    return write(stay(life, chance.randrange(len(life.steps)), gamma(chance, 20, 2)) if stuck else life)


def _uploads(chance: random.Random, _: float) -> Life:
    """Draw one that has come to 100 % some seconds before its picture is there."""
    life, upload = walk(chance, gamma(chance, 40, 6), TENS, 40), chance.uniform(3.0, 14.0)
    return write(life._replace(end=life.end + upload, steps=(*life.steps, (life.end, 100))))


def _crawls(chance: random.Random, _: float) -> Life:
    """Draw one that comes to three quarters in three tenths of its time, as the last quarter is the fine work."""
    life = walk(chance, chance.uniform(60.0, 160.0), EIGHTHS, 15)
    return write(bent(life, lambda share: share * 0.4 if share < 0.75 else 0.3 + (share - 0.75) * 2.8))


def _looked_up(chance: random.Random, _: float) -> Life:
    """Draw one whose progress the service looks up every 7 s, and that was some seconds old by then."""
    end, old, bend = gamma(chance, 50, 7), chance.uniform(1.0, 4.0), chance.uniform(0.85, 1.15)
    first, steps = chance.uniform(old, 7.0), [Step(0.0, 0, started=0.0)]
    for number in range(int((end - first) / 7.0) + 1):
        at = first + 7.0 * number
        steps.append(Step(at, int(99 * ((at - old) / end) ** bend), started=0.0))
    return Life(end, tuple(step for step in steps if step.at < end))


def _again(chance: random.Random, _: float) -> Life:
    """Draw one that a machine may lose on the way: it tells nothing for a while, then a start of its own."""
    steps: list[Step] = []
    start = 0.0
    while True:
        life = walk(chance, gamma(chance, 42, 9), UNEVEN, 30)
        lost = chance.uniform(0.15, 0.95) * life.end if chance.random() < 0.22 else life.end
        steps += [Step(start + at, percent, started=start) for at, percent in life.steps if at < lost]
        if lost == life.end:
            return Life(start + lost, tuple(steps))
        steps.append(Step(start + lost, None))
        start += lost + chance.uniform(1.0, 8.0)


def _glimpse(chance: random.Random, _: float) -> Life:
    """Draw one that jumps once, from 0 to some percent, or never."""
    end, percent = gamma(chance, 75, 6), chance.randint(15, 60)
    at = max(0.05, percent / 100 + chance.gauss(0.0, 0.03)) * end
    return write(lives.Life(end, ((0.0, 0), (at, percent)) if chance.random() < 0.92 else ((0.0, 0),)))


def _loads(chance: random.Random, _: float) -> Life:
    """Draw one that creeps to 5 % while a model is loaded, which takes as long for short ones as for long ones."""
    life, load = walk(chance, gamma(chance, 38, 5), (15, 30, 45, 60, 75, 90), 25), chance.uniform(8.0, 30.0)
    later = ((load + at, percent) for at, percent in life.steps[1:])
    creeps = ((0.0, 0), (load * chance.uniform(0.2, 0.4), 2), (load * chance.uniform(0.6, 0.9), 4))
    return write(life._replace(end=load + life.end, steps=(*creeps, (load, 5), *later)))


def _last_seconds(chance: random.Random, _: float) -> Life:
    """Draw one that tells nothing, and three steps in its last seconds."""
    end, last = 22.0 + chance.weibullvariate(38.0, 2.5), chance.uniform(10.0, 20.0)
    shown = ((end - last, 30), (end - 0.6 * last, 60), (end - 0.25 * last, 90))
    return write(lives.Life(end, ((0.0, None), *shown)))


def _waits(chance: random.Random, _: float) -> Life:
    """Draw one of which two in three wait inside their start before they show 0 %."""
    wait = chance.triangular(6.0, 22.0, 13.0) if chance.random() < 0.65 else 0.0
    return write(walk(chance, gamma(chance, 28, 10), TENS, 25), wait=wait)


def _queues(chance: random.Random, _: float) -> Life:
    life = walk(chance, chance.uniform(35.0, 80.0), EIGHTHS, 25)
    return write(life._replace(queue=gamma(chance, 220, 2)), pool="RELAX")


def _new_version(chance: random.Random, where: float) -> Life:
    """Draw one that takes less than half as long from one moment on."""
    return write(walk(chance, gamma(chance, 80, 10) if where < 0.6 else gamma(chance, 34, 10), UNEVEN, 25))


def _all_refused(chance: random.Random, where: float) -> Life:
    """Draw one that fails from the middle of the run on: refused at once, or given up at any moment."""
    life = write(walk(chance, gamma(chance, 50, 6), TENS, 25))
    if where < 0.5:
        return life
    refused = min(0.5 + chance.expovariate(1 / 3), life.end)
    return failed(life, refused if chance.random() < 0.6 else chance.uniform(0.05, 0.95) * life.end)


def _uploads_fail(chance: random.Random, where: float) -> Life:
    """Draw one that fails from the middle of the run on, after a vain wait at its last step."""
    life = walk(chance, gamma(chance, 45, 8), UNEVEN, 25)
    if where < 0.5:
        return write(life)
    return write(stay(life, len(life.steps) - 1, chance.uniform(12.0, 30.0))._replace(fails=True))


def _some_refused(chance: random.Random, _: float) -> Life:
    life = write(lives.silent(chance.triangular(18.0, 42.0, 26.0)))
    return failed(life, chance.uniform(1.0, 3.5)) if chance.random() < 0.1 else life


def _behind(chance: random.Random, _: float) -> Life:
    return write(walk(chance, gamma(chance, 60, 6), TENS, 25)._replace(queue=chance.expovariate(1 / 5)))


def _start_comes_late(chance: random.Random, _: float) -> Life:
    """Draw one whose start is told with its 0 % only, some seconds after it ran."""
    life = walk(chance, gamma(chance, 46, 7), EIGHTHS, 25)._replace(queue=0.5 + chance.expovariate(1 / 6))
    drawn = write(life, wait=chance.uniform(2.0, 5.0))
    steps = (step if step.progress is not None else step._replace(started=None) for step in drawn.steps)
    return drawn._replace(steps=tuple(steps))


def _now_and_then_slow(chance: random.Random) -> float:
    return 0.25 + gamma(chance, 0.5, 1.5) + (chance.uniform(1.0, 3.0) if chance.random() < 0.04 else 0.0)


WORLDS = (
    World("even tens", lambda chance, _: write(walk(chance, gamma(chance, 55, 9), TENS, 40))),
    World("turbo, sixteen at a time", _turbo, at_once=32.0, batch=16),
    World("to a quarter of an hour, shared machines", _shared),
    World("a few seconds, some more", _seconds, at_once=5.0),
    World("six kinds in one pool", _kinds),
    World("a quick and a slow model", _two_models, made=False),
    World("stands still anywhere", _stalls),
    World("uploads after 100 %", _uploads),
    World("runs, then crawls", _crawls),
    World("looked up every 7 s", _looked_up, made=False),
    World("lost and begun again", _again, at_once=20.0),
    World("one glimpse", _glimpse),
    World("loads its model first", _loads),
    World("tells its last seconds", _last_seconds),
    World("waits inside its start, or not", _waits),
    World("queues of minutes", _queues, at_once=24.0),
    World("a new version", _new_version, phases=5),
    World("all refused from now on", _all_refused, made=False, warm_up=0.5),
    World("uploads begin to fail", _uploads_fail, warm_up=0.5),
    World("no progress, some refused", _some_refused, made=False),
    World("a Date 75 s behind", _behind, skews=(-75.0,)),
    World(
        "four clocks",
        lambda chance, _: write(walk(chance, chance.uniform(30.0, 75.0), tuple(range(7, 100, 13)), 30)),
        skews=(-40.0, -3.0, 0.0, 25.0),
        made=False,
    ),
    World("its start comes late", _start_comes_late),
    World(
        "now and then a slow answer",
        lambda chance, _: write(walk(chance, gamma(chance, 48, 8), EIGHTHS, 25)),
        latency=_now_and_then_slow,
    ),
)
