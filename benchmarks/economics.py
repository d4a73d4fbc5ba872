"""Looks a task, and how late its end is seen: the default policy against a look every two seconds, one by one.

Each run goes over the whole stack (session, poller, planner, the fake service) in virtual time, and again through the
bare simulation in `lives`: the two must agree. The pace is wide open, so that all delay is the policy's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import looptime

from benchmarks.lives import BASES, KIND, POOL, Life, Run, Score, draw_run, score, shapes, simulate
from benchmarks.report import Bound, Report
from omgmj.backoff import Adaptive, Fixed, Policy
from omgmj.testing import FakeService
from omgmj.testing import Life as FakeLife

SEED = 20261
SECONDS = 2.0
LOOKS = {"progress": {"fast": 0.42, "mix": 0.42}, "no progress": {"fast": 0.75, "mix": 0.85}}
"""Shares of the fixed policy's looks."""
MEAN, P95 = 1.0, 1.3
"""Seconds of mean delay with progress, and how many times the fixed policy's its p95 may be."""
AGREE, APART = 0.1, 0.15
"""By which share, or how many seconds where that is more, the stack and the bare simulation may differ."""


def script(life: Life) -> FakeLife:
    """Make the fake service's life of a drawn one."""
    moments = [
        (at, "IN_PROGRESS", None if percent is None else f"{percent}%") for at, percent in life.steps if at < life.end
    ]
    return FakeLife.steps([*moments, (life.end, "SUCCESS", "100%")])


async def go(run: Run, policy: Policy) -> Score:
    """Make and watch the tasks of a run over the whole stack."""
    async with FakeService() as fake, fake.session(rate=1e6, max_in_flight=10_000, backoff=policy) as session:
        # Only looks one by one are compared here.
        fake.inject("list_forbidden", times=None)
        ends: dict[int, float] = {}

        async def make() -> AsyncIterator[int]:
            for start, life in zip(run.starts, run.lives, strict=True):
                await asyncio.sleep(start - fake.now)
                task_id = fake.add_task(script(life), kind=KIND, pool=POOL)
                ends[task_id] = fake.now + life.end
                yield task_id

        errors: list[Exception] = []
        watch = session.watch(make(), on_error=errors.append, max_watched=len(run.lives))
        delays = [fake.now - ends[task.id] async for task in watch]
        assert not errors, errors
        return score(fake.asked.total(), delays)


def whole(run: Run, policy: Policy) -> Score:
    """Run over the whole stack, in virtual time."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(go(run, policy))


def differ(stack: Score, bare: Score) -> bool:
    """Whether the two differ by more than they may."""
    return abs(stack.looks / bare.looks - 1) > AGREE or abs(stack.mean - bare.mean) > max(AGREE * bare.mean, APART)


def run(*, short: bool) -> Report:
    """Count. With a seed, these are the same figures each time; a short run is too short to learn."""
    rows, bounds, bars = [], [], []
    apart = []
    for base, shape in itertools.product(BASES, shapes(BASES["fast"])):
        # Those with bounds run longer, as what is learned counts from the beginning.
        count = 60 if short else 2000 if shape in LOOKS else 500
        drawn = draw_run(shape, shapes(BASES[base])[shape], count, SEED)
        fixed, ours = whole(drawn, Fixed(SECONDS)), whole(drawn, Adaptive())
        bare = simulate(drawn, Adaptive(), SEED)
        share, name = ours.looks / fixed.looks, f"{base}, {shape}"
        if differ(ours, bare) or differ(fixed, simulate(drawn, Fixed(SECONDS), SEED)):
            apart.append(f"{name}: {ours} on the whole stack, {bare} in the bare simulation")
        rows.append((name, _cell(fixed), _cell(ours), _cell(bare), f"{share:.3f}x", f"{ours.p95 / fixed.p95:.2f}x"))
        bars += [(f"fixed 2 s: {name}", fixed.looks), (f"omgmj: {name}", ours.looks)]
        if shape in LOOKS and not short:
            bounds += [
                Bound(f"{name}: looks a task", share, LOOKS[shape][base]),
                Bound(f"{name}: mean delay", ours.mean, MEAN, " s"),
            ]
        if shape == "progress" and not short:
            bounds.append(Bound(f"{name}: p95 delay", ours.p95 / fixed.p95, P95))
    assert short or not apart, "; ".join(apart)
    head = (
        "lives",
        f"fixed {SECONDS:g} s: looks; mean, p95 delay, s",
        "omgmj",
        "the same, bare simulation",
        "looks",
        "p95 delay",
    )
    return Report(head, rows, bounds, bars, "looks a task")


def _cell(found: Score) -> str:
    return f"{found.looks:.1f}; {found.mean:.2f}, {found.p95:.2f}"
