"""The planner: its invariants as a state machine over everything that can happen to it, then its rules one by one."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omgmj.agenda import PUSH_SPACING
from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy, Retry
from omgmj.breaker import Breaker
from omgmj.errors import DecodeError, ExchangeTimeout, OmgmjError, RateLimited, ServiceError, TaskNotFound, UsageError
from omgmj.models import STATUS_ORDER, Action, Status, Task
from omgmj.news import MIN_DELAY, NO_IMAGE
from omgmj.planner import Ended, Planner, Seen, Why
from omgmj.protocol import Meaning
from omgmj.roster import IN_FLIGHT, PUSHED, SINGLE, SLID, Interest, Roster
from omgmj.sweeps import HOLD, LAG, SIZE, STRIKES, Sweep, Sweeps
from omgmj.wheel import TICKS

NEVER = math.inf
TICK = 1 / TICKS
DONE = datetime(2026, 1, 1, tzinfo=UTC)
RETRY = Retry(jitter=0.0)


def record(
    task_id: int,
    status: str = "IN_PROGRESS",
    progress: int | None = None,
    *,
    finished: bool = False,
    started: bool = False,
    whole: bool = False,
    kind: str | None = None,
    nonce: int = 0,
) -> Task:
    """Return a task's record; its source tells status and progress, for the model to read. `whole`: with its image."""
    known: Status | str = Status(status) if status in STATUS_ORDER else status
    shown = -1 if progress is None else progress
    source = f"{task_id} {STATUS_ORDER.get(status, -1)} {shown} {nonce}".encode()
    done = DONE if finished or status == "SUCCESS" else None
    return Task(
        task_id,
        known,
        kind=kind,
        progress=progress,
        started_at=DONE - timedelta(seconds=40) if started else None,
        finished_at=done,
        image_url="https://images.example/1.png" if whole else None,
        actions=(Action("U1", label="U1"),) if whole else (),
        source=source,
    )


class Sink:
    """Somebody who waits."""


class View(NamedTuple):
    """How far a waiter has seen a task come."""

    rank: int = -1
    progress: int = -1

    def after(self, task: Task) -> View:
        """Return what is seen after one more record; assert that it does not go back (invariant 4)."""
        rank = STATUS_ORDER.get(task.status, self.rank)
        progress = -1 if task.progress is None else task.progress
        assert rank >= self.rank
        if rank > self.rank:
            return View(rank, progress)
        assert progress < 0 or progress >= self.progress
        return View(rank, max(progress, self.progress))

    def is_behind(self, task: Task) -> bool:
        """Whether the record is surely further than what was seen."""
        rank = STATUS_ORDER.get(task.status, self.rank)
        return rank > self.rank or (rank == self.rank and (task.progress or -1) > self.progress)


class Flight(NamedTuple):
    """A look that is out: the last record that its driver knew when it left."""

    last: bytes | None


class Wanted:
    """What the model knows of a watched ID beside its waiters."""

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh  # a first look is to come, or the one of a wait that wants one look only
        self.single = False  # a page did not show it, or not all of it
        self.seen = View()
        self.pushed_at: float | None = None  # a push that no look has followed yet
        self.last_push_look = -NEVER
        self.due_from = NEVER  # since when its look could have gone, had it not been held
        self.slid = False  # a page did not show it, and another may


class Willing(Sweeps):
    """A list that is as its driver says: it pays for all that is due soon, or for nothing."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self.roster = roster
        self.pays = self.is_holding = False
        self.strikes = 0

    def holds(self, task_id: int, now: float) -> bool:
        return self.is_holding

    def holds_new(self, task_id: int, now: float) -> bool:
        return self.is_holding

    def plan(self, task_id: int, now: float) -> Sweep | None:
        roster = self.roster
        if not self.pays:
            return None
        others = (
            one
            for one, row in roster.rows.items()
            if roster.due[row] <= now + HOLD and not roster.flags[row] & (IN_FLIGHT | PUSHED | SINGLE)
        )
        return Sweep(1, (task_id, *others), deeper=False, at=0.0)

    def strike(self, now: float, *, times: int = 1) -> None:
        self.strikes += times


IDS = st.integers(1, 3)
SINKS = [Sink(), Sink(), Sink()]
ROLLS = st.floats(0, 1, exclude_max=True)
AGES = st.none() | st.floats(0, 100)
HINTS = st.none() | st.floats(0, 5)
STATUSES = st.sampled_from(
    ["NOT_START", "SUBMITTED", "IN_PROGRESS", "IN_PROGRESS", "MODAL", "UPSCALING", "UPSCALING-2", "SUCCESS"]
)
PROGRESS = st.none() | st.sampled_from([0, 15, 31, 62, 100])
ERRORS: dict[Meaning, OmgmjError] = {
    Meaning.TRANSIENT: ServiceError("busy", status=503, retry_after=2.0),
    Meaning.PACED: RateLimited("slowly", status=429),
    Meaning.TASK: TaskNotFound("no such task"),
    Meaning.GARBLED: DecodeError("rubbish"),
}


def waits(planner: Planner, task_id: int, sink: object) -> bool:
    """Whether a sink waits for the ID."""
    row = planner._roster.rows.get(task_id)
    return row is not None and planner._roster.find(row, sink) is not None


class PlannerMachine(RuleBasedStateMachine):
    """A model beside the planner: who waits for what, what is out, what each has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.planner = Planner(RETRY)
        self.list = self.planner.sweeps = Willing(self.planner._roster)
        self.now = 0.0
        self.down_since: float | None = None
        self.waiters: dict[int, dict[Interest, View]] = {}
        self.wanted: dict[int, Wanted] = {}
        self.out: dict[int, Flight] = {}
        self.interests: list[Interest] = []
        self.senseless: list[Facts] = []
        self.nonce = 0
        self.policies: list[Policy] = [
            Fixed(2.0),
            Fixed(0.5),
            Exponential(jitter=0.5),
            Adaptive(),
            lambda _facts, roll: 0.01 * roll,
            lambda _facts, _roll: 1e308,
            lambda facts, _roll: None if facts.attempt > 2 else 1.0,
            lambda facts, _roll: math.nan if facts.attempt > 1 else 1.0,
            lambda facts, _roll: 1 / (facts.attempt - 3),
            lambda facts, roll: self.inspect(facts, roll),  # noqa: PLW0108 (a bound method would be deep-copied)
        ]

    def inspect(self, facts: Facts, _roll: float) -> float:
        """Look at the facts as a policy does; an assertion here would be taken for a bad policy."""
        sane = (
            facts.attempt >= 1
            and facts.status
            and facts.age >= 0
            and 0 <= facts.changed <= self.now
            and (facts.progress is None or 0 <= facts.progress <= 100)
        )
        if not sane:
            self.senseless.append(facts)
        return 1.5

    # What happens.

    @rule(
        sink=st.sampled_from(SINKS),
        ids=st.lists(IDS, max_size=5),
        which=st.integers(0, 9),
        timeout=st.sampled_from([0, None, None, 3.0, 40.0]),
        stall=st.sampled_from([None, None, 4.0, 30.0]),
        roll=ROLLS,
    )
    def watch(
        self, sink: Sink, ids: list[int], which: int, timeout: float | None, stall: float | None, roll: float
    ) -> None:
        one = Interest(sink, ids, self.policies[which], self.now, timeout, stall)
        joined = [i for i in dict.fromkeys(ids) if all(w.sink is not sink for w in self.waiters.get(i, ()))]
        for task_id in joined:
            last = self.planner.last(task_id)
            seen = View(*map(int, last.split()[1:3])) if last else View()
            self.waiters.setdefault(task_id, {})[one] = seen
            wanted = self.wanted.setdefault(task_id, Wanted(fresh=task_id not in self.out))
            if one.once and task_id not in self.out:
                wanted.fresh, wanted.single = True, False
        if joined:
            self.interests.append(one)
        self.end(self.planner.watch(one, self.now, roll))
        assert all(waits(self.planner, task_id, sink) for task_id in joined if one in self.waiters.get(task_id, ()))

    @precondition(lambda self: self.interests)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.interests))
        self.planner.leave(one)
        for task_id in list(self.waiters):
            if one in self.waiters[task_id]:
                self.part(task_id, one)

    @rule(task_id=IDS, sink=st.sampled_from(SINKS))
    def drop(self, task_id: int, sink: Sink) -> None:
        mine = [one for one in self.waiters.get(task_id, ()) if one.sink is sink]
        assert self.planner.drop(task_id, sink) is bool(mine)
        for one in mine:
            self.part(task_id, one)
        assert not waits(self.planner, task_id, sink)

    @rule(task_id=IDS)
    def push(self, task_id: int) -> None:
        self.planner.agenda.push(task_id, self.now)
        if task_id in self.wanted:
            self.wanted[task_id].pushed_at = self.now

    @rule(pays=st.booleans(), is_holding=st.booleans())
    def the_list_is(self, pays: bool, is_holding: bool) -> None:
        self.list.pays, self.list.is_holding = pays, is_holding

    @rule(most=st.integers(1, 4), roll=ROLLS)
    def take(self, most: int, roll: float) -> None:
        for _ in range(most):
            fresh, poll = self.due_next(fresh=True), self.due_next(fresh=False)
            if min(fresh, poll) > self.now:
                return
            self.take_one(fresh=fresh <= self.now, roll=roll)

    def due_next(self, *, fresh: bool) -> float:
        """Ask when the next look of a class is due: it may be held for its page, once, and then goes whatever comes."""
        before = {task_id: due for task_id, due in self.dues().items() if due <= self.now}
        head = self.planner.due(self.now, fresh=fresh)
        after = self.dues()
        for task_id, due in before.items():
            wanted = self.wanted[task_id]
            wanted.due_from = min(wanted.due_from, due)
            assert due <= after[task_id] <= wanted.due_from + HOLD + TICK
            assert after[task_id] == due or not (wanted.single or wanted.slid or wanted.pushed_at is not None)
            assert after[task_id] == due or not fresh or not any(one.once for one in self.waiters[task_id])
        return head

    def take_one(self, *, fresh: bool, roll: float) -> tuple[int, ...]:
        """Take what is due; return the IDs that are looked at in one."""
        head = self.due_next(fresh=fresh)
        probe = None if self.down_since is None else roll
        good = self.planner._last_good
        look, due = self.planner.take(self.now, fresh=fresh, probe=probe)
        is_good = probe is not None and look == good and self.planner._last_good is None
        task_ids = look.task_ids if isinstance(look, Sweep) else (look,)
        # In an outage the first probe goes to who answered last, whenever it is due.
        assert due == (self.now if is_good else head)
        assert len(set(task_ids)) == len(task_ids)
        for task_id in task_ids:
            assert task_id not in self.out  # invariant 2
            assert task_id in self.waiters  # no look starts for an ID that nobody waits for
            wanted = self.wanted[task_id]
            if isinstance(look, Sweep):
                # A page may lag behind: who was pushed, or was not shown by one, is asked for singly.
                assert probe is None
                assert not wanted.single
                assert wanted.pushed_at is None
            elif fresh and not wanted.fresh and not is_good:
                # Invariant 3: a look for a push has a push, and such looks are a second apart.
                assert wanted.pushed_at is not None
                assert min(due, self.now) >= wanted.last_push_look + PUSH_SPACING
            if wanted.pushed_at is not None:
                wanted.last_push_look = self.now
            wanted.fresh = wanted.single = wanted.slid = False
            wanted.pushed_at, wanted.due_from = None, NEVER
            self.out[task_id] = Flight(self.planner.last(task_id))
        return task_ids

    @precondition(lambda self: self.out)
    @rule(data=st.data(), status=STATUSES, progress=PROGRESS, finished=st.booleans(), roll=ROLLS, age=AGES, hint=HINTS)
    def answer(
        self,
        data: st.DataObject,
        status: str,
        progress: int | None,
        finished: bool,
        roll: float,
        age: float | None,
        hint: float | None,
    ) -> None:
        task_id = self.land(data)
        self.answering()
        self.nonce += 1
        task = record(task_id, status, progress, finished=finished, started=age is not None, nonce=self.nonce)
        self.see(task, self.planner.saw(task, self.now, roll, age=age, hint=hint, look=True))

    @rule(task_id=IDS, status=STATUSES, progress=PROGRESS, roll=ROLLS, age=AGES)
    def feed(self, task_id: int, status: str, progress: int | None, roll: float, age: float | None) -> None:
        self.answering()
        self.nonce += 1
        task = record(task_id, status, progress, started=age is not None, nonce=self.nonce)
        self.see(task, self.planner.saw(task, self.now, roll, age=age, look=False))

    @rule(
        task_id=IDS,
        status=STATUSES,
        progress=PROGRESS,
        whole=st.booleans(),
        kind=st.sampled_from([None, NO_IMAGE]),
        roll=ROLLS,
        age=AGES,
        ended_ago=AGES,
    )
    def page(
        self,
        task_id: int,
        status: str,
        progress: int | None,
        whole: bool,
        kind: str | None,
        roll: float,
        age: float | None,
        ended_ago: float | None,
    ) -> None:
        """Show an ID on a page of the list: for the look that is out, or where that is none by the way."""
        self.answering()
        self.nonce += 1
        look = self.out.pop(task_id, None) is not None
        task = record(task_id, status, progress, started=age is not None, whole=whole, kind=kind, nonce=self.nonce)
        dues = dict(self.dues())
        seen = self.planner.saw_listed(task, self.now, roll, asked_at=self.now, age=age, ended_ago=ended_ago, look=look)
        if seen is not None:
            assert task_id in self.waiters
            assert not task.succeeded or whole or kind == NO_IMAGE
            self.see(task, seen)
        elif task_id in self.waiters and task.is_terminal:
            # It wants to be confirmed, at once, and by nothing but a look of its own.
            assert task.succeeded
            assert not whole
            assert self.dues()[task_id] <= min(self.now, dues.get(task_id, NEVER)) + TICK
            self.wanted[task_id].single = self.wanted[task_id].single or not self.wanted[task_id].fresh
        elif look:
            assert task_id not in self.waiters
        else:
            assert self.dues() == dues

    @precondition(lambda self: self.out)
    @rule(data=st.data(), where=st.sampled_from(["absent", "slid", "unknown"]))
    def missed(self, data: st.DataObject, where: str) -> None:
        task_id = self.land(data)
        roster = self.planner._roster
        slid_before = roster.listed[roster.rows[task_id]] == SLID
        self.planner.missed(task_id, self.now, absent=where == "absent", slid=where == "slid")
        self.landed(task_id)
        if task_id in self.wanted:
            assert self.dues()[task_id] <= self.now + TICK
            # Another page may show it, once; then it is asked for.
            self.wanted[task_id].slid = where == "slid" and not slid_before
            self.wanted[task_id].single = not self.wanted[task_id].slid

    def dues(self) -> dict[int, float]:
        """Return when each ID is due that is not in flight."""
        roster = self.planner._roster
        return {i: roster.due[row] for i, row in roster.rows.items() if not roster.flags[row] & IN_FLIGHT}

    @precondition(lambda self: any(flight.last is not None for flight in self.out.values()))
    @rule(data=st.data(), roll=ROLLS, hint=HINTS)
    def unchanged(self, data: st.DataObject, roll: float, hint: float | None) -> None:
        known = sorted(task_id for task_id, flight in self.out.items() if flight.last is not None)
        task_id = data.draw(st.sampled_from(known))
        del self.out[task_id]
        self.answering()
        self.end(self.planner.unchanged(task_id, self.now, roll, hint=hint))
        self.landed(task_id)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), meaning=st.sampled_from(list(ERRORS)), outage=st.booleans(), roll=ROLLS)
    def fail(self, data: st.DataObject, meaning: Meaning, outage: bool, roll: float) -> None:
        task_id = self.land(data)
        if meaning is not Meaning.TRANSIENT:
            outage = False
            self.answering()
        elif outage := outage or self.down_since is not None:
            self.down_since = self.now if self.down_since is None else self.down_since
        self.planner.blames(task_id)
        self.end(self.planner.failed(task_id, ERRORS[meaning], meaning, self.now, roll, outage=outage))
        if outage:
            assert not any(one.once for ones in self.waiters.values() for one in ones)
        self.landed(task_id)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        task_id = self.land(data)
        self.planner.again(task_id, self.now)
        self.landed(task_id)

    @rule()
    def expire(self) -> None:
        over = [one for one in self.interests if one.deadline <= self.now]
        while self.planner.next_deadline() <= self.now:
            ended = self.planner.expire(self.now)
            assert all(one.interest in over and one.why is Why.TIMEOUT for one in ended)
            assert len({one.interest for one in ended}) <= 1
            self.end(ended, expired=True)
        assert not any(one in ones for one in over for ones in self.waiters.values())
        assert self.planner.next_deadline() > self.now

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 10.0, 100.0, 700.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def skip_to_what_is_due(self) -> None:
        due = min(self.planner.agenda.due(fresh=True), self.planner.agenda.due(fresh=False))
        if due < 1e9:
            self.now = max(self.now, due)

    @rule(status=STATUSES, progress=PROGRESS, roll=ROLLS, age=AGES)
    def look(self, status: str, progress: int | None, roll: float, age: float | None) -> None:
        """Make the look that is due next, at its time: what a wait is made of for the most part."""
        self.skip_to_what_is_due()
        fresh = self.due_next(fresh=True)
        if min(fresh, self.due_next(fresh=False)) > self.now:
            return
        task_ids = self.take_one(fresh=fresh <= self.now, roll=roll)
        self.answering()
        for task_id in task_ids:
            del self.out[task_id]
            self.nonce += 1
            task = record(task_id, status, progress, started=age is not None, nonce=self.nonce)
            self.see(task, self.planner.saw(task, self.now, roll, age=age, look=True))

    @rule(sure=st.integers(0, 5))
    def clear(self, sure: int) -> None:
        if sure:
            return  # Once in a while only, as little is to be learned of a planner that is empty.
        self.planner.clear()
        self.waiters.clear()
        self.wanted.clear()
        self.interests.clear()

    # What the model makes of it.

    def land(self, data: st.DataObject) -> int:
        task_id: int = data.draw(st.sampled_from(sorted(self.out)))
        del self.out[task_id]
        return task_id

    def answering(self) -> None:
        """End an outage, if there is one."""
        if self.down_since is not None:
            self.planner.outage_over(self.now - self.down_since)
        self.down_since = None

    def landed(self, task_id: int) -> None:
        """After an answer the policy decides: what looks come in the fresh class are for pushes."""
        if task_id in self.wanted:
            wanted = self.wanted[task_id]
            wanted.fresh = wanted.single = wanted.slid = False
            wanted.due_from = NEVER

    def part(self, task_id: int, one: Interest) -> None:
        del self.waiters[task_id][one]
        if not self.waiters[task_id]:
            del self.waiters[task_id], self.wanted[task_id]
        if not any(one in ones for ones in self.waiters.values()):
            self.interests.remove(one)

    def end(self, ended: list[Ended], *, expired: bool = False) -> None:
        """Each wait that ends does so once, for a reason that its terms give (invariant 5)."""
        for one in ended:
            assert one.interest in self.waiters[one.task_id]
            self.part(one.task_id, one.interest)
            if one.why is Why.STALLED:
                assert self.now - one.interest.since >= one.interest.stall
            elif one.why is Why.TIMEOUT:
                assert one.interest.once or expired
            else:
                assert (one.why is Why.GAVE_UP) is (one.error is None)

    def see(self, task: Task, seen: Seen) -> None:
        waiting = self.waiters.get(task.id, {})
        if task.is_terminal:
            assert seen.moved is bool(waiting)
            assert seen.waiting == tuple(waiting)
            assert seen.ended == []
            for one in seen.waiting:
                self.part(task.id, one)
            return
        if waiting:
            wanted = self.wanted[task.id]
            assert seen.moved or not wanted.seen.is_behind(task)
            if seen.moved:
                wanted.seen = wanted.seen.after(task)
        self.end(seen.ended)
        waiting = self.waiters.get(task.id, {})
        assert seen.waiting == tuple(waiting)
        if seen.moved:
            for one in seen.waiting:
                waiting[one] = waiting[one].after(task)
        if task.id not in self.out:
            self.landed(task.id)

    # What always holds.

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Every watched ID is in flight or comes out of the wheels once, and a pushed one soon (invariants 1 to 3)."""
        twin = copy.deepcopy(self.planner.agenda)
        reached: dict[int, float] = {}
        while (due := min(twin.due(fresh=True), twin.due(fresh=False))) < NEVER:
            task_id, when, _ = twin.take(self.now, fresh=twin.due(fresh=True) == due)
            assert task_id not in reached
            assert when == due
            reached[task_id] = when
        assert set(reached) == set(self.waiters) - set(self.out)
        assert self.planner.overdue(self.now) == sum(when <= self.now for when in reached.values())
        for task_id, wanted in self.wanted.items():
            if wanted.pushed_at is not None and task_id in reached:
                assert reached[task_id] <= self.now + PUSH_SPACING + TICK

    @invariant()
    def counts_agree(self) -> None:
        """No row, no deadline and no interest outlives those who wait and what is out."""
        planner, roster = self.planner, self.planner._roster
        assert planner.agenda.in_flight == len(self.out)
        assert planner.watched == len(self.waiters)
        assert set(roster.rows) == set(self.waiters) | set(self.out)
        assert len(roster.who) == len(roster.rows) + len(roster._free)
        assert set(planner._trouble) | set(planner.agenda._pushed) <= set(self.waiters)
        assert roster.once == {one for one in self.interests if one.once}
        for one in self.interests:
            assert one.pending == sum(one in ones for ones in self.waiters.values())
        assert planner.next_deadline() <= min((one.deadline for one in self.interests), default=NEVER)
        assert self.senseless == []

    def teardown(self) -> None:
        """When all have left and all looks are home, nothing is left."""
        for one in list(self.interests):
            self.planner.leave(one)
        for task_id in self.out:
            self.planner.again(task_id, self.now)
        assert self.planner.watched == self.planner.agenda.in_flight == 0
        assert self.planner.agenda.due(fresh=True) == self.planner.agenda.due(fresh=False) == NEVER
        assert not self.planner._roster.rows
        assert not self.planner.agenda._polls._buckets
        assert not self.planner.agenda._fresh._buckets


PlannerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestPlanner = PlannerMachine.TestCase


# The rules, one by one. `Bench` drives a planner by hand, with one clock.


class Bench:
    """A planner with its clock, and whoever is told."""

    def __init__(self) -> None:
        self.planner = Planner(RETRY)
        self.willing = self.planner.sweeps = Willing(self.planner._roster)
        self.now = 0.0

    def watch(
        self,
        *ids: int,
        policy: Policy | None = None,
        timeout: float | None = None,
        stall: float | None = None,
        sink: Sink | None = None,
    ) -> Interest:
        """Wait for IDs; nothing ends at once."""
        one, ended = self.join(*ids, policy=policy, timeout=timeout, stall=stall, sink=sink)
        assert ended == []
        return one

    def join(
        self,
        *ids: int,
        policy: Policy | None = None,
        timeout: float | None = None,
        stall: float | None = None,
        sink: Sink | None = None,
    ) -> tuple[Interest, list[Ended]]:
        """Wait for IDs; return what ended at once too."""
        one = Interest(sink or Sink(), ids, policy or Fixed(2.0), self.now, timeout, stall)
        return one, self.planner.watch(one, self.now, 0.0)

    @property
    def due(self) -> float:
        """When the next look is due."""
        return min(self.planner.agenda.due(fresh=True), self.planner.agenda.due(fresh=False))

    def look(self) -> int:
        """Go to when the next look is due, and take it: by itself, without the list."""
        due = self.due
        self.now = max(self.now, due)
        return self.planner.agenda.take(self.now, fresh=self.planner.agenda.due(fresh=True) == due)[0]

    def saw(
        self,
        task: Task,
        *,
        look: bool = True,
        age: float | None = None,
        ended_ago: float | None = None,
        hint: float | None = None,
    ) -> Seen:
        """Take in a record now."""
        return self.planner.saw(task, self.now, 0.0, look=look, age=age, ended_ago=ended_ago, hint=hint)

    def found(self, status: str, progress: int | None = None, *, finished: bool = False) -> Seen:
        """Make the next look, which finds this."""
        return self.saw(record(self.look(), status, progress, finished=finished))

    def found_at_home(self, status: str, progress: int | None = None) -> Seen:
        """Bring the look at ID 1 home that is out."""
        return self.saw(record(1, status, progress))

    def listed(self, task: Task, *, look: bool, ended_ago: float | None = None) -> Seen | None:
        """Take in a record that a page shows now."""
        return self.planner.saw_listed(task, self.now, 0.0, asked_at=self.now, age=None, ended_ago=ended_ago, look=look)

    def fail(self, error: OmgmjError, meaning: Meaning, *, outage: bool = False) -> list[Ended]:
        """Make the next look, which fails."""
        task_id = self.look()
        return self.planner.failed(task_id, error, meaning, self.now, 0.0, outage=outage)


BLIP = ExchangeTimeout("no answer")
MISSING = TaskNotFound("no such task")


def whys(ended: Iterable[Ended]) -> list[Why]:
    """Return why each wait ended."""
    return [one.why for one in ended]


def test_an_unknown_word_goes_on_and_the_stall_limit_ends_it() -> None:
    """An unknown status word is no end and no failure: it is asked on, and `stall` ends the wait."""
    bench = Bench()
    one = bench.watch(1, stall=60.0)
    assert bench.found("UPSCALING").moved
    while not (seen := bench.found("UPSCALING")).ended:
        assert not seen.moved
        assert seen.waiting == (one,)
    assert whys(seen.ended) == [Why.STALLED]
    assert 60 <= bench.now < 62.1
    assert bench.planner.watched == 0


def test_an_unknown_word_with_a_finish_time_ends_the_wait() -> None:
    """A finish time set ends an unknown word."""
    bench = Bench()
    one = bench.watch(1)
    bench.found("UPSCALING", 50)
    seen = bench.found("UPSCALED", finished=True)
    assert seen == (True, (one,), [])
    assert bench.due == NEVER


def test_an_unknown_word_can_be_followed_by_known_ones() -> None:
    """An unknown word has no place in the order: what was known before still does not come back."""
    bench = Bench()
    bench.watch(1)
    assert bench.found("IN_PROGRESS", 50).moved
    assert bench.found("UPSCALING", 60).moved
    assert not bench.found("SUBMITTED", 0).moved
    assert not bench.found("IN_PROGRESS", 50).moved
    assert bench.found("IN_PROGRESS", 70).moved


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCEL"])
def test_every_terminal_word_ends_the_wait(status: str) -> None:
    """The terminal words are those of the one table, success and failure alike."""
    bench = Bench()
    one = bench.watch(1)
    assert bench.found(status) == (True, (one,), [])
    assert bench.planner.watched == 0


def test_a_timeout_bounds_the_wait_and_tells_what_was_seen() -> None:
    """`timeout` bounds the whole wait, and its end carries the ID, the last record and the number of looks."""
    bench = Bench()
    one = bench.watch(7, timeout=9.0)
    while bench.due < bench.planner.next_deadline():
        bench.found("IN_PROGRESS", 15)
    assert bench.planner.expire(8.9) == []
    (ended,) = bench.planner.expire(bench.planner.next_deadline())
    assert ended == (one, 7, Why.TIMEOUT, None, 5, record(7, "IN_PROGRESS", 15).source)
    assert bench.planner.next_deadline() == bench.due == NEVER


def test_a_timeout_during_a_look_lets_it_come_home() -> None:
    """When time is over while a look is out, the wait ends at once and the look comes home to nobody (invariant 3)."""
    bench = Bench()
    bench.watch(7, timeout=1.0)
    bench.look()
    assert whys(bench.planner.expire(1.0)) == [Why.TIMEOUT]
    assert bench.planner.agenda.in_flight == 1
    assert bench.saw(record(7)) == (False, (), [])
    assert bench.planner.agenda.in_flight == 0


def test_a_timeout_tells_of_the_failed_look_before_it() -> None:
    """A wait whose looks failed says so when its time is over."""
    bench = Bench()
    bench.watch(7, timeout=9.0)
    bench.fail(BLIP, Meaning.TRANSIENT)
    (ended,) = bench.planner.expire(9.0)
    assert (ended.why, ended.error, ended.looks, ended.last) == (Why.TIMEOUT, BLIP, 1, None)


def test_a_timeout_of_zero_is_one_look() -> None:
    """A timeout of 0 is one look: whatever it finds, the wait is over after it."""
    bench = Bench()
    for status in ("IN_PROGRESS", "SUCCESS"):
        one = bench.watch(1, timeout=0)
        assert bench.planner.next_deadline() == NEVER
        seen = bench.found(status)
        assert whys(seen.ended) == ([Why.TIMEOUT] if status == "IN_PROGRESS" else [])
        assert seen.waiting == (() if status == "IN_PROGRESS" else (one,))
        assert bench.due == NEVER
    bench.watch(1, timeout=0)
    (ended,) = bench.fail(MISSING, Meaning.TASK)
    assert (ended.why, ended.error) == (Why.TIMEOUT, MISSING)


def test_a_429_is_a_look_too_for_a_wait_of_one_look() -> None:
    """A wait of one look does not outlast a pace that is too high: a look that is put off ends it, others go on."""
    bench = Bench()
    steady, quick = bench.watch(1), bench.watch(1, timeout=0)
    error = RateLimited("slowly")
    (ended,) = bench.fail(error, Meaning.PACED)
    assert (ended.interest, ended.why, ended.error) == (quick, Why.TIMEOUT, error)
    assert bench.due == bench.now
    assert bench.found("IN_PROGRESS").waiting == (steady,)


def test_a_wait_of_one_look_does_not_wait_for_the_schedule_of_another() -> None:
    """Who wants one look at an ID that another waits for gets it now; the other goes on."""
    bench = Bench()
    slow = bench.watch(1, policy=Fixed(500.0))
    bench.found("IN_PROGRESS", 15)
    bench.now = 3.0
    quick = bench.watch(1, timeout=0)
    assert bench.planner.agenda.due(fresh=True) == 3.0
    seen = bench.found("IN_PROGRESS", 31)
    assert [ended.interest for ended in seen.ended] == [quick]
    assert seen.waiting == (slow,)
    assert bench.due == 503.0


def test_a_live_job_is_not_stalled() -> None:
    """`stall` is apart from `timeout`: a job that moves, however slowly, is not cut off."""
    bench = Bench()
    bench.watch(1, policy=Fixed(50.0), stall=60.0)
    for progress in range(100):
        seen = bench.found("IN_PROGRESS", progress)
        assert seen.moved
        assert not seen.ended
    assert bench.now > 4900


def test_an_outage_is_no_stall() -> None:
    """An hour in which nobody succeeds counts for no stall, be it of an ID that was probed or of one that was not."""
    bench = Bench()
    probed, other = (bench.watch(i, policy=Fixed(10.0), stall=60.0) for i in (1, 2))
    while bench.due < 20:
        bench.found("IN_PROGRESS", 15)
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    down_since, bench.now = bench.now, bench.now + 3600
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.now += 10
    bench.planner.outage_over(bench.now - down_since)
    ends: dict[Interest, float] = {}
    while bench.planner.watched:
        ends.update({ended.interest: bench.now for ended in bench.found("IN_PROGRESS", 15).ended})
    assert set(ends) == {probed, other}
    assert all(3670 <= at < 3690 for at in ends.values())


def test_a_failed_look_now_and_then_keeps_no_stall_from_coming() -> None:
    """What fails while others succeed interrupts no stall: every second look may fail, and it ends as soon."""
    bench = Bench()
    bench.watch(1, policy=Fixed(9.0), stall=60.0)
    bench.found("IN_PROGRESS", 15)
    while not (ended := bench.found("IN_PROGRESS", 15).ended):
        bench.fail(BLIP, Meaning.TRANSIENT)
    assert whys(ended) == [Why.STALLED]
    assert 60 <= bench.now < 71


def test_who_comes_late_to_a_quiet_task_gets_the_whole_stall() -> None:
    """`stall` counts per waiter from when it came, so a late one is not ended for what was before it."""
    bench = Bench()
    early = bench.watch(1, policy=Fixed(10.0), stall=60.0)
    bench.found("MODAL")
    while bench.now < 50:
        bench.found("MODAL")
    late = bench.watch(1, policy=Fixed(10.0), stall=60.0)
    ends = {}
    while bench.planner.watched:
        ends.update({ended.interest: bench.now for ended in bench.found("MODAL").ended})
    assert ends == {early: 60.0, late: 110.0}


def test_the_same_answer_again_counts_as_a_look_that_found_no_change() -> None:
    """An answer that is the last one to the letter moves nothing, counts for the policy and for `stall`."""
    bench = Bench()
    seen: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float:
        seen.append(facts)
        return 10.0

    bench.watch(1, policy=policy, stall=30.0)
    bench.found("IN_PROGRESS", 15)
    ended: list[Ended] = []
    while not ended:
        ended = bench.planner.unchanged(bench.look(), bench.now, 0.0, hint=1.0)
    assert whys(ended) == [Why.STALLED]
    assert [(facts.attempt, facts.changed, facts.hint) for facts in seen] == [(1, 0, None), (2, 10, 1), (3, 20, 1)]
    assert bench.planner.unchanged(7, 0.0, 0.0) == []


def test_nothing_goes_past_the_policy() -> None:
    """The schedule adds nothing to what the policy says, be the task nearly done or far from it."""
    bench = Bench()
    bench.watch(1, policy=Adaptive(cap=20.0))
    bench.found("IN_PROGRESS", 0)
    for progress in (0, 0, 1, 1, 50, 99, 99):
        before = bench.now
        bench.found("IN_PROGRESS", progress)
        assert bench.now - before <= 20.0 + TICK


def test_the_policy_hears_what_is_known() -> None:
    """Facts are what was accepted: status, pool, kind, progress; age as the service tells it, else since first seen."""
    bench = Bench()
    heard: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float:
        heard.append(facts)
        return 4.0

    bench.watch(1, policy=policy)
    bench.look()
    bench.now = 1.0
    bench.saw(Task(1, Status.SUBMITTED, pool="FAST", kind="IMAGINE", source=b"a"))
    bench.look()
    bench.saw(Task(1, Status.IN_PROGRESS, pool="FAST", kind="IMAGINE", progress=15, source=b"b"), age=1.5, hint=9.0)
    bench.look()
    bench.saw(Task(1, Status.IN_PROGRESS, pool="FAST", kind="IMAGINE", progress=0, source=b"c"))
    assert [facts._replace(durations=None) for facts in heard] == [
        Facts(1, 1, 1.0, "FAST", "IMAGINE", Status.SUBMITTED, None, 0.0, None),
        Facts(1, 2, 1.5, "FAST", "IMAGINE", Status.IN_PROGRESS, 15, 0.0, 9.0),
        Facts(1, 3, 5.5, "FAST", "IMAGINE", Status.IN_PROGRESS, 15, 4.0, None),
    ]
    assert bench.planner.last(1) == b"b"
    assert bench.planner.last(2) is None


def test_one_bad_id_fails_alone() -> None:
    """One ID that the service does not know does not end the others of its batch."""
    bench = Bench()
    bench.watch(1, 2, 3)
    ended: list[Ended] = []
    while not ended:
        task_id = bench.look()
        if task_id == 2:
            ended = bench.planner.failed(2, MISSING, Meaning.TASK, bench.now, 0.0)
        else:
            bench.saw(record(task_id))
    assert [(one.task_id, one.why) for one in ended] == [(2, Why.FAILED)]
    assert bench.planner.watched == 2


def fail_alone(bench: Bench, *, until: Callable[[], bool]) -> list[Ended]:
    """Let ID 1 fail and all others succeed until ID 1 is given up, or it is enough."""
    while not until():
        task_id = bench.look()
        if task_id != 1:
            bench.saw(record(task_id))
        elif ended := bench.planner.failed(1, BLIP, Meaning.TRANSIENT, bench.now, 0.0):
            return ended
    return []


def test_an_id_is_given_up_only_when_it_alone_fails_on_and_on() -> None:
    """An ID is given up after 8 failed looks in a row and 10 minutes while others succeed, no sooner."""
    bench = Bench()
    one = bench.watch(1)
    bench.watch(2, policy=Fixed(5.0))
    (ended,) = fail_alone(bench, until=lambda: bench.now > 1000)
    assert (ended.interest, ended.task_id, ended.why, ended.error) == (one, 1, Why.FAILED, BLIP)
    assert ended.looks >= 8
    assert 600 <= bench.now < 625
    assert bench.planner.watched == 1


def test_one_success_forgives_what_failed_before() -> None:
    """A failed look is due again later, and one good look makes the count begin anew."""
    bench = Bench()
    bench.watch(1)
    bench.watch(2, policy=Fixed(5.0))
    assert fail_alone(bench, until=lambda: bench.now > 590) == []
    while (task_id := bench.look()) != 1:
        bench.saw(record(task_id))
    bench.saw(record(1))
    assert fail_alone(bench, until=lambda: bench.now > 1180) == []


def test_when_nobody_succeeds_nobody_is_given_up() -> None:
    """An outage uses up no ID's count of failures, be it as long as it will."""
    bench = Bench()
    bench.watch(*range(1, 6))
    for _ in range(8):
        assert bench.fail(BLIP, Meaning.TRANSIENT) == []
    down_since = bench.now
    counts = {task_id: trouble.count for task_id, trouble in bench.planner._trouble.items()}
    for _ in range(200):
        before = bench.now
        assert bench.fail(BLIP, Meaning.TRANSIENT, outage=True) == []
        assert bench.now - before <= RETRY.cap
        bench.now += 30
    assert bench.now > 6000
    assert bench.planner.watched == 5
    bench.planner.outage_over(bench.now - down_since)
    assert {task_id: trouble.count for task_id, trouble in bench.planner._trouble.items()} == counts
    assert bench.found("SUCCESS").moved
    for _ in range(4):
        # The service is back, and these fail once more: their failures in the outage do not add up with it.
        assert bench.fail(BLIP, Meaning.TRANSIENT) == []
    for _ in range(4):
        assert bench.found("SUCCESS").moved
    assert bench.planner.watched == 0


def test_a_wait_in_an_outage_tells_of_the_outage() -> None:
    """Failures that are not counted are still what a wait tells of when its time is over."""
    bench = Bench()
    bench.watch(1, timeout=9.0)
    bench.fail(RateLimited("slowly"), Meaning.PACED)
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    (ended,) = bench.planner.expire(9.0)
    assert (ended.why, ended.error) == (Why.TIMEOUT, BLIP)


def drive(bench: Bench, breaker: Breaker, good: set[int], until: float) -> None:
    """Make the looks up to a time: the good ones succeed, the others fail, and each takes a moment."""
    while bench.due < until and not breaker.is_open:
        task_id = bench.look()
        bench.now += 0.01
        if task_id in good:
            breaker.saw_success()
            bench.saw(record(task_id))
        else:
            breaker.saw_failure(bench.now, 0.0, blames=bench.planner.blames(task_id))
            assert bench.planner.failed(task_id, BLIP, Meaning.TRANSIENT, bench.now, 0.0) == []


def test_bad_ids_do_not_open_the_breaker_while_others_succeed() -> None:
    """Seven IDs that always fail, many times between two looks of the good one, are no outage; all together are one."""
    bench, breaker = Bench(), Breaker()
    bench.watch(*range(1, 8))
    bench.watch(100, policy=Fixed(60.0))
    drive(bench, breaker, {100}, until=300.0)
    assert not breaker.is_open
    assert all(trouble.count > 8 for trouble in bench.planner._trouble.values())
    drive(bench, breaker, set(), until=600.0)
    assert breaker.is_open


def test_a_failed_look_speaks_against_the_service_until_somebody_succeeds() -> None:
    """The first failure of an ID may be the service's; once another ID has succeeded since, it is its own."""
    bench = Bench()
    bench.watch(1, 2)
    assert bench.planner.blames(1)
    assert bench.look() == 1
    assert bench.planner.failed(1, RateLimited("slowly"), Meaning.PACED, 0.0, 0.0) == []
    assert bench.planner.blames(1)
    bench.look()
    bench.saw(record(2))
    assert bench.planner.blames(1)
    bench.now = 1.0
    bench.fail(BLIP, Meaning.TRANSIENT)
    assert bench.planner.blames(1)
    bench.now = 1.5
    bench.saw(record(2), look=False)
    assert not bench.planner.blames(1)


def test_chance_chooses_the_probe() -> None:
    """In an outage any of those that are equally overdue may be the probe, alone, and the others stay due."""
    for fresh in (True, False):
        bench = Bench()
        bench.willing.pays = True
        ids = set(range(1, 11))
        bench.watch(*ids)
        if not fresh:
            for _ in ids:
                bench.found("IN_PROGRESS")
            bench.now = bench.due
        bench.planner._last_good = None
        chosen = []
        for step in range(10):
            twin = copy.deepcopy(bench.planner)
            task_id, due = twin.take(bench.now, fresh=fresh, probe=step / 10)
            chosen.append(task_id)
            others = set()
            while (twin.agenda.due(fresh=True) if fresh else twin.agenda.due(fresh=False)) < NEVER:
                others.add(twin.agenda.take(bench.now, fresh=fresh)[0])
            assert due == bench.due
            assert others == ids - {task_id}
        assert set(chosen) == ids


def test_the_first_probe_goes_to_who_answered_last() -> None:
    """In an outage the ID that was answered last is asked first, whenever it is due; only once, as it may fail too."""
    bench = Bench()
    bench.watch(*range(1, 11))
    for _ in range(10):
        good = bench.look()
        bench.saw(record(good))
    twin = copy.deepcopy(bench.planner)
    assert twin.take(bench.now, fresh=False, probe=0.0) == (good, bench.now)
    twin.failed(good, BLIP, Meaning.TRANSIENT, bench.now, 0.0, outage=True)
    assert twin._last_good is None


def test_an_outage_ends_waits_of_one_look() -> None:
    """In an outage the probe stands for all that wanted one look only; the others go on."""
    bench = Bench()
    bench.watch(1)
    quick = bench.watch(2, 3, timeout=0)
    bench.look()
    ended = bench.planner.failed(1, BLIP, Meaning.TRANSIENT, 0.0, 0.0, outage=True)
    assert [(one.interest, one.task_id, one.why, one.error) for one in ended] == [
        (quick, 2, Why.TIMEOUT, BLIP),
        (quick, 3, Why.TIMEOUT, BLIP),
    ]
    assert bench.planner.watched == 1


def test_a_probe_for_nobody_still_ends_waits_of_one_look() -> None:
    """A probe whose own waiter has left says as much about the service as any other."""
    bench = Bench()
    one = bench.watch(1)
    bench.look()
    bench.planner.leave(one)
    bench.watch(2, timeout=0)
    assert whys(bench.planner.failed(1, BLIP, Meaning.TRANSIENT, 0.0, 0.0, outage=True)) == [Why.TIMEOUT]


def test_failed_looks_are_due_again_later_each_time() -> None:
    """The retry policy spaces failed looks, and a single blip costs its first delay."""
    bench = Bench()
    bench.watch(1)
    times = []
    for _ in range(7):
        bench.fail(BLIP, Meaning.TRANSIENT)
        times.append(bench.due - bench.now)
    assert times == [1, 2, 4, 8, 16, 20, 20]


def test_an_error_that_asks_for_time_gets_it() -> None:
    """The Retry-After of a failed look is respected, floored and capped."""
    bench = Bench()
    bench.watch(1)
    for hint, delay in ((7.0, 7.0), (0.0, 2.0), (1e9, 60.0)):
        bench.fail(ServiceError("busy", status=503, retry_after=hint), Meaning.TRANSIENT)
        assert bench.due - bench.now == delay


def test_ten_thousand_ids_are_no_objects() -> None:
    """No object, task or timer an ID: what the garbage collector walks does not grow with the IDs."""
    bench = Bench()
    gc.collect()
    before = len(gc.get_objects())
    one = bench.watch(*range(1, 10_001))
    for _ in range(10_000):
        bench.found("IN_PROGRESS", 15)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert one.pending == bench.planner.watched == 10_000
    assert bench.planner.overdue(bench.now) == 0
    assert bench.planner.overdue(bench.now + 2) == 10_000


def test_ids_that_start_in_step_fall_out_of_step() -> None:
    """IDs taken in at one moment are not asked in step for ever: each look has a chance of its own."""
    planner = Planner(RETRY)
    planner.watch(Interest(Sink(), range(1, 101), Exponential(initial=30.0, jitter=0.5), 0.0, None, None), 0.0, 0.0)
    for i in range(100):
        assert planner.agenda.due(fresh=True) == 0.0
        task_id = planner.agenda.take(0.0, fresh=True)[0]
        planner.saw(record(task_id), 0.0, i / 100, look=True)
    dues = set()
    while (due := planner.agenda.due(fresh=False)) < NEVER:
        dues.add(due)
        planner.agenda.take(due, fresh=False)
    assert len(dues) == 100
    assert 15 < min(dues) < max(dues) == 30


def test_not_found_is_believed_after_three_looks_over_ten_seconds() -> None:
    """`TaskNotFound` is believed after three looks over 10 s of nothing else, and each waiter gets it."""
    bench = Bench()
    first, second = bench.watch(1), bench.watch(1)
    assert bench.fail(MISSING, Meaning.TASK) == []
    assert bench.fail(MISSING, Meaning.TASK) == []
    assert bench.now == 5.0
    ended = bench.fail(MISSING, Meaning.TASK)
    assert bench.now == 10.0
    assert [(one.interest, one.why, one.error, one.looks) for one in ended] == [
        (first, Why.FAILED, MISSING, 3),
        (second, Why.FAILED, MISSING, 3),
    ]
    assert bench.due == NEVER


def test_a_task_that_is_found_late_is_waited_for() -> None:
    """An ID asked for right after it was made, and not found for a moment, is waited for all the same."""
    bench = Bench()
    one = bench.watch(1)
    bench.fail(MISSING, Meaning.TASK)
    bench.fail(MISSING, Meaning.TASK)
    assert bench.found("NOT_START") == (True, (one,), [])
    assert bench.fail(MISSING, Meaning.TASK) == []
    assert bench.found("SUCCESS").waiting == (one,)


def test_what_cannot_be_read_is_asked_again_twice() -> None:
    """A garbled answer is asked for again twice; the third time the ID ends with its `DecodeError`."""
    bench = Bench()
    bench.watch(1)
    error = DecodeError("rubbish")
    assert [whys(bench.fail(error, Meaning.GARBLED)) for _ in range(3)] == [[], [], [Why.FAILED]]


def test_a_late_joiner_shares_the_looks_and_hastens_them() -> None:
    """Waiters of one ID share its looks; with different policies the earliest due counts, from the last look on."""
    bench = Bench()
    bench.watch(1, policy=Fixed(60.0))
    bench.found("IN_PROGRESS", 15)
    assert bench.due == 60.0
    bench.now = 1.0
    bench.watch(1, policy=Fixed(500.0))
    assert bench.due == 60.0
    bench.watch(1, policy=Fixed(5.0))
    assert bench.due == 5.0
    bench.now = 4.0
    bench.watch(1, policy=Fixed(2.0))
    assert bench.due == 4.0  # not in the past: nobody was late with this look
    bench.found("IN_PROGRESS", 31)
    assert bench.due == 6.0


def test_a_late_joiner_is_not_asked_while_a_look_is_to_come_anyway() -> None:
    """Before the first look, after a failed one and while one is out, who joins waits for what comes."""
    bench = Bench()
    asked: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> None:
        asked.append(facts)

    bench.watch(1)
    bench.watch(1, policy=policy)
    bench.fail(BLIP, Meaning.TRANSIENT)
    bench.watch(1, policy=policy)
    bench.look()
    bench.watch(1, policy=policy, timeout=0)
    assert asked == []
    assert bench.due == NEVER


def fails(_facts: Facts, _roll: float) -> float:
    """Raise, as a policy with a mistake in it does."""
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("policy", "why", "cause"),
    [
        (lambda _facts, _roll: None, Why.GAVE_UP, None),
        (lambda _facts, _roll: math.nan, Why.FAILED, UsageError),
        (lambda _facts, _roll: "2", Why.FAILED, UsageError),
        (fails, Why.FAILED, ZeroDivisionError),
    ],
)
def test_a_policy_that_stops_ends_its_own_wait_only(policy: Policy, why: Why, cause: type[Exception] | None) -> None:
    """A policy that says stop, says nonsense or raises ends that wait, at a look or at intake; others go on."""
    bench = Bench()
    steady = bench.watch(1, policy=Fixed(3.0))
    strange = bench.watch(1, policy=policy)
    seen = bench.found("IN_PROGRESS", 15)
    late, at_once = bench.join(1, policy=policy)
    for ended, one in zip((*seen.ended, *at_once), (strange, late), strict=True):
        assert (ended.interest, ended.why, ended.looks) == (one, why, 1)
        assert type(ended.error.__cause__ if ended.error else None) is (cause or type(None))
        assert ended.error is None or isinstance(ended.error, UsageError)
    assert seen.waiting == (steady,)
    assert bench.due == 3.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through_a_policy(error: type[BaseException]) -> None:
    """Who interrupts the process while a policy is asked ends the process, not a wait."""
    bench = Bench()

    def interrupted(_facts: Facts, _roll: float) -> float:
        raise error

    bench.watch(1, policy=interrupted)
    with pytest.raises(error):
        bench.found("IN_PROGRESS", 15)
    assert not bench.planner.news.asking


def test_a_task_that_was_made_here_is_looked_at_when_the_policy_says() -> None:
    """The first look at a task made here comes as the policy says; one that says stop ends the wait without a look."""
    bench = Bench()
    bench.planner.news.created(1, bench.now)
    _, ended = bench.join(1, policy=lambda _facts, _roll: None)
    assert [(one.why, one.looks) for one in ended] == [(Why.GAVE_UP, 0)]
    assert (bench.planner.watched, bench.due) == (0, NEVER)
    bench.watch(1, policy=Fixed(7.0))
    assert bench.due == 7.0


def test_an_id_given_twice_ends_once() -> None:
    """An ID that stands twice in what is watched is one wait with one end, also where that comes at intake."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS")
    _, ended = bench.join(1, 1, policy=lambda _facts, _roll: None)
    assert whys(ended) == [Why.GAVE_UP]


def test_no_policy_can_spin() -> None:
    """A policy that says 0 does not make a loop without delay: there is a least delay."""
    bench = Bench()
    bench.watch(1, policy=lambda _facts, _roll: 0.0)
    for _ in range(10):
        before = bench.now
        bench.found("IN_PROGRESS", 15)
        assert bench.due - bench.now >= MIN_DELAY
        assert bench.now >= before
    assert bench.now < 1.0


def test_a_delay_beyond_all_measure_is_far_away() -> None:
    """The largest delays that are numbers at all are taken, and the ID can still be pushed."""
    bench = Bench()
    bench.watch(1, policy=lambda _facts, _roll: 1.7e308)
    bench.found("IN_PROGRESS", 15)
    assert 1e9 < bench.due < NEVER
    bench.planner.agenda.push(1, bench.now)
    assert bench.due == bench.now


def test_two_waiters_for_one_id_cause_one_request() -> None:
    """However many wait for one ID, one look is out, and its final record goes to each of them."""
    bench = Bench()
    waiters = tuple(bench.watch(1) for _ in range(5))
    bench.look()
    assert bench.due == NEVER
    late = bench.watch(1)
    assert bench.due == NEVER
    assert bench.saw(record(1, "SUCCESS")).waiting == (*waiters, late)
    assert bench.planner.agenda.in_flight == 0


def test_waiters_with_one_policy_ask_it_once() -> None:
    """A thousand waiters of one ID with one policy cost one decision a look, and all of them end when it says stop."""
    bench = Bench()
    asked: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float | None:
        asked.append(facts)
        return 1.0 if facts.attempt < 3 else None

    for _ in range(1000):
        bench.watch(1, policy=policy)
    assert not bench.found("IN_PROGRESS").ended
    assert not bench.found("IN_PROGRESS").ended
    assert len(asked) == 2
    assert whys(bench.found("IN_PROGRESS").ended) == [Why.GAVE_UP] * 1000


def test_a_look_that_came_to_nothing_is_due_at_once() -> None:
    """A look that failed through no fault of the service or the ID is made again at once, and counts as no failure."""
    bench = Bench()
    bench.watch(1)
    for _ in range(20):
        bench.look()
        bench.planner.again(1, bench.now)
    assert (bench.due, bench.now) == (0.0, 0.0)
    assert bench.planner.watched == 1


def test_time_ends_only_what_is_left_of_an_interest() -> None:
    """When time is over for an interest in many IDs, those that had come to their end are not ended again."""
    bench = Bench()
    bench.watch(1, 2, timeout=5.0)
    bench.watch(1, 3)
    bench.found("SUCCESS")
    bench.watch(1)
    assert [(one.task_id, one.why) for one in bench.planner.expire(5.0)] == [(2, Why.TIMEOUT)]
    assert bench.planner.watched == 2


def test_all_whose_time_is_over_end_one_by_one() -> None:
    """Each call ends one interest whose time is over, the earliest first, and none whose time is not."""
    bench = Bench()
    gone = [bench.watch(i, i + 10, timeout=5.0) for i in (1, 2)]
    bench.watch(3, timeout=6.0)
    for one in gone:
        assert bench.planner.next_deadline() == 5.0
        assert [ended.interest for ended in bench.planner.expire(5.5)] == [one, one]
    assert bench.planner.expire(5.5) == []
    assert (bench.planner.watched, bench.planner.next_deadline()) == (1, 6.0)


def test_an_outage_in_between_is_something_else() -> None:
    """`Of nothing else`: refusals before an outage are not added to those after it."""
    bench = Bench()
    bench.watch(1)
    bench.fail(MISSING, Meaning.TASK)
    bench.fail(MISSING, Meaning.TASK)
    down_since = bench.now
    bench.fail(BLIP, Meaning.TRANSIENT, outage=True)
    bench.now += 30
    bench.planner.outage_over(bench.now - down_since)
    assert bench.fail(MISSING, Meaning.TASK) == []
    assert bench.fail(MISSING, Meaning.TASK) == []
    assert whys(bench.fail(MISSING, Meaning.TASK)) == [Why.FAILED]


def test_flight_outlives_interest() -> None:
    """The last one leaves while a look is out, a new one comes: no second look beside it (invariant 3)."""
    bench = Bench()
    one = bench.watch(1)
    bench.planner.agenda.push(1, 0.0)
    bench.look()
    bench.planner.agenda.push(1, 0.0)
    bench.planner.leave(one)
    assert bench.planner.watched == 0
    two = bench.watch(1)
    assert bench.due == NEVER
    assert bench.found_at_home("IN_PROGRESS") == (True, (two,), [])
    assert bench.due == 2.0  # the push was for whoever waited then


def test_a_push_during_a_look_makes_exactly_one_more() -> None:
    """Pushes while a look is out make one look after it, at once, and then the policy goes on."""
    bench = Bench()
    bench.watch(1, policy=Fixed(60.0))
    bench.look()
    bench.now = 0.5
    for _ in range(3):
        bench.planner.agenda.push(1, bench.now)
    bench.found_at_home("IN_PROGRESS")
    assert bench.planner.agenda.due(fresh=True) == 0.5
    bench.found("IN_PROGRESS")
    assert bench.planner.agenda.due(fresh=True) == NEVER
    assert bench.due == 60.5


def test_pushes_make_one_look_a_second() -> None:
    """However often one ID is pushed, it is looked at once a second for that."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS")
    looks = 0
    for step in range(1000):
        bench.now = step / 100
        bench.planner.agenda.push(1, bench.now)
        if bench.due <= bench.now:
            bench.found("IN_PROGRESS")
            looks += 1
    assert looks == 10
    assert bench.planner.agenda._fresh.size <= 1


def test_pushed_looks_are_a_second_apart_from_when_they_went() -> None:
    """A look for a push that had to wait for its turn is not followed by the next one sooner than a second later."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS")
    bench.planner.agenda.push(1, 0.0)
    bench.now = 5.0
    bench.look()
    bench.planner.agenda.push(1, 5.25)
    bench.now = 5.5
    bench.found_at_home("IN_PROGRESS")
    assert bench.planner.agenda.due(fresh=True) == 5.0 + PUSH_SPACING


def test_a_push_puts_nothing_off() -> None:
    """A look that is due sooner than the push's own serves the push."""
    bench = Bench()
    bench.watch(1, policy=Fixed(0.25))
    bench.found("IN_PROGRESS")
    bench.planner.agenda.push(1, 0.0)
    bench.found("IN_PROGRESS")
    assert bench.due == 0.25
    bench.planner.agenda.push(1, 0.0)
    assert bench.due == 0.25
    assert bench.planner.agenda.due(fresh=True) == NEVER


def test_a_pushed_id_stands_in_one_class() -> None:
    """An ID that is pushed at the very moment when its poll is due is due as a pushed one, and as nothing else."""
    bench = Bench()
    bench.watch(1, policy=Fixed(2.0))
    bench.found("IN_PROGRESS")
    bench.planner.agenda.push(1, 2.0)
    assert (bench.planner.agenda.due(fresh=True), bench.planner.agenda.due(fresh=False)) == (2.0, NEVER)


def test_a_record_from_elsewhere_does_not_replace_a_pushed_look() -> None:
    """A record that came by another way may be older than the push: the look that the push wants is still made."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS", 15)
    bench.planner.agenda.push(1, 0.0)
    bench.saw(record(1, "IN_PROGRESS", 31), look=False)
    assert bench.planner.agenda.due(fresh=True) == 0.0


def test_a_push_for_an_id_that_nobody_waits_for_is_ignored() -> None:
    """A push proves nothing and starts nothing: neither for a strange ID nor for one whose last waiter left."""
    bench = Bench()
    one = bench.watch(1)
    bench.look()
    bench.planner.leave(one)
    bench.planner.agenda.push(1, 0.0)
    bench.planner.agenda.push(2, 0.0)
    bench.planner.again(1, 0.0)
    assert bench.due == NEVER
    assert bench.planner.agenda.in_flight == 0


def test_a_record_from_elsewhere_counts_while_a_look_is_out() -> None:
    """A final record that comes by another way ends the wait at once, and the look that is out comes home to nobody."""
    bench = Bench()
    one = bench.watch(1)
    bench.look()
    assert bench.saw(record(1, "IN_PROGRESS", 62), look=False) == (True, (one,), [])
    assert bench.due == NEVER
    assert bench.saw(record(1, "SUCCESS"), look=False).waiting == (one,)
    assert bench.planner.agenda.in_flight == 1
    assert bench.found_at_home("IN_PROGRESS", 31) == (False, (), [])
    assert bench.saw(record(9, "SUCCESS"), look=False) == (False, (), [])


def test_an_id_can_be_left_alone_of_many() -> None:
    """One ID of an interest can be dropped by its sink; no look starts for it, and dropping it again does nothing."""
    bench = Bench()
    sink = Sink()
    one = bench.watch(1, 2, sink=sink)
    assert bench.planner.drop(1, sink)
    assert not bench.planner.drop(1, sink)
    assert not waits(bench.planner, 1, sink)
    assert waits(bench.planner, 2, sink)
    assert not waits(bench.planner, 3, sink)
    assert [bench.planner.is_watched(i) for i in (1, 2, 3)] == [False, True, False]
    assert not bench.planner.drop(2, Sink())
    assert bench.look() == 2
    assert bench.due == NEVER
    bench.planner.leave(one)
    bench.planner.leave(one)
    assert bench.planner.watched == 0


def test_clear_ends_all_waits() -> None:
    """After `clear` nobody waits, nothing is due, and looks that are out come home to nobody."""
    bench = Bench()
    bench.watch(1, 2, 3, timeout=5.0)
    bench.look()
    bench.planner.clear()
    assert (bench.planner.watched, bench.due) == (0, NEVER)
    assert bench.planner.expire(5.0) == []
    bench.planner.again(1, 0.0)
    assert bench.planner.agenda.in_flight == 0


def test_thousands_of_waiters_of_one_id_come_and_go_in_linear_work() -> None:
    """To come, to be found, to end in time and to leave costs each of 8,000 waiters of one ID as much as the first."""
    reads = 0

    class Counted(Interest):
        """An interest that counts how often somebody asks whose it is."""

        __slots__ = ("whose",)

        @property
        def sink(self) -> object:
            nonlocal reads
            reads += 1
            return self.whose

        @sink.setter
        def sink(self, whose: object) -> None:
            self.whose: object = whose

    planner = Planner(RETRY)
    # Who came last is the first to go, as it is the last that a search would find.
    waiters = [Counted(Sink(), [1], Fixed(2.0), 0.0, 8000.0 - i, None) for i in range(8000)]

    def check(count: int) -> None:
        nonlocal reads
        assert reads <= 8 * count
        reads = 0

    for one in waiters:
        assert planner.watch(one, 0.0, 0.0) == []
        assert planner.watch(Counted(one.whose, [1], Fixed(2.0), 0.0, 5.0, None), 0.0, 0.0) == []
        check(2)
    for one in waiters[:5999:-1]:
        assert waits(planner, 1, one.whose)
        assert planner.drop(1, one.whose)
        check(2)
    for one in waiters[5999:3999:-1]:
        assert [ended.interest for ended in planner.expire(one.deadline)] == [one]
        check(1)
    for one in waiters[3999:1999:-1]:
        planner.leave(one)
        check(1)
    planner.agenda.take(9.0, fresh=True)
    assert planner.saw(record(1, "SUCCESS"), 9.0, 0.0, look=True).waiting == tuple(waiters[:2000])
    check(2000)
    assert planner.watched == 0


# The list: which IDs are looked at with one page, and what a page proves.


def test_what_is_due_on_one_page_is_looked_at_with_one_request() -> None:
    """IDs of one page of the list that are due together go out together, and the page's records come home to each."""
    planner = Planner(RETRY)
    ids = tuple(range(1, SIZE + 1))
    waiter = Interest(Sink(), ids, Fixed(2.0), 0.0, None, None)
    planner.watch(waiter, 0.0, 0.0)
    for task_id in ids:
        assert planner.agenda.take(0.0, fresh=True)[0] == task_id
        planner.saw(record(task_id), 0.0, 0.0, look=True)
    planner.sweeps.learn(Sweep(1, (), deeper=True, at=0.0), ids[::-1], 0.0)
    assert planner.due(2.0, fresh=False) == 2.0
    sweep, due = planner.take(2.0, fresh=False)
    assert isinstance(sweep, Sweep)
    assert (sweep.page, sorted(sweep.task_ids), due) == (1, list(ids), 2.0)
    assert planner.agenda.in_flight == len(ids)
    assert planner.due(2.0, fresh=False) == NEVER
    for task_id in ids:
        seen = planner.saw_listed(
            record(task_id, "IN_PROGRESS", 15), 2.5, 0.0, asked_at=2.5, age=None, ended_ago=None, look=True
        )
        assert seen == (True, (waiter,), [])
    assert planner.agenda.in_flight == 0
    assert planner.due(2.5, fresh=False) == 4.5


@pytest.mark.parametrize("absent", [False, True])
def test_whom_a_page_does_not_show_is_asked_for_singly_at_once(absent: bool) -> None:
    """An ID that its page fails to show is due at once, and goes alone although a page would pay."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    look, _ = bench.planner.take(0.0, fresh=True)
    assert isinstance(look, Sweep)
    assert set(look.task_ids) == {1, 2}
    bench.now = 0.5
    bench.planner.missed(1, 0.5, absent=absent)
    bench.listed(record(2), look=True)
    assert bench.planner.due(0.5, fresh=False) == 0.5
    assert bench.planner.take(0.5, fresh=False) == (1, 0.5)
    assert bench.saw(record(1)).moved
    bench.now = bench.due
    assert isinstance(bench.planner.take(bench.now, fresh=False)[0], Sweep)


def test_who_slid_to_another_page_is_looked_for_there_once() -> None:
    """An ID whose page moved on may be read from another page at once; where that fails too, it is asked for singly."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    bench.planner.take(0.0, fresh=True)
    bench.listed(record(2), look=True)
    bench.planner.missed(1, 0.0, absent=False, slid=True)
    bench.willing.is_holding = True
    assert bench.planner.due(0.0, fresh=False) == 0.0  # it has waited long enough
    look, _ = bench.planner.take(0.0, fresh=False)
    assert isinstance(look, Sweep)
    bench.planner.missed(1, 0.0, absent=False, slid=True)
    assert bench.planner.take(0.0, fresh=False) == (1, 0.0)
    bench.saw(record(1))
    bench.look()
    bench.planner.missed(1, bench.now, absent=False, slid=True)
    assert isinstance(bench.planner.take(bench.now, fresh=False)[0], Sweep)  # by then that is forgotten


def test_a_first_look_waits_a_little_for_others_that_are_as_new() -> None:
    """First looks are held once where the list says so, but not for who wants one look only, and no pushed ones."""
    bench = Bench()
    bench.willing.is_holding = True
    bench.watch(1)
    assert bench.planner.due(0.0, fresh=True) == HOLD
    bench.join(2, timeout=0)
    assert bench.planner.due(0.0, fresh=True) == 0.0
    assert bench.look() == 2
    bench.planner.agenda.push(1, 0.0)
    assert bench.planner.due(0.0, fresh=True) == 0.0
    assert bench.look() == 1


def test_newcomers_do_not_have_a_first_look_held_again_and_again() -> None:
    """A first look that is held for its page goes when its time is over, however many come to wait meanwhile."""
    bench = Bench()
    bench.willing.is_holding = True
    while bench.now < HOLD:
        bench.watch(1)
        assert bench.planner.due(bench.now, fresh=True) == HOLD
        bench.now += 0.5
    assert bench.planner.due(bench.now, fresh=True) == HOLD
    assert bench.look() == 1


def test_an_id_that_only_pages_show_is_given_up() -> None:
    """What pages show forgives no failed query: an ID for which asking fails on and on comes to its end."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS", 10)
    ended: list[Ended] = []
    for progress in (20, 30, 40):
        assert ended == []
        ended = bench.fail(MISSING, Meaning.TASK)
        bench.now += 1.0
        if not ended:
            assert bench.listed(record(1, "IN_PROGRESS", progress), look=False) is not None
            bench.now += 10.0
    assert whys(ended) == [Why.FAILED]
    assert ended[0].error is MISSING


def test_a_page_forgives_what_says_nothing_about_the_id() -> None:
    """A look that the pace or an outage failed is forgotten when a page shows the ID."""
    bench = Bench()
    bench.watch(1, timeout=60.0)
    bench.fail(RateLimited("slowly", status=429), Meaning.PACED)
    assert bench.listed(record(1), look=False) is not None
    assert [one.error for one in bench.planner.expire(60.0)] == [None]


def test_who_waits_for_a_first_look_is_confirmed_in_that_class() -> None:
    """A page that shows a waiting new ID as done, by the way, does not move it behind the polls."""
    bench = Bench()
    bench.watch(1, 2)
    bench.willing.pays = True
    assert bench.listed(record(2, "SUCCESS"), look=False) is None
    assert (bench.planner.agenda.due(fresh=True), bench.planner.agenda.due(fresh=False)) == (0.0, NEVER)
    assert bench.planner.take(0.0, fresh=True)[0] == Sweep(1, (1,), deeper=False, at=0.0)
    assert bench.planner.take(0.0, fresh=True) == (2, 0.0)


def test_who_left_is_missed_by_nobody() -> None:
    """A page comes home for IDs whose waiters left meanwhile, whether it shows them or not, and nothing is due."""
    bench = Bench()
    one = bench.watch(1, 2)
    bench.willing.pays = True
    bench.planner.take(0.0, fresh=True)
    bench.planner.leave(one)
    bench.planner.missed(1, 0.0, absent=True)
    assert bench.listed(record(2), look=True) is None
    assert bench.listed(record(3), look=False) is None
    assert (bench.planner.agenda.in_flight, bench.due) == (0, NEVER)


def test_a_pushed_id_is_looked_at_alone() -> None:
    """A page may lag behind the push: who was pushed goes alone and does not come along with others."""
    bench = Bench()
    bench.watch(1, 2, 3, policy=Fixed(60.0))
    for _ in range(3):
        bench.found("IN_PROGRESS")
    bench.willing.pays = True
    bench.now = 60.0
    bench.planner.agenda.push(2, 60.0)
    look, _ = bench.planner.take(60.0, fresh=False)
    assert isinstance(look, Sweep)
    assert set(look.task_ids) == {1, 3}
    assert bench.planner.take(60.0, fresh=True) == (2, 60.0)


def test_a_due_id_waits_a_little_for_others_of_its_page_and_then_goes() -> None:
    """A due ID is held once and not for long, however often somebody joins; one that is late already is not held."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.willing.is_holding = True
    until = 2.0 + math.ceil(HOLD * TICKS) / TICKS
    while bench.now < until:
        if bench.now >= 2.0:
            assert bench.planner.due(bench.now, fresh=False) == until
            bench.watch(1)
        bench.now += 0.25
    assert bench.planner.due(bench.now, fresh=False) == until
    assert bench.look() == 1
    bench.found_at_home("IN_PROGRESS")
    due = bench.due
    late = due + 2 * HOLD
    assert bench.planner.due(late, fresh=False) == due


def test_what_a_page_is_no_answer_for_is_not_held() -> None:
    """Neither a poll that serves a push, nor what is to be asked for singly, waits for others of its page."""
    bench = Bench()
    bench.watch(1, policy=Fixed(0.5))
    bench.willing.is_holding = True
    for _ in range(2):
        bench.found("IN_PROGRESS")
        bench.planner.agenda.push(1, 0.0)
    assert (bench.planner.agenda.due(fresh=True), bench.planner.due(0.5, fresh=False)) == (NEVER, 0.5)
    bench.look()
    bench.planner.missed(1, 0.5, absent=True)
    assert bench.planner.due(0.5, fresh=False) == 0.5


def test_a_page_shows_news_of_ids_that_are_not_due() -> None:
    """What a page shows by the way counts where it is news, and changes nothing where it is not."""
    bench = Bench()
    one = bench.watch(1)
    bench.found("IN_PROGRESS", 15)
    bench.now = 1.0
    assert bench.listed(record(1, "IN_PROGRESS", 15), look=False) is None
    assert bench.due == 2.0
    assert bench.listed(record(1, "IN_PROGRESS", 31), look=False) == (True, (one,), [])
    assert bench.due == 3.0
    assert bench.listed(record(1, "SUCCESS", whole=True), look=False) == (True, (one,), [])
    assert bench.planner.watched == 0


def test_a_page_that_lags_behind_puts_nothing_off_and_speaks_against_the_list() -> None:
    """An earlier state on a page is no news: by the way it changes nothing, as an answer it is a look without news.

    It speaks against the list where that is well behind another page, once for all records of a page.
    """
    bench = Bench()
    one = bench.watch(1, policy=Fixed(5.0))
    bench.look()
    bench.listed(record(1, "IN_PROGRESS", 50), look=True)
    for now, strikes in ((LAG, 0), (LAG + 0.1, 2), (LAG + 0.1, 2)):
        bench.now = now
        assert bench.listed(record(1, "IN_PROGRESS", 15), look=False) is None
        assert (bench.due, bench.willing.strikes) == (5.0, strikes)
    bench.look()
    assert bench.listed(record(1, "SUBMITTED"), look=True) == (False, (one,), [])
    assert (bench.due, bench.willing.strikes) == (10.0, 4)


def test_a_page_that_is_well_behind_query_is_proof_against_the_list() -> None:
    """An earlier state than what was asked for singly some seconds before the page was is proof enough by itself."""
    bench = Bench()
    bench.watch(1, policy=Fixed(5.0))
    bench.found("IN_PROGRESS", 50)
    for now, strikes in ((LAG, 0), (LAG + 0.1, STRIKES)):
        bench.now = now
        assert bench.listed(record(1, "IN_PROGRESS", 15), look=False) is None
        assert (bench.due, bench.willing.strikes) == (5.0, strikes)


def test_a_page_answers_for_an_id_that_is_due() -> None:
    """An ID that is due, and that a page shows by the way, needs no look of its own, unless it was pushed."""
    bench = Bench()
    bench.watch(1, policy=Fixed(5.0))
    bench.found("IN_PROGRESS", 50)
    bench.now = 4.0
    assert bench.listed(record(1, "IN_PROGRESS", 50), look=False) is None
    bench.now = 5.5
    assert bench.listed(record(1, "IN_PROGRESS", 50), look=False) is not None
    assert bench.due == 10.5
    bench.planner.agenda.push(1, bench.now)
    assert bench.listed(record(1, "IN_PROGRESS", 50), look=False) is None
    assert bench.due == 5.5


def test_of_tasks_that_were_made_here_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of endless tasks that were made here so many are remembered, the latest."""
    monkeypatch.setattr("omgmj.news.CREATED_KEPT", 2)
    news = Bench().planner.news
    for task_id in (1, 2, 3):
        news.created(task_id, 0.0)
    assert [news.is_created(task_id) for task_id in (1, 2, 3)] == [False, True, True]


def test_a_second_waiter_hastens_the_first_look_at_a_task_that_was_made_here() -> None:
    """Of two policies of two waiters the one that wants the earlier first look counts."""
    bench = Bench()
    bench.planner.news.created(1, bench.now)
    bench.watch(1, policy=Fixed(600.0))
    bench.watch(1, policy=Fixed(20.0))
    bench.watch(1, policy=Fixed(300.0))
    assert bench.due == 20.0


def test_a_second_waiter_does_not_hasten_a_look_that_failed() -> None:
    """Who comes when the first look has failed shares the retry: many who come do not make it many looks."""
    bench = Bench()
    bench.watch(1)
    bench.fail(BLIP, Meaning.TRANSIENT)
    due = bench.due
    assert due > bench.now
    bench.watch(1)
    assert bench.due == due


def test_a_final_record_without_its_image_is_confirmed_by_asking() -> None:
    """Success without image or actions on a page is not the end yet: the ID is asked for singly, and at once."""
    bench = Bench()
    one = bench.watch(1, policy=Fixed(60.0))
    bench.willing.pays = True
    bench.look()
    assert bench.listed(record(1, "SUCCESS"), look=True) is None
    assert bench.planner.take(0.0, fresh=False) == (1, 0.0)
    assert bench.listed(record(1, "SUCCESS"), look=False) is None  # a look is out: it will tell
    assert bench.due == NEVER
    bench.found_at_home("IN_PROGRESS")
    bench.now = 9.0
    for _ in range(3):
        assert bench.listed(record(1, "SUCCESS"), look=False) is None
        assert bench.due == 9.0  # however often pages show it, it does not lose its turn
        bench.now += 5.0
    assert bench.planner.take(bench.now, fresh=False) == (1, 9.0)
    assert bench.saw(record(1, "SUCCESS")).waiting == (one,)


def test_an_overdue_id_that_a_page_shows_as_done_keeps_its_turn() -> None:
    """An ID that was late before a page asked for its confirmation is not put behind those that are less late."""
    bench = Bench()
    bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.now = 50.0
    assert bench.listed(record(1, "SUCCESS"), look=False) is None
    assert bench.due == 2.0


@pytest.mark.parametrize(
    "task", [record(1, "SUCCESS", whole=True), record(1, "SUCCESS", kind=NO_IMAGE), record(1, "FAILURE")]
)
def test_a_final_record_on_a_page_that_lacks_nothing_ends_the_wait(task: Task) -> None:
    """Success with image and actions, one of a kind that has none, and failure are the end, page or not."""
    bench = Bench()
    one = bench.watch(1)
    bench.look()
    assert bench.listed(task, look=True) == (True, (one,), [])
    assert bench.planner.watched == bench.planner.agenda.in_flight == 0


@pytest.mark.parametrize(
    ("ended_ago", "listed", "strikes"),
    [(None, True, 0), (10.0, True, 0), (10.0 + LAG, True, 0), (11.0 + LAG, True, 2), (99.0, False, 0)],
)
def test_a_page_that_showed_a_task_as_running_that_had_ended_is_not_trusted(
    ended_ago: float | None, *, listed: bool, strikes: int
) -> None:
    """A task that ended well before a page still showed it as running speaks against the list."""
    bench = Bench()
    bench.watch(1, policy=Fixed(10.0))
    bench.look()
    if listed:
        bench.listed(record(1, "IN_PROGRESS"), look=True)
    else:
        bench.found_at_home("IN_PROGRESS")
    bench.look()
    assert bench.now == 10.0
    twin = copy.deepcopy(bench)
    assert bench.listed(record(1, "SUCCESS", whole=True), look=True, ended_ago=ended_ago) is not None
    assert bench.willing.strikes == strikes
    twin.saw(record(1, "SUCCESS"), ended_ago=ended_ago)
    assert twin.willing.strikes == (STRIKES if strikes else 0)  # Asking for it is proof.


@pytest.mark.parametrize("looks", [0, 1])
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("age", [None, 0.0, 40.0])
def test_a_final_record_ends_the_wait_whatever_times_it_tells(
    looks: int, *, finished: bool, started: bool, age: float | None
) -> None:
    """A final record may lack any of its times, at the first look or later: the wait ends all the same."""
    bench = Bench()
    one = bench.watch(1)
    for _ in range(looks):
        task_id = bench.look()
        bench.saw(record(task_id, "IN_PROGRESS", 50, started=started), age=age)
    task = record(bench.look(), "FAILURE", finished=finished, started=started)
    assert bench.saw(task, age=age) == (True, (one,), [])


def test_what_was_quiet_before_somebody_came_anew_does_not_count() -> None:
    """All left while a look was out and one came again: that it found nothing new is the first that this one hears."""
    bench = Bench()
    first = bench.watch(1)
    bench.found("IN_PROGRESS")
    bench.now = 50.0
    bench.look()
    bench.planner.leave(first)
    bench.watch(1, policy=Fixed(10.0), stall=60.0)
    assert bench.planner.unchanged(1, bench.now, 0.0) == []
    while not (ended := bench.found("MODAL").ended):
        pass
    assert whys(ended) == [Why.STALLED]
    assert bench.now == 120.0
