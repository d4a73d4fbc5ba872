"""What a journal costs: taking 100,000 IDs in, an end that is delivered, a task created; and how long the loop stops.

Each is measured in turn with and without a journal. The CPU is that of all threads, the disk's too. Nothing is asked of
a service where IDs are taken in; ends are delivered as fast as it goes, from answers in memory; tasks are created over
TLS, several at once, each on a connection of its own, as always.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp

import omgmj
from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.scale import PLACES, Silent
from benchmarks.server import SAMPLE, serving
from omgmj import Answer, Passage, Request, Secret

FIRST_ID = 1_000_000
BEAT = 0.002
SUBMITTERS = 8
BOUNDS = {"start": 1.7, "contexts": 2.3, "pause": 50.0, "delivered": 1.12, "submission": 1.3}
"""At most: of the same without a journal, save the pause, which is in milliseconds."""
CREATED = b'{"statusCode":200,"message":"success","data":3432}'


class Cost(NamedTuple):
    """Seconds of CPU, and milliseconds for which the loop stopped at most."""

    cpu: float
    pause: float


class Finished(Silent):
    """A transport that answers each query with a finished record, which names no ID."""

    def __init__(self) -> None:
        super().__init__()
        answer = json.loads(SAMPLE.read_bytes())
        del answer["data"]["taskId"]
        self._answer = Answer(200, {}, json.dumps(answer).encode())

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:  # noqa: ARG002 (a transport)
        """Answer at once."""
        await asyncio.sleep(0)
        return self._answer


def journal_at(path: Path | None) -> omgmj.SqliteJournal | None:
    """Open a journal, or none."""
    return None if path is None else omgmj.SqliteJournal(path)


@asynccontextmanager
async def session_with(path: Path | None, transport: Silent) -> AsyncIterator[omgmj.Session]:
    """Open a session over an answering transport, whose own garbage is out of the way."""
    async with omgmj.Session(
        "t", rate=1e6, max_in_flight=PLACES, transport=transport, sweeps=False, journal=journal_at(path)
    ) as session:
        gc.collect()
        gc.freeze()  # What a collection of the benchmark's own objects costs is no pause of ours.
        try:
            yield session
        finally:
            gc.unfreeze()


async def measured(work: Callable[[], Awaitable[object]]) -> Cost:
    """Do some work beside a heart, whose latest beat tells how long the loop stopped."""
    stop = asyncio.Event()

    async def beat() -> float:
        worst = 0.0
        while not stop.is_set():
            before = time.perf_counter()
            await asyncio.sleep(BEAT)
            worst = max(worst, time.perf_counter() - before - BEAT)
        return worst * 1000

    heart = asyncio.create_task(beat())
    await asyncio.sleep(2 * BEAT)
    before = time.process_time()
    await work()
    cpu = time.process_time() - before
    stop.set()
    return Cost(cpu, await heart)


async def until_watched(session: omgmj.Session, ids: int) -> None:
    """Wait until so many IDs are watched."""
    while session.stats().watched < ids:  # noqa: ASYNC110 (nothing tells when all are in)
        await asyncio.sleep(0.02)


async def start(path: Path | None, given: Any, ids: int) -> Cost:
    """Take IDs in, until all are watched, and on the disk."""
    async with session_with(path, Silent()) as session:
        watch = None

        async def take_in() -> None:
            nonlocal watch
            watch = session.watch(given)
            await until_watched(session, ids)
            if path is not None:
                # A reader waits for that first; there is nothing to read here.
                await watch._inbox.written()  # noqa: SLF001

        cost = await measured(take_in)
        assert watch is not None
        await watch.aclose()
        return cost


async def resume(path: Path, ids: int) -> Cost:
    """Take up all that is there."""
    async with session_with(path, Silent()) as session, session.resume():
        return await measured(lambda: until_watched(session, ids))


async def deliver(path: Path | None, ids: int) -> float:
    """Return the seconds of CPU until so many IDs were delivered, at full speed."""
    async with session_with(path, Finished()) as session:
        before = time.process_time()
        count = 0
        async for _ in session.watch(range(FIRST_ID, FIRST_ID + ids)):
            count += 1
        assert count == ids
        return time.process_time() - before


async def create(path: Path | None, url: str, trusting: ssl.SSLContext, tasks: int) -> float:
    """Return the seconds of CPU until so many tasks were created."""
    async with omgmj.Session(
        "t",
        base_url=url,
        rate=1e5,
        http=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)),
        journal=journal_at(path),
    ) as session:
        left = iter(range(tasks))

        async def submitter() -> None:
            for _ in left:
                await session.imagine("a cat in the rain --ar 16:9")

        before = time.process_time()
        await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
        return time.process_time() - before


def run(*, short: bool) -> Report:
    """Measure. A short pass has no bounds: so few IDs say nothing."""
    many, rounds = (2_000, 2) if short else (100_000, 7)
    ids = range(FIRST_ID, FIRST_ID + many)
    contexts = {task_id: {"chat": task_id, "message": 7 * task_id} for task_id in ids}
    bare: list[Cost] = []
    given: list[Cost] = []
    plain: list[Cost] = []
    full: list[Cost] = []
    resumed: list[Cost] = []
    delivered: tuple[list[float], list[float]] = ([], [])
    created: tuple[list[float], list[float]] = ([], [])
    with TemporaryDirectory() as place, serving(CREATED) as (url, trusting):
        for number in range(rounds):
            path = Path(place, f"{number}.journal")
            bare.append(asyncio.run(start(None, ids, many)))
            plain.append(asyncio.run(start(path.with_suffix(".plain"), ids, many)))
            given.append(asyncio.run(start(None, contexts, many)))
            full.append(asyncio.run(start(path, contexts, many)))
            resumed.append(asyncio.run(resume(path, many)))
            for kept, costs in zip((path.with_suffix(".delivered"), None), delivered, strict=True):
                costs.append(asyncio.run(deliver(kept, many // 4)))
            for kept, costs in zip((path.with_suffix(".created"), None), created, strict=True):
                costs.append(asyncio.run(create(kept, url, trusting, many // 200)))
    cpu, cpu_given = [one.cpu for one in bare], [one.cpu for one in given]
    pause = max(statistics.median(one.pause for one in costs) for costs in (plain, full, resumed))
    bounds = [
        Bound(f"start of {many:,}, of one without a journal", ratio([one.cpu for one in plain], cpu), BOUNDS["start"]),
        Bound("the same, with contexts", ratio([one.cpu for one in full], cpu_given), BOUNDS["contexts"]),
        Bound("longest pause of the loop", pause, BOUNDS["pause"], " ms"),
        Bound("CPU of a delivered ID, of one without a journal", ratio(*delivered), BOUNDS["delivered"]),
        Bound("CPU of a task created, of one without a journal", ratio(*created), BOUNDS["submission"]),
    ]
    return Report(
        head=(f"journal of {many:,} IDs", "measured: median (quartiles)"),
        rows=[
            ("start without a journal, ms of CPU", spread([1000 * value for value in cpu])),
            ("with one", spread([1000 * one.cpu for one in plain])),
            ("with contexts, without a journal", spread([1000 * value for value in cpu_given])),
            ("with contexts and with one", spread([1000 * one.cpu for one in full])),
            ("resume with contexts", spread([1000 * one.cpu for one in resumed])),
            ("longest pause of the loop, start without a journal, ms", spread([one.pause for one in bare])),
            ("with one", spread([one.pause for one in plain])),
            ("with contexts", spread([one.pause for one in full])),
            ("resume with contexts", spread([one.pause for one in resumed])),
            ("an ID delivered, with a journal, µs of CPU", spread([4e6 * one / many for one in delivered[0]], 1)),
            ("without", spread([4e6 * one / many for one in delivered[1]], 1)),
            ("a task created, with a journal, µs of CPU", spread([2e8 * one / many for one in created[0]])),
            ("without", spread([2e8 * one / many for one in created[1]])),
        ],
        bounds=[] if short else [bound._replace(room=0.3) for bound in bounds],
        bars=[
            ("omgmj, start without a journal", 1000 * statistics.median(cpu)),
            ("omgmj, with one", 1000 * statistics.median(one.cpu for one in plain)),
            ("omgmj, with contexts", 1000 * statistics.median(one.cpu for one in full)),
        ],
        unit=f"ms of CPU, start of {many:,} IDs",
        short=[(bound.name, f"{round(bound.value, 2):g}{bound.unit}") for bound in bounds],
    )
