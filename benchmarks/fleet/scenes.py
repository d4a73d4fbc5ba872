"""The scenes: workers on a real Redis wait for the tasks of accounts, something happens to them, and all is counted."""

from __future__ import annotations

import asyncio
import signal
import statistics
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from benchmarks.fleet.service import Arrival, Service, Work, serving
from benchmarks.fleet.waiters import WorkerProcess, alone, start_worker
from benchmarks.redis_server import RedisServer
from omgmj.worker import Queue

WORKERS = 2


class Setting(NamedTuple):
    """What is waited for, at how many requests a second and account, under a lease, and for how long Redis is off."""

    work: Work
    rate: float
    lease: float
    off: float


class Bytes(NamedTuple):
    """Bytes of Redis, of the streams of results and of all else."""

    results: int
    others: int


class Costs(NamedTuple):
    """Commands that Redis processed, in scripts too, and what stood in it while all IDs were pending and after."""

    commands: int
    pending: Bytes
    done: Bytes


class Outcome(NamedTuple):
    """What came of a scene; `most` is of requests of an account in any second, as a share of the rate.

    `delays` are seconds from the ends at the service to the results in the stream, by account. `after_pause` are the
    requests of a worker that was stopped, from when it went on.
    """

    tasks: int
    lost: int
    twice: int
    read_otherwise: int
    delays: Mapping[str, Sequence[float]]
    requests: float
    most: float
    costs: Costs | None = None
    after_pause: int = 0

    @property
    def delay(self) -> float:
        """The delay's median."""
        return statistics.median(self.all_delays)

    @property
    def longest(self) -> float:
        """The longest delay."""
        return max(self.all_delays)

    @property
    def all_delays(self) -> list[float]:
        """The delays of all accounts; for ever where nothing came."""
        return [delay for delays in self.delays.values() for delay in delays] or [float("inf")]


class Scene:
    """A service, a Redis, and workers that come and go."""

    def __init__(
        self, setting: Setting, service: Service, redis: RedisServer, folder: Path, accounts: list[str]
    ) -> None:
        self.setting: Setting = setting
        self.redis: RedisServer = redis
        self.workers: list[WorkerProcess] = []
        self.paused: tuple[int, float] | None = None
        """Which worker was stopped for a while, and when it went on (Unix time)."""
        self._service = service
        self._folder = folder
        self._accounts = accounts
        self._began = 0.0

    async def join(self) -> None:
        """Have one more worker work."""
        number = len(self.workers)
        self.workers.append(
            await start_worker(
                self.redis.url,
                self._service.url,
                rate=self.setting.rate,
                lease=self.setting.lease,
                number=number,
                accounts=self._accounts,
                told=self._folder / "said",
            )
        )
        await self.workers[-1].stands()

    async def begin(self) -> dict[str, dict[int, float]]:
        """Make the tasks; return when they end."""
        ends = await self._service.begin()
        self._began = time.monotonic()
        return ends

    async def reach(self, share: float) -> None:
        """Wait until so many times the median life has passed since the tasks were made."""
        await asyncio.sleep(self._began + share * self.setting.work.median - time.monotonic())

    async def leader(self, account: str) -> WorkerProcess:
        """Wait until a worker leads an account, and return it."""
        while True:
            for worker in self.workers:
                if account in worker.leads:
                    return worker
            await asyncio.sleep(0.05)

    async def share(self) -> None:
        """Wait until no worker leads all accounts."""
        while any(len(worker.leads) == len(self._accounts) for worker in self.workers):  # noqa: ASYNC110 (by processes)
            await asyncio.sleep(0.05)

    async def end_workers(self) -> None:
        """Terminate them all."""
        await asyncio.gather(*(worker.end() for worker in self.workers))


Trouble = Callable[[Scene], Coroutine[Any, Any, None]]


# What happens to them.


async def kill(scene: Scene) -> None:
    """Kill the leader in the middle."""
    await scene.reach(1.0)
    (await scene.leader("first")).send(signal.SIGKILL)


async def redis_off(scene: Scene) -> None:
    """Stop Redis for some seconds, and kill the leader later."""
    await scene.reach(0.7)
    await scene.redis.stop()
    await asyncio.sleep(scene.setting.off)
    await scene.redis.start()
    await scene.reach(1.2)
    (await scene.leader("first")).send(signal.SIGKILL)


async def pause(scene: Scene) -> None:
    """Stop the leader for one lease and a half."""
    await scene.reach(0.7)
    leader = await scene.leader("first")
    leader.send(signal.SIGSTOP)
    await asyncio.sleep(1.5 * scene.setting.lease)
    scene.paused = leader.number, time.time()
    leader.send(signal.SIGCONT)


async def terminate(scene: Scene) -> None:
    """Ask the leader to end."""
    await scene.reach(0.7)
    (await scene.leader("first")).send(signal.SIGTERM)


async def join(scene: Scene) -> None:
    """Have one more worker work."""
    await scene.reach(0.7)
    await scene.join()


async def kill_one_of_two(scene: Scene) -> None:
    """Kill one of two workers, each of which leads an account."""
    await scene.share()
    await kill(scene)


# How it is counted.


async def play(
    setting: Setting,
    trouble: Trouble,
    *,
    accounts: Sequence[str] = ("first",),
    workers: int = WORKERS,
    costs: bool = False,
) -> Outcome:
    """Play a scene; `costs` are counted where Redis stays."""
    async with stage(setting, list(accounts), workers) as (scene, service):
        redis: Any = Redis.from_url(scene.redis.url)
        before = await _commands(redis) if costs else 0
        ends = await scene.begin()
        read: Counter[tuple[str, int]] = Counter()
        async with AsyncExitStack() as stack:
            batches = {}
            for account in accounts:
                queue = await stack.enter_async_context(Queue(scene.redis.url, account=account))
                batches[account] = await queue.watch(list(ends[account]), batch="all")

            async def read_all(account: str) -> None:
                async for result in batches[account].results():
                    read[account, result.task_id] += result.task is not None

            # What is measured while all is pending is not counted.
            pending, measured = Bytes(0, 0), 0
            if costs:
                measured = -await _commands(redis)
                pending = await _weigh(redis)
                measured += await _commands(redis)
            troubling = asyncio.create_task(trouble(scene))
            patience = setting.work.longest + 4 * setting.lease + 60
            async with asyncio.timeout(patience):
                await asyncio.gather(*map(read_all, accounts))
            await troubling
            if scene.paused:
                # So that it has time to send what it should not.
                await asyncio.sleep(scene.paused[1] + 3 - time.time())
        spent = Costs(await _commands(redis) - before - measured, pending, await _weigh(redis)) if costs else None
        streams = {account: await redis.xrange(f"{{omgmj:{account}}}:b:r:all") for account in accounts}
        await redis.aclose()
        await scene.end_workers()
        log = await service.end()
    times: Counter[tuple[str, int]] = Counter()
    delays: dict[str, list[float]] = {account: [] for account in accounts}
    for account, stream in streams.items():
        for key, fields in stream:
            task_id = int(fields[b"i"])
            times[account, task_id] += 1
            delays[account].append(int(key.partition(b"-")[0]) / 1000 - ends[account][task_id])
    return Outcome(
        tasks := setting.work.tasks * len(accounts),
        lost=tasks - len(times),
        twice=sum(many > 1 for many in times.values()),
        read_otherwise=tasks - sum(many == 1 for many in read.values()),
        delays=delays,
        requests=len(log) / tasks,
        most=max(most(log, account) for account in accounts) / setting.rate,
        costs=spent,
        after_pause=sum((each.worker, True) == (scene.paused[0], each.at > scene.paused[1]) for each in log)
        if scene.paused
        else 0,
    )


@asynccontextmanager
async def stage(setting: Setting, accounts: list[str], workers: int) -> AsyncIterator[tuple[Scene, Service]]:
    """Have all there before a scene begins: each account is led."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = await stack.enter_async_context(serving(setting.work, WORKERS, accounts))
        redis = await stack.enter_async_context(RedisServer(folder))
        scene = Scene(setting, service, redis, folder, accounts)
        stack.push_async_callback(scene.end_workers)
        for _ in range(workers):
            await scene.join()
        for account in accounts:
            await scene.leader(account)
        yield scene, service


async def play_alone(setting: Setting) -> Outcome:
    """Have one process wait, without a queue."""
    work = setting.work
    async with serving(work, 1, ["first"]) as service, alone(service.url, setting.rate, work.tasks, "first") as process:
        ends = (await service.begin())["first"]
        seen = await process.wait()
        log = await service.end()
    times = Counter(task_id for task_id, _ in seen)
    return Outcome(
        work.tasks,
        lost=work.tasks - len(times),
        twice=sum(many > 1 for many in times.values()),
        read_otherwise=0,
        delays={"first": [at - ends[task_id] for task_id, at in seen]},
        requests=len(log) / work.tasks,
        most=most(log, "first") / setting.rate,
    )


def most(log: Sequence[Arrival], account: str) -> int:
    """Return the most requests of an account in any second."""
    times = sorted(each.at for each in log if each.account == account)
    return max((bisect_left(times, at + 1) - first for first, at in enumerate(times)), default=0)


async def _commands(redis: Any) -> int:
    return int((await redis.info("stats"))["total_commands_processed"])


async def _weigh(redis: Any) -> Bytes:
    results = others = 0
    async for key in redis.scan_iter(count=1000):
        size = await redis.memory_usage(key, samples=0) or 0
        if b":b:r:" in key:
            results += size
        else:
            others += size
    return Bytes(results, others)
