"""What 429s and silence cost: by chance, from a limit, from one thing alone; and answers that never come.

All over the whole stack against the fake service, in virtual time, where what is asked for can be set beside what is
done. The limits of other kinds are simulated in `tests/backoff`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import looptime

import omgmj
from benchmarks.report import Bound, Report
from omgmj.testing import FakeService, Fault, Life

RATE = 100.0
LIMIT, BURST = 50.0, 20
TASKS = 500
ENDLESS = Life.steps([(0, "IN_PROGRESS", "15%"), (1e6, "SUCCESS", "100%")])
SEEDS = (1, 2, 3)
"""Worlds of chance are run so often, and the mean is told."""
T = TypeVar("T")

PACE = {0.01: 0.9, 0.05: 0.7}
"""Of so many 429s by chance, the share of the pace that is left on average, at least."""
LONGER = 1.3
"""How many times as long the tasks may take with them."""
REFUSED, USED = 0.02, 0.8
"""With a limit, in the second half: the share of 429s at most, and of what is allowed that is used, at least."""
FAIR = 0.35
"""Of a limit that two sessions share, each gets so much at least."""
ALONE = 1.1
"""How many times as long the tasks may take where one ID, or the list, or submissions are refused."""
SILENT = 0.05
THROUGHPUT, LATE, ASKED = 85.0, 3.0, 1.1
"""With so many answers that never come: polls a second at least, seconds that ends are seen late, requests."""


class Ends(NamedTuple):
    """A run of tasks to their ends: seconds, mean pace as a share, requests, mean seconds from an end to its sight."""

    seconds: float
    pace: float
    requests: int
    late: float


def virtual(body: Callable[[], Awaitable[T]]) -> T:
    """Run in virtual time, with the same chance each time."""
    random.seed(SEEDS[0])

    async def main() -> T:
        return await body()

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0)) as runner:
        return runner.run(main())


@contextlib.asynccontextmanager
async def beside(work: Awaitable[object]) -> AsyncIterator[None]:
    """Have something done as long as the block lasts."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def finish(fake: FakeService, session: omgmj.Session, ends: dict[int, float]) -> Ends:
    """Watch tasks whose ends are known."""
    paces = [1.0]

    async def look() -> None:
        while True:
            await asyncio.sleep(1)
            paces.append(session.stats().pace / RATE)

    async with beside(look()):
        delays = [fake.now - ends[task.id] async for task in session.watch(ends, on_error=lambda _: None)]
    return Ends(fake.now, statistics.mean(paces), fake.requests, statistics.mean(delays))


def add_tasks(fake: FakeService, count: int) -> dict[int, float]:
    """Make tasks that end between 20 and 140 seconds from now, in no order; return their ends."""
    ends = [20 + 120 * (number * 379 % count) / count for number in range(count)]
    return {fake.add_task(Life.succeed(end)): end for end in ends}


async def by_chance(share: float, fault: str, seed: int) -> Ends:
    """Let a share of all answers be a fault."""
    async with FakeService(latency=0.05, faults={fault: share}, seed=seed) as fake, fake.session(rate=RATE) as session:
        fake.inject("list_forbidden", times=None)
        return await finish(fake, session, add_tasks(fake, TASKS))


def mean(share: float, fault: str, seeds: Sequence[int]) -> Ends:
    """Return what comes of such a world on average."""
    runs = [virtual(partial(by_chance, share, fault, seed)) for seed in seeds]
    seconds, pace, requests, late = (statistics.mean(figure) for figure in zip(*runs, strict=True))
    return Ends(seconds, pace, round(requests), late)


async def alone(what: str) -> Ends:
    """Let one thing be refused for ever, with a long Retry-After or none: an ID, the list or submissions."""
    async with FakeService(latency=0.05, seed=SEEDS[0]) as fake, fake.session(rate=RATE) as session:
        ends = add_tasks(fake, TASKS)
        refused = Fault("rate_limited_seconds", seconds=60)
        if what == "an ID":
            fake.inject("list_forbidden", times=None)
            odd = fake.add_task(ENDLESS)
            fake.inject(refused, times=None, task_id=odd)
            async with beside(_drain(session, [odd])):
                return await finish(fake, session, ends)
        if what == "the list":
            fake.inject(Fault("rate_limited", only="pages"), times=None)
        elif what == "submissions":
            fake.inject("list_forbidden", times=None)
            fake.inject(Fault("rate_limited", only="submissions"), times=None)
            async with beside(_submit(session)):
                return await finish(fake, session, ends)
        else:
            fake.inject("list_forbidden", times=None)
        return await finish(fake, session, ends)


async def _drain(session: omgmj.Session, task_ids: Sequence[int]) -> None:
    async for _ in session.watch(task_ids, stall=None):
        pass


async def _submit(session: omgmj.Session) -> None:
    while True:
        with contextlib.suppress(omgmj.RateLimited):
            await session.imagine("a cat")


async def limited(seconds: float, sessions: int) -> tuple[float, float, list[float]]:
    """Meet a limit; return the share of 429s and of the limit used in the second half, and each session's part."""
    async with (
        FakeService(rate=LIMIT, burst=BURST, latency=0.05) as fake,
        contextlib.AsyncExitStack() as stack,
    ):
        fake.inject("list_forbidden", times=None)
        opened = []
        for _ in range(sessions):
            session = await stack.enter_async_context(fake.session(rate=RATE, backoff=omgmj.Fixed(2)))
            await stack.enter_async_context(beside(_drain(session, [fake.add_task(ENDLESS) for _ in range(400)])))
            opened.append(session)
        await asyncio.sleep(seconds / 2)
        before = [session.stats() for session in opened]
        await asyncio.sleep(seconds / 2)
        after = [session.stats() for session in opened]
        asked = [late.queries - early.queries for early, late in zip(before, after, strict=True)]
        bad = [late.rate_limited - early.rate_limited for early, late in zip(before, after, strict=True)]
        through = [one - other for one, other in zip(asked, bad, strict=True)]
        return sum(bad) / sum(asked), sum(through) / (seconds / 2 * LIMIT), [one / sum(through) for one in through]


async def throughput(share: float, seconds: float) -> float:
    """Return the polls a second that are answered where a share is silent and there is always something to ask."""
    async with (
        FakeService(latency=0.05, faults={"silence": share}, seed=SEEDS[0]) as fake,
        fake.session(rate=RATE, backoff=omgmj.Fixed(2)) as session,
    ):
        fake.inject("list_forbidden", times=None)
        async with beside(_drain(session, [fake.add_task(ENDLESS) for _ in range(400)])):
            await asyncio.sleep(seconds / 5)
            before = fake.requests
            await asyncio.sleep(seconds)
            return (fake.requests - before) * (1 - share) / seconds


def run(*, short: bool) -> Report:
    """Measure; a short run has the worlds of one kind each, and no bounds."""
    rows: list[tuple[str, str]] = []
    bounds: list[Bound] = []
    bars: list[tuple[str, float]] = [("as configured", 1.0)]
    seeds = SEEDS[:1] if short else SEEDS
    clean = virtual(partial(alone, "nothing"))
    rows.append((f"{TASKS} tasks, nothing wrong", _cell(clean)))
    for share, least in PACE.items():
        seen = mean(share, "rate_limited", seeds)
        name = f"{share:.0%} 429 by chance"
        rows.append((name, _cell(seen)))
        bars.append((f"omgmj: {name}", seen.pace))
        bounds += [
            Bound(f"{name}: pace lost", 1 - seen.pace, 1 - least),
            Bound(f"{name}: time", seen.seconds / clean.seconds, LONGER),
        ]
    for what in ("an ID", "the list", "submissions"):
        seen = virtual(partial(alone, what))
        rows.append((f"429 for {what} alone", _cell(seen)))
        bounds.append(Bound(f"429 for {what} alone: time", seen.seconds / clean.seconds, ALONE))
    for sessions in (1, 2):
        refused, used, parts = virtual(partial(limited, 60 if short else 300, sessions))
        name = f"a limit of {LIMIT:g} a second, {sessions} session{'s' * (sessions > 1)}"
        rows.append((name, f"{refused:.1%} are 429, {used:.0%} used, parts {', '.join(f'{one:.0%}' for one in parts)}"))
        bounds += [
            Bound(f"{name}: 429s", refused, REFUSED),
            Bound(f"{name}: not used", 1 - used, 1 - USED),
            Bound(f"{name}: largest part", max(parts), 1.0 if sessions == 1 else 1 - FAIR),
        ]
    quiet = mean(SILENT, "silence", seeds)
    polls = virtual(partial(throughput, SILENT, 60 if short else 300))
    name = f"{SILENT:.0%} silent"
    rows.append((name, f"{_cell(quiet)}; {polls:.0f} polls a second"))
    bounds += [
        Bound(f"{name}: polls lost", 1 - polls / RATE, 1 - THROUGHPUT / RATE),
        Bound(f"{name}: ends seen late", quiet.late, LATE, " s"),
        Bound(f"{name}: requests", quiet.requests / clean.requests, ASKED),
    ]
    return Report(("world", "what came of it"), rows, [] if short else bounds, bars, "share of the pace", rows)


def _cell(seen: Ends) -> str:
    return f"{seen.seconds:.0f} s, pace {seen.pace:.0%}, {seen.requests} requests, ends seen {seen.late:.1f} s late"
