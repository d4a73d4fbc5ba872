"""The runner: the real planner polls the lives of a world in plain virtual time, one by one.

Nothing of the stack runs here but `planner`, the policy, and how ages are read from an answer. The pace is open, or a
number of requests a second; who gets a slot then is as in `limiter`.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple

from benchmarks.lives import Score, score
from benchmarks.worlds.world import Life, Stream, World, draw_stream
from omgmj import Action, Policy, Retry, Status, Task
from omgmj.client.limiter import FIRST, POLL, SHARE
from omgmj.protocol.messages import PAGE_MOST
from omgmj.protocol.responses import ages
from omgmj.scheduler.planner import Found, Planner, Seen
from omgmj.scheduler.registry import Subscription
from omgmj.scheduler.sweep_plan import Sweep

EPOCH = datetime(2032, 1, 1, tzinfo=UTC)
ACTIONS = (Action("MJ::JOB::upsample::1::1", "U1", ""),)
"""What a task that has succeeded offers."""
OVERLOAD = 0.6
"""Share of the load that there is a pace for."""
CROWD = 10
"""So many times as many tasks run at once under overload, so that there is something to choose from."""


class Watched(NamedTuple):
    """What it took to see the end of a task: polls, and seconds from its end to the answer that showed it."""

    polls: int
    delay: float


def fresh(*, sweeps: bool = False) -> Planner:
    """Return a planner that has learned nothing; one that `sweeps` may read pages."""
    return Planner(Retry(), sweeps=sweeps)


def alone() -> Planner:
    """Return a planner for one task, that has learned nothing."""
    return fresh(sweeps=True)


def second(world: World, policy: Policy, count: int, seed: int) -> Callable[[], Planner]:
    """Return what makes a planner that knows what was learned from a stream of tasks, as a file keeps it."""
    first = fresh()
    _Run(world, draw_stream(world, count, seed), policy, first, seed).watch()
    kept = json.dumps(first.learning.dump())

    def begin() -> Planner:
        planner = fresh()
        planner.learning.restore(json.loads(kept))
        return planner

    return begin


def watch(world: World, stream: Stream, policy: Policy, seed: int = 1) -> list[Watched]:
    """Watch a stream of tasks, answered as in a world, to the end of its last one."""
    return _Run(world, stream, policy, fresh(), seed).watch()


def warm(world: World, policy: Policy, count: int, seeds: Iterable[int]) -> list[Watched]:
    """Watch a stream of tasks for each seed; return those that count."""
    found = []
    for seed in seeds:
        stream = draw_stream(world, count, seed)
        found += watch(world, stream, policy, seed)[stream.counted :]
    return found


def cold(world: World, policy: Policy, count: int, seed: int, begin: Callable[[], Planner] = alone) -> list[Watched]:
    """Watch each of so many tasks alone, with a planner of its own that `begin` makes. The account's list has all."""
    stream = draw_stream(world, count, seed)
    return [
        one
        for number in range(stream.counted, count)
        for one in _Run(world, stream, policy, begin(), seed * count + number - stream.counted, only=number).watch()
    ]


def overloaded(world: World, policy: Policy, count: int, seed: int, polls: float) -> list[Watched]:
    """Watch a steady crowd of tasks at a pace for `OVERLOAD` of the requests, where each would take so many `polls`."""
    at_once = CROWD * world.at_once
    stream = draw_stream(world._replace(at_once=at_once), count, seed)
    pace = OVERLOAD * polls * at_once / statistics.mean(life.end for life in stream.lives)
    return _Run(world, stream, policy, fresh(), seed, pace).watch()[stream.counted :]


def score_of(watched: Sequence[Watched]) -> Score:
    """Return what it took on average."""
    return score(sum(one.polls for one in watched), [one.delay for one in watched])


class _Sink:
    """Somebody who waits. What is told is read off what the planner returns."""

    def got(self, *_: object, moved: bool) -> None: ...

    def lost(self, *_: object) -> None: ...

    def broke(self, *_: object) -> None: ...


class _Answer(NamedTuple):
    """An answer on its way: when it comes, which task's, when the service looked, and the page, where it is of one."""

    at: float
    number: int
    looked: float
    sweep: Sweep | None


class _Run:
    """One run over a stream, to the end of its last task; or of the `only` one that is watched."""

    def __init__(
        self,
        world: World,
        stream: Stream,
        policy: Policy,
        planner: Planner,
        seed: int,
        pace: float = math.inf,
        only: int | None = None,
    ) -> None:
        self._watched = range(len(stream.lives)) if only is None else range(only, only + 1)
        self._world = world
        self._stream = stream
        self._policy = policy
        self._planner = planner
        self._chance = random.Random(f"{world.name} {seed} answers")
        self._pace = pace
        self._slot = 0.0
        self._passed_over = 0
        self._answers: list[_Answer] = []
        self._polls = [0] * len(stream.lives)
        self._delays = [math.nan] * len(stream.lives)
        self._sink = _Sink()

    def watch(self) -> list[Watched]:
        """Return what it took to see each end; not a number of seconds for one that was never seen."""
        made, starts, heads = self._watched.start, self._stream.starts, self._planner.due_queue.heads
        while True:
            start = starts[made] if made < self._watched.stop else math.inf
            answer = self._answers[0].at if self._answers else math.inf
            poll = max(self._slot, min(heads[True].due, heads[False].due))
            now = min(start, answer, poll)
            if now == math.inf:
                return [Watched(self._polls[number], self._delays[number]) for number in self._watched]
            if now == start:
                self._make(made, now)
                made += 1
            elif now == answer:
                self._read(heapq.heappop(self._answers))
            else:
                self._ask(now)

    def _make(self, number: int, now: float) -> None:
        if self._world.made:
            life = self._stream.lives[number]
            self._planner.first_polls.created(number + 1, now, pool=life.pool, kind=life.kind)
        wait = Subscription(self._sink, (number + 1,), self._policy, now, None, None)
        assert not self._planner.watch(wait, now, self._chance.random())

    def _ask(self, now: float) -> None:
        due = self._planner.advance(now)
        kind = FIRST if due[0] <= now and (due[1] > now or self._passed_over < SHARE - 1) else POLL
        self._passed_over = self._passed_over + 1 if kind == FIRST and due[1] <= now else 0
        taken, _ = self._planner.take(now, fresh=kind == FIRST)
        task_id, sweep = (taken, None) if isinstance(taken, int) else (taken.task_ids[0], taken)
        self._slot = now + 1 / self._pace
        latency = self._world.latency(self._chance)
        number = task_id - 1
        self._polls[number] += 1
        heapq.heappush(self._answers, _Answer(now + latency, number, now + latency / 2, sweep))

    def _read(self, answer: _Answer) -> None:
        now, number, planner = answer.at, answer.number, self._planner
        roll, skew = self._chance.random(), self._chance.choice(self._world.skews)
        headers = {} if skew is None else {"date": _date(math.floor(answer.looked + skew))}
        if answer.sweep is not None:
            self._read_page(answer, answer.sweep, headers, roll)
            return
        task = self._task(number, answer.looked)
        if task.source == planner.last(task.id):
            assert not planner.unchanged(task.id, now, roll)
            return
        self._saw(task, planner.saw(_found(task, headers), now, roll, poll=True), now)

    def _read_page(self, answer: _Answer, sweep: Sweep, headers: Mapping[str, str], roll: float) -> None:
        """Hand on the newest tasks of the account, as `Sweeper` does."""
        newest = bisect_right(self._stream.starts, answer.looked)
        tasks = [self._task(number, answer.looked) for number in reversed(range(max(0, newest - PAGE_MOST), newest))]
        missed = self._planner.sweep_plan.on_page(sweep, [task.id for task in tasks], answer.at)
        founds = [_found(task, headers, answer.looked) for task in tasks]
        learning = self._planner.learning
        learning.on_told([one for one in founds if not self._planner.is_watched(one.task.id)], answer.at)
        is_present = learning.is_present(sweep.task_ids[0], founds, headers, answer.at)
        for found in founds:
            if found.task.id in sweep.task_ids and not (is_present or found.task.is_terminal):
                self._planner.missed(found.task.id, answer.at, absent=False)
            elif found.task.id in sweep.task_ids:
                seen = self._planner.saw_listed(found, answer.at, roll, poll=True)
                assert seen is not None
                self._saw(found.task, seen, answer.at)
        for task_id, where in missed.items():
            self._planner.missed(task_id, answer.at, absent=where.absent, slid=where.slid)

    def _saw(self, task: Task, seen: Seen, now: float) -> None:
        assert not seen.ended
        if task.is_terminal:
            assert seen.waiting
            self._delays[task.id - 1] = now - self._stream.starts[task.id - 1] - self._stream.lives[task.id - 1].end

    def _task(self, number: int, looked: float) -> Task:
        """Return what the service answers of a task when it looks at a moment."""
        start, life = self._stream.starts[number], self._stream.lives[number]
        shown = life.at(looked - start)
        return _record(number + 1, life, shown, start, b"%d %d" % (number, -1 if shown is None else shown))


def _found(task: Task, headers: Mapping[str, str], asked_at: float | None = None) -> Found:
    age, ended_ago = ages(headers, task.started_at, task.finished_at)
    return Found(task, age, ended_ago, asked_at=asked_at)


def _record(task_id: int, life: Life, shown: int | None, start: float, source: bytes) -> Task:
    """Return what the service answers; it shows a step, or the end."""
    step = life.steps[-1 if shown is None else shown]
    status, progress = step.status, step.progress
    if shown is None:
        status, progress = (Status.FAILURE, progress) if life.fails else (Status.SUCCESS, 100)
    return Task(
        task_id,
        status,
        pool=life.pool,
        kind=life.kind,
        progress=progress,
        submitted_at=_moment(start),
        started_at=None if step.started is None else _moment(start + step.started),
        finished_at=_moment(start + life.end) if shown is None and life.tells_end else None,
        image_url="https://images.example/1.png" if status == Status.SUCCESS else None,
        actions=ACTIONS if status == Status.SUCCESS else (),
        source=source,
    )


def _moment(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@lru_cache(maxsize=1024)
def _date(seconds: int) -> str:
    return format_datetime(_moment(seconds), usegmt=True)
