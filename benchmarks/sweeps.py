"""Requests a task where pages of the list answer for many, at several watched shares.

Once 1,000 tasks are made together; once 25 watched tasks are made a second, with the others in between, so that about
1,000 are watched at any time and the list moves on and on. The watched share is that of the watched tasks among the
account's latest ones; the others are nobody's here. Answers come at once, or after a while where that is said. The
peer polls of each task every two seconds, one by one, as today's clients do. All in virtual time over the whole stack.

Then watched tasks lie below and between newer ones that nobody watches: what that costs of the same without those.
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
PATIENT = Adaptive(delay=1.5)
BELOW, ONE_BY_ONE = 1.1, 1.03
"""Requests where others' tasks lie above, of those where none do; and, where one task in twenty is watched, of those
of a client that never reads the list."""
RATE = 100.0
"""Requests a second where tasks lie below others."""


class Place(NamedTuple):
    """Where watched tasks lie in the list: in blocks, the oldest first, each with so many others above it."""

    watched: int
    others: int
    blocks: int = 1
    others_a_second: float = 0.0
    wrong: int = 0
    """IDs that are on no page: half of them between the watched ones, half below all."""


UNDISTURBED = Place(1000, 0)
PLACES = {
    "under 1,000 others": (Place(1000, 1000), UNDISTURBED),
    "under 5,000 others": (Place(1000, 5000), UNDISTURBED),
    "5 blocks, each under 500 others": (Place(200, 500, blocks=5), UNDISTURBED),
    "under 1,000 others, 200 IDs on no page": (Place(1000, 1000, wrong=200), Place(1000, 0, wrong=200)),
    "under 1,000 others, 5 more a second": (
        Place(1000, 1000, others_a_second=5.0),
        Place(1000, 0, others_a_second=5.0),
    ),
}
"""What is measured, and against what."""
SEEDS = 5
"""Runs whose mean is taken: a single one may be two or three in a hundred off."""


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


async def watch_at(place: Place) -> Outcome:
    """Make the tasks, and watch them to their ends while others may make more."""
    async with FakeService(seed=20261, latency=LATENCY) as fake:
        ids: list[int] = []
        for _ in range(place.blocks):
            # Every other number is left out where there are IDs on no page.
            first, step = (10_000, 2) if place.wrong else (fake.add_foreign(1)[0] + 1, 1)
            ids += [fake.add_task(task_id=first + step * number) for number in range(place.watched)]
            fake.add_foreign(place.others)
        wrong = (
            [*(task_id - 1 for task_id in ids[-place.wrong // 2 :]), *range(1, 1 + place.wrong // 2)]
            if place.wrong
            else []
        )

        async def make() -> None:
            while True:
                await asyncio.sleep(1 / place.others_a_second)
                fake.add_foreign(1)

        maker = asyncio.create_task(make()) if place.others_a_second else None
        errors: list[Exception] = []
        delays = []
        async with fake.session(rate=RATE) as session:
            async for task in session.watch([*ids, *wrong], on_error=errors.append):
                assert task.finished_at is not None
                delays.append(fake.now - (task.finished_at - EPOCH).total_seconds())
        if maker is not None:
            maker.cancel()
        assert (len(delays), len(errors)) == (len(ids), len(wrong))
        pages = sum(fake.pages.values())
        asked = sum(fake.asked[task_id] for task_id in ids)
        return Outcome((asked + pages) / len(ids), delays, pages / len(ids))


def mean(place: Place, seeds: int) -> Outcome:
    """Run one several times, each with another chance."""
    runs = [go(watch_at(place), seed) for seed in range(seeds)]
    return Outcome(
        statistics.mean(run.requests for run in runs),
        [delay for run in runs for delay in run.delays],
        statistics.mean(run.pages for run in runs),
    )


def go(run: Coroutine[None, None, Outcome], seed: int = 0) -> Outcome:
    """Run one watch in a loop of its own, each with the same chance."""
    random.seed(seed)
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
    ours = {share: go(watch(share, PATIENT, pages=True)) for share in shares}
    sparse = ours[shares[-1]]
    add("", fixed, ours, AT_MOST)
    fixed = go(watch(1.0, Fixed(2.0), pages=False, latency=LATENCY))
    ours = {share: go(watch(share, PATIENT, pages=True, latency=LATENCY)) for share in shares}
    add(f"; answers take {LATENCY:g} s", fixed, ours, AT_MOST, LATENCY)
    # A short run ends before it is steady, so that no bound is meant for it.
    since, until = (20.0, 30.0) if short else (FROM, UNTIL)
    fixed = go(keep_watching(1.0, Fixed(2.0), pages=False, since=since, until=until))
    ours = {share: go(keep_watching(share, PATIENT, pages=True, since=since, until=until)) for share in shares}
    add(f"; {A_SECOND} made a second", fixed, ours, {} if short else STEADY)
    seeds = 1 if short else SEEDS
    undisturbed: dict[Place, Outcome] = {}
    told = []
    for name, (place, other) in list(PLACES.items())[: 2 if short else None]:
        against = undisturbed[other] = undisturbed.get(other) or mean(other, seeds)
        ours_there = mean(place, seeds)
        rows.append(_row(f"omgmj, {name}", ours_there, fixed))
        told.append(f"{ours_there.requests / against.requests:.2f}x {name}")
        bounds.append(Bound(f"{name}: requests of those undisturbed", ours_there.requests / against.requests, BELOW))
    short_rows.append(("requests a task where others' tasks lie above, of those undisturbed", "; ".join(told)))
    if not short:
        alone = go(watch(0.05, PATIENT, pages=False))
        bounds.append(
            Bound("one in twenty watched: requests of one by one", sparse.requests / alone.requests, ONE_BY_ONE)
        )
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
