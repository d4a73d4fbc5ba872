"""What a large image costs on its way to disk: memory and time, beside reading it whole before it is written."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp

from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.server import serving
from omgmj.client.aiohttp_adapter import HttpTransport
from omgmj.images.download import download
from omgmj.models import Status, Task
from omgmj.testing import PNG

SIZE = 50_000_000
ROUNDS = 7
RESIDENT_ROUNDS = 5


def run(*, short: bool) -> Report:
    """Download from a server in another process; each way in a process of its own, as peaks never sink."""
    size, rounds = (2_000_000, 2) if short else (SIZE, ROUNDS)
    with serving(PNG) as (small, _), serving(PNG + bytes(size - len(PNG))) as (large, _):
        ours = _measured(_ours, small, large, rounds)
        whole = _measured(_whole, small, large, rounds)
        # How much comes in at once is chance, and a peak is the most of it: so a few fresh processes, and their median.
        others = [_measured(_ours, small, large, 0).resident for _ in range(0 if short else RESIDENT_ROUNDS - 1)]
    resident = statistics.median([ours.resident, *others])
    rows = [
        [name, f"{took.traced / 1e6:.2f}", f"{more / 1e6:.2f}", spread([1000 * one for one in took.seconds])]
        for name, took, more in (("omgmj", ours, resident), ("read whole, then written", whole, whole.resident))
    ]
    bounds = [
        Bound(f"memory for {size / 1e6:g} MB, traced", ours.traced / 1e6, 2.0, " MB"),
        Bound(f"memory for {size / 1e6:g} MB, resident", resident / 1e6, 2.0, " MB", room=0.25),
    ]
    if not short:
        bounds.append(Bound("time against reading it whole", ratio(ours.seconds, whole.seconds), 1.5, room=0.3))
    return Report(
        ["", "peak traced, MB", "peak resident, MB more", "ms"],
        rows,
        bounds,
        [("omgmj", resident / 1e6), ("read whole", whole.resident / 1e6)],
        f"MB of memory for an image of {size / 1e6:g} MB",
        [(f"memory of a download of {size / 1e6:g} MB, resident", f"{resident / 1e6:.2f} MB")],
    )


class _Took:
    """Bytes and seconds."""

    def __init__(self, traced: int, resident: int, seconds: list[float]) -> None:
        self.traced = traced
        self.resident = resident
        self.seconds = seconds


_Way = Callable[[aiohttp.ClientSession, str, Path], Awaitable[None]]


async def _ours(http: aiohttp.ClientSession, url: str, folder: Path) -> None:
    task = Task(1, Status.SUCCESS, image_url=url)
    await download(HttpTransport(http, loopback=True), task, folder, via="discord", overwrite=True)


async def _whole(http: aiohttp.ClientSession, url: str, folder: Path) -> None:
    async with http.get(url) as response:
        (folder / "task-1.png").write_bytes(await response.read())


def _measured(way: _Way, small: str, large: str, rounds: int) -> _Took:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(theirs, way, small, large, rounds))
    process.start()
    theirs.close()
    try:
        took = ours.recv()
    finally:
        process.join()
    assert isinstance(took, _Took)
    return took


def _measure(pipe: Connection, way: _Way, small: str, large: str, rounds: int) -> None:
    async def measure(folder: Path) -> _Took:
        # The certificate is checked in the tests; here only its cost counts.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            await way(http, small, folder)
            gc.collect()
            before = _status("VmRSS")
            _forget_peak()
            await way(http, large, folder)
            resident = _status("VmHWM") - before
            seconds = []
            for _ in range(rounds):
                started = time.perf_counter()
                await way(http, large, folder)
                seconds.append(time.perf_counter() - started)
            tracemalloc.start()
            await way(http, large, folder)
            _, traced = tracemalloc.get_traced_memory()
            return _Took(traced, resident, seconds)

    with tempfile.TemporaryDirectory() as folder:
        pipe.send(asyncio.run(measure(Path(folder))))


def _status(name: str) -> int:
    # Linux's own: what `resource` tells of a new process begins with the peak of the one that started it.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _forget_peak() -> None:
    # Else that of the imports would hide a smaller one. Where it may not be, the figure is too large.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
