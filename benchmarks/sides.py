"""What `compare` measures of one tree, in a process of its own: CPU, and counts in virtual time.

It runs against old commits too, so it uses what all have: public names of `omgmj` and `omgmj.testing`. Answers are
recorded from the fake service first and then replayed, so that only the client's CPU is measured; over loopback the
server is another process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp
import looptime

import omgmj
from benchmarks.lives import BASES, KIND, POOL, Run, draw_run, shapes
from benchmarks.server import SAMPLE, serving
from omgmj.testing import EPOCH, FakeService, Life

FIRST_ID = 1_000_000
SAMPLE_ID = 20
POLLS = 12
"""So many polls find a replayed task running, the next one finds it done."""


class Recorder:
    """A transport that keeps the last answer of another."""

    limit = None

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.answer: Any = None

    async def send(self, *request: Any) -> Any:
        """Send, and keep the answer."""
        self.answer = await self._transport.send(*request)
        return self.answer

    def stream(self, url: str) -> Any:
        """Download nothing."""
        raise NotImplementedError(url)

    async def aclose(self) -> None:
        """Do nothing."""


class Replay(Recorder):
    """A transport that answers at once: `running` polls of an ID find it running, the next one finds it done.

    A page of the list is that of `pages`; None refuses it.
    """

    def __init__(self, running: int = POLLS, page: str | None = None) -> None:
        super().__init__(None)
        self._running = running
        self._page = page
        self._polled: Counter[bytes] = Counter()
        self._records: list[Any] = []
        self._pages: dict[str | None, Any] = {}

    @property
    def polls(self) -> int:
        """How many queries were answered."""
        return self._polled.total()

    async def record(self) -> Replay:
        """Take the answers from a fake service."""
        for progress in (*range(1, self._running + 1), 100):
            status = "SUCCESS" if progress == 100 else "IN_PROGRESS"
            async with FakeService() as fake:
                for number in range(20):
                    fake.add_task(Life.steps([(0, status, f"{progress}%")]), task_id=FIRST_ID + number)
                recorder = Recorder(fake.transport())
                async with fake.session(transport=recorder) as session:
                    await session.query(FIRST_ID)
                    self._records.append(recorder.answer)
                    await session.page()
                    self._pages["finished" if progress == 100 else "running"] = recorder.answer
                    fake.inject("list_forbidden")
                    try:
                        await session.page()
                    except omgmj.AuthError:
                        self._pages[None] = recorder.answer
        return self

    async def send(self, *request: Any) -> Any:
        """Answer with what was recorded, for the ID that is asked for."""
        _, asked, *_ = request
        if not asked.path.endswith("/query"):
            return self._pages[self._page]
        task_id = bytes(asked.body).rpartition(b"=")[2]
        answer = self._records[min(self._polled[task_id], self._running)]
        self._polled[task_id] += 1
        return answer._replace(body=answer.body.replace(b"%d" % FIRST_ID, task_id))


class Silent(Recorder):
    """A transport that never answers."""

    async def send(self, *_: Any) -> Any:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()


def session_over(transport: Recorder, **settings: Any) -> omgmj.Session:
    """Return a session that nothing slows down."""
    return omgmj.Session("t", rate=1e6, transport=transport, **settings)


async def cpu(work: Callable[[], Awaitable[object]], times: int, workers: int = 1) -> float:
    """Return the microseconds of CPU that one of so many calls takes, by so many workers at once."""
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await work()

    gc.collect()
    before = time.process_time()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return (time.process_time() - before) / times * 1e6


async def cpu_of_polls(ids: int) -> float:
    """Return the microseconds of CPU a poll of a watch of so many IDs."""
    replay = await Replay().record()
    async with session_over(replay, backoff=omgmj.Fixed(2.0)) as session:

        async def watch() -> None:
            async for _ in session.watch(range(FIRST_ID, FIRST_ID + ids)):
                pass

        spent = await cpu(watch, 1)
    assert replay.polls == ids * (POLLS + 1), replay.polls
    return spent / replay.polls


async def cpu_of_queries(times: int) -> dict[str, float]:
    """Return the microseconds of CPU a query and a record of a page."""
    found = {}
    async with session_over(await Replay(running=0).record()) as session:
        for workers in (1, 32):
            found[f"query in memory, {workers} at once, µs"] = await cpu(
                lambda: session.query(FIRST_ID), times, workers
            )
    for page in ("finished", "running"):
        async with session_over(await Replay(running=1, page=page).record()) as session:
            found[f"decoding a {page} record, by pages of 20, µs"] = await cpu(session.page, times // 10) / 20
    with serving(SAMPLE.read_bytes()) as (url, context):

        def connect() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32, ssl=context))

        async with omgmj.Session("t", base_url=url, rate=1e6, max_in_flight=32, http=connect) as session:
            for workers in (1, 32):
                name = f"query over loopback, TLS, {workers} at once, µs"
                found[name] = await cpu(lambda: session.query(SAMPLE_ID), times // 2, workers)
    return found


async def cpu_of_start(ids: int) -> float:
    """Return the milliseconds of CPU until so many IDs are watched."""
    async with session_over(Silent(None)) as session:
        before = time.process_time()
        async with session.watch(range(FIRST_ID, FIRST_ID + ids)):
            while session.stats().watched < ids:  # noqa: ASYNC110 (nothing tells when all are in)
                await asyncio.sleep(0.02)
            return (time.process_time() - before) * 1e3


def virtual_time() -> asyncio.Runner:
    """Return a runner with a virtual clock; nothing comes from outside the loop, so time need not linger for it."""
    return asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=0))


def costs(*, short: bool) -> dict[str, float]:
    """Measure everything once."""
    polled, queries, ids = (200, 200, 5_000) if short else (3_000, 3_000, 100_000)
    with virtual_time() as runner:
        found = {f"poll of a watch of {polled:,}, µs": runner.run(cpu_of_polls(polled))}
    found |= asyncio.run(cpu_of_queries(queries))
    return found | {f"start of {ids:,} watches, ms": asyncio.run(cpu_of_start(ids))}


async def count(run: Run | None, *, outage: float = 0.0, tasks: int = 0, **service: Any) -> dict[str, float]:
    """Watch the tasks of a run, each from its start, or so many that the fake service draws; count what that takes."""
    async with FakeService(tasks=tasks, seed=1, **service) as fake, fake.session() as session:
        fake.outage(outage)

        async def make() -> AsyncIterator[int]:
            for task_id in fake.task_ids:
                yield task_id
            for start, life in zip(run.starts, run.lives, strict=True) if run else ():
                await asyncio.sleep(start - fake.now)
                yield fake.add_task(life.script(), kind=KIND, pool=POOL)

        errors: list[Exception] = []
        late = [
            fake.now - (task.finished_at - EPOCH).total_seconds()
            async for task in session.watch(make(), on_error=errors.append)
            if task.finished_at
        ]
        return {
            "queries": fake.asked.total(),
            "pages": fake.pages.total(),
            "other requests": fake.requests - fake.asked.total() - fake.pages.total(),
            "errors": len(errors),
            "mean delay, s": round(statistics.mean(late), 6),
        }


def counts(*, short: bool) -> dict[str, float]:
    """Count in several worlds, each with seeds of its own."""
    tasks = 40 if short else 300
    worlds: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]] = {
        f"{base}, {shape}": partial(count, draw_run(shape, shapes(BASES[base])[shape], tasks, seed=1))
        for base in BASES
        for shape in shapes(BASES[base])
    }
    drawn = partial(count, None, tasks=tasks, lives="mix")
    worlds |= {
        "all at once": drawn,
        "others' tasks, a list that lags": partial(drawn, foreign_share=0.7, list_lag=5.0),
        "a limit of 3 a second": partial(drawn, rate=3.0, burst=3, retry_after=2),
        "one request in ten fails": partial(drawn, faults=dict.fromkeys(("html_502", "silence", "cut_short"), 0.03)),
        "an outage of three minutes": partial(drawn, outage=180.0),
        "slow answers": partial(drawn, latency=0.8),
    }
    found: dict[str, float] = {}
    logging.getLogger("omgmj").setLevel(logging.ERROR)  # These worlds give cause for warnings.
    for name, world in worlds.items():
        random.seed(name)
        with virtual_time() as runner:
            found |= {f"{name}: {what}": figure for what, figure in runner.run(world()).items()}
    return found
