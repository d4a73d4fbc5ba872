"""Several machines: workers on a real Redis beside one process alone, while workers die, stop, leave and join.

The service, the Redis and each worker are processes of their own, in real time. What is counted stands at the service,
in its log of requests, and in Redis, in the streams of results.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from benchmarks.fleet import scenes
from benchmarks.fleet.scenes import Outcome, Setting
from benchmarks.fleet.service import Work
from benchmarks.report import Bound, Report

HEAD = (
    "fleet",
    "IDs",
    "lost",
    "twice",
    "delay: median, s",
    "longest, s",
    "requests a task",
    "most in a second, of the rate",
)
BOTH = ("first", "second")


class Size(NamedTuple):
    """The setting of the first two scenes, that of the others, and how many of these are played at once."""

    first: Setting
    others: Setting
    at_once: int


FULL = Size(Setting(Work(10_000, 40.0, 100.0), 100.0, 15.0, 5.0), Setting(Work(4000, 25.0, 70.0), 100.0, 15.0, 5.0), 1)
SHORT = Size(Setting(Work(400, 4.0, 7.0), 10.0, 3.0, 2.0), Setting(Work(200, 4.0, 7.0), 10.0, 3.0, 2.0), 2)


async def play_all(size: Size) -> dict[str, Outcome]:
    """Play all scenes."""
    others = size.others
    plays: Mapping[str, Callable[[], Awaitable[Outcome]]] = {
        "one process alone": lambda: scenes.play_alone(size.first),
        "the leader is killed": lambda: scenes.play(size.first, scenes.kill, costs=True),
        "Redis is off, then the leader is killed": lambda: scenes.play(others, scenes.redis_off),
        "the leader stands still": lambda: scenes.play(others, scenes.pause),
        "the leader is terminated": lambda: scenes.play(others, scenes.terminate),
        "two accounts, a worker joins": lambda: scenes.play(others, scenes.join, accounts=BOTH, workers=1),
        "two accounts, a worker is killed": lambda: scenes.play(others, scenes.kill_one_of_two, accounts=BOTH),
    }
    turns = asyncio.Semaphore(size.at_once)

    async def one(play: Callable[[], Awaitable[Outcome]]) -> Outcome:
        async with turns:
            return await play()

    outcomes = await asyncio.gather(*(one(play) for play in plays.values()))
    return dict(zip(plays, outcomes, strict=True))


def run(*, short: bool) -> Report:
    """Play all scenes."""
    if shutil.which("redis-server") is None:
        return Report(HEAD, [("redis-server is not on this machine", *[""] * 7)], [], [], "", [])
    found = asyncio.run(play_all(SHORT if short else FULL))
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{outcome.tasks}",
            f"{outcome.lost}",
            f"{outcome.twice}",
            f"{outcome.delay:.2f}",
            f"{outcome.longest:.2f}",
            f"{outcome.requests:.3f}",
            f"{outcome.most:.3f}",
        )
        for name, outcome in found.items()
    ]
    alone, killed, *others = found.values()
    costs = killed.costs
    assert costs is not None
    operations, results = costs.commands / killed.tasks, costs.done.results / killed.tasks
    by_id = (costs.pending.others / killed.tasks, costs.done.others / killed.tasks)
    for what, value in (
        ("commands of Redis an ID", f"{operations:.2f}"),
        ("bytes an ID beside results, pending and done", f"{by_id[0]:.1f}, {by_id[1]:.1f}"),
        ("bytes a result", f"{results:.0f}"),
    ):
        rows.append((f"the leader is killed: {what}", value, *[""] * 6))
    bounds = [
        Bound("IDs lost", sum(each.lost for each in found.values()), 0, ""),
        Bound("IDs twice in the stream", sum(each.twice for each in found.values()), 0, ""),
        Bound("IDs that a reader did not have once", sum(each.read_otherwise for each in found.values()), 0, ""),
        Bound(
            "requests of a worker that stood still, before it leads again",
            found["the leader stands still"].after_pause,
            0,
            "",
        ),
    ]
    if short:
        most = max(each.most for each in found.values())
        return Report(HEAD, rows, [*bounds, Bound("most requests in a second, of the rate", most, 1.4)], [], "", [])
    bounds += [
        Bound("killed: median delay, of one process alone (aim 1.4)", killed.delay / alone.delay, 1.6),
        Bound("killed: longest delay, more than alone (aim 14)", killed.longest - alone.longest, 18, " s"),
        Bound("killed: requests a task, of one process alone (aim 1.0)", killed.requests / alone.requests, 1.05),
        Bound("killed: most requests in a second, of the rate (aim 1.05)", killed.most, 1.06),
        Bound("others: most requests in a second, of the rate (aim 1.06)", max(each.most for each in others), 1.1),
        Bound("commands of Redis an ID (aim 3.5)", operations, 5, ""),
        Bound("bytes an ID beside results (aim 4)", max(by_id), 12, ""),
        Bound("bytes a result (aim 650)", results, 800, ""),
    ]
    told = [
        ("lost, twice when the leader of 10,000 IDs was killed", f"{killed.lost}, {killed.twice}"),
        ("its median delay, of one process alone", f"{killed.delay / alone.delay:.2f}x"),
    ]
    return Report(HEAD, rows, bounds, [], "", told)
