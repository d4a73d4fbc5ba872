"""Polls a task, and how late its end is seen: the default policy against a poll every two seconds, one by one.

Each run goes over the whole stack (session, poller, planner, the fake service) in virtual time, and again through the
bare simulation, with the same chance for each poll: the two must agree. The pace is wide open, so that all
delay is the policy's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import looptime

from benchmarks.lives import BASES, KIND, POOL, Run, Score, draw_run, score, shapes
from benchmarks.report import Bound, Report
from benchmarks.simulation import rolled, simulate
from omgmj import Adaptive, Fixed, Policy
from omgmj.testing import FakeService

SEED = 20261
SECONDS = 2.0
POLLS = {"progress": {"fast": 0.42, "mix": 0.42}, "no progress": {"fast": 0.75, "mix": 0.85}}
"""Shares of the fixed policy's polls."""
MEAN, P95 = 1.0, 1.5
"""Seconds of mean delay with progress, and how many times the fixed policy's its p95 may be."""
FAILING_MEAN, FAILING_P95 = 1.25, 3.0
"""The same where from the middle of the run on everything fails: the first to fail are seen late, as nobody knew."""
AGREE = 0.02
"""By which share the stack and the bare simulation may differ in each of polls, mean and p95 delay."""


async def go(run: Run, policy: Policy) -> Score:
    """Make and watch the tasks of a run over the whole stack."""
    async with FakeService() as fake, fake.session(rate=1e6, max_in_flight=10_000, backoff=policy) as session:
        # Only polls one by one are compared here.
        fake.inject("list_forbidden", times=None)
        ends: dict[int, float] = {}

        async def make() -> AsyncIterator[int]:
            for number, (start, life) in enumerate(zip(run.starts, run.lives, strict=True), start=1):
                await asyncio.sleep(start - fake.now)
                task_id = fake.add_task(life.script(), task_id=number, kind=KIND, pool=POOL)
                ends[task_id] = fake.now + life.queue + life.end
                yield task_id

        errors: list[Exception] = []
        watch = session.watch(make(), on_error=errors.append, max_watched=len(run.lives))
        delays = [fake.now - ends[task.id] async for task in watch]
        assert not errors, errors
        return score(fake.asked.total(), delays)


def whole(run: Run, policy: Policy) -> Score:
    """Run over the whole stack, in virtual time."""
    # Nothing comes from outside the loop, so time need not linger for it.
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0)) as runner:
        return runner.run(go(run, policy))


def apart(stack: Score, bare: Score) -> Score:
    """Return by which share the two differ, figure by figure."""
    return Score(*(abs(one / other - 1) for one, other in zip(stack, bare, strict=True)))


def run(*, short: bool) -> Report:
    """Count. These are the same figures each time; a short run is too short to learn."""
    rows, bounds, bars = [], [], []
    told: dict[str, list[str]] = {}
    headline = None
    differ: list[Score] = []
    for base, shape in itertools.product(BASES, shapes(BASES["fast"])):
        # Those with bounds run longer, as what is learned counts from the beginning.
        count = 60 if short else 2000 if shape in POLLS else 500
        drawn = draw_run(shape, shapes(BASES[base])[shape], count, SEED)
        policies = Fixed(SECONDS), rolled(Adaptive(), SEED)
        fixed, ours = (whole(drawn, policy) for policy in policies)
        bare_fixed, bare = (simulate(drawn, policy) for policy in policies)
        differ += apart(fixed, bare_fixed), apart(ours, bare)
        share, late, name = ours.polls / fixed.polls, ours.p95 / fixed.p95, f"{base}, {shape}"
        rows.append((name, _cell(fixed), _cell(ours), _cell(bare), f"{share:.3f}x", f"{late:.2f}x"))
        bars += [(f"fixed 2 s: {name}", fixed.polls), (f"omgmj: {name}", ours.polls)]
        if (base, shape) == ("fast", "progress"):
            headline = ("queries until a task is seen to be done", _seen(ours), _seen(fixed))
        if shape in POLLS:
            told.setdefault(shape, []).append(f"{base} {share:.2f}x, {ours.mean:.2f} s late (not {fixed.mean:.2f})")
        if shape in POLLS and not short:
            bounds += [
                Bound(f"{name}: polls a task", share, POLLS[shape][base]),
                Bound(f"{name}: mean delay", ours.mean, MEAN, " s"),
            ]
        if shape == "progress" and not short:
            bounds.append(Bound(f"{name}: p95 delay", late, P95))
        if shape == "everything fails" and not short:
            bounds += [
                Bound(f"{name}: mean delay", ours.mean, FAILING_MEAN, " s"),
                Bound(f"{name}: p95 delay", late, FAILING_P95),
            ]
    bounds += [
        Bound(f"bare simulation, furthest off: {figure}", max(shares), AGREE)
        for figure, shares in zip(("polls a task", "mean delay", "p95 delay"), zip(*differ, strict=True), strict=True)
    ]
    head = (
        "lives",
        f"fixed {SECONDS:g} s: polls; mean, p95 delay, s",
        "omgmj",
        "the same, bare simulation",
        "polls",
        "p95 delay",
    )
    what = f"polls a task, of one every {SECONDS:g} s, and when its end is seen"
    short_rows = [(f"{what}; {shape}", "; ".join(figures)) for shape, figures in told.items()]
    return Report(head, rows, bounds, bars, "polls a task", short_rows, headline)


def _seen(found: Score) -> str:
    return f"{found.polls:.1f}, the last one {found.mean:.1f} s after its end"


def _cell(found: Score) -> str:
    return f"{found.polls:.1f}; {found.mean:.2f}, {found.p95:.2f}"
