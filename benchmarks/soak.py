"""A soak: tasks are made and watched for minutes, through two real nginx that come and go, under faults of every name.

The service runs in a process of its own, and tells each task that it makes. Here, where memory is measured, one session
with both addresses and a journal watches them all, and makes some itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

import omgmj
from benchmarks.nginx import Nginx
from benchmarks.report import Bound, Report
from omgmj.testing import FAULTS, FakeService, Fault, Lives
from omgmj.webhook import Receiver

LIMIT, BURST = 150, 30
"""Requests a second that each front lets through."""
TASKS = 5.0
"""Tasks that are made in a second."""
LIVES = Lives(12.0, tail=0.02, longest=30.0, failures=0.05)
ONCE = ("rate_limited_date", "rate_limited_huge", "rate_limited_seconds")
"""Faults that hold all for a minute, and so befall one request only; each other one befalls one in turn."""
OFF = ((0.15, 0, 0.0), (0.25, 0, 0.08), (0.45, 1, 0.08), (0.6, 1, 0.0), (0.7, 0, 0.05), (0.8, 1, 0.05))
"""When which front is stopped, and for how long, as shares of the whole; for no time: it is started anew."""
GROWTH = 0.05
"""The share by which memory may grow, at most."""


class Size(NamedTuple):
    """Seconds for which tasks are made, seconds until the memory to compare with, and between two faults."""

    seconds: float
    warm: float
    every: float


FULL, SHORT = Size(600.0, 60.0, 0.5), Size(30.0, 15.0, 0.4)


async def serve(seconds: float, every: float) -> None:
    """Serve until the standard input ends; tell the address, and the ID of each task that is made meanwhile."""
    chance = random.Random(7)
    # Its clock is right, as nginx tells its own.
    async with FakeService(lives=LIVES, seed=7, epoch=datetime.now(UTC)) as fake:
        print(await fake.serve(), flush=True)

        async def make() -> None:
            while fake.now < seconds:
                print(fake.add_task(), flush=True)
                await asyncio.sleep(1 / TASKS)
            fake.heal()
            print("end", flush=True)

        async def trouble() -> None:
            names = sorted(FAULTS.keys() - set(ONCE))
            while fake.now < seconds:
                chance.shuffle(names)
                for name in names:
                    fake.inject(name)
                    await asyncio.sleep(every)

        async def hold() -> None:
            for name in ONCE:
                await asyncio.sleep(seconds / 4)
                fake.inject(Fault(name, seconds=2))

        working = asyncio.gather(make(), trouble(), hold())
        await asyncio.to_thread(sys.stdin.read)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        print(*(one.task_id for one in fake.created), flush=True)
        print(*sorted(FAULTS.keys() - fake.injected.keys()))


class Found(NamedTuple):
    """What the soak found; `unused` are faults that befell nobody."""

    made: int
    lost: set[int]
    errors: list[str]
    growth: float
    tasks: int
    sockets: int
    unused: str


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sockets() -> int:
    """Return how many sockets this process has."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


async def stop_in_turn(fronts: list[Nginx], seconds: float) -> None:
    """Stop and start the fronts, never both at once."""
    began = asyncio.get_running_loop().time()
    for at, number, share in OFF:
        await asyncio.sleep(began + at * seconds - asyncio.get_running_loop().time())
        await fronts[number].stop()
        await asyncio.sleep(share * seconds)
        await fronts[number].start()


async def soak(size: Size, folder: Path) -> Found:
    """Watch all that is made."""
    command = (sys.executable, "-m", "benchmarks.soak", str(size.seconds), str(size.every))
    server = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[1], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    made: set[int] = set()

    async def ids() -> AsyncIterator[int]:
        assert server.stdout is not None
        while (line := (await server.stdout.readline()).strip()) != b"end":
            made.add(int(line))
            yield int(line)

    async with contextlib.AsyncExitStack() as stack:
        fronts = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            front = Nginx(url, folder / name, limit=LIMIT, burst=BURST)
            fronts.append(await stack.enter_async_context(front))
        before = (len(asyncio.all_tasks()), sockets())
        found = await watch(size, folder, fronts, ids())
        after = (len(asyncio.all_tasks()), sockets())
        made_by_calls, unused = (await end(server)).decode().splitlines()[-2:]
    created = {int(one) for one in made_by_calls.split()}
    lost = (made - found.watched) | (created - found.known)
    left = (after[0] - before[0], after[1] - before[1])
    return Found(len(made | created), lost, found.errors, found.growth, *left, unused)


class Seen(NamedTuple):
    """What one session saw."""

    watched: set[int]
    known: set[int]
    errors: list[str]
    growth: float


@contextlib.asynccontextmanager
async def callbacks(session: omgmj.Session) -> AsyncIterator[str]:
    """Take callbacks for a session, and give the URL for them."""
    receiver = Receiver(session.notify)
    runner = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield receiver.url_for(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


async def watch(size: Size, folder: Path, fronts: list[Nginx], ids: AsyncIterator[int]) -> Seen:
    """Watch what `ids` tells of, make tasks besides, and stop the fronts in turn."""
    trusting = ssl.create_default_context()
    for front in fronts:
        trusting.load_verify_locations(cadata=front.certificate.decode())
    errors: list[str] = []
    watched: set[int] = set()
    known: set[int] = set()
    async with (
        omgmj.Session(
            "t",
            base_url=[front.url for front in fronts],
            rate=100,
            journal=omgmj.SqliteJournal(folder / "journal"),
            http=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)),
        ) as session,
        callbacks(session) as webhook,
    ):

        async def make() -> None:
            for _ in range(int(size.seconds / 2)):
                with contextlib.suppress(omgmj.OmgmjError):
                    made = await session.imagine("a cat in the rain", webhook=webhook, context={"chat": 7})
                    known.add(made)
                    await session.wait(made, timeout=120)
                await asyncio.sleep(2)

        async def weigh() -> int:
            await asyncio.sleep(size.warm)
            return resident()

        others = [asyncio.ensure_future(one) for one in (make(), make(), stop_in_turn(fronts, size.seconds))]
        weighing = asyncio.ensure_future(weigh())
        async for task in session.watch(ids, on_error=lambda error: errors.append(repr(error)), timeout=600):
            watched.add(task.id)
        growth = resident() / await weighing - 1
        for one in others[:2]:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        known.update(await find(session))
        async for task in session.resume(on_error=lambda error: errors.append(repr(error)), timeout=120):
            known.add(task.id)
    return Seen(watched, known, errors, growth)


async def find(session: omgmj.Session) -> set[int]:
    """Return what may have come of submissions whose answers were lost; an odd page is read again."""
    while True:
        with contextlib.suppress(omgmj.DecodeError, omgmj.ServiceError, omgmj.TransportError):
            return {task.id for lost in await session.unsettled() for task in lost.found}
        await asyncio.sleep(0.5)


async def end(server: asyncio.subprocess.Process) -> bytes:
    """Let the service come to its end, and return what it tells then."""
    assert server.stdin is not None
    server.stdin.close()
    out, _ = await server.communicate()
    return out


def run(*, short: bool) -> Report:
    """Soak."""
    size = SHORT if short else FULL
    head = ("soak", "tasks", "lost", "errors", "memory", "left: tasks, sockets", "faults that did not happen")
    if shutil.which("nginx") is None:
        return Report(head, [("nginx is not on this machine", *[""] * 6)], [], [], "", [])
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(soak(size, Path(folder)))
    rows = [
        (
            f"{size.seconds:.0f} s",
            f"{found.made}",
            f"{len(found.lost)}",
            _few(found.errors),
            f"{found.growth:+.1%}",
            f"{found.tasks}, {found.sockets}",
            found.unused,
        )
    ]
    bounds = [
        Bound("tasks lost", len(found.lost), 0, ""),
        Bound("errors", len(found.errors), 0, ""),
        Bound("memory, growth after the first minute", 0.0 if short else found.growth, GROWTH, ""),
        Bound("asyncio tasks left", found.tasks, 0, ""),
        Bound("sockets left", max(0, found.sockets), 0, ""),
    ]
    told = [("lost in a soak", f"{len(found.lost)} of {found.made}"), ("growth of memory", f"{found.growth:.1%}")]
    return Report(head, rows, bounds, [], "", told)


def _few(errors: Iterable[str]) -> str:
    return "; ".join(sorted(set(errors))[:3]) or "none"


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), float(sys.argv[2])))
