"""The bare simulation: a poll policy that polls drawn lives, in plain virtual time.

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
    """Return the policy with chance drawn by task and poll, so that two runs of the same lives draw alike."""
    return lambda facts, _: policy(facts, random.Random(f"{seed} {facts.task_id} {facts.attempt}").random())


@attrs.define
class _Known:
    """What the polls of a task have shown: when it was born, as far as known, when it moved, and what it shows."""

    born: float
    moved: float
    seen: float
    shown: tuple[Status, int | None] | None = None
    polls: int = 0


def simulate(run: Run, policy: Policy) -> Score:
    """Poll each task of the run, numbered from 1, from its start until its end is seen."""
    durations = Durations()
    serial = itertools.count()
    # Of those that are due at once first polls go first, and else who fell in first.
    due = [(_tick(start), False, next(serial), number) for number, start in enumerate(run.starts)]
    tasks = [_Known(start, at, at) for start, (at, *_) in zip(run.starts, due, strict=True)]
    delays = []
    while due:
        now, _, _, number = heapq.heappop(due)
        life, known = run.lives[number], tasks[number]
        start = run.starts[number] + life.queue
        # The service tells the time in whole seconds, so that a task looks up to a second younger than it is.
        age = max(0.0, math.floor(now) - start)
        known.polls += 1
        if now - start >= life.end:
            delays.append(now - start - life.end)
            percent = known.shown[1] if known.shown else None
            foretold = (known.moved - known.born) * 100 / percent if percent is not None and percent > 0 else None
            since = min(age, max(0.0, age - (now - known.seen))) if known.polls > 1 else 0.0
            durations.saw_end(POOL, since, age, ended=min(age, life.end), foretold=foretold)
            continue
        shown: tuple[Status, int | None] = (Status.SUBMITTED, None)
        if now >= start:
            shown = (Status.IN_PROGRESS, next(step for at, step in reversed(life.steps) if at <= now - start))
        if shown != known.shown:
            # The same record again is not read, so the birth is not reckoned anew.
            known.shown, known.moved = shown, now
            if now >= start:
                known.born = now - age
        age = now - known.born
        if now >= start:
            durations.saw_running(POOL, max(0.0, age - (now - known.seen)), age)
        known.seen = now
        facts = Facts(
            task_id=number + 1,
            attempt=known.polls,
            age=age,
            pool=POOL,
            kind=KIND,
            status=shown[0],
            progress=shown[1],
            changed=now - known.moved,
            hint=None,
            durations=durations,
        )
        delay = policy(facts, 0.0)
        assert delay is not None
        heapq.heappush(due, (_tick(now + delay), True, next(serial), number))
    return score(sum(known.polls for known in tasks), delays)


def _tick(due: float) -> float:
    return math.ceil(due / TICK) * TICK
