"""What an outage costs: an hour without the service, in virtual time, while many tasks are watched.

Counted is what is sent meanwhile, how soon the first answer comes when the service is back, and how long it takes until
each task was seen again.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from benchmarks.pace import virtual
from benchmarks.report import Bound, Report
from omgmj.testing import FakeService, Life

RATE = 100.0
BEFORE = 600.0
"""Seconds of watching before the service goes down."""
LIFE = Life.steps([(0, "IN_PROGRESS", "15%"), (BEFORE, "IN_PROGRESS", "46%"), (1e6, "SUCCESS", "100%")])
REQUESTS, FIRST, ALL = 200, 30.0, 1.2
"""At most: requests in an hour, seconds to the first answer, and to all of them as a share of tasks by rate."""


class Size(NamedTuple):
    """Tasks, and seconds of the outage."""

    tasks: int
    seconds: float


FULL, SHORT = Size(10_000, 3600.0), Size(1000, 900.0)


class Cost(NamedTuple):
    """What was sent meanwhile, and how many seconds after the service was back the first and all were seen."""

    requests: int
    first: float
    all: float


async def measure(size: Size) -> Cost:
    """Watch through one outage."""
    async with FakeService() as fake, fake.session(rate=RATE) as session:
        for _ in range(size.tasks):
            fake.add_task(LIFE)
        async with session.watch(fake.task_ids, stall=None):
            await asyncio.sleep(BEFORE)
            before, fake.down = fake.requests, True
            await asyncio.sleep(size.seconds)
            meanwhile, fake.down, back = fake.requests, False, fake.now
            shown, asked = fake.asked.copy(), fake.pages.copy()
            while len(fake.asked - shown) + 20 * (fake.pages - asked).total() < size.tasks:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.5)
            return Cost(meanwhile - before, fake.times[meanwhile] - back, fake.now - back)


def run(*, short: bool) -> Report:
    """Measure one outage."""
    size = SHORT if short else FULL
    cost = virtual(lambda: measure(size))
    hour = cost.requests * 3600 / size.seconds
    whole = cost.all / (size.tasks / RATE)
    rows = [
        (
            f"{size.tasks} tasks, {size.seconds / 60:.0f} minutes",
            f"{cost.requests}",
            f"{cost.first:.1f} s",
            f"{cost.all:.1f} s, {whole:.2f}x",
        )
    ]
    bounds = [
        Bound("requests in an hour of outage", hour, REQUESTS, ""),
        Bound("first answer after it", cost.first, FIRST, " s"),
        Bound("all asked, of tasks by rate", whole if not short else 0.0, ALL),
    ]
    told = [("requests in an hour of outage", f"{hour:.0f}"), ("first answer after it", f"{cost.first:.0f} s")]
    return Report(
        ("outage", "requests meanwhile", "first answer", "all seen, of tasks / rate"), rows, bounds, [], "", told
    )
