"""The planner: its invariants as a state machine over everything that can happen to it, then its rules one by one."""

from __future__ import annotations

import copy
import gc
import math
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy
from omgmj.errors import DecodeError, OmgmjError, RateLimited, ServiceError, TaskNotFound
from omgmj.models import STATUS_ORDER, Kind, Task
from omgmj.protocol.callbacks import Callback
from omgmj.protocol.failures import Meaning
from omgmj.scheduler import registry as rows
from omgmj.scheduler.due_queue import PUSH_SPACING
from omgmj.scheduler.planner import Ended, Found, Planner, Seen, Why
from omgmj.scheduler.progress import MIN_DELAY
from omgmj.scheduler.registry import FRESH, IN_FLIGHT, SLID, Subscription
from omgmj.scheduler.sweep_plan import HOLD, Sweep
from omgmj.scheduler.verdicts import FailedPoll
from tests.scheduler.bench import NEVER, RETRY, TICK, Bench, Sink, Willing, failed, record, waits


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
    """A poll that is out: the last record that its driver knew when it left."""

    last: bytes | None


class Wanted:
    """What the model knows of a watched ID beside its waiters."""

    def __init__(self, *, fresh: bool, served: float) -> None:
        self.quiet_since = served  # service time
        self.fresh = fresh  # a first poll is to come, or the one of a wait that wants one poll only
        self.single = False  # a page did not show it, or not all of it
        self.seen = View()
        self.pushed_at: float | None = None  # a push that no poll has followed yet
        self.last_push_poll = -NEVER
        self.due_from = NEVER  # since when its poll could have gone, had it not been held
        self.slid = False  # a page did not show it, and another may


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
    Meaning.UNKNOWN: TaskNotFound("no such task"),
    Meaning.GARBLED: DecodeError("rubbish"),
}


class PlannerMachine(RuleBasedStateMachine):
    """A model beside the planner: who waits for what, what is out, what each has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.planner = Planner(RETRY)
        self.list = self.planner.sweep_plan = Willing(self.planner.registry)
        self.now = 0.0
        self.down_since: float | None = None
        self.lost = 0.0
        self.came: dict[Subscription, float] = {}
        self.waiters: dict[int, dict[Subscription, View]] = {}
        self.wanted: dict[int, Wanted] = {}
        self.out: dict[int, Flight] = {}
        self.subscriptions: list[Subscription] = []
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
        one = Subscription(sink, ids, self.policies[which], self.now, timeout, stall)
        joined = [i for i in dict.fromkeys(ids) if all(w.sink is not sink for w in self.waiters.get(i, ()))]
        for task_id in joined:
            last = self.planner.last(task_id)
            seen = View(*map(int, last.split()[1:3])) if last else View()
            self.waiters.setdefault(task_id, {})[one] = seen
            wanted = self.wanted.setdefault(task_id, Wanted(fresh=task_id not in self.out, served=self.served))
            if one.once and task_id not in self.out:
                wanted.fresh, wanted.single = True, False
        if joined:
            self.subscriptions.append(one)
            self.came[one] = self.served
        self.end(self.planner.watch(one, self.now, roll))
        assert all(waits(self.planner, task_id, sink) for task_id in joined if one in self.waiters.get(task_id, ()))

    @precondition(lambda self: self.subscriptions)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.subscriptions))
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
        self.planner.due_queue.push(task_id, self.now)
        if task_id in self.wanted:
            self.wanted[task_id].pushed_at = self.now

    @rule(task_id=IDS, progress=PROGRESS, roll=ROLLS)
    def hear(self, task_id: int, progress: int | None, roll: float) -> None:
        self.planner.hear(Callback(task_id, goes_on=True, progress=progress), self.now, roll)

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
        """Ask when the next poll of a class is due: it may be held for its page, once, and then goes whatever comes."""
        registry = self.planner.registry
        before = {task_id: due for task_id, due in self.dues().items() if due <= self.now}
        first = {task_id for task_id in before if registry.flags[registry.rows[task_id]] & FRESH}
        head = self.planner.advance(self.now)[0 if fresh else 1]
        after = self.dues()
        for task_id, due in before.items():
            wanted = self.wanted[task_id]
            wanted.due_from = min(wanted.due_from, due)
            assert due <= after[task_id] <= wanted.due_from + HOLD + TICK
            assert after[task_id] == due or not (wanted.single or wanted.slid or wanted.pushed_at is not None)
            once = task_id in first and any(one.once for one in self.waiters[task_id])
            assert after[task_id] == due or not once
        return head

    def take_one(self, *, fresh: bool, roll: float) -> tuple[int, ...]:
        """Take what is due; return the IDs that are polled in one."""
        head = self.due_next(fresh=fresh)
        probe = None if self.down_since is None else roll
        good = None if probe is None else self.planner.proven(roll)
        poll, due = self.planner.take(self.now, fresh=fresh, probe=probe)
        is_good = good is not None and poll == good
        task_ids = poll.task_ids if isinstance(poll, Sweep) else (poll,)
        # In an outage a probe goes to who has answered, whenever it is due.
        assert due == (self.now if is_good else head)
        assert len(set(task_ids)) == len(task_ids)
        for task_id in task_ids:
            assert task_id not in self.out  # invariant 2
            assert task_id in self.waiters  # no poll starts for an ID that nobody waits for
            wanted = self.wanted[task_id]
            if isinstance(poll, Sweep):
                # A page may lag behind: who was pushed, or was not shown by one, is asked for singly.
                assert probe is None
                assert not wanted.single
                assert wanted.pushed_at is None
            elif fresh and not wanted.fresh and not is_good:
                # Invariant 3: a poll for a push has a push, and such polls are a second apart.
                assert wanted.pushed_at is not None
                assert min(due, self.now) >= wanted.last_push_poll + PUSH_SPACING
            if wanted.pushed_at is not None:
                wanted.last_push_poll = self.now
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
        self.see(task, self.planner.saw(Found(task, age, hint=hint), self.now, roll, poll=True))

    @rule(task_id=IDS, status=STATUSES, progress=PROGRESS, roll=ROLLS, age=AGES)
    def feed(self, task_id: int, status: str, progress: int | None, roll: float, age: float | None) -> None:
        self.answering()
        self.nonce += 1
        task = record(task_id, status, progress, started=age is not None, nonce=self.nonce)
        self.see(task, self.planner.saw(Found(task, age), self.now, roll, poll=False))

    @rule(
        task_id=IDS,
        status=STATUSES,
        progress=PROGRESS,
        whole=st.booleans(),
        kind=st.sampled_from([None, Kind.DESCRIBE]),
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
        """Show an ID on a page of the list: for the poll that is out, or where that is none by the way."""
        self.answering()
        self.nonce += 1
        poll = self.out.pop(task_id, None) is not None
        task = record(task_id, status, progress, started=age is not None, whole=whole, kind=kind, nonce=self.nonce)
        dues = dict(self.dues())
        found = Found(task, age, ended_ago, asked_at=self.now)
        seen = self.planner.saw_listed(found, self.now, roll, poll=poll)
        if seen is not None:
            assert task_id in self.waiters
            assert not task.succeeded or whole or kind == Kind.DESCRIBE
            self.see(task, seen)
        elif task_id in self.waiters and task.is_terminal:
            # It wants to be confirmed, at once, and by nothing but a poll of its own.
            assert task.succeeded
            assert not whole
            assert self.dues()[task_id] <= min(self.now, dues.get(task_id, NEVER)) + TICK
            self.wanted[task_id].single = self.wanted[task_id].single or not self.wanted[task_id].fresh
        elif poll:
            assert task_id not in self.waiters
        else:
            assert self.dues() == dues

    @precondition(lambda self: self.out)
    @rule(data=st.data(), where=st.sampled_from(["absent", "slid", "unknown"]))
    def missed(self, data: st.DataObject, where: str) -> None:
        task_id = self.land(data)
        registry = self.planner.registry
        slid_before = registry.listed[registry.rows[task_id]] == SLID
        self.planner.missed(task_id, self.now, absent=where == "absent", slid=where == "slid")
        self.landed(task_id)
        if task_id in self.wanted:
            assert self.dues()[task_id] <= self.now + TICK
            # Another page may show it, once; then it is asked for.
            self.wanted[task_id].slid = where == "slid" and not slid_before
            self.wanted[task_id].single = not self.wanted[task_id].slid

    def dues(self) -> dict[int, float]:
        """Return when each ID is due that is not in flight."""
        registry = self.planner.registry
        return {i: registry.due[row] for i, row in registry.rows.items() if not registry.flags[row] & IN_FLIGHT}

    @precondition(lambda self: any(flight.last is not None for flight in self.out.values()))
    @rule(data=st.data(), roll=ROLLS, hint=HINTS)
    def unchanged(self, data: st.DataObject, roll: float, hint: float | None) -> None:
        known = sorted(task_id for task_id, flight in self.out.items() if flight.last is not None)
        task_id = data.draw(st.sampled_from(known))
        del self.out[task_id]
        self.answering()
        self.end(self.planner.unchanged(task_id, self.now, roll, hint=hint))
        self.landed(task_id)
        self.no_stall_is_missed(task_id)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), meaning=st.sampled_from(list(ERRORS)), outage=st.booleans(), roll=ROLLS)
    def fail(self, data: st.DataObject, meaning: Meaning, outage: bool, roll: float) -> None:
        task_id = self.land(data)
        if meaning is not Meaning.TRANSIENT:
            outage = False
            self.answering()
        elif outage := outage or self.down_since is not None:
            self.down_since = self.now if self.down_since is None else self.down_since
            self.planner.outage_began(self.now)
        self.end(failed(self.planner, FailedPoll(task_id, ERRORS[meaning], meaning, self.now), roll)[1])
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
        over = [one for one in self.subscriptions if one.deadline <= self.now]
        while self.planner.registry.next_deadline <= self.now:
            ended = self.planner.expire(self.now)
            assert all(one.subscription in over and one.why is Why.TIMEOUT for one in ended)
            assert len({one.subscription for one in ended}) <= 1
            self.end(ended, expired=True)
        assert not any(one in ones for one in over for ones in self.waiters.values())
        assert self.planner.registry.next_deadline > self.now

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 10.0, 100.0, 700.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def skip_to_what_is_due(self) -> None:
        due = min(self.planner.due_queue.heads[True].due, self.planner.due_queue.heads[False].due)
        if due < 1e9:
            self.now = max(self.now, due)

    @rule(status=STATUSES, progress=PROGRESS, roll=ROLLS, age=AGES)
    def poll(self, status: str, progress: int | None, roll: float, age: float | None) -> None:
        """Make the poll that is due next, at its time: what a wait is made of for the most part."""
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
            self.see(task, self.planner.saw(Found(task, age), self.now, roll, poll=True))

    @rule(sure=st.integers(0, 5))
    def clear(self, sure: int) -> None:
        if sure:
            return  # Once in a while only, as little is to be learned of a planner that is empty.
        self.planner.clear()
        self.waiters.clear()
        self.wanted.clear()
        self.subscriptions.clear()

    # What the model makes of it.

    def land(self, data: st.DataObject) -> int:
        task_id: int = data.draw(st.sampled_from(sorted(self.out)))
        del self.out[task_id]
        return task_id

    def answering(self) -> None:
        """End an outage, if there is one."""
        self.lost, self.down_since = self.now - self.served, None
        self.planner.outage_over(self.now)

    @property
    def served(self) -> float:
        """The service time: without outages."""
        return (self.now if self.down_since is None else self.down_since) - self.lost

    def stalls_at(self, task_id: int, one: Subscription) -> float:
        """When a wait stalls, in service time: counted from the last change, or from when it came."""
        return max(self.wanted[task_id].quiet_since, self.came[one]) + one.stall

    def no_stall_is_missed(self, task_id: int) -> None:
        """After a good poll nobody goes on whose limit has passed, and the next poll is not after the next limit."""
        limit = min((self.stalls_at(task_id, one) for one in self.waiters.get(task_id, ())), default=NEVER)
        assert limit > self.served - 1e-6
        due = self.dues().get(task_id, 0.0)
        assert due <= max(self.now + max(MIN_DELAY, HOLD), limit + self.lost) + TICK + 1e-6

    def landed(self, task_id: int) -> None:
        """After an answer the policy decides: what polls come in the fresh class are for pushes."""
        if task_id in self.wanted:
            wanted = self.wanted[task_id]
            wanted.fresh = wanted.single = wanted.slid = False
            wanted.due_from = NEVER

    def part(self, task_id: int, one: Subscription) -> None:
        del self.waiters[task_id][one]
        if not self.waiters[task_id]:
            del self.waiters[task_id], self.wanted[task_id]
        if not any(one in ones for ones in self.waiters.values()):
            self.subscriptions.remove(one)

    def end(self, ended: list[Ended], *, expired: bool = False) -> None:
        """Each wait that ends does so once, for a reason that its terms give (invariant 5)."""
        for one in ended:
            assert one.subscription in self.waiters[one.task_id]
            limit = self.stalls_at(one.task_id, one.subscription)
            self.part(one.task_id, one.subscription)
            if one.why is Why.STALLED:
                assert self.served >= limit - 1e-6
            elif one.why is Why.TIMEOUT:
                assert one.subscription.once or expired
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
                wanted.quiet_since = self.served
        self.end(seen.ended)
        waiting = self.waiters.get(task.id, {})
        assert seen.waiting == tuple(waiting)
        if seen.moved:
            for one in seen.waiting:
                waiting[one] = waiting[one].after(task)
        if task.id not in self.out:
            self.landed(task.id)
        self.no_stall_is_missed(task.id)

    # What always holds.

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Every watched ID is in flight or comes out of the wheels once, and a pushed one soon (invariants 1 to 3)."""
        twin = copy.deepcopy(self.planner.due_queue)
        reached: dict[int, float] = {}
        while (due := min(twin.heads[True].due, twin.heads[False].due)) < NEVER:
            task_id, when, _ = twin.take(self.now, fresh=twin.heads[True].due == due)
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
        """No row, no deadline and no subscription outlives those who wait and what is out."""
        planner, registry = self.planner, self.planner.registry
        assert planner.due_queue.in_flight == len(self.out)
        assert planner.registry.watched == len(self.waiters)
        assert set(registry.rows) == set(self.waiters) | set(self.out)
        assert len(registry.who) == len(registry.rows) + len(registry._free)
        assert set(planner.verdicts.failures) | set(planner.due_queue._pushed) <= set(self.waiters)
        assert registry.once == {one: None for one in self.subscriptions if one.once}
        for one in self.subscriptions:
            assert one.pending == sum(one in ones for ones in self.waiters.values())
        assert planner.registry.next_deadline <= min((one.deadline for one in self.subscriptions), default=NEVER)
        assert self.senseless == []

    def teardown(self) -> None:
        """When all have left and all polls are home, nothing is left."""
        for one in list(self.subscriptions):
            self.planner.leave(one)
        for task_id in self.out:
            self.planner.again(task_id, self.now)
        assert self.planner.registry.watched == self.planner.due_queue.in_flight == 0
        assert self.planner.due_queue.heads[True].due == self.planner.due_queue.heads[False].due == NEVER
        assert not self.planner.registry.rows
        assert not self.planner.due_queue._polls._buckets
        assert not self.planner.due_queue._fresh._buckets


PlannerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestPlanner = PlannerMachine.TestCase


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
    assert one.pending == bench.planner.registry.watched == 10_000
    assert bench.planner.overdue(bench.now) == 0
    assert bench.planner.overdue(bench.now + 2) == 10_000


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through_a_policy(error: type[BaseException]) -> None:
    """Who interrupts the process while a policy is asked ends the process, not a wait."""
    bench = Bench()

    def interrupted(_facts: Facts, _roll: float) -> float:
        raise error

    bench.watch(1, policy=interrupted)
    with pytest.raises(error):
        bench.found("IN_PROGRESS", 15)
    assert not bench.planner.progress.asking


def test_an_id_can_be_left_alone_of_many() -> None:
    """One ID of a subscription can be dropped by its sink; no poll starts for it, and a second drop does nothing."""
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
    assert bench.poll() == 2
    assert bench.due == NEVER
    bench.planner.leave(one)
    bench.planner.leave(one)
    assert bench.planner.registry.watched == 0


def test_clear_ends_all_waits() -> None:
    """After `clear` nobody waits, nothing is due, and polls that are out come home to nobody."""
    bench = Bench()
    bench.watch(1, 2, 3, timeout=5.0)
    bench.poll()
    bench.planner.clear()
    assert (bench.planner.registry.watched, bench.due) == (0, NEVER)
    assert bench.planner.expire(5.0) == []
    bench.planner.again(1, 0.0)
    assert bench.planner.due_queue.in_flight == 0


def test_thousands_of_waiters_of_one_id_come_and_go_in_linear_work() -> None:
    """To come, to be found, to end in time and to leave costs each of 8,000 waiters of one ID as much as the first."""
    reads = 0

    class Counted(Subscription):
        """A subscription that counts how often somebody asks whose it is."""

        __slots__ = ("whose",)

        @property
        def sink(self) -> rows.Sink:
            nonlocal reads
            reads += 1
            return self.whose

        @sink.setter
        def sink(self, whose: rows.Sink) -> None:
            self.whose: rows.Sink = whose

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
        assert [ended.subscription for ended in planner.expire(one.deadline)] == [one]
        check(1)
    for one in waiters[3999:1999:-1]:
        planner.leave(one)
        check(1)
    planner.due_queue.take(9.0, fresh=True)
    assert planner.saw(Found(record(1, "SUCCESS")), 9.0, 0.0, poll=True).waiting == tuple(waiters[:2000])
    check(2000)
    assert planner.registry.watched == 0
