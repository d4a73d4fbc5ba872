"""Requests a task where pages of the list answer for many: 1,000 tasks made together, at several watched shares.

The watched share is that of the watched tasks among the account's latest ones; the others are nobody's here. The peer
looks at each task every two seconds, one by one, as today's clients do. All in virtual time over the whole stack.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import looptime

from benchmarks.report import Bound, Report
from omgmj.backoff import Adaptive, Fixed, Policy
from omgmj.testing import EPOCH, FakeService

TASKS = 1000
AT_MOST = {0.9: 0.11, 0.5: 0.14, 0.2: 0.22, 0.05: 0.35}
"""Share of the peer's requests, by watched share."""
MEAN = 1.6
"""Seconds of mean delay."""
# Where most IDs have to be asked for singly, delay can be given for requests: it may be 1.6 s here.
PATIENT = Adaptive(least=2.0)


class Outcome(NamedTuple):
    """Requests a task, how late ends were seen, and how many of the requests were pages."""

    requests: float
    delays: Sequence[float]
    pages: int


async def watch(share: float, policy: Policy, *, pages: bool) -> Outcome:
    """Make the tasks and watch them to their ends."""
    async with FakeService(seed=20261, foreign_share=1 - share) as fake:
        if not pages:
            fake.inject("list_forbidden", times=None)
        ids = fake.add_tasks(TASKS)
        delays = []
        async with fake.session(rate=5000.0, max_in_flight=256, backoff=policy) as session:
            async for task in session.watch(ids):
                assert task.finished_at is not None
                delays.append(fake.now - (task.finished_at - EPOCH).total_seconds())
        assert len(delays) == TASKS
        requests = fake.requests if pages else fake.asked.total()
        return Outcome(requests / TASKS, delays, sum(fake.pages.values()))


def go(share: float, policy: Policy, *, pages: bool) -> Outcome:
    """Run one watch in a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(watch(share, policy, pages=pages))


def run(*, short: bool) -> Report:
    """Measure all shares, or the first one where it has to be short."""
    fixed = go(1.0, Fixed(2.0), pages=False)
    rows = [_row("fixed 2 s, one by one", fixed, fixed)]
    bounds, bars = [], [("fixed 2 s, one by one", fixed.requests)]
    for share, most in list(AT_MOST.items())[: 1 if short else None]:
        ours = go(share, PATIENT, pages=True)
        name = f"omgmj, watched share {share:g}"
        rows.append(_row(name, ours, fixed))
        bounds.append(Bound(f"{name}: requests", ours.requests / fixed.requests, most))
        bounds.append(Bound(f"{name}: mean delay", statistics.mean(ours.delays), MEAN, " s"))
        bars.append((name, ours.requests))
    return Report(
        ("policy", "requests a task", "of them pages", "mean delay, s", "p95, s", "requests"),
        rows,
        bounds,
        bars,
        "requests a task",
    )


def _row(name: str, outcome: Outcome, fixed: Outcome) -> Sequence[str]:
    return (
        name,
        f"{outcome.requests:.2f}",
        f"{outcome.pages / TASKS:.2f}",
        f"{statistics.mean(outcome.delays):.2f}",
        f"{statistics.quantiles(outcome.delays, n=20)[18]:.2f}",
        f"{outcome.requests / fixed.requests:.3f}x",
    )
