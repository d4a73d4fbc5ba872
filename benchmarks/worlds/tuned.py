"""The worlds that constants may be tuned on."""

from __future__ import annotations

import math
import random

from benchmarks.lives import LONGEST_QUEUE, fast, jumps, mix, silent, told
from benchmarks.worlds.world import Life, Step, World, bent, write
from omgmj import Status


def around(chance: random.Random, seconds: float, spread: float = 0.4) -> float:
    """Draw a duration around so many seconds."""
    return chance.lognormvariate(math.log(seconds), spread)


def _slow(chance: random.Random, _: float) -> Life:
    return write(told(chance, min(900.0, max(120.0, around(chance, 420)))), pool="RELAX")


def _kinds(chance: random.Random, _: float) -> Life:
    kind = chance.choices(("IMAGINE", "UPSCALE", "VARIATION", "DESCRIBE"), (4, 4, 1, 1))[0]
    if kind == "UPSCALE":
        return write(silent(around(chance, 6, 0.25)), kind=kind)
    if kind == "DESCRIBE":
        return write(silent(around(chance, 10, 0.3)), kind=kind)
    return write(told(chance, around(chance, 60 if kind == "IMAGINE" else 35)), kind=kind)


def _sticks(chance: random.Random, _: float) -> Life:
    """Draw one of which a third stays at its last or last but one step for long."""
    life = told(chance, fast(chance))
    if chance.random() > 1 / 3:
        return write(life)
    kept, stuck = life.steps[: chance.choice((-1, None))], chance.uniform(10.0, 60.0)
    return write(life._replace(end=life.end + stuck, steps=kept))


def _races(chance: random.Random, _: float) -> Life:
    return write(bent(told(chance, mix(chance)), lambda share: share**2.2))


def _lags(chance: random.Random, _: float) -> Life:
    """Draw one that shows each step some seconds after it was reached."""
    life, lag = told(chance, around(chance, 60)), chance.uniform(3.0, 12.0)
    later = ((at + lag, progress) for at, progress in life.steps[1:])
    return write(life._replace(steps=(life.steps[0], *later)))


def _resets(chance: random.Random, _: float) -> Life:
    """Draw one of which a quarter begins again on its way."""
    life = told(chance, fast(chance))
    if chance.random() > 1 / 4:
        return write(life)
    again, at = told(chance, fast(chance)), chance.uniform(0.2, 0.9) * life.end
    steps = [step for step in life.steps if step[0] < at] + [(at + since, shown) for since, shown in again.steps]
    return write(life._replace(end=at + again.end, steps=tuple(steps)))


def _late(chance: random.Random, _: float) -> Life:
    """Draw one that shows 0 % for most of its life."""
    silence = chance.uniform(0.6, 0.75)
    life = bent(told(chance, around(chance, 70)), lambda share: silence + (1 - silence) * share)
    return write(life._replace(steps=((0.0, 0), *life.steps[1:])))


def _two_speeds(chance: random.Random, _: float) -> Life:
    return write(told(chance, around(chance, *((25, 0.15) if chance.random() < 0.6 else (110, 0.15)))))


def _waits(chance: random.Random, _: float) -> Life:
    return write(told(chance, fast(chance)), wait=chance.uniform(12.0, 16.0))


def _waits_long(chance: random.Random, _: float) -> Life:
    return write(told(chance, fast(chance)), wait=around(chance, 60, 0.6), waits_as=Status.SUBMITTED)


def _queues(chance: random.Random, _: float) -> Life:
    return write(told(chance, fast(chance))._replace(queue=chance.uniform(1.0, LONGEST_QUEUE)))


def _all_fail(chance: random.Random, where: float) -> Life:
    """Draw one that fails from the middle of the run on, half of them within seconds."""
    life = write(told(chance, fast(chance)))
    if where < 0.5:
        return life
    early = chance.random() < 0.5
    return life._replace(fails=True, end=chance.uniform(1.0, 6.0) if early else chance.uniform(0.3, 1.0) * life.end)


def _some_fail(chance: random.Random, _: float) -> Life:
    life = write(told(chance, mix(chance)))
    if chance.random() > 0.15:
        return life
    return life._replace(fails=True, end=min(life.end, chance.choice((4.0, life.end)) * chance.uniform(0.3, 1.0)))


def _hangs_and_fails(chance: random.Random, where: float) -> Life:
    """Draw one that shows 99 % for a moment; from the middle of the run on two in three hang there, and fail."""
    life = told(chance, fast(chance))
    hangs = where >= 0.5 and chance.random() < 2 / 3
    stay = around(chance, 45, 0.3) if hangs else chance.uniform(1.0, 4.0)
    shown = life._replace(end=life.end + stay, steps=(*life.steps, (life.end, 99)))
    return write(shown)._replace(fails=hangs)


def _drifts(chance: random.Random, where: float) -> Life:
    return write(told(chance, around(chance, 30 * 3**where, 0.3)))


def _untold_start(chance: random.Random, _: float) -> Life:
    life = write(told(chance, fast(chance))._replace(queue=chance.uniform(0.5, 10.0)))
    return life._replace(steps=tuple(step._replace(started=None) for step in life.steps), tells_end=False)


def _start_changes(chance: random.Random, _: float) -> Life:
    """Draw one whose start is told anew with each step, later each time."""
    life = write(told(chance, fast(chance)))
    return life._replace(steps=tuple(step._replace(started=step.at * 0.7) for step in life.steps))


def _fine(chance: random.Random, _: float) -> Life:
    """Draw one with many steps, that stands still and goes on by chance."""
    end, percents = around(chance, 80), range(4, 100, 5)
    walk = [chance.expovariate(1.0) for _ in range(len(percents) + 1)]
    at, steps = 0.0, [Step(0.0, 0, started=0.0)]
    for percent, stay in zip(percents, walk, strict=False):
        at += stay / sum(walk) * end
        steps.append(Step(at, percent, started=0.0))
    return Life(end, tuple(steps))


def _slow_answer(chance: random.Random) -> float:
    return chance.uniform(0.4, 1.6)


WORLDS = (
    World("straight", lambda chance, _: write(told(chance, fast(chance)))),
    World("straight, to ten minutes", lambda chance, _: write(told(chance, mix(chance))), made=False),
    World("straight, 2 to 15 minutes", _slow),
    World("many small steps", _fine),
    World("no progress", lambda chance, _: write(silent(mix(chance)))),
    World("6 seconds", lambda chance, _: write(silent(around(chance, 6, 0.25)), kind="UPSCALE")),
    World("four kinds in one pool", _kinds),
    World("sticks", _sticks),
    World("races", _races),
    World("lags", _lags),
    World("resets", _resets),
    World("two jumps", lambda chance, _: write(jumps(chance, mix(chance)))),
    World("starts slowly", lambda chance, _: write(bent(told(chance, mix(chance)), lambda share: share**0.35))),
    World("late progress", _late),
    World("two speeds in one pool", _two_speeds, made=False),
    World("waits 12 to 16 s inside its start", _waits),
    World("waits long inside its start", _waits_long),
    World("long queues", _queues),
    World("all fail at once", _all_fail, made=False, warm_up=0.5),
    World("all fail at once, made here", _all_fail, warm_up=0.5),
    World("some fail", _some_fail),
    World("begins to hang at its end, and fails", _hangs_and_fails, warm_up=0.5),
    World("drift", _drifts, phases=6),
    World("batches", lambda chance, _: write(told(chance, mix(chance))), at_once=30.0, batch=40),
    World("a Date a minute ahead", lambda chance, _: write(told(chance, fast(chance))), skews=(60.0,)),
    World("Dates that differ", lambda chance, _: write(told(chance, fast(chance))), skews=(-4.0, 0.0, 5.0, None)),
    World("no start told", _untold_start, made=False),
    World("starts that change", _start_changes),
    World("slow answers", lambda chance, _: write(told(chance, fast(chance))), latency=_slow_answer),
)
