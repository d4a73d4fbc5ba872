"""A bot's life by chance, in virtual time: it watches, creates, follows, is killed, and begins anew on its journal.

Faults befall the service, addresses and disk do not. Each seed is one world. What must hold in each: every task that
was watched reaches its consumer, with its context; every task that was made is known; nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import omgmj
from benchmarks.pace import virtual
from benchmarks.report import Bound, Report
from omgmj.testing import FAULTS, FakeService

LASTS = 120.0
"""Seconds of a process on average, before it is killed."""
LIVES = 4
"""Processes of a world, the last of which comes to its end."""
SURE = 1.0
"""Seconds after which what was watched must be on the disk."""
APART = frozenset({"rate_limited_huge", "other_task"})
"""Faults left out: one holds all for a minute, and one gives a new task another's ID, which nobody can tell."""
SHARE = 0.01
READINGS = 3
"""Times that the list is searched for what was lost: a page may say that it holds nothing."""


class World:
    """One world: what its bot did, and what reached its consumer."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.watched: dict[int, float] = {}
        self.promised: set[int] = set()
        self.delivered: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.known: set[int] = set()
        self.prompts = 0

    async def run(self) -> FakeService:
        """Live, and die, and live again."""
        names = self.chance.sample(sorted(FAULTS.keys() - APART), 8)
        faults = {name: SHARE * self.chance.random() for name in names}
        journal = omgmj.MemoryJournal()
        async with FakeService(lives="fast", seed=self.chance.randrange(1000), faults=faults, latency=0.2) as fake:
            for number in range(LIVES):
                is_last = number == LIVES - 1
                session = fake.session(journal=journal, rate=50)
                living = asyncio.ensure_future(self._live(fake, session, is_last=is_last))
                if is_last:
                    await living
                    await session.aclose()
                    return fake
                await asyncio.sleep(LASTS * 2 * self.chance.random())
                # What is on the disk at this moment is all that is left.
                journal = copy.deepcopy(journal)
                sure = {task_id for task_id, at in self.watched.items() if at + SURE < fake.now}
                self.promised |= sure
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await session.aclose()
        raise AssertionError

    async def _live(self, fake: FakeService, session: omgmj.Session, *, is_last: bool) -> None:
        # Virtual time leaves this machine's clock where it is: the service's own tells when something was sent.
        while True:
            with contextlib.suppress(omgmj.DecodeError, omgmj.ServiceError, omgmj.TransportError):
                await session.page()
                break
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(session.resume(on_error=self._on_error)))
            if is_last:
                group.create_task(self._settle(session))
                return
            for _ in range(3):
                group.create_task(self._work(fake, session))

    async def _work(self, fake: FakeService, session: omgmj.Session) -> None:
        while True:
            await asyncio.sleep(20 * self.chance.random())
            what = self.chance.random()
            if what < 0.4:
                await self._create(session)
            elif what < 0.8:
                ids = fake.add_tasks(self.chance.randint(1, 8))
                self.watched.update(dict.fromkeys(ids, fake.now))
                async with session.watch({one: {"of": one} for one in ids}, on_error=self._on_error) as watch:
                    await self._read(watch, until=self.chance.choice((0, 2, 100)))
            else:
                (task_id,) = fake.add_tasks(1)
                self.watched[task_id] = fake.now
                with contextlib.suppress(omgmj.OmgmjError):
                    async for task in session.follow(task_id):
                        self.delivered[task.id] += task.is_terminal

    async def _create(self, session: omgmj.Session) -> None:
        self.prompts += 1
        with contextlib.suppress(omgmj.OmgmjError):
            task_id = await session.imagine(f"cat number {self.prompts}", context={"prompt": self.prompts})
            self.known.add(task_id)
            if self.chance.random() < 0.5:
                self.delivered[(await session.wait(task_id, timeout=600)).id] += 1

    async def _read(self, watch: omgmj.Watch, until: int = -1) -> None:
        async for task in watch:
            self.delivered[task.id] += 1
            context: Any = watch.context(task)
            if task.id in self.watched and context not in ({"of": task.id}, None):
                self.wrong.append(f"task {task.id} has the context {context}")
            self.known.add(task.id)
            until -= 1
            if until == 0:
                return

    async def _settle(self, session: omgmj.Session) -> None:
        read = 0
        while read < READINGS:
            with contextlib.suppress(omgmj.DecodeError, omgmj.ServiceError, omgmj.TransportError):
                lost = await session.unsettled()
                self.known.update(task.id for one in lost for task in one.found)
                read += 1

    def _on_error(self, error: omgmj.OmgmjError) -> None:
        if not isinstance(error, omgmj.WaitError):
            self.wrong.append(f"{type(error).__name__} of task {error.task_id}: {error}")


def check(seed: int) -> list[str]:
    """Run one world, and return what does not hold in it."""
    world = World(seed)

    def run() -> Awaitable[FakeService]:
        return world.run()

    fake = virtual(run)
    made = Counter(one.fields["prompt"] for one in fake.created)
    wrong = list(world.wrong)
    wrong += [f"task {one} never reached its consumer" for one in sorted(world.promised - world.delivered.keys())]
    wrong += [f"{prompt!r} was sent twice" for prompt, times in made.items() if times > 1]
    wrong += [f"nobody knows of task {one}" for one in sorted({one.task_id for one in fake.created} - world.known)]
    return [f"seed {seed}: {one}" for one in wrong]


def run(*, short: bool) -> Report:
    """Run many worlds."""
    seeds = range(5 if short else 200)
    wrong = [one for seed in seeds for one in check(seed)]
    rows = [(f"{len(seeds)}", f"{len(wrong)}", "; ".join(wrong[:5]) or "nothing")]
    bounds = [Bound("what did not hold", len(wrong), 0, "")]
    return Report(("worlds", "wrong", "what"), rows, bounds, [], "", [("worlds by chance", f"{len(seeds)}")])
