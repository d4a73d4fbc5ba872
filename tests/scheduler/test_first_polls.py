"""When an ID is polled first, and how those who come later share its polls, through the planner."""

from __future__ import annotations

import pytest

from omgmj.backoff import Facts, Fixed
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.planner import Why
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import BLIP, NEVER, Bench, Sink, record


def test_of_many_ids_each_begins_as_it_is_known() -> None:
    """New IDs are due at once, in their order; one made here when its policy says; one in flight when it is home."""
    bench = Bench()
    bench.planner.first_polls.created(3, bench.now)
    bench.watch(2, 5)
    assert (bench.poll(), bench.poll()) == (2, 5)
    bench.saw(record(5))
    bench.now = 1.0
    one = bench.watch(1, 2, 3, 4, 5, policy=Fixed(7.0))
    assert (one.joined, bench.planner.registry.watched) == (5, 5)
    registry = bench.planner.registry
    due = {task_id: registry.due[row] for task_id, row in registry.rows.items()}
    assert due == {1: 1.0, 2: NEVER, 3: 7.0, 4: 1.0, 5: 2.0}
    assert [bench.poll() for _ in range(4)] == [1, 4, 5, 3]


def test_a_late_joiner_shares_the_polls_and_hastens_them() -> None:
    """Waiters of one ID share its polls; with different policies the earliest due counts, from the last poll on."""
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
    assert bench.due == 4.0  # not in the past: nobody was late with this poll
    bench.found("IN_PROGRESS", 31)
    assert bench.due == 6.0


def test_a_late_joiner_is_not_asked_while_a_poll_is_to_come_anyway() -> None:
    """Before the first poll, after a failed one and while one is out, who joins waits for what comes."""
    bench = Bench()
    asked: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> None:
        asked.append(facts)

    bench.watch(1)
    bench.watch(1, policy=policy)
    bench.fail(BLIP, Meaning.TRANSIENT)
    bench.watch(1, policy=policy)
    bench.poll()
    bench.watch(1, policy=policy, timeout=0)
    assert asked == []
    assert bench.due == NEVER


def test_a_task_that_was_made_here_is_polled_when_the_policy_says() -> None:
    """The first poll of a task made here comes as the policy says; one that says stop ends the wait without a poll."""
    bench = Bench()
    bench.planner.first_polls.created(1, bench.now)
    _, ended = bench.join(1, policy=lambda _facts, _roll: None)
    assert [(one.why, one.polls) for one in ended] == [(Why.GAVE_UP, 0)]
    assert (bench.planner.registry.watched, bench.due) == (0, NEVER)
    bench.watch(1, policy=Fixed(7.0))
    assert bench.due == 7.0


def test_of_tasks_that_were_made_here_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of endless tasks that were made here so many are remembered, the latest."""
    monkeypatch.setattr("omgmj.scheduler.first_polls.CREATED_KEPT", 2)
    first_polls = Bench().planner.first_polls
    for task_id in (1, 2, 3):
        first_polls.created(task_id, 0.0)
    assert [first_polls.is_created(task_id) for task_id in (1, 2, 3)] == [False, True, True]


def test_a_second_waiter_hastens_the_first_poll_at_a_task_that_was_made_here() -> None:
    """Of two policies of two waiters the one that wants the earlier first poll counts."""
    bench = Bench()
    bench.planner.first_polls.created(1, bench.now)
    bench.watch(1, policy=Fixed(600.0))
    bench.watch(1, policy=Fixed(20.0))
    bench.watch(1, policy=Fixed(300.0))
    assert bench.due == 20.0


def test_a_second_waiter_does_not_hasten_a_poll_that_failed() -> None:
    """Who comes when the first poll has failed shares the retry: many who come do not make it many polls."""
    bench = Bench()
    bench.watch(1)
    bench.fail(BLIP, Meaning.TRANSIENT)
    due = bench.due
    assert due > bench.now
    bench.watch(1)
    assert bench.due == due


def test_a_row_whose_poll_is_out_counts_it_for_who_comes_next() -> None:
    """When all leave while a poll is out, it is the first one of who comes next, and no other starts beside it."""
    bench = Bench()
    one = bench.watch(1)
    for _ in range(3):
        bench.found("IN_PROGRESS", 15)
    bench.poll()
    bench.planner.leave(one)
    two = bench.watch(1, timeout=9.0)
    assert bench.due == NEVER
    (ended,) = bench.planner.expire(bench.now + 9.0)
    assert (ended.subscription, ended.polls) == (two, 1)


def test_who_waited_before_makes_an_id_known_to_all() -> None:
    """An ID out of a journal counts as seen, also where somebody waits for it already who never saw it."""
    bench = Bench()
    bench.watch(1, 2)
    for _ in range(2):
        again = Subscription(Sink(), (1, 3), Fixed(2.0), bench.now, None, None, known=True)
        assert bench.planner.watch(again, bench.now, 0.0) == []
    registry, progress = bench.planner.registry, bench.planner.progress
    assert {one: progress.is_known(registry.rows[one]) for one in (1, 2, 3)} == {1: True, 2: False, 3: True}
    assert progress.met == 0, "none of them was seen in this session"
