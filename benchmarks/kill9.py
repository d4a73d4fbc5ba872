"""What a journal keeps when the process is killed: `kill -9` at random moments, over real HTTP and in real time.

The service runs here, the watcher in a process of its own, which begins anew on the same journal after each kill. What
reached its consumer stands in a file, written before it comes back for more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import omgmj
from benchmarks.report import Bound, Report
from omgmj.testing import FakeService, Life, Lives

A_SECOND = 100
"""Tasks that end in a second."""
UNKNOWN = 20
"""IDs among them that the service does not know."""
SUBMITTERS = 8
TWICE = 0.02
"""The share of tasks that may be delivered twice, at most."""
SEED = 9
PATIENCE = 120.0
"""Seconds that the last process may take."""


class Size(NamedTuple):
    """How many tasks are watched, and how often the watcher and the submitter are killed."""

    tasks: int
    kills: int
    submitter_kills: int


FULL, SHORT = Size(5000, 20, 10), Size(500, 3, 3)


# What is killed.


async def watch(url: str, journal: Path, delivered: Path, ids: range) -> None:
    """Watch all that the journal holds, at the first start `ids`; tell each delivery before coming back for more."""
    is_new = not os.path.exists(journal)  # noqa: ASYNC240, PTH110 (before anything else runs)
    with delivered.open("ab", buffering=0) as told:
        async with omgmj.Session(
            "t", base_url=url, rate=500, max_in_flight=32, journal=omgmj.SqliteJournal(journal)
        ) as session:
            on_error = lambda error: told.write(b"! %d\n" % (error.task_id or 0))  # noqa: E731
            results = session.watch(ids, on_error=on_error) if is_new else session.resume(on_error=on_error)
            async for task in results:
                told.write(b"%d\n" % task.id)


async def submit(url: str, journal: Path) -> None:
    """Make tasks, several at once, until killed."""
    async with omgmj.Session("t", base_url=url, rate=200, journal=omgmj.SqliteJournal(journal)) as session:

        async def one(number: int) -> None:
            while True:
                await session.imagine(f"{os.getpid()} {number} {random.random()}", context={"chat": number})

        await asyncio.gather(*map(one, range(SUBMITTERS)))


# What kills it.


@contextlib.asynccontextmanager
async def child(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run this file's other side in a process."""
    command = (sys.executable, "-m", "benchmarks.kill9", *map(str, arguments))
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[1])
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def read(delivered: Path) -> Counter[int]:
    """How often each task was delivered so far; what was said of IDs without a task is left out."""
    lines = delivered.read_text(encoding="ascii").splitlines()
    return Counter(int(line) for line in lines if line[0] != "!")


async def kill_watcher(size: Size, folder: Path) -> Counter[int]:
    """Kill the watcher again and again while tasks end; return how often each was delivered."""
    chance = random.Random(SEED)
    journal, delivered = folder / "watch.db", folder / "delivered"
    delivered.touch()
    async with FakeService() as fake:
        url = await fake.serve()
        lasts = size.tasks / A_SECOND
        for number in range(size.tasks):
            fake.add_task(Life.succeed(2 + lasts * chance.random()), task_id=1000 + number)
        # One outlives all kills: however late a process begins, it still watches when it is killed.
        last = fake.add_task(Life.succeed(10 * PATIENCE), task_id=1000 + size.tasks)
        ids = range(1000, last + 1 + UNKNOWN)
        moments = sorted(1 + (lasts + 1) * chance.random() for _ in range(size.kills))
        for moment in moments:
            async with child("watch", url, journal, delivered, ids.start, ids.stop) as process:
                await asyncio.sleep(max(0.5, moment - fake.now))
                process.send_signal(signal.SIGKILL)
        async with child("watch", url, journal, delivered, ids.start, ids.stop):
            async with asyncio.timeout(PATIENCE):
                while len(read(delivered)) < size.tasks:  # noqa: ASYNC110 (a file)
                    await asyncio.sleep(0.2)
            await asyncio.sleep(0.5)
    return read(delivered)


async def kill_submitter(size: Size, folder: Path) -> tuple[int, int]:
    """Kill who makes tasks between send and answer; return how many were made, and how many nobody knows of."""
    chance = random.Random(SEED)
    journal = folder / "submit.db"
    async with FakeService(latency=0.1, lives=Lives(3600.0, longest=7200.0)) as fake:
        url = await fake.serve()
        for _ in range(size.submitter_kills):
            async with child("submit", url, journal) as process:
                before = len(fake.created)
                while len(fake.created) == before:  # noqa: ASYNC110 (nothing tells of each)
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2 + 0.5 * chance.random())
                process.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.3)
        made = {one.task_id for one in fake.created}
        async with omgmj.Session("t", base_url=url, journal=omgmj.SqliteJournal(journal)) as session:
            known = {task.id for lost in await session.unsettled() for task in lost.found}
            async with session.resume() as results:
                await asyncio.sleep(1)
                known.update(results.pending)
    return len(made), len(made - known)


def run(*, short: bool) -> Report:
    """Kill both."""
    size = SHORT if short else FULL
    with tempfile.TemporaryDirectory() as folder:
        delivered = asyncio.run(kill_watcher(size, Path(folder)))
        made, unknown = asyncio.run(kill_submitter(size, Path(folder)))
    times = Counter(delivered.values())
    missing = size.tasks - len(delivered)
    often = sum(count for often, count in times.items() if often > 2)
    rows = [
        ("watcher", f"{size.tasks}", f"{size.kills}", f"{missing}", f"{times[2]}", f"{often}"),
        ("submitter", f"{made}", f"{size.submitter_kills}", f"{unknown}", "", ""),
    ]
    bounds = [
        Bound("tasks that never reached their consumer", missing, 0, " tasks"),
        Bound("tasks that came more than twice", often, 0, " tasks"),
        Bound("tasks that came twice", times[2] / size.tasks, TWICE if not short else 1.0, ""),
        Bound("tasks that were made and nobody knows of", unknown, 0, " tasks"),
    ]
    told = [("tasks delivered twice", f"{times[2] / size.tasks:.2%}"), ("tasks lost", f"{missing + unknown}")]
    return Report(("killed with -9", "tasks", "kills", "lost", "twice", "more often"), rows, bounds, [], "tasks", told)


if __name__ == "__main__":
    what, base_url, file, *rest = sys.argv[1:]
    if what == "watch":
        asyncio.run(watch(base_url, Path(file), Path(rest[0]), range(int(rest[1]), int(rest[2]))))
    else:
        asyncio.run(submit(base_url, Path(file)))
