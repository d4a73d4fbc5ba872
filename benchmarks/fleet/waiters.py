"""Who waits, each in a process of its own: a worker, or one process alone without a queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import omgmj
from benchmarks.fleet.service import ROOT, ids_of, token_of
from omgmj.worker import Standing, Worker

PIPE = asyncio.subprocess.PIPE


async def work(redis: str, url: str, rate: float, lease: float, number: int, accounts: list[str]) -> None:
    """Work until terminated; tell each change of standing."""

    def tell(standing: Standing) -> None:
        print(json.dumps((standing.account, standing.leads)), flush=True)

    tokens = {account: token_of(account, number) for account in accounts}
    worker = Worker(redis, tokens, base_url=url, rate=rate, lease=lease, on_change=tell)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


async def wait_alone(url: str, rate: float, tasks: int, account: str) -> None:
    """Watch all tasks from the first line of the input on; tell each that comes, and when."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with omgmj.Session(token_of(account, 0), base_url=url, rate=rate, outage=None) as session:
        seen = [(task.id, time.time()) async for task in session.watch(ids_of(tasks))]
    print(json.dumps(seen))


class WorkerProcess:
    """A worker as it is seen from outside its process."""

    def __init__(self, process: asyncio.subprocess.Process, number: int) -> None:
        self.number: int = number
        self.leads: set[str] = set()
        """The accounts that it says it leads."""
        self._process = process
        self._stands = asyncio.Event()
        self._hearing = asyncio.create_task(self._hear())

    async def stands(self) -> None:
        """Wait until it has begun to work."""
        await self._stands.wait()
        assert self._process.returncode is None, "a worker ended as it began"

    def send(self, what: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(what)

    async def end(self) -> None:
        """Terminate it where it still runs, and wait for its end."""
        if self._process.returncode is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._hearing

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            account, leads = json.loads(line)
            (self.leads.add if leads else self.leads.discard)(account)
            self._stands.set()
        self.leads.clear()
        self._stands.set()


async def start_worker(
    redis: str, url: str, *, rate: float, lease: float, number: int, accounts: list[str], told: Path
) -> WorkerProcess:
    """Start a worker; what it says of itself goes into the file `told`."""
    arguments = (redis, url, json.dumps((rate, lease, number, accounts)))
    command = (sys.executable, "-m", "benchmarks.fleet.waiters", "work", *arguments)
    with told.open("ab") as file:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=file)
    return WorkerProcess(process, number)


class Alone:
    """The process that waits alone as it is seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> list[tuple[int, float]]:
        """Have it watch now; return the IDs that came, and when (Unix time)."""
        out, _ = await self._process.communicate(b"go\n")
        return [(task_id, at) for task_id, at in json.loads(out)]


@asynccontextmanager
async def alone(url: str, rate: float, tasks: int, account: str) -> AsyncIterator[Alone]:
    """Start a process that waits alone."""
    command = (sys.executable, "-m", "benchmarks.fleet.waiters", "alone", url, json.dumps((rate, tasks, account)))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield Alone(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        asyncio.run(work(sys.argv[2], sys.argv[3], *json.loads(sys.argv[4])))
    else:
        asyncio.run(wait_alone(sys.argv[2], *json.loads(sys.argv[3])))
