"""The service make-believe in a process of its own, at one address for several accounts, with a log of its requests.

Each worker has a token of its own for an account, so that the log can tell who sent what. No token stands in it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from omgmj.testing import Lives
from omgmj.testing.http_server import Act, HttpServer
from omgmj.testing.service.simulator import Reply, Simulator

FIRST_ID = 1_000_000
"""IDs as an account has them after a while: of more than two bytes."""
ROOT = Path(__file__).parents[2]
LONGEST_LINE = 2**26


class Work(NamedTuple):
    """Tasks of each account, and how long they take: around `median` seconds, at most `longest`."""

    tasks: int
    median: float
    longest: float


class Arrival(NamedTuple):
    """A request at the service: when (Unix time), of which account, by which worker."""

    at: float
    account: str
    worker: int


def token_of(account: str, worker: int) -> str:
    """Return the token by which a worker works for an account."""
    return f"secret-{account}-{worker}"


def ids_of(tasks: int) -> range:
    """Return the IDs of the tasks of an account."""
    return range(FIRST_ID, FIRST_ID + tasks)


async def serve(work: Work, workers: int, accounts: list[str]) -> None:
    """Tell the address; at a line of input make the tasks and tell when they end; at its end tell the log."""
    began = time.time()
    epoch = datetime.fromtimestamp(began, UTC)
    simulators: dict[str, Simulator] = {}
    senders: dict[str, tuple[str, int]] = {}
    for account in accounts:
        tokens = {token_of(account, worker): (account, worker) for worker in range(workers)}
        lives = Lives(work.median, longest=work.longest)
        simulators[account] = Simulator(lives=lives, seed=12, tokens=tokens, epoch=epoch)
        senders |= {f"Bearer {token}": sender for token, sender in tokens.items()}
    log: list[Arrival] = []

    async def exchange(method: str, path: str, headers: Mapping[str, str], body: bytes, _: Act) -> Reply:
        now = time.time()
        account, worker = senders[headers["authorization"]]
        log.append(Arrival(now, account, worker))
        return simulators[account].handle(method, path, headers, body, now - began)

    server = HttpServer(exchange, lambda _: None)
    print(await server.start("127.0.0.1", 0, None), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ends: dict[str, dict[int, float]] = {}
    for account, simulator in simulators.items():
        now = time.time() - began
        ids = [simulator.add_task(now=now, task_id=task_id) for task_id in ids_of(work.tasks)]
        ends[account] = {task_id: began + now + simulator.tasks[task_id].life.moments[-1].at for task_id in ids}
    print(json.dumps(ends), flush=True)
    gc.freeze()  # To go through all tasks again and again would hold up requests, which then came at once.
    await asyncio.to_thread(sys.stdin.read)
    refused = [reason for simulator in simulators.values() for reason in simulator.refused]
    assert not refused, refused[:3]
    print(json.dumps(log))
    await server.stop()


class Service:
    """The service as it is seen from outside its process."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url: str = url
        self._process = process

    async def begin(self) -> dict[str, dict[int, float]]:
        """Make the tasks; return by account and ID when they end (Unix time)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"begin\n")
        told = json.loads(await self._process.stdout.readline())
        return {account: {int(task_id): at for task_id, at in ends.items()} for account, ends in told.items()}

    async def end(self) -> list[Arrival]:
        """End it, and return its log."""
        out, _ = await self._process.communicate(b"")
        return [Arrival(*each) for each in json.loads(out)]


@asynccontextmanager
async def serving(work: Work, workers: int, accounts: list[str]) -> AsyncIterator[Service]:
    """Run a service."""
    command = (sys.executable, "-m", "benchmarks.fleet.service", json.dumps(work), str(workers), *accounts)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe, limit=LONGEST_LINE)
    try:
        assert process.stdout is not None
        yield Service(process, (await process.stdout.readline()).decode().strip())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(Work(*json.loads(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]))
