"""What the journal costs: taking 100,000 IDs in, an end that is delivered, a submission; and how long the loop stops.

The CPU is that of both threads, of the loop and of the disk. Beside it stands what a session's start of as many watches
costs without a journal, measured in turn, so that a ratio says what a journal adds.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.scale import start_watches
from omgmj.client.credentials import Credentials
from omgmj.journal.ledger import Ledger
from omgmj.journal.sqlite import SqliteJournal
from omgmj.models import Submission

FIRST_ID = 1_000_000
CHUNK = 1000
BEAT = 0.002
SUBMITTERS = 8
BOUNDS = {"start": 1.7, "start with contexts": 2.3, "pause": 30.0, "a delivered ID": 4.0}
"""At most: of a start without a journal, twice; milliseconds; microseconds of CPU."""


class Start(NamedTuple):
    """Seconds of CPU, and milliseconds for which the loop stopped at most."""

    cpu: float
    pause: float


@asynccontextmanager
async def ledger_of(path: Path) -> AsyncIterator[Ledger]:
    """Return a ledger over a file."""
    ledger = Ledger(SqliteJournal(path), ("a.test",), Credentials("t"), asyncio.get_running_loop())
    await ledger.written()
    gc.collect()
    gc.freeze()  # What a collection of the benchmark's own objects costs is no pause of ours.
    yield ledger
    gc.unfreeze()
    await ledger.aclose()


async def longest_pause(stop: asyncio.Event) -> float:
    """Return by how many milliseconds the latest beat of a heart came late."""
    worst = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(BEAT)
        worst = max(worst, time.perf_counter() - before - BEAT)
    return worst * 1000


async def measured(work: Callable[[], Any]) -> Start:
    """Run some work beside a heart."""
    stop = asyncio.Event()
    heart = asyncio.create_task(longest_pause(stop))
    await asyncio.sleep(2 * BEAT)
    before = time.process_time()
    await work()
    cpu = time.process_time() - before
    stop.set()
    return Start(cpu, await heart)


async def start(path: Path, task_ids: Sequence[int], contexts: Sequence[Any] | None) -> Start:
    """Take IDs in, until they are on the disk."""
    async with ledger_of(path) as ledger:

        async def take_in() -> None:
            for at in range(0, len(task_ids), CHUNK):
                ledger.hold(task_ids[at : at + CHUNK], contexts and contexts[at : at + CHUNK])
                await asyncio.sleep(0)
            await ledger.written()

        return await measured(take_in)


async def deliver(path: Path, ids: int) -> float:
    """Return the microseconds of CPU of an ID that is taken in, and has its end, at full speed."""
    async with ledger_of(path) as ledger:
        before = time.process_time()
        for task_id in range(FIRST_ID, FIRST_ID + ids):
            ledger.hold((task_id,))
            if task_id % 10 == 0:
                await asyncio.sleep(0)
            ledger.done(task_id)
        await ledger.written()
        return (time.process_time() - before) / ids * 1e6


async def submit(path: Path, submissions: int) -> tuple[float, float]:
    """Return the microseconds of CPU, and of time, of a submission; some are sent beside each other."""
    async with ledger_of(path) as ledger:
        left = iter(range(FIRST_ID, FIRST_ID + submissions))

        async def submitter() -> None:
            for task_id in left:
                ledger.made(await ledger.intend(Submission("IMAGINE", "a cat"), {"chat": task_id}), task_id)
                ledger.settle(task_id)

        cpu, clock = time.process_time(), time.perf_counter()
        await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
        await ledger.written()
        return (time.process_time() - cpu) / submissions * 1e6, (time.perf_counter() - clock) / submissions * 1e6


async def resume(path: Path) -> Start:
    """Take up all that is there."""
    async with ledger_of(path) as ledger:

        async def take_up() -> None:
            async for task_ids, _ in ledger.resume():
                assert task_ids

        return await measured(take_up)


def run(*, short: bool) -> Report:
    """Measure. A short pass has no bounds: so few IDs say nothing."""
    many, rounds = (2_000, 2) if short else (100_000, 7)
    task_ids = list(range(FIRST_ID, FIRST_ID + many))
    contexts = [{"chat": task_id, "message": 7 * task_id} for task_id in task_ids]
    bare: list[float] = []
    plain: list[Start] = []
    full: list[Start] = []
    resumed: list[Start] = []
    delivered: list[float] = []
    submitted: list[tuple[float, float]] = []
    with TemporaryDirectory() as place:
        for number in range(rounds):
            path = Path(place, f"{number}.journal")
            bare.append(asyncio.run(start_watches(many)))
            plain.append(asyncio.run(start(path.with_suffix(".plain"), task_ids, None)))
            full.append(asyncio.run(start(path, task_ids, contexts)))
            resumed.append(asyncio.run(resume(path)))
            delivered.append(asyncio.run(deliver(path.with_suffix(".delivered"), many)))
            submitted.append(asyncio.run(submit(path.with_suffix(".submitted"), many // 50)))
    added = {
        "start": 1 + ratio([one.cpu for one in plain], bare),
        "start with contexts": 1 + ratio([one.cpu for one in full], bare),
    }
    pause = statistics.median(one.pause for one in (*plain, *full, *resumed))
    figures = {
        f"start of {many:,}, of one without a journal": Bound("", added["start"], BOUNDS["start"]),
        "the same, with contexts": Bound("", added["start with contexts"], BOUNDS["start with contexts"]),
        "longest pause of the loop": Bound("", pause, BOUNDS["pause"], " ms"),
        "CPU of a delivered ID": Bound("", statistics.median(delivered), BOUNDS["a delivered ID"], " µs"),
    }
    return Report(
        head=(f"journal of {many:,} IDs", "measured: median (quartiles)"),
        rows=[
            ("start without a journal, ms of CPU", spread([1000 * value for value in bare])),
            ("what a journal adds, ms of CPU", spread([1000 * one.cpu for one in plain])),
            ("the same, with contexts", spread([1000 * one.cpu for one in full])),
            ("longest pause of the loop meanwhile, ms", spread([one.pause for one in plain])),
            ("the same, with contexts", spread([one.pause for one in full])),
            ("resume with contexts, ms of CPU", spread([1000 * one.cpu for one in resumed])),
            ("longest pause of the loop meanwhile, ms", spread([one.pause for one in resumed])),
            ("an ID taken in and delivered, µs of CPU", spread(delivered, 2)),
            (f"a submission, {SUBMITTERS} beside each other, µs of CPU", spread([cpu for cpu, _ in submitted])),
            ("the same, µs of time", spread([clock for _, clock in submitted])),
        ],
        bounds=[] if short else [bound._replace(name=name, room=0.3) for name, bound in figures.items()],
        bars=[
            ("omgmj, start without a journal", 1000 * statistics.median(bare)),
            ("omgmj, what a journal adds", 1000 * statistics.median(one.cpu for one in plain)),
            ("omgmj, with contexts", 1000 * statistics.median(one.cpu for one in full)),
        ],
        unit=f"ms of CPU, start of {many:,} IDs",
        short=[(name, f"{round(bound.value, 2):g}{bound.unit}") for name, bound in figures.items()],
    )
