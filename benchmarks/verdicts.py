"""Who is to blame: what is lost, how long it takes to be told, and what it costs, where polls fail in every way.

A world is a kind of refusal, that befalls one ID, several or all, for a while or for good, of tasks that were seen
before or not, alone or among others. Lost is a task that was given up although the trouble passed within five minutes.
Told is when a wait ends that never can succeed. Requests are compared with the same world without trouble.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import looptime

import omgmj
from benchmarks.report import Bound, Report
from omgmj.testing import FakeService, Life

EPOCH = datetime(2032, 1, 1, tzinfo=UTC)
MANY, SEVERAL = 40, 6
"""IDs that are watched where it is not one, and those of them that trouble befalls where it is not one or all."""
BEGINS = 30.0
"""Seconds until trouble begins of tasks that were seen before; of others it is there from the beginning."""
PASSES = (5.0, 40.0, 300.0)
"""Seconds that trouble lasts which passes."""
HORIZON = 1800.0
"""Seconds for which trouble that stays is looked at."""
HTML = b"<html><body>This is a proxy's page.</body></html>"


def _envelope(code: int, message: str, data: bytes = b"null", status: int = 200) -> omgmj.Answer:
    body = b'{"statusCode":%d,"message":"%b","data":%b}' % (code, message.encode(), data)
    return omgmj.Answer(status, {}, body)


KINDS: Mapping[str, omgmj.Answer | None] = {
    "no connection": None,
    "502": omgmj.Answer(502, {}, HTML),
    "500": _envelope(500, "internal error", status=500),
    "code 400": _envelope(400, "the request failed"),
    "no such task": _envelope(400, "the task was not found"),
    "null": _envelope(200, "Success"),
    "a list": _envelope(200, "Success", b"[]"),
    "a number": _envelope(200, "Success", b"5"),
    "401": _envelope(401, "the token is not valid", status=401),
    "403": _envelope(403, "this token may not do that", status=403),
    "429": _envelope(429, "too many requests", status=429),
    "framework's 404": omgmj.Answer(404, {}, b'{"detail":"Not Found"}'),
    "404": omgmj.Answer(404, {}, HTML),
    "code 402": _envelope(402, "insufficient balance"),
}
"""What is answered instead; None: nothing, as there is no connection."""
NEVER_PASSES = ("401", "framework's 404", "404", "code 402")
"""Kinds that end all waits where they befall all for good."""


class World(NamedTuple):
    """Trouble of a kind, at so many of the watched IDs, for so many seconds, of tasks seen before or not."""

    kind: str
    hit: int
    watched: int
    seconds: float
    seen: bool


class Outcome(NamedTuple):
    """Tasks lost, tasks that nobody has heard of by the horizon, seconds until the last was told, requests."""

    lost: int
    silent: int
    told: float | None
    requests: int


class Troubled:
    """A transport into the fake service that answers in its stead while there is trouble."""

    limit = None

    def __init__(self, transport: Any, hits: Callable[[omgmj.Request], bool], answer: omgmj.Answer | None) -> None:
        self.requests: int = 0
        self._transport = transport
        self._hits = hits
        self._answer = answer

    async def send(self, base_url: str, request: omgmj.Request, *rest: Any) -> omgmj.Answer:
        """Answer with trouble, or as the service does."""
        self.requests += 1
        if not self._hits(request):
            answer: omgmj.Answer = await self._transport.send(base_url, request, *rest)
            return answer
        await asyncio.sleep(0.05)
        if self._answer is None:
            raise omgmj.TransportError("the connection was refused")
        return self._answer

    def stream(self, url: str) -> AbstractAsyncContextManager[Any]:
        """Download."""
        stream: AbstractAsyncContextManager[Any] = self._transport.stream(url)
        return stream

    async def aclose(self) -> None:
        """Close."""
        await self._transport.aclose()


async def live(world: World) -> Outcome:
    """Watch one world to its end, or to the horizon."""
    chance = random.Random(repr(world))
    random.seed(0)
    loop = asyncio.get_running_loop()
    begins = BEGINS if world.seen else 0.0
    async with FakeService(foreign_share=0.9, epoch=EPOCH) as fake:
        ids = [
            fake.add_task(Life.succeed(after=chance.uniform(BEGINS + 10, BEGINS + 80))) for _ in range(world.watched)
        ]
        hit = frozenset(ids[: world.hit])
        bodies = {b"model=midjourney&taskId=%d" % task_id for task_id in hit}
        is_for_all = world.hit == world.watched > 1

        def hits(request: omgmj.Request) -> bool:
            if not begins <= loop.time() < begins + world.seconds:
                return False
            return is_for_all or bytes(request.body) in bodies

        transport = Troubled(fake.transport(), hits, KINDS[world.kind])
        got: set[int] = set()
        lost: dict[int, float] = {}

        def note(error: omgmj.OmgmjError) -> None:
            if error.task_id is not None:
                lost[error.task_id] = loop.time()

        async with fake.session(transport=transport, rate=100) as session:
            watch = session.watch(ids, on_error=note)
            try:
                async with asyncio.timeout(begins + min(world.seconds + 400, HORIZON)), watch:
                    async for task in watch:
                        got.add(task.id)
            except TimeoutError:
                pass
            except omgmj.OmgmjError:
                lost.update(dict.fromkeys(set(ids) - got - set(lost), loop.time()))
        passes = world.seconds < math.inf
        there = hit if passes else frozenset[int]()
        missing = set(ids) - got if passes else set(ids) - got - hit
        told = max((lost[one] - begins for one in hit if one in lost), default=None)
        return Outcome(len(missing), len(hit - got - set(lost)), None if there else told, transport.requests)


def run_one(world: World) -> Outcome:
    """Run a world in virtual time."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(live(world))


def worlds(*, short: bool) -> Iterable[World]:
    """Return all worlds, or some of each kind."""
    sizes = [(1, 1), (1, MANY), (SEVERAL, MANY), (MANY, MANY)]
    found = [
        World(kind, hit, watched, seconds, seen)
        for kind, (hit, watched), seconds, seen in itertools.product(KINDS, sizes, (*PASSES, math.inf), (True, False))
    ]
    return [one for one in found if one.seen and one.seconds == 40 and one.hit != SEVERAL] if short else found


async def tell(ids: int, answer: omgmj.Answer | None, *, list_too: bool) -> float:
    """Return after how many seconds waits for IDs that nobody knows are told so, or that nothing can be known."""
    random.seed(0)
    async with FakeService(epoch=EPOCH) as fake:
        fake.add_foreign(30)
        transport = Troubled(fake.transport(), lambda request: list_too or b"taskId" in bytes(request.body), answer)
        async with fake.session(transport=transport) as session:
            watch = session.watch(range(10**6, 10**6 + ids))
            try:
                async with asyncio.timeout(HORIZON), watch:
                    async for _ in watch:
                        pass
            except omgmj.OmgmjError:
                return asyncio.get_running_loop().time()
            except BaseExceptionGroup:
                return asyncio.get_running_loop().time()
            except TimeoutError:
                return math.inf
    raise AssertionError("a record of a task that is not there")


def run(*, short: bool) -> Report:
    """Run all worlds."""
    logging.getLogger("omgmj").setLevel(logging.ERROR)
    outcomes = {world: run_one(world) for world in worlds(short=short)}
    quiet = {
        (watched, seen): run_one(World("502", 0, watched, 0.0, seen)).requests
        for watched in (1, MANY)
        for seen in (True, False)
    }
    assert not any(run_one(World("502", 0, watched, 0.0, seen=True)).lost for watched in (1, MANY))
    rows = []
    for kind in KINDS:
        of_kind = {world: outcome for world, outcome in outcomes.items() if world.kind == kind}
        passing = {world: outcome for world, outcome in of_kind.items() if world.seconds < math.inf}
        stays = [
            outcome
            for world, outcome in of_kind.items()
            if world.seconds == math.inf and (world.hit < world.watched or kind in NEVER_PASSES)
        ]
        needless = [outcome.requests / quiet[world.watched, world.seen] for world, outcome in passing.items()]
        rows.append(
            (
                kind,
                str(sum(outcome.lost for world, outcome in passing.items() if world.seen)),
                str(sum(outcome.lost for world, outcome in passing.items() if not world.seen)),
                _seconds(stays),
                f"{statistics.mean(needless):.2f}x",
            )
        )
    lost = sum(outcome.lost for world, outcome in outcomes.items() if world.seen)
    answers: dict[str, tuple[int, str, bool, float]] = {
        "a wrong base URL": (1, "404", True, 30),
        "a wrong token": (1, "401", True, 15),
        "a wrong token, 100 IDs": (100, "401", True, 15),
        "an unknown ID": (1, "no such task", False, 15),
        "100 unknown IDs": (100, "no such task", False, 60),
        "2 unknown IDs": (2, "null", False, 60),
    }
    bounds = [Bound("tasks lost that were seen before", lost, 0, "")]
    for name, (ids, kind, list_too, most) in answers.items():
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
            bounds.append(Bound(name, runner.run(tell(ids, KINDS[kind], list_too=list_too)), most, " s"))
    return Report(
        head=("kind", "lost, seen", "lost, unseen", "told after (worlds with one untold)", "requests"),
        rows=rows,
        bounds=bounds,
        bars=[(f"omgmj, {kind}", float(lost)) for kind, lost, *_ in rows],
        unit="tasks lost that were seen before",
        short=[],
    )


def _seconds(outcomes: list[Outcome]) -> str:
    """Return the median and the longest of those that were told, and in how many worlds somebody was not."""
    told = [one.told for one in outcomes if one.told is not None]
    said = f"{statistics.median(told):.0f} s, at most {max(told):.0f} s" if told else "-"
    silent = sum(one.silent > 0 for one in outcomes)
    return f"{said} ({silent} of {len(outcomes)})" if outcomes else "-"
