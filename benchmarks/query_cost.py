"""Client CPU of one query of a finished record, over TLS, 32 in flight: omgmj against aiohttp by hand.

The peers do less than omgmj does: none of them decodes into checked values, paces, retries or bounds its time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

import omgmj
from benchmarks.server import SAMPLE, serving

IN_FLIGHT = 32
PATH = "/api/v1/ai/draw/mj/query"
TASK_ID = 20
BOUNDS = {"aiohttp, tuned, no decode": 1.5, "aiohttp, as people write it": 1.1}
"""Times its CPU that omgmj may cost at most: the aim with room for a noisy machine."""


class Figure(NamedTuple):
    """One client: microseconds of CPU a query, by round."""

    name: str
    rounds: list[float]


async def measure(url: str, context: object, queries: int, rounds: int) -> list[Figure]:
    """Run all clients in turn, `rounds` times, and return what each round cost."""
    connector = [aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context) for _ in range(3)]  # type: ignore[arg-type]
    headers = {"Authorization": "Bearer t", "Content-Type": "application/x-www-form-urlencoded"}
    body = b"model=midjourney&taskId=20"
    async with (
        aiohttp.ClientSession(connector=connector[0], timeout=aiohttp.ClientTimeout(total=None)) as tuned,
        aiohttp.ClientSession(connector=connector[1], headers={"Authorization": "Bearer t"}) as plain,
        omgmj.Session(
            "t",
            base_url=url,
            rate=1e6,
            max_in_flight=IN_FLIGHT,
            http=lambda: aiohttp.ClientSession(connector=connector[2]),
        ) as session,
    ):

        async def query_tuned() -> None:
            async with tuned.post(url + PATH, data=body, headers=headers) as response:
                await response.read()

        async def query_plain() -> None:
            async with plain.post(url + PATH, data={"model": "midjourney", "taskId": TASK_ID}) as response:
                assert (await response.json())["data"]["status"] == "SUCCESS"

        async def query_omgmj() -> None:
            assert (await session.query(TASK_ID)).succeeded

        clients: dict[str, Callable[[], Awaitable[None]]] = {
            "omgmj": query_omgmj,
            "aiohttp, tuned, no decode": query_tuned,
            "aiohttp, as people write it": query_plain,
        }
        figures = [Figure(name, []) for name in clients]
        for _ in range(rounds + 1):
            for figure in figures:
                figure.rounds.append(await cost(clients[figure.name], queries))
        return [Figure(figure.name, figure.rounds[1:]) for figure in figures]  # the first round warms up


async def cost(query: Callable[[], Awaitable[None]], queries: int) -> float:
    """Return the microseconds of CPU that one of `queries` took."""
    left = iter(range(queries))

    async def worker() -> None:
        for _ in left:
            await query()

    before = time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (time.process_time() - before) / queries * 1e6


def run(*, short: bool, check: bool) -> str:
    """Measure, and return the table; with `check` hold each ratio to its bound."""
    body = SAMPLE.read_bytes()
    assert json.loads(body)["data"]["taskId"] == TASK_ID
    with serving(body) as (url, context):
        figures = asyncio.run(measure(url, context, queries=300 if short else 3000, rounds=3 if short else 9))
    ours = figures[0]
    lines = ["| client | CPU a query, µs (median; least to most) | omgmj costs |", "| --- | --- | --- |"]
    for figure in figures:
        ratio = statistics.median(a / b for a, b in zip(ours.rounds, figure.rounds, strict=True))
        spread = f"{min(figure.rounds):.0f} to {max(figure.rounds):.0f}"
        lines.append(f"| {figure.name} | {statistics.median(figure.rounds):.0f}; {spread} | {ratio:.2f}x |")
        if check and not short:
            assert ratio <= BOUNDS.get(figure.name, 1.0), f"{ratio:.2f}x of {figure.name}"
    return "\n".join(lines)
