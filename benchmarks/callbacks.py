"""Requests a task, and the delay until its end is seen, where the service calls a webhook, beside where it does not.

Tasks with fast lives are made by the session itself, two a second, and watched. The fake service posts nine callbacks a
task, 0.3 s late in the mean, over real HTTP to a `Receiver` on loopback; once all arrive, once 5 % are lost. Then one
after the other is followed, and it is measured how late each change is seen. All in virtual time over the whole stack.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import looptime
from aiohttp import web

import omgmj
from benchmarks.report import Bound, Report
from omgmj.testing import EPOCH, FakeService
from omgmj.webhook import Receiver

TASKS, SHORT = 400, 60
FOLLOWED = 60
A_SECOND = 2
"""Tasks made a second."""
LOST = 0.05
"""Share of the callbacks that are lost, where some are."""
AT_MOST: Mapping[str, tuple[float, float]] = {"none lost": (1.2, 0.4), "5 % lost": (1.3, 1.5)}
"""Requests a task, and mean seconds of delay."""


class Outcome(NamedTuple):
    """Requests a task, those that make it apart, and how late ends, or changes, were seen, in seconds."""

    requests: float
    delays: Sequence[float]


@asynccontextmanager
async def receiving(session: omgmj.Session) -> AsyncIterator[str]:
    """Serve a receiver for a session, and give its URL."""
    receiver = Receiver(session.notify)
    runner = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    try:
        yield receiver.url_for(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()
        assert not receiver.counts.total() - receiver.counts["taken"], receiver


async def watch(tasks: int, *, lost: float | None) -> Outcome:
    """Make tasks on and on and watch them to their ends; `lost` callbacks are, None: there are none."""
    faults = {"webhook_lost": lost} if lost else None
    async with FakeService(seed=20261, faults=faults) as fake, fake.session(rate=1000.0) as session:

        async def make(webhook: str | None) -> AsyncIterator[int]:
            for _ in range(tasks):
                yield await session.imagine("a cat", webhook=webhook)
                await asyncio.sleep(1 / A_SECOND)

        delays = []
        async with receiving(session) as url:
            async for task in session.watch(make(None if lost is None else url), on_error=_raise):
                assert task.finished_at is not None
                delays.append(fake.now - (task.finished_at - EPOCH).total_seconds())
        assert len(delays) == tasks
        return Outcome(fake.requests / tasks - 1, delays)


async def follow(tasks: int, *, lost: float | None) -> Outcome:
    """Make tasks one after the other and follow each; measure how late each moment, or a later one, is seen."""
    faults = {"webhook_lost": lost} if lost else None
    late: list[float] = []
    async with FakeService(seed=20261, faults=faults) as fake, fake.session(rate=1000.0) as session:
        async with receiving(session) as url:
            chance = random.Random(20261)
            for _ in range(tasks):
                life = omgmj.testing.PRESETS["fast"].draw(chance)
                fake.plan(life)
                made = fake.now
                ahead = list(life.moments)
                async for task in session.follow(await session.imagine("a cat", webhook=None if lost is None else url)):
                    seen = life.index(fake.now - made)
                    assert task.status == life.moments[seen].status
                    while len(ahead) > len(life.moments) - 1 - seen:
                        late.append(fake.now - made - ahead.pop(0).at)
        return Outcome(fake.requests / tasks - 1, late)


def _raise(error: omgmj.OmgmjError) -> None:
    raise error


def go(run: Coroutine[None, None, Outcome]) -> Outcome:
    """Run one watch in a loop of its own, each with the same chance."""
    random.seed(0)
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(run)


def run(*, short: bool) -> Report:
    """Measure, with fewer tasks where it has to be short."""
    tasks, followed = (SHORT, SHORT // 4) if short else (TASKS, FOLLOWED)
    shares = {"no callbacks": None, "none lost": 0.0, "5 % lost": LOST}
    watched = {name: go(watch(tasks, lost=lost)) for name, lost in shares.items()}
    seen = {name: go(follow(followed, lost=lost)) for name, lost in shares.items()}
    rows: list[Sequence[str]] = []
    for what, outcomes in (("watch", watched), ("follow", seen)):
        for name, outcome in outcomes.items():
            p95 = statistics.quantiles(outcome.delays, n=20)[18]
            mean = statistics.mean(outcome.delays)
            rows.append((f"{what}, {name}", f"{outcome.requests:.2f}", f"{mean:.2f}", f"{p95:.2f}"))
    bounds = []
    for name, (requests, delay) in AT_MOST.items():
        bounds.append(Bound(f"watch, {name}: requests a task", watched[name].requests, requests, ""))
        bounds.append(Bound(f"watch, {name}: mean delay", statistics.mean(watched[name].delays), delay, " s"))
        livelier = statistics.mean(seen[name].delays) / statistics.mean(seen["no callbacks"].delays)
        bounds.append(Bound(f"follow, {name}: mean delay of changes, of that without callbacks", livelier, 1.0))
    return Report(
        ("who", "requests a task", "mean delay, s", "p95, s"),
        rows,
        bounds,
        [(f"omgmj, {name}", outcome.requests) for name, outcome in watched.items()],
        "requests a task",
        [
            (f"requests a task; {name}", f"{outcome.requests:.2f}, mean delay {statistics.mean(outcome.delays):.2f} s")
            for name, outcome in watched.items()
        ],
    )
