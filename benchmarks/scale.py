"""Many watched IDs: bytes of state an ID, the time to start, loop lag, and what a poll costs as their number grows.

Nothing here goes over a network: the transport answers in memory at once, or never, so that what is measured is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

import attrs

import omgmj
from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.server import running_record
from omgmj.backoff import Facts
from omgmj.client.secrets import Secret
from omgmj.client.transport import Stream
from omgmj.protocol.messages import Answer, Passage, Request

FIRST_ID = 1_000_000
POLLS_A_SECOND = 2000
PLACES = 64
BEAT = 0.01
BOUNDS = {"bytes": 400.0, "bytes with record": 1400.0, "start": 0.25, "p99.9": 5.0, "worst": 40.0, "growth": 1.3}
_MARK, _PERCENT = 7_777_777, "55%"


@attrs.frozen
class Steady:
    """A policy that spreads the polls of all IDs evenly: one each `seconds`, the first of them by chance."""

    seconds: float

    def __call__(self, facts: Facts, roll: float, /) -> float:
        """Return the seconds until the next poll."""
        return self.seconds * (roll if facts.attempt == 1 else 1.0)


class Answering:
    """A transport that answers at once: a running record of the ID, its progress higher from time to time."""

    limit = None

    def __init__(self) -> None:
        self.sent = 0
        self._began = time.monotonic()
        self._parts = running_record(_MARK, _PERCENT, "look 1234567").split(str(_MARK).encode())

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:  # noqa: ARG002 (a transport)
        """Answer. No record is that of the poll before to the letter, so that each is decoded."""
        self.sent += 1
        percent = min(99, int((time.monotonic() - self._began) / 5))
        task_id = request.body.rpartition(b"=")[2]
        text = task_id.join(self._parts).replace(b"55%", b"%d%%" % percent).replace(b"1234567", b"%d" % self.sent)
        return Answer(200, {}, bytes(text))

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """Download nothing."""
        raise NotImplementedError(url)

    async def aclose(self) -> None:
        """Do nothing."""


class Silent(Answering):
    """A transport that never answers."""

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:  # noqa: ARG002 (a transport)
        """Wait for ever."""
        never: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return await never


@contextlib.asynccontextmanager
async def watching(transport: Answering, ids: int, rate: float, policy: omgmj.Policy) -> AsyncIterator[omgmj.Session]:
    """Watch so many IDs: when this is entered, all have been taken in."""
    async with (
        omgmj.Session("t", rate=rate, max_in_flight=PLACES, transport=transport, backoff=policy) as session,
        session.watch(range(FIRST_ID, FIRST_ID + ids), timeout=3600),
    ):
        while session.stats().watched < ids:  # noqa: ASYNC110 (nothing tells when all are in)
            await asyncio.sleep(0.05)  # `stats` counts all that is overdue: who asks each turn measures that.
        yield session


class State(NamedTuple):
    """Bytes an ID, and those of them that each file allocated."""

    total: float
    files: dict[str, float]


async def state(ids: int, *, polled: bool) -> State:
    """Measure what is held for so many watched IDs, before any answer or when each was polled once."""
    transport = Answering() if polled else Silent()
    gc.collect()
    tracemalloc.start()
    try:
        async with watching(transport, ids, 1e6, omgmj.Fixed(3600)):
            while polled and transport.sent < ids:  # noqa: ASYNC110 (nothing tells of each poll)
                await asyncio.sleep(0.01)
            gc.collect()
            snapshot = tracemalloc.take_snapshot()
            total = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    files = {
        Path(entry.traceback[0].filename).name: entry.size / ids
        for entry in snapshot.statistics("filename")
        if entry.size / ids >= 5
    }
    return State(total / ids, files)


async def start_watches(ids: int) -> float:
    """Return the seconds of CPU until so many IDs are watched."""
    before = time.process_time()
    async with watching(Silent(), ids, 1e6, omgmj.Fixed()):
        return time.process_time() - before


@contextlib.asynccontextmanager
async def task_each(ids: int) -> AsyncIterator[None]:
    """Wait for so many IDs as people write it: an asyncio task each, with a loop that asks and sleeps two seconds."""
    transport, places, token = Silent(), asyncio.Semaphore(PLACES), Secret("t")

    async def poll(task_id: int) -> object:
        request = Request("POST", "/", b"taskId=%d" % task_id, idempotent=True)
        async with asyncio.timeout(3600):
            while True:
                async with places:
                    record = json.loads((await transport.send("", request, token)).body)["data"]
                if record["status"] in {"SUCCESS", "FAILURE"}:
                    return record
                await asyncio.sleep(2)

    tasks = [asyncio.create_task(poll(task_id)) for task_id in range(FIRST_ID, FIRST_ID + ids)]
    await asyncio.sleep(0)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def state_of_tasks(ids: int) -> float:
    """Return how many bytes an ID that takes."""
    gc.collect()
    tracemalloc.start()
    try:
        async with task_each(ids):
            return tracemalloc.get_traced_memory()[0] / ids
    finally:
        tracemalloc.stop()


async def start_tasks(ids: int) -> float:
    """Return the seconds of CPU until they all wait."""
    before = time.process_time()
    async with task_each(ids):
        return time.process_time() - before


async def beat(seconds: float) -> list[float]:
    """Return by how many milliseconds each beat of a heart came late, in order of size."""
    loop = asyncio.get_running_loop()
    late = []
    until = loop.time() + seconds
    while (before := loop.time()) < until:
        await asyncio.sleep(BEAT)
        late.append((loop.time() - before - BEAT) * 1000)
    return sorted(late)


class Pulse(NamedTuple):
    """Milliseconds of lag: one beat in a thousand is later than `rare`. Microseconds of CPU a poll."""

    rare: float
    worst: float
    cpu: float


async def poll_steadily(ids: int, seconds: float) -> Pulse:
    """Watch so many IDs at a steady rate of polls, and collect all garbage once."""
    transport = Answering()
    async with watching(transport, ids, POLLS_A_SECOND, Steady(ids / POLLS_A_SECOND)):
        heart = asyncio.create_task(beat(seconds))
        cpu, sent = time.process_time(), transport.sent
        await asyncio.sleep(seconds / 2)
        gc.collect()
        late = await heart
        cpu, sent = time.process_time() - cpu, transport.sent - sent
    assert sent >= 0.75 * POLLS_A_SECOND * seconds, f"{sent / seconds:.0f} polls a second only"
    return Pulse(_rare(late), late[-1], cpu / sent * 1e6)


def _rare(late: list[float]) -> float:
    return late[len(late) * 999 // 1000]


async def idle(seconds: float, *, collect: bool) -> list[float]:
    """Return the lag of a loop that does nothing; with `collect` the bare interpreter's garbage is collected once."""
    heart = asyncio.create_task(beat(seconds))
    await asyncio.sleep(seconds / 2)
    if collect:
        gc.collect()
    return await heart


def _burn(turns: int) -> int:
    value = 0
    for number in range(turns):
        value += number * number % 7
    return value


async def spin(seconds: float, cpu: float) -> list[float]:
    """Return the lag of a loop that burns `cpu` microseconds as often as we poll, in plain arithmetic."""
    loop = asyncio.get_running_loop()
    before = time.process_time()
    _burn(1_000_000)
    turns = round(cpu / (time.process_time() - before))  # Microseconds over the seconds of a million turns.
    heart = asyncio.create_task(beat(seconds))
    due, until = loop.time(), loop.time() + seconds
    while loop.time() < until:
        due += 1 / POLLS_A_SECOND
        await asyncio.sleep(max(0.0, due - loop.time()))
        _burn(turns)
    return await heart


def beside(seconds: float, cpu: float) -> tuple[list[float], list[float]]:
    """Return the lag of a loop that does nothing, and of one that burns as much CPU as ours."""
    return asyncio.run(idle(seconds, collect=False)), asyncio.run(spin(seconds, cpu))


def run(*, short: bool) -> Report:
    """Measure. A short pass is held to the bytes only: the rest says nothing in so little time."""
    many, few, seconds, rounds = (5_000, 500, 2.0, 2) if short else (100_000, 1_000, 60.0, 5)
    asyncio.run(state(10, polled=True))  # So that what is imported late, and made once, is there already.
    bare = asyncio.run(state(many, polled=False))
    full = asyncio.run(state(many, polled=True))
    each = asyncio.run(state_of_tasks(many))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(asyncio.run(start_watches(many)))
        theirs.append(asyncio.run(start_tasks(many)))
    # What a collection costs without us is no lag of ours.
    worst = asyncio.run(idle(1.0, collect=True))[-1]
    before = asyncio.run(poll_steadily(few, seconds / 6))
    earlier = beside(seconds / 2, before.cpu)
    pulse = asyncio.run(poll_steadily(many, seconds))
    later = beside(seconds / 2, before.cpu)
    still, busy = (_rare(sorted(one + other)) for one, other in zip(earlier, later, strict=True))
    after = asyncio.run(poll_steadily(few, seconds / 6))
    base = statistics.mean((before.cpu, after.cpu))
    files = ", ".join(f"{name} {size:.0f}" for name, size in full.files.items())
    room = 0.1 if short else 0.0
    bounds = [
        Bound("bytes an ID, waiter included", bare.total, BOUNDS["bytes"], " B", room=room),
        Bound("with its last record", full.total, BOUNDS["bytes with record"], " B", room=room),
    ]
    if not short:
        bounds += [
            Bound("start against an asyncio task an ID", ratio(ours, theirs), BOUNDS["start"], room=0.3),
            Bound("loop lag over the idle loop's, p99.9", pulse.rare - still, BOUNDS["p99.9"], " ms", room=1.0),
            Bound("the same, worst", pulse.worst - worst, BOUNDS["worst"], " ms", room=1.0),
            Bound(f"CPU a poll at {many:,} IDs against {few:,}", pulse.cpu / base, BOUNDS["growth"], room=0.2),
        ]
    return Report(
        head=(f"{many:,} watched IDs", "measured"),
        rows=[
            ("bytes an ID, before any answer", f"{bare.total:.0f}"),
            ("bytes an ID, each polled once, its record kept", f"{full.total:.0f} ({files})"),
            ("bytes of an asyncio task each, before any answer", f"{each:.0f}"),
            ("start, ms of CPU", spread([1000 * value for value in ours])),
            ("start of an asyncio task each, ms of CPU", spread([1000 * value for value in theirs])),
            (f"lag at {POLLS_A_SECOND:,} polls a second, ms: p99.9; worst", f"{pulse.rare:.1f}; {pulse.worst:.1f}"),
            ("lag of the idle loop, ms: p99.9; worst, of a collection", f"{still:.1f}; {worst:.1f}"),
            ("lag of a loop that burns as much CPU, ms: p99.9", f"{busy:.1f}"),
            (f"CPU a poll, µs; at {few:,} IDs before; after", f"{pulse.cpu:.0f}; {before.cpu:.0f}; {after.cpu:.0f}"),
        ],
        bounds=bounds,
        bars=[
            ("an asyncio task each, before any answer", each),
            ("omgmj, before any answer", bare.total),
            ("omgmj, its record kept", full.total),
        ],
        unit=f"bytes an ID, at {many:,} watched IDs",
        headline=(
            "memory of a task that is waited for",
            f"{bare.total:.0f} bytes",
            f"{each:.0f} bytes (an asyncio task each)",
        ),
        short=[
            (f"memory of a watched ID, of an asyncio task each, at {many:,}", f"{bare.total / each:.2f}x"),
            (f"CPU of starting {many:,} watches, of an asyncio task each", f"{ratio(ours, theirs):.2f}x"),
            (
                f"loop lag at {POLLS_A_SECOND:,} polls a second, p99.9",
                f"{pulse.rare:.1f} ms (of a loop that idles {still:.1f}, that burns as much CPU {busy:.1f})",
            ),
        ],
    )
