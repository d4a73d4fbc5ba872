"""The bare simulation: a poll policy that looks at drawn lives, in plain virtual time.

Nothing of the stack runs here but the policy and `Durations`; the planner's part is a heap of due times.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random

import attrs

from benchmarks.lives import KIND, POOL, Run, Score, score
from omgmj import Facts, Policy, Status
from omgmj.backoff import Durations

TICK = 1 / 64
"""Seconds to which the planner rounds due times up."""


def rolled(policy: Policy, seed: int) -> Policy:
    """Return the policy with chance drawn by task and look, so that two runs of the same lives draw alike."""
    return lambda facts, _: policy(facts, random.Random(f"{seed} {facts.task_id} {facts.attempt}").random())


@attrs.define
class _Known:
    """What the looks at a task have shown: when it was born, as far as known, when it moved, and what it shows."""

    born: float
    moved: float
    seen: float
    shown: int | None = -1
    looks: int = 0


def simulate(run: Run, policy: Policy) -> Score:
    """Look at each task of the run, numbered from 1, from its start until its end is seen."""
    durations = Durations()
    serial = itertools.count()
    # Of those that are due at once first looks go first, and else who fell in first.
    due = [(_tick(start), False, next(serial), number) for number, start in enumerate(run.starts)]
    tasks = [_Known(at, at, at) for at, *_ in due]
    delays = []
    while due:
        now, _, _, number = heapq.heappop(due)
        start, life, known = run.starts[number], run.lives[number], tasks[number]
        # The service tells the time in whole seconds, so that a task looks up to a second younger than it is.
        age = max(0.0, math.floor(now) - start)
        known.looks += 1
        if now - start >= life.end:
            delays.append(now - start - life.end)
            percent = known.shown
            foretold = (known.moved - known.born) * 100 / percent if percent is not None and percent > 0 else None
            since = min(age, max(0.0, age - (now - known.seen))) if known.looks > 1 else 0.0
            durations.saw_end(POOL, since, age, ended=min(age, life.end), foretold=foretold)
            continue
        progress = next(step for at, step in reversed(life.steps) if at <= now - start)
        if progress != known.shown:
            # The same record again is not read, so the birth is not reckoned anew.
            known.shown, known.moved, known.born = progress, now, now - age
        age = now - known.born
        durations.saw_running(POOL, max(0.0, age - (now - known.seen)), age)
        known.seen = now
        facts = Facts(
            task_id=number + 1,
            attempt=known.looks,
            age=age,
            pool=POOL,
            kind=KIND,
            status=Status.IN_PROGRESS,
            progress=progress,
            changed=now - known.moved,
            hint=None,
            durations=durations,
        )
        delay = policy(facts, 0.0)
        assert delay is not None
        heapq.heappush(due, (_tick(now + delay), True, next(serial), number))
    return score(sum(known.looks for known in tasks), delays)


def _tick(due: float) -> float:
    return math.ceil(due / TICK) * TICK
