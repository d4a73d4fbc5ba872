"""Requests a task where pages of the list answer for many, at several watched shares.

Once 1,000 tasks are made together; once 25 watched tasks are made a second, with the others in between, so that about
1,000 are watched at any time and the list moves on and on. The watched share is that of the watched tasks among the
account's latest ones; the others are nobody's here. Answers come at once, or after a while where that is said. The
peer polls of each task every two seconds, one by one, as today's clients do. All in virtual time over the whole stack.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import NamedTuple

import looptime

from benchmarks.report import Bound, Report
from omgmj.backoff import Adaptive, Fixed, Policy
from omgmj.testing import EPOCH, FakeService

TASKS = 1000
AT_MOST = {0.9: 0.11, 0.5: 0.14, 0.2: 0.22, 0.05: 0.35}
"""Share of the peer's requests, by watched share."""
STEADY = {0.9: 0.075, 0.5: 0.11, 0.2: 0.18, 0.05: 0.31}
"""The same where tasks are made on and on."""
A_SECOND, FROM, UNTIL = 25, 60.0, 90.0
"""Watched tasks made a second, and from when until when requests are counted, in seconds: before, too few are there."""
MEAN = 1.6
"""Seconds of mean delay, beside what an answer takes."""
LATENCY = 0.3
"""Seconds that answers take where they do."""
# Where most IDs have to be asked for singly, delay can be given for requests: it may be 1.6 s here.
PATIENT = Adaptive(least=2.0)


class Outcome(NamedTuple):
    """Requests a task, how late ends were seen, and how many of the requests a task were pages."""

    requests: float
    delays: Sequence[float]
    pages: float


async def watch(share: float, policy: Policy, *, pages: bool, latency: float = 0.0) -> Outcome:
    """Make the tasks and watch them to their ends; each answer takes so many seconds."""
    async with FakeService(seed=20261, foreign_share=1 - share, latency=latency) as fake:
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
        return Outcome(requests / TASKS, delays, sum(fake.pages.values()) / TASKS)


async def keep_watching(share: float, policy: Policy, *, pages: bool, since: float, until: float) -> Outcome:
    """Make tasks on and on, each watched as it is made; count what came between two moments."""
    async with FakeService(seed=20261, foreign_share=1 - share) as fake:
        if not pages:
            fake.inject("list_forbidden", times=None)

        async def make() -> AsyncIterator[int]:
            while True:
                yield fake.add_tasks(1)[0]
                await asyncio.sleep(1 / A_SECOND)

        errors: list[Exception] = []
        delays = []
        before = after = (0, 0)
        async with fake.session(rate=5000.0, max_in_flight=256, backoff=policy) as session:
            async for task in session.watch(make(), on_error=errors.append):
                assert task.finished_at is not None
                after = fake.asked.total(), sum(fake.pages.values())
                if fake.now < since:
                    before = after
                elif fake.now > until:
                    break
                else:
                    delays.append(fake.now - (task.finished_at - EPOCH).total_seconds())
        assert not errors, errors
        made = A_SECOND * (until - since)
        asked, read = ((b - a) / made for a, b in zip(before, after, strict=True))
        return Outcome(asked + read if pages else asked, delays, read)


def go(run: Coroutine[None, None, Outcome]) -> Outcome:
    """Run one watch in a loop of its own, each with the same chance."""
    random.seed(0)
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(run)


def run(*, short: bool) -> Report:
    """Measure all shares, or the first one where it has to be short."""
    rows: list[Sequence[str]] = []
    bounds: list[Bound] = []
    bars: list[tuple[str, float]] = []
    short_rows: list[tuple[str, str]] = []

    def add(
        made: str, fixed: Outcome, ours: dict[float, Outcome], most: dict[float, float], latency: float = 0.0
    ) -> None:
        rows.append(_row(f"fixed 2 s, one by one{made}", fixed, fixed))
        bars.append((f"fixed 2 s, one by one{made}", fixed.requests))
        for share, outcome in ours.items():
            name = f"omgmj, watched share {share:g}{made}"
            rows.append(_row(name, outcome, fixed))
            bars.append((name, outcome.requests))
            if share in most:
                bounds.append(Bound(f"{name}: requests", outcome.requests / fixed.requests, most[share]))
                bounds.append(Bound(f"{name}: mean delay", statistics.mean(outcome.delays) - latency, MEAN, " s"))
        shares = " / ".join(f"{share:g}" for share in ours)
        told = " / ".join(f"{outcome.requests / fixed.requests:.2g}" for outcome in ours.values())
        short_rows.append((f"requests a task, of one every 2 s; watched share {shares}{made}", f"{told}x"))

    shares = list(AT_MOST)[: 1 if short else None]
    fixed = go(watch(1.0, Fixed(2.0), pages=False))
    add("", fixed, {share: go(watch(share, PATIENT, pages=True)) for share in shares}, AT_MOST)
    fixed = go(watch(1.0, Fixed(2.0), pages=False, latency=LATENCY))
    ours = {share: go(watch(share, PATIENT, pages=True, latency=LATENCY)) for share in shares}
    add(f"; answers take {LATENCY:g} s", fixed, ours, AT_MOST, LATENCY)
    # A short run ends before it is steady, so that no bound is meant for it.
    since, until = (20.0, 30.0) if short else (FROM, UNTIL)
    fixed = go(keep_watching(1.0, Fixed(2.0), pages=False, since=since, until=until))
    ours = {share: go(keep_watching(share, PATIENT, pages=True, since=since, until=until)) for share in shares}
    add(f"; {A_SECOND} made a second", fixed, ours, {} if short else STEADY)
    return Report(
        ("policy", "requests a task", "of them pages", "mean delay, s", "p95, s", "requests"),
        rows,
        bounds,
        bars,
        "requests a task",
        short_rows,
    )


def _row(name: str, outcome: Outcome, fixed: Outcome) -> Sequence[str]:
    return (
        name,
        f"{outcome.requests:.2f}",
        f"{outcome.pages:.2f}",
        f"{statistics.mean(outcome.delays):.2f}",
        f"{statistics.quantiles(outcome.delays, n=20)[18]:.2f}",
        f"{outcome.requests / fixed.requests:.3f}x",
    )
