"""Client CPU of one query of a finished record, over TLS, 32 in flight: omgmj against other clients by hand.

The peers do less than omgmj does: none of them decodes into checked values, paces, retries or bounds its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import httpx

import omgmj
from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.server import SAMPLE, serving

IN_FLIGHT = 32
PATH = "/api/v1/ai/draw/mj/query"
TASK_ID = 20
TUNED, PLAIN, HTTPX = "aiohttp, tuned, no decode", "aiohttp, as people write it", "httpx, as people write it"
BOUNDS = {TUNED: 1.33, PLAIN: 0.9, HTTPX: 0.1}
"""Times its CPU that omgmj may cost at most."""
NOISE = 0.2

Query = Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def clients(url: str, context: ssl.SSLContext) -> AsyncIterator[dict[str, Query]]:
    """Give one query of each client, all with connections of their own."""

    def connect() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context))

    bearer = {"Authorization": "Bearer t"}
    headers = {**bearer, "Content-Type": "application/x-www-form-urlencoded"}
    body = b"model=midjourney&taskId=%d" % TASK_ID
    form = {"model": "midjourney", "taskId": TASK_ID}
    unbounded = aiohttp.ClientTimeout(total=None)
    async with (
        connect() as tuned,
        connect() as plain,
        httpx.AsyncClient(
            verify=context, headers=bearer, timeout=60, limits=httpx.Limits(max_connections=IN_FLIGHT)
        ) as other,
        omgmj.Session("t", base_url=url, rate=1e6, max_in_flight=IN_FLIGHT, http=connect) as session,
    ):

        async def query_omgmj() -> None:
            assert (await session.query(TASK_ID)).succeeded

        async def query_tuned() -> None:
            async with tuned.post(url + PATH, data=body, headers=headers, timeout=unbounded) as response:
                await response.read()

        async def query_plain() -> None:
            async with plain.post(url + PATH, data=form, headers=bearer) as response:
                assert (await response.json())["data"]["status"] == "SUCCESS"

        async def query_httpx() -> None:
            response = await other.post(url + PATH, data=form)
            assert response.json()["data"]["status"] == "SUCCESS"

        yield {"omgmj": query_omgmj, TUNED: query_tuned, PLAIN: query_plain, HTTPX: query_httpx}


async def measure(url: str, context: ssl.SSLContext, queries: int, rounds: int) -> dict[str, list[float]]:
    """Run all clients in turn, `rounds` times, and return the microseconds of CPU a query in each round."""
    async with clients(url, context) as queried:
        found: dict[str, list[float]] = {name: [] for name in queried}
        for _ in range(rounds + 1):
            for name, query in queried.items():
                # httpx takes so much longer that fewer queries tell as much.
                found[name].append(await cost(query, queries // 4 if name == HTTPX else queries))
    return {name: figures[1:] for name, figures in found.items()}  # the first round warms up


async def cost(query: Query, queries: int) -> float:
    """Return the microseconds of CPU that one of `queries` took."""
    left = iter(range(queries))

    async def worker() -> None:
        for _ in left:
            await query()

    gc.collect()  # What the client before has left behind is not this one's.
    before = time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (time.process_time() - before) / queries * 1e6


def run(*, short: bool) -> Report:
    """Measure. A short pass has no bounds: so few queries say nothing."""
    body = SAMPLE.read_bytes()
    assert json.loads(body)["data"]["taskId"] == TASK_ID
    with serving(body) as (url, context):
        # Many short rounds: what else the machine does then falls on all alike.
        found = asyncio.run(measure(url, context, queries=256 if short else 320, rounds=3 if short else 40))
    ratios = {name: ratio(found["omgmj"], figures) for name, figures in found.items()}
    typical = {name: f"{statistics.median(figures):.0f} µs" for name, figures in found.items()}
    return Report(
        head=("client", "CPU a query, µs: median (quartiles)", "omgmj costs"),
        rows=[(name, spread(figures), f"{ratios[name]:.3g}x") for name, figures in found.items()],
        bounds=[]
        if short
        else [Bound(f"CPU against {name}", ratios[name], most, room=NOISE) for name, most in BOUNDS.items()],
        bars=[(name, sorted(figures)[len(figures) // 2]) for name, figures in found.items()],
        unit="µs of CPU a query, TLS, 32 in flight",
        headline=("CPU of a query", typical["omgmj"], f"{typical[PLAIN]} (aiohttp), {typical[HTTPX]} (httpx)"),
        short=[(f"CPU of a query, of {name}", f"{ratios[name]:.3g}x") for name in BOUNDS],
    )
