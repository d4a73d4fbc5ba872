"""Pushes, and records that come from elsewhere, beside the polls that are out."""

from __future__ import annotations

from omgmj.backoff import Fixed
from omgmj.scheduler.due_queue import PUSH_SPACING
from tests.scheduler.bench import NEVER, Bench, record


def test_flight_outlives_subscription() -> None:
    """The last one leaves while a poll is out, a new one comes: no second poll beside it (invariant 3)."""
    bench = Bench()
    one = bench.watch(1)
    bench.planner.due_queue.push(1, 0.0)
    bench.poll()
    bench.planner.due_queue.push(1, 0.0)
    bench.planner.leave(one)
    assert bench.planner.registry.watched == 0
    two = bench.watch(1)
    assert bench.due == NEVER
    assert bench.found_at_home("IN_PROGRESS") == (True, (two,), [])
    assert bench.due == 2.0  # the push was for whoever waited then


def test_a_push_during_a_poll_makes_exactly_one_more() -> None:
    """Pushes while a poll is out make one poll after it, at once, and then the policy goes on."""
    bench = Bench()
    bench.watch(1, policy=Fixed(60.0))
    bench.poll()
    bench.now = 0.5
    for _ in range(3):
        bench.planner.due_queue.push(1, bench.now)
    bench.found_at_home("IN_PROGRESS")
    assert bench.planner.due_queue.heads[True].due == 0.5
    bench.found("IN_PROGRESS")
    assert bench.planner.due_queue.heads[True].due == NEVER
    assert bench.due == 60.5


def test_pushes_make_one_poll_a_second() -> None:
    """However often one ID is pushed, it is polled once a second for that."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS")
    polls = 0
    for step in range(1000):
        bench.now = step / 100
        bench.planner.due_queue.push(1, bench.now)
        if bench.due <= bench.now:
            bench.found("IN_PROGRESS")
            polls += 1
    assert polls == 10
    assert bench.planner.due_queue._fresh.size <= 1


def test_pushed_polls_are_a_second_apart_from_when_they_went() -> None:
    """A poll for a push that had to wait for its turn is not followed by the next one sooner than a second later."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS")
    bench.planner.due_queue.push(1, 0.0)
    bench.now = 5.0
    bench.poll()
    bench.planner.due_queue.push(1, 5.25)
    bench.now = 5.5
    bench.found_at_home("IN_PROGRESS")
    assert bench.planner.due_queue.heads[True].due == 5.0 + PUSH_SPACING


def test_a_push_puts_nothing_off() -> None:
    """A poll that is due sooner than the push's own serves the push."""
    bench = Bench()
    bench.watch(1, policy=Fixed(0.25))
    bench.found("IN_PROGRESS")
    bench.planner.due_queue.push(1, 0.0)
    bench.found("IN_PROGRESS")
    assert bench.due == 0.25
    bench.planner.due_queue.push(1, 0.0)
    assert bench.due == 0.25
    assert bench.planner.due_queue.heads[True].due == NEVER


def test_a_pushed_id_stands_in_one_class() -> None:
    """An ID that is pushed at the very moment when its poll is due is due as a pushed one, and as nothing else."""
    bench = Bench()
    bench.watch(1, policy=Fixed(2.0))
    bench.found("IN_PROGRESS")
    bench.planner.due_queue.push(1, 2.0)
    assert (bench.planner.due_queue.heads[True].due, bench.planner.due_queue.heads[False].due) == (2.0, NEVER)


def test_a_record_from_elsewhere_does_not_replace_a_pushed_poll() -> None:
    """A record that came by another way may be older than the push: the poll that the push wants is still made."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    bench.found("IN_PROGRESS", 15)
    bench.planner.due_queue.push(1, 0.0)
    bench.saw(record(1, "IN_PROGRESS", 31), poll=False)
    assert bench.planner.due_queue.heads[True].due == 0.0


def test_a_push_for_an_id_that_nobody_waits_for_is_ignored() -> None:
    """A push proves nothing and starts nothing: neither for a strange ID nor for one whose last waiter left."""
    bench = Bench()
    one = bench.watch(1)
    bench.poll()
    bench.planner.leave(one)
    bench.planner.due_queue.push(1, 0.0)
    bench.planner.due_queue.push(2, 0.0)
    bench.planner.again(1, 0.0)
    assert bench.due == NEVER
    assert bench.planner.due_queue.in_flight == 0


def test_a_record_from_elsewhere_counts_while_a_poll_is_out() -> None:
    """A final record that comes by another way ends the wait at once, and the poll that is out comes home to nobody."""
    bench = Bench()
    one = bench.watch(1)
    bench.poll()
    assert bench.saw(record(1, "IN_PROGRESS", 62), poll=False) == (True, (one,), [])
    assert bench.due == NEVER
    assert bench.saw(record(1, "SUCCESS"), poll=False).waiting == (one,)
    assert bench.planner.due_queue.in_flight == 1
    assert bench.found_at_home("IN_PROGRESS", 31) == (False, (), [])
    assert bench.saw(record(9, "SUCCESS"), poll=False) == (False, (), [])
