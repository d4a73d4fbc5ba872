"""What policies are asked, and how waiters of one ID share its polls."""

from __future__ import annotations

import math

import pytest

from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy
from omgmj.errors import UsageError
from omgmj.models import Status, Task
from omgmj.scheduler.planner import Found, Planner, Why
from omgmj.scheduler.progress import MIN_DELAY
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import NEVER, RETRY, TICK, Bench, Sink, fails, record, whys


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
    bench.poll()
    bench.now = 1.0
    bench.saw(Task(1, Status.SUBMITTED, pool="FAST", kind="IMAGINE", source=b"a"))
    bench.poll()
    bench.saw(Task(1, Status.IN_PROGRESS, pool="FAST", kind="IMAGINE", progress=15, source=b"b"), age=1.5, hint=9.0)
    bench.poll()
    bench.saw(Task(1, Status.IN_PROGRESS, pool="FAST", kind="IMAGINE", progress=0, source=b"c"))
    assert [Facts(*facts[:9], heard=facts.heard, answers=facts.answers, load=facts.load) for facts in heard] == [
        Facts(1, 1, 1.0, "FAST", "IMAGINE", Status.SUBMITTED, None, 0.0, None),
        Facts(1, 2, 1.5, "FAST", "IMAGINE", Status.IN_PROGRESS, 15, 0.0, 9.0),
        Facts(1, 3, 5.5, "FAST", "IMAGINE", Status.IN_PROGRESS, 15, 4.0, None),
    ]
    assert [(facts.waited, facts.unseen, facts.left) for facts in heard] == [
        (1.0, None, None),
        (5.0, 4.0, None),
        (9.0, 4.0, None),
    ]
    assert bench.planner.last(1) == b"b"
    assert bench.planner.last(2) is None


def test_ids_that_start_in_step_fall_out_of_step() -> None:
    """IDs taken in at one moment are not asked in step for ever: each poll has a chance of its own."""
    planner = Planner(RETRY)
    planner.watch(Subscription(Sink(), range(1, 101), Exponential(initial=30.0, jitter=0.5), 0.0, None, None), 0.0, 0.0)
    for i in range(100):
        assert planner.due_queue.heads[True].due == 0.0
        task_id = planner.due_queue.take(0.0, fresh=True)[0]
        planner.saw(Found(record(task_id)), 0.0, i / 100, poll=True)
    dues = set()
    while (due := planner.due_queue.heads[False].due) < NEVER:
        dues.add(due)
        planner.due_queue.take(due, fresh=False)
    assert len(dues) == 100
    assert 15 < min(dues) < max(dues) == 30


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
    """A policy that says stop, says nonsense or raises ends that wait, at a poll or at intake; others go on."""
    bench = Bench()
    steady = bench.watch(1, policy=Fixed(3.0))
    strange = bench.watch(1, policy=policy)
    seen = bench.found("IN_PROGRESS", 15)
    late, at_once = bench.join(1, policy=policy)
    for ended, one in zip((*seen.ended, *at_once), (strange, late), strict=True):
        assert (ended.subscription, ended.why, ended.polls) == (one, why, 1)
        assert type(ended.error.__cause__ if ended.error else None) is (cause or type(None))
        assert ended.error is None or isinstance(ended.error, UsageError)
    assert seen.waiting == (steady,)
    assert bench.due == 3.0


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
    bench.planner.due_queue.push(1, bench.now)
    assert bench.due == bench.now


def test_two_waiters_for_one_id_cause_one_request() -> None:
    """However many wait for one ID, one poll is out, and its final record goes to each of them."""
    bench = Bench()
    waiters = tuple(bench.watch(1) for _ in range(5))
    bench.poll()
    assert bench.due == NEVER
    late = bench.watch(1)
    assert bench.due == NEVER
    assert bench.saw(record(1, "SUCCESS")).waiting == (*waiters, late)
    assert bench.planner.due_queue.in_flight == 0


def test_waiters_with_one_policy_ask_it_once() -> None:
    """A thousand waiters of one ID with one policy cost one decision a poll, and all of them end when it says stop."""
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
